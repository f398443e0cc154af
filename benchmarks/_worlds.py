"""Worlds to hedge in, drawn from a seed, and the best that anyone could do in them.

The shapes are assumed, as no provider's traffic could be measured: a lognormal body, 2 % of requests eight times and
0.2 % forty times slower. A primary and its copy are drawn independently. In trouble, all work slows down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

__all__ = [
    *("DYNAMIC", "MEAN_OF", "SEEDS", "Floats", "Prompts", "World", "bound", "dynamic", "fleet", "gain", "prompts"),
    "pulse",
]

Floats = NDArray[np.float64]

SEEDS = (11, 12, 13)
DYNAMIC = ("D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9")
MEAN_OF = ("D1", "D4", "D5", "D6", "D7", "D8", "D9")  # those in which copies can help
_TROUBLE = {
    "D2": [(share, 60.0, 1 / 8) for share in (0.2, 0.5, 0.8)],
    "D3": [(share, 20.0, 0.0) for share in (0.15, 0.35, 0.55, 0.75, 0.9)],
}


@dataclass(frozen=True, slots=True)
class World:
    """Requests in the order of their arrival: when they come, and how much work each and its copy are, in seconds."""

    at: Floats
    first: Floats
    second: Floats
    trouble: tuple[tuple[float, float, float], ...] = ()  # from, until, seconds of work done per second
    size: Floats | None = None  # tokens that explain the time
    cost: Floats | None = None  # tokens that are paid for
    fails: NDArray[np.bool_] | None = None  # who gets an error instead of an answer

    def end(self, start: float, work: float) -> float:
        """When work begun at `start` is done."""
        for begin, until, speed in self.trouble:
            if start >= until:
                continue
            if start < begin:
                if work <= begin - start:
                    break
                work, start = work - (begin - start), begin
            if work <= (until - start) * speed:
                return start + work / speed
            work, start = work - (until - start) * speed, until
        return start + work

    def troubled(self, when: float) -> bool:
        return any(begin <= when < until for begin, until, _ in self.trouble)

    def alone(self, works: Floats) -> Floats:
        """Latencies of requests or copies that begin at the arrival and race with nobody."""
        if not self.trouble:
            return works
        pairs = zip(self.at.tolist(), works.tolist(), strict=True)
        return np.array([self.end(start, work) - start for start, work in pairs])


def _stragglers(rng: np.random.Generator, count: int, often: float | Floats) -> tuple[Floats, Floats]:
    """Factors 40, 8 and 1, and normal deviates, in this order of drawing."""
    luck, normal = rng.random(count), rng.standard_normal(count)
    return np.where(luck < 0.002, 40.0, np.where(luck < 0.002 + often, 8.0, 1.0)), normal


def dynamic(name: str, seed: int, count: int = 60_000, rate: float = 20.0) -> World:
    """One of the nine worlds of a client: D1 is stationary; the others change what `_TROUBLE` and this function say."""
    if name == "D7":  # low traffic
        count, rate = count // 10, rate / 100
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1 / rate, count))
    whole = count / rate
    burst = (at > 0.45 * whole) & (at < 0.55 * whole) & (name == "D6")
    base, spread = {"D8": (1.0, 0.5), "D9": (1.0, 1.2)}.get(name, (0.45, 0.5))
    usual = np.full(count, base)
    if name == "D4":  # slower for good, and back
        usual[(at > 0.5 * whole) & (at < 0.8 * whole)] *= 2
    elif name == "D5":  # three days
        usual *= 1 + 0.5 * np.sin(2 * np.pi * at / (whole / 3))

    def works() -> Floats:
        factors, normal = _stragglers(rng, count, np.where(burst, 0.10, 0.02))
        return usual * np.exp(spread * normal) * (1.0 if name in ("D8", "D9") else factors)

    trouble = tuple((share * whole, share * whole + long, speed) for share, long, speed in _TROUBLE.get(name, ()))
    return World(at, works(), works(), trouble)


def _shared_sizes(rng: np.random.Generator, at: Floats) -> World:
    """Both copies share the job's size, not the server's luck; the mean is half a second."""
    sizes = np.exp(0.5 * rng.standard_normal(len(at)))
    first, second = (_stragglers(rng, len(at), 0.02)[0] for _ in range(2))
    scale = 0.5 / (np.exp(0.125) * (1 + 0.02 * 7 + 0.002 * 39))
    return World(at, scale * sizes * first, scale * sizes * second)


def fleet(load: float, seed: int = 5, count: int = 40_000, servers: int = 16) -> World:
    """Work for a fleet of servers, at a share of what it can do."""
    rng = np.random.default_rng(seed)
    return _shared_sizes(rng, np.cumsum(rng.exponential(0.5 / (load * servers), count)))


def pulse(seed: int = 9, count: int = 24_000, servers: int = 16) -> World:
    """A fleet at 70 % load that gets 115 % between 120 and 180 s."""
    rng = np.random.default_rng(seed)
    quiet, busy = 0.7 * servers / 0.5, 1.15 * servers / 0.5
    arrived = np.cumsum(rng.exponential(1.0, count))
    turns = np.cumsum([0.0, 120 * quiet, 60 * busy, 1e4 * quiet])
    return _shared_sizes(rng, np.interp(arrived, turns, np.cumsum([0.0, 120, 60, 1e4])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts(World):
    """Requests whose size explains most of their time."""

    tokens: Floats
    effective: Floats  # tokens that are not cached count in full, cached ones a tenth

    @property
    def scale(self) -> Floats:
        """The true usual time of each."""
        return 0.25 + self.effective / 9000


def prompts(rate: float = 20.0, count: int = 60_000, seed: int = 33, *, cache_known: bool = True) -> Prompts:
    """Prompts of very different length, 40 % of them with a cached prefix, which the client may or may not know of."""
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1 / rate, count))
    tokens = np.minimum(1500 * np.exp(1.3 * rng.standard_normal(count)), 180_000)
    effective = np.where(rng.random(count) < 0.4, 0.1, 1.0) * tokens

    def works() -> Floats:
        factors, normal = _stragglers(rng, count, 0.02)
        seconds: Floats = (0.25 + effective / 9000) * np.exp(0.35 * normal) * factors
        return seconds

    known = effective if cache_known else tokens
    return Prompts(at, works(), works(), size=known, cost=known, tokens=tokens, effective=effective)


def bound(none: Floats, copy: Floats, budget: float, share: float) -> float:
    """The quantile that somebody reaches who knows all times beforehand, and may send a copy at once for `budget`."""
    count, most = len(none), int(budget * len(none))

    def reached(limit: float) -> bool:
        over = none > limit
        return bool(over.sum() - min(most, (over & (copy <= limit)).sum()) <= (1 - share) * count)

    return _smallest(reached, float(np.quantile(none, share)))


def _smallest(holds: Callable[[float], bool], high: float) -> float:
    low = 1e-3
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def gain(got: float, none: float, best: float) -> float:
    """What was reached, in percent of what could be."""
    return 100 * (none - got) / (none - best) if none - best > 1e-9 else inf
