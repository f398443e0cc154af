"""The promise about wrong answers, with real questions and their scores: deployments where all goes wrong that can.

The streams are the project's labelled questions, judged by the shipped verifier; the route is the real one.
"""

from __future__ import annotations

from functools import cache

import pytest

pytest.importorskip("numpy")

from benchmarks.semantic_curve import ERRORS, TWISTS, deployments
from benchmarks.semantic_data import streams
from benchmarks.semantic_worlds import World
from fastclient.cache.embedders import Lexical
from fastclient.cache.semantic.route import Terms


@cache
def world(name: str) -> World:
    """A stream with its vectors; its scores are worked out once."""
    return World(streams(name, 1), "lexical", Lexical().embed)


@pytest.mark.slow
def test_the_bound_holds_in_two_hundred_deployments() -> None:
    """Steady traffic, answers that all turn wrong, bursts, a tenth wrong: in one of twenty, at most, it is too much."""
    found = deployments([world(name) for name in ("faq", "intents", "slots")], 200)
    assert sum(ran for ran, _, _ in found.values()) == 200
    assert sum(over for _, over, _ in found.values()) <= 10


def test_the_bound_holds_whatever_comes() -> None:
    """The same, of the streams that take least time."""
    found = deployments([world("faq"), world("intents")], 40)
    assert all(ran == 40 // len(TWISTS) for ran, _, _ in found.values())
    assert sum(over for _, over, _ in found.values()) <= 2
    assert all(right > 0 for _, _, right in found.values())


@pytest.mark.parametrize("error", ERRORS)
def test_what_is_learned_is_used(error: float) -> None:
    """Within 1,100 requests of which most come again in other words, a good part is answered from the cache."""
    tally = world("intents").controlled(Terms(max_error=error, mode="auto", rate=0.2, kind="lexical"))
    assert tally.right > 10 * tally.wrong
    assert tally.right > 0.1 * tally.requests
    assert tally.calls < tally.requests


def test_a_shadow_serves_nothing() -> None:
    """It learns, and every request is a call."""
    tally = world("faq").controlled(Terms(max_error=0.05, mode="shadow", rate=0.2, kind="lexical"))
    assert tally.right == tally.wrong == 0
    assert tally.calls == tally.requests
    assert tally.route is not None and tally.route.labels > 500
