"""Latency worlds: seeded, with the tails they promise."""

from random import Random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.testing import Pace, World


def first_tokens(world: World, count: int = 20_000) -> list[float]:
    rng = Random(7)
    return [world.sample(rng, 500, 0, 1).first_token for _ in range(count)]


def test_the_same_seed_gives_the_same_times() -> None:
    """A world is a pure function of its generator."""
    world = World.production()
    assert world.sample(Random(3), 1000, 64, 40) == world.sample(Random(3), 1000, 64, 40)
    assert world.sample(Random(3), 1000, 64, 40) != world.sample(Random(4), 1000, 64, 40)


def test_instant_takes_no_time() -> None:
    """The instant world waits nowhere."""
    assert World.instant().sample(Random(1), 10_000, 0, 500) == Pace()


def test_production_has_a_long_tail() -> None:
    """In the production world p99 of the first token is about ten times p50."""
    cuts = quantiles(first_tokens(World.production()), n=100)
    assert 7 < cuts[98] / cuts[49] < 14
    assert 0.4 < cuts[49] < 0.7


def test_stragglers_come_as_often_as_asked() -> None:
    """`stragglers(share, factor)` makes that share that much slower."""
    times = first_tokens(World.stragglers(0.1, 50.0))
    slow = sum(time > 0.05 * 10 for time in times) / len(times)
    assert slow == pytest.approx(0.1, abs=0.01)


def test_cached_tokens_shorten_prefill() -> None:
    """Only uncached prompt tokens take time to read."""
    world = World(prefill=0.001)
    assert world.sample(Random(1), 1000, 0, 1).prefill == pytest.approx(1.0)
    assert world.sample(Random(1), 1000, 960, 1).prefill == pytest.approx(0.04)


@given(st.integers(0, 200_000), st.integers(0, 200_000), st.integers(0, 200), st.floats(0, 10), st.integers())
def test_times_are_never_negative(prompt: int, cached: int, output: int, scale: float, seed: int) -> None:
    """Whatever is asked, times are 0 or more, and there is a gap between any two tokens or none at all."""
    pace = World.production(scale).sample(Random(seed), prompt, cached, output)
    assert min(pace.queue, pace.prefill, *pace.gaps, 0.0) == 0.0
    assert len(pace.gaps) in (0, output - 1)


@given(st.floats(0.001, 5), st.integers())
def test_scale_shrinks_every_time(scale: float, seed: int) -> None:
    """`scale` multiplies all times and keeps their shape."""
    one = World.production().sample(Random(seed), 99, 0, 9)
    other = World.production(scale).sample(Random(seed), 99, 0, 9)
    assert other.total == pytest.approx(one.total * scale)
    assert other.first_token == pytest.approx(one.first_token * scale)


@pytest.mark.parametrize("options", [{"base": -1.0}, {"gap": float("nan")}, {"tail": ((0.7, 2.0), (0.6, 3.0))}])
def test_impossible_worlds_are_refused(options: dict[str, object]) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=f"World.{next(iter(options))}"):
        World(**options)  # type: ignore[arg-type]
