"""What hedging promises: less tail within its budget, and no harm in trouble. The shipped policy in seeded worlds.

The worlds and the bounds are those of `benchmarks/tail_sim.py`, which prints the whole tables.
"""

from __future__ import annotations

from statistics import fmean

import pytest

from benchmarks import _measures as measures
from benchmarks._worlds import SEEDS

pytestmark = pytest.mark.slow


def client(budget: float, world: str) -> dict[str, float]:
    """Means over three seeds."""
    runs = [measures.client("fastclient", budget, world, seed) for seed in SEEDS]
    return {name: fmean(getattr(run, name) for run in runs) for name in measures.Client.__slots__}


@pytest.mark.parametrize(
    "budget, p99, p999, f99, f999", [(0.02, 2.7, 4.2, 64, 85), (0.05, 1.75, 2.5, 78, 93)], ids=["2 %", "5 %"]
)
def test_a_busy_client(budget: float, p99: float, p999: float, f99: float, f999: float) -> None:
    """At 20 requests/s with stragglers, p99 falls from 4.1 s and p99.9 from 17.8 s to these, for at most the budget."""
    got = client(budget, "D1")
    assert got["extra"] <= 100 * budget
    assert (got["p99"] <= p99, got["p999"] <= p999) == (True, True), got
    assert (got["f99"] >= f99, got["f999"] >= f999) == (True, True), got


@pytest.mark.parametrize("budget", [0.02, 0.05])
@pytest.mark.parametrize("world, most", [("D2", 1.2), ("D3", 0.6)], ids=["eight times slower", "frozen"])
def test_everybody_is_slow(world: str, most: float, budget: float) -> None:
    """While all requests are late at once, next to no copies are sent: they would add to the trouble."""
    got = client(budget, world)
    assert got["inside"] <= most
    assert got["extra"] <= 100 * budget


@pytest.mark.parametrize("budget", [0.02, 0.05])
def test_after_a_freeze(budget: float) -> None:
    """In the minute after everybody stood still for 20 s, hedging is back: at least half of the budget is used."""
    assert fmean(measures.thaw(budget, seed) for seed in SEEDS) >= 50 * budget


@pytest.mark.parametrize("load, most", [(0.8, 0.70), (0.95, 1.02)], ids=["80 % load", "95 % load"])
def test_servers_that_finish_what_nobody_wants(load: float, most: float) -> None:
    """Where a loser goes on to its end, 2 % of copies help a busy fleet, and do a full one no harm."""
    none, ours = (measures.fleet(who, 0.02, load, kill=False) for who in ("none", "fastclient"))
    assert ours / none <= most


@pytest.mark.parametrize("seed", [9, 10, 11, 12])
def test_a_minute_of_overload(seed: int) -> None:
    """After it, a fleet that finishes what nobody wants is back no later than without hedging."""
    none, ours = (measures.recovery(who, 0.02, seed) for who in ("none", "fastclient"))
    assert ours <= none


@pytest.mark.parametrize("budget", [0.02, 0.05])
def test_long_prompts_are_not_late(budget: float) -> None:
    """Among prompts of very different length, copies repeat no larger share of the input than the budget says."""
    got = measures.lengths("fastclient", budget, 20.0, 60_000)
    assert got.effective <= 100 * budget
    assert got.raw <= 110 * budget
    assert got.long <= 2
    assert got.slowdown <= (4.0 if budget == 0.02 else 3.2)  # 8.7 without


def test_prompts_whose_cache_state_is_unknown() -> None:
    """When nobody says what is cached, the budget still holds in the tokens that are counted."""
    got = measures.lengths("fastclient", 0.05, 20.0, 60_000, known=False)
    assert got.raw <= 5.0
    assert got.slowdown <= 3.6


@pytest.mark.parametrize("budget", [0.02, 0.05])
def test_times_double_for_good(budget: float) -> None:
    """A minute's copies never exceed its budget by more than what was saved up, and after 500 requests all is tuned."""
    before, after, p99 = measures.shift(budget)
    saved = 1.0  # ten requests, in percent of the thousand of a quiet minute
    assert before <= 100 * budget + saved
    assert after <= 100 * budget + saved
    assert p99 <= 1.15


@pytest.mark.parametrize("budget", [0.02, 0.05])
def test_traffic_dies_down(budget: float) -> None:
    """From 50 requests/s to one in 20 s: time fills no allowance, so copies stay within the budget at each moment."""
    most, quiet = measures.fading(budget)
    assert most <= 100 * budget
    assert 0 < quiet <= 100 * budget + 1.0  # ten saved ones, in percent of these thousand requests


@pytest.mark.parametrize("budget", [0.02, 0.05])
def test_copies_that_never_win(budget: float) -> None:
    """Where a copy meets the same slow replica, hedging is down to probes within 50 copies, and stays there."""
    assert measures.sticky(budget) <= 0.2


def test_fast_failures_are_not_fast_answers() -> None:
    """When each tenth request fails at once, the learned p95 moves by less than 5 %."""
    moved = [measures.failures(0.05, seed) for seed in SEEDS]
    assert fmean(moved) == pytest.approx(1.0, abs=0.05)
