"""What was measured says how long the next request will take, in a few microseconds."""

from __future__ import annotations

from itertools import takewhile
from time import perf_counter

from hypothesis import given
from hypothesis import strategies as st

from fastclient.local.speed import Known, Speed, common_characters


def measured() -> Speed:
    """640 prompt tokens a second, 180 written; four characters a token."""
    speed = Speed()
    for _ in range(8):
        speed.read.add(1 / 640)
        speed.write.add(1 / 180)
        speed.characters.add(4.0)
        speed.service.add(1.0)
    return speed


@given(st.lists(st.text("ab", max_size=5), max_size=4), st.lists(st.text("ab", max_size=5), max_size=4))
def test_common_characters_are_counted(one: list[str], other: list[str]) -> None:
    """Message by message, up to the first that differs."""
    expected = 0
    for mine, theirs in zip(one, other, strict=False):
        expected += len(list(takewhile(lambda pair: pair[0] == pair[1], zip(mine, theirs, strict=False))))
        if mine != theirs:
            break
    assert common_characters(one, other) == expected


def test_nothing_is_known_at_first() -> None:
    """Then nothing is predicted."""
    assert Speed().predict(["hi"], [], 5, 0, 4) is None


def test_what_is_warm_is_not_counted() -> None:
    """Five hundred tokens of which thirty are new take as long as thirty."""
    speed, system = measured(), "s" * 1880
    cold = speed.predict([system, "q" * 120], [], 16, 0, 4)
    warm = speed.predict([system, "q" * 120], [Known((system, "other"), 480)], 16, 0, 4)
    assert cold is not None and warm is not None
    assert 0.75 < cold.first < 0.85 and 0.04 < warm.first < 0.07
    assert abs((warm.total - warm.first) - 15 / 180) < 1e-6


def test_a_queue_is_waited_for() -> None:
    """Four before it at four slots take as long as one."""
    speed = measured()
    empty, full = (speed.predict(["hi"], [], 5, waiting, 4) for waiting in (0, 4))
    assert empty is not None and full is not None and 0.9 < full.first - empty.first < 1.1


def test_it_takes_microseconds() -> None:
    """It is asked before every call."""
    speed, texts = measured(), ["s" * 4000, "q" * 300]
    known = [Known(("s" * 3999 + letter, "x"), 1000) for letter in "abcd"]
    best = 1.0
    for _ in range(200):
        began = perf_counter()
        speed.predict(texts, known, 16, 0, 4)
        best = min(best, perf_counter() - began)
    assert best < 100e-6  # ten times what it takes
