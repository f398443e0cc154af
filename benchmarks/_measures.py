"""What is measured of a hedging policy in each kind of world; every function is one seeded run, or a few of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import inf

import numpy as np

from benchmarks import _worlds as worlds
from benchmarks._races import Outcome, Policy, Servers, Shipped, play
from benchmarks._rivals import Deposits, Finagle, FixedDelay, HedgePython, TwiceTheMedian
from benchmarks._worlds import World

__all__ = [
    *("POLICIES", "Client", "Lengths", "client", "failures", "fading", "fleet", "lengths", "recovery", "shift"),
    *("sticky", "thaw", "worst"),
]

# By name, because a policy cannot travel to another process; each takes a budget, the true rate of requests, and
# whether a loser stops when it is told to.
POLICIES: dict[str, Callable[[float, float, bool], Policy | None]] = {
    "none": lambda budget, rate, stops: None,
    "static p95, no cap": lambda budget, rate, stops: FixedDelay(1.16),  # of D1
    "2x median, no cap": lambda budget, rate, stops: TwiceTheMedian(),
    "hedge-python default": lambda budget, rate, stops: HedgePython(),
    "hedge-python, true rate": lambda budget, rate, stops: HedgePython(rate, budget),
    "Finagle": lambda budget, rate, stops: Finagle(budget),
    "p(1-B) + deposits": lambda budget, rate, stops: Deposits(budget),
    "fastclient": lambda budget, rate, stops: Shipped(budget, stops=stops),
}


@dataclass(frozen=True, slots=True)
class Client:
    """A run of one of the nine worlds: shares in percent, times in seconds."""

    extra: float
    p99: float
    p999: float
    f99: float  # of what a clairvoyant gains
    f999: float
    inside: float  # copies sent while there is trouble, per request that started in it
    worst: float  # 10 s


def client(policy: str, budget: float, name: str, seed: int, count: int = 60_000) -> Client:
    """A policy in one of the worlds D1 to D9, at 20 requests/s (D7: one in 5 s)."""
    world = worlds.dynamic(name, seed, count)
    outcome = play(world, POLICIES[policy](budget, 0.2 if name == "D7" else 20.0, True))
    p99, p999 = quantiles(outcome)
    ends = limits(name, seed, count, budget or 0.10)  # those without a cap are held against one of 10 %
    troubled = sum(map(world.troubled, world.at.tolist())) if world.trouble else 0
    return Client(
        extra=outcome.extra,
        p99=p99,
        p999=p999,
        f99=worlds.gain(p99, *ends[0]),
        f999=worlds.gain(p999, *ends[1]),
        inside=100 * sum(map(world.troubled, outcome.sent)) / troubled if troubled else 0.0,
        worst=worst(world, outcome, 10.0),
    )


def quantiles(outcome: Outcome) -> tuple[float, float]:
    return float(np.quantile(outcome.latency, 0.99)), float(np.quantile(outcome.latency, 0.999))


@cache
def limits(name: str, seed: int, count: int, budget: float) -> list[tuple[float, float]]:
    """Without hedging, and with all copies well spent: for p99 and p99.9."""
    world = worlds.dynamic(name, seed, count)
    none, copy = world.alone(world.first), world.alone(world.second)
    return [(float(np.quantile(none, share)), worlds.bound(none, copy, budget, share)) for share in (0.99, 0.999)]


def worst(world: World, outcome: Outcome, span: float, since: float = 0.0) -> float:
    """The largest share of copies in any span of so many seconds, in percent of the requests that started in it."""
    last = int((world.at[-1] - since) // span)  # the incomplete one at the end is left out
    slots = [np.bincount(((at[at >= since] - since) // span).astype(int), minlength=last)[:last]
             for at in (world.at, np.array(outcome.sent))]  # fmt: skip
    return float((100 * slots[1] / np.maximum(slots[0], 1)).max())


# --- servers that get slower when they get more to do -----------------------------------------------------------------


def fleet(policy: str, budget: float, load: float, seed: int = 5, *, queues: int = 1, kill: bool = True,
          count: int = 40_000) -> float:  # fmt: skip
    """p99 at 16 servers after the first 2,000 requests."""
    world = worlds.fleet(load, seed, count)
    outcome = play(world, POLICIES[policy](budget, load * 32, kill), Servers(world, 16, queues=queues, kill=kill))
    return float(np.quantile(outcome.latency[2000:], 0.99))


def recovery(policy: str, budget: float, seed: int = 9) -> float:
    """Seconds after a pulse of overload until the median of 5 s stays below twice the earlier one, for a minute.

    Losers run on. For a minute and not for ever, because a few very long jobs at a time push a median up on any day."""
    world = worlds.pulse(seed)
    outcome = play(world, POLICIES[policy](budget, 22.4, False), Servers(world, 16, kill=False))
    before = (world.at > 20) & (world.at < 120)
    slots = (world.at // 5).astype(int)
    medians = np.array([np.median(outcome.latency[slots == slot]) for slot in range(slots[-1])])
    usual = medians <= 2 * np.median(outcome.latency[before])
    for slot in range(180 // 5, len(usual) - 12):
        if usual[slot : slot + 12].all():
            return slot * 5 - 180.0
    return inf


# --- prompts of different length --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lengths:
    """A run with mixed prompts: shares in percent."""

    requests: float  # hedged
    effective: float  # hedged, of the tokens with cached ones counted a tenth
    raw: float  # hedged, of all tokens
    slowdown: float  # p99 of the time in multiples of the true usual one
    short: float  # p99 of prompts below 1,000 tokens
    p999: float
    long: float  # how often prompts above 8,000 tokens are hedged, relative to all


def lengths(policy: str, budget: float, rate: float, count: int, *, seed: int = 33, known: bool = True) -> Lengths:
    """A policy among prompts of different length."""
    world = worlds.prompts(rate, count, seed, cache_known=known)
    outcome = play(world, POLICIES[policy](budget, rate, True))
    hedged = np.zeros(count, bool)
    hedged[outcome.copied] = True
    often = max(float(hedged.mean()), 1e-9)
    return Lengths(
        requests=outcome.extra,
        effective=100 * float(world.effective[hedged].sum() / world.effective.sum()),
        raw=100 * float(world.tokens[hedged].sum() / world.tokens.sum()),
        slowdown=float(np.quantile(outcome.latency / world.scale, 0.99)),
        short=float(np.quantile(outcome.latency[world.tokens < 1000], 0.99)),
        p999=quantiles(outcome)[1],
        long=float(hedged[world.tokens > 8000].mean()) / often,
    )


# --- single troubles, for the shipped policy --------------------------------------------------------------------------


def shift(budget: float, seed: int = 11, count: int = 40_000) -> tuple[float, float, float]:
    """All times double for good: the worst 60 s before and after, and p99 relative to one that knew only the new times.

    The p99 is that of the requests from the 500th after the change on."""
    world = worlds.dynamic("D1", seed, count)
    half = count // 2
    turn = float(world.at[half])
    slower = np.where(world.at >= turn, 2.0, 1.0)
    changed = replace(world, first=world.first * slower, second=world.second * slower)
    outcome = play(changed, Shipped(budget))
    tuned = play(replace(world, first=world.first * 2, second=world.second * 2), Shipped(budget))
    p99 = [float(np.quantile(run.latency[half + 500 :], 0.99)) for run in (outcome, tuned)]
    return worst(changed, _until(outcome, turn), 60.0), worst(changed, outcome, 60.0, turn), p99[0] / p99[1]


def _until(outcome: Outcome, when: float) -> Outcome:
    return replace(outcome, sent=[sent for sent in outcome.sent if sent < when])


def thaw(budget: float, seed: int = 11) -> float:
    """Copies in the minute after each freeze of 20 s, in percent of its requests."""
    world = worlds.dynamic("D3", seed)
    sent, ends = np.array(play(world, Shipped(budget)).sent), [until for _, until, _ in world.trouble]
    copies, requests = (sum(int(((at >= end) & (at < end + 60)).sum()) for end in ends) for at in (sent, world.at))
    return 100 * copies / requests


def fading(budget: float, seed: int = 11, busy: int = 30_000, quiet: int = 1_000) -> tuple[float, float]:
    """The rate falls from 50 to 0.05 per second: the largest share of copies so far, ever, and that in the quiet."""
    rng = np.random.default_rng(seed)
    at = np.cumsum(np.concatenate([rng.exponential(1 / 50, busy), rng.exponential(20.0, quiet)]))
    world = replace(worlds.dynamic("D1", seed, busy + quiet), at=at)
    sent = np.array(play(world, Shipped(budget)).sent)
    so_far = np.arange(1, len(sent) + 1) / np.searchsorted(at, sent, side="right")
    return 100 * float(so_far.max()), 100 * float((sent > at[busy]).sum()) / quiet


def sticky(budget: float, seed: int = 11, count: int = 60_000) -> float:
    """A copy always meets the same slowness as its primary: the share of copies after the first 50, in percent."""
    world = worlds.dynamic("D1", seed, count)
    outcome = play(replace(world, second=world.first), Shipped(budget))
    if len(outcome.copied) <= 50:
        return 0.0
    after = count - outcome.copied[49]
    return 100 * (len(outcome.copied) - 50) / after


def failures(budget: float, seed: int = 11, count: int = 30_000) -> float:
    """10 % of the requests fail after 5 ms: the learned p95, relative to the one without failures."""
    world = worlds.dynamic("D1", seed, count)
    fails = np.random.default_rng(seed + 1000).random(count) < 0.1
    failing = replace(world, first=np.where(fails, 0.005, world.first), fails=fails)
    learned = []
    for each in (failing, world):
        policy = Shipped(budget)
        play(each, policy)
        learned.append(policy.latency.quantile(0.95) * policy.latency.size(0.0))
    return learned[0] / learned[1]
