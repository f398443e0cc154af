"""How many answers go on in one step is learned from what steps cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.local.batching import Batching, turn


def learned(costs: dict[int, float], ready: int, steps: int = 60) -> list[int]:
    """The sizes that are chosen where a step costs this much."""
    rule, sizes = Batching(8), []
    for _ in range(steps):
        size = rule.size(ready)
        rule.took(size, costs[size])
        sizes.append(size)
    return sizes


def test_all_go_together_where_that_is_faster() -> None:
    """A machine whose step costs the same for four as for one takes four."""
    assert set(learned({1: 1.0, 2: 1.05, 3: 1.1, 4: 1.2}, 4)[20:]) == {4}


def test_one_by_one_where_together_is_slower() -> None:
    """Where a step for four costs six single ones, single ones are taken, after few trials."""
    assert set(learned({1: 1.0, 2: 4.0, 3: 5.0, 4: 6.0}, 4)[20:]) == {1}


def test_a_small_gain_does_not_split_the_batch() -> None:
    """All write on together unless fewer are clearly faster: nobody then waits for a turn."""
    assert set(learned({1: 0.98, 2: 2.0}, 2)[20:]) == {2}


def test_one_disturbance_does_not_change_the_rule() -> None:
    """A step that was held up by something else is no reason."""
    rule = Batching(2)
    for size, cost in ((2, 1.0), (2, 1.0), (2, 1.0), (1, 0.9), (1, 0.9), (1, 0.9), (2, 50.0)):
        rule.took(size, cost)
    assert rule.best(2) == 2


def test_a_size_that_lost_is_timed_again() -> None:
    """Prompts grow and other programs end: what was slower may be faster later."""
    sizes = learned({1: 1.0, 2: 4.0, 3: 5.0, 4: 6.0}, 4, steps=2000)
    assert set(sizes[20:]) - {1}


def test_a_graphics_card_takes_all() -> None:
    """There nothing is tried out."""
    assert [Batching(4, always=True).size(ready) for ready in (1, 2, 4)] == [1, 2, 4]


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 50))
def test_everybody_has_a_turn(ready: int, size: int, begin: int) -> None:
    """In as many steps as there are answers each one is written on, and none twice in a step."""
    waiting = list(range(ready))
    turns = [turn(waiting, size, begin + step) for step in range(ready)]
    assert all(len(set(each)) == len(each) == min(size, ready) for each in turns)
    if ready % size == 0 or size == 1:
        assert set().union(*map(set, turns)) == set(waiting)


@pytest.mark.parametrize("ready, size", [(3, 2), (5, 3), (7, 4)])
def test_turns_are_fair_where_groups_do_not_fit(ready: int, size: int) -> None:
    """Over many steps everybody writes about equally much."""
    counts = dict.fromkeys(range(ready), 0)
    for step in range(ready * 10):
        for each in turn(list(range(ready)), size, step):
            counts[each] += 1
    assert max(counts.values()) - min(counts.values()) <= 1
