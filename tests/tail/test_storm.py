"""What the gate promises in a storm of demand. The shipped gate in the seeded world of `benchmarks/storm_sim.py`."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

import pytest

from benchmarks import storm_sim

SEEDS = range(5)
PAUSE = 5.0


def mean(results: list[storm_sim.Result], name: str) -> float:
    return fmean(getattr(result, name) for result in results)


@pytest.mark.parametrize("counted", [False, True], ids=["refusals are free", "refusals count"])
def test_twice_the_limit(counted: bool) -> None:
    """Demand of twice the limit for a minute: the limit is used up, no more is sent, and interactive calls go first."""
    runs = [storm_sim.run("paced", pulse=2.0, count_rejections=counted, seed=seed) for seed in SEEDS]
    assert mean(runs, "ok_share") >= 0.82
    assert mean(runs, "interactive_share") >= 0.99
    assert mean(runs, "attempts_per_call") <= 1.1
    assert not [refusal for run in runs for refusal in run.refusals]


def test_a_fifth_above_the_limit() -> None:
    """Demand of 1.2 times the limit: everybody is served, with one attempt each, and nobody is refused."""
    runs = [storm_sim.run("paced", pulse=1.2, count_rejections=True, seed=seed) for seed in SEEDS]
    assert [run.ok_share for run in runs] == [1.0] * len(runs)
    assert [run.attempts_per_call for run in runs] == [1.0] * len(runs)


def test_the_usual_ways_do_worse() -> None:
    """In the same storm, retrying callers send more, and where refusals count they serve less than a third."""
    for policy in ("SDK, 2 retries", "SDK, 6 retries", "tenacity, 6 attempts"):
        free = storm_sim.run(policy, pulse=2.0, count_rejections=False, seed=0)
        assert free.ok_share < 0.82 and free.attempts_per_call > 1.5
        counted = storm_sim.run(policy, pulse=1.2, count_rejections=True, seed=0)
        assert counted.ok_share < 0.33 and counted.refusals[-1] > storm_sim.LAST - 10


@pytest.mark.parametrize("seed", SEEDS)
def test_refused_for_a_minute(seed: int) -> None:
    """429 to everything for a minute, `Retry-After: 5`: one probe per pause, and few attempts."""
    run = storm_sim.refused("paced", seed=seed)
    assert run.attempts_per_call <= 1.1
    first = run.refusals[0]
    probes = [at for at in run.refusals if at > first + 1]
    assert len(probes) <= 60 / PAUSE
    assert all(later - sooner >= PAUSE for sooner, later in pairwise(probes))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_cannot_wait_is_told_at_once(seed: int) -> None:
    """While that lasts, calls whose deadline is nearer than the end of the pause get RateLimited, and only they."""
    run = storm_sim.refused("paced", seed=seed)
    assert len(run.limited) > 500
    for _, time, wait in run.limited:
        assert 0 < wait <= PAUSE + 1e-9
        assert time - storm_sim.FIRST < wait
