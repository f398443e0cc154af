"""The promise about wrong answers: a route never gets more of them than `max_error` of its requests, whatever comes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.cache.semantic.account import Account, most_wrong
from fastclient.cache.semantic.choice import Choice

Scored = tuple[tuple[float, float], bool]  # under two rules, and whether the candidate is right
Traffic = Callable[[random.Random], Iterator[Scored | None]]


def _scored(r: random.Random, right: bool, apart: float) -> Scored:
    """Scores that tell right from wrong the better the further they are apart."""
    first, second = (r.gauss(distance / 2 if right else -distance / 2, 1) for distance in (apart, 1.0))
    return (1 / (1 + math.exp(-1.5 * first)), 1 / (1 + math.exp(-1.5 * second))), right


def steady(r: random.Random) -> Iterator[Scored | None]:
    """Half of the requests have a candidate, and half of these are right."""
    while True:
        yield _scored(r, r.random() < 0.5, 2.2) if r.random() < 0.5 else None


def drifting(r: random.Random) -> Iterator[Scored | None]:
    """The scores say less and less, and in the end nothing."""
    step = 0
    while True:
        step += 1
        yield _scored(r, r.random() < 0.5, max(0.0, 2.5 - step / 1500)) if r.random() < 0.5 else None


def turning(r: random.Random) -> Iterator[Scored | None]:
    """Nearly all is right for a while; then nearly all is wrong, with the same scores."""
    step = 0
    while True:
        step += 1
        right = r.random() < (0.95 if step < 2000 else 0.05)
        yield (_scored(r, right, 0.0)[0], right) if r.random() < 0.5 else None


def bursts(r: random.Random) -> Iterator[Scored | None]:
    """Now and then somebody sends what scores best and is wrong."""
    step = 0
    while True:
        step += 1
        hostile = step % 1000 > 700
        yield ((0.98, 0.98), False) if hostile else _scored(r, r.random() < 0.6, 2.0)


def blind(r: random.Random) -> Iterator[Scored | None]:
    """The scores say nothing."""
    while True:
        yield _scored(r, r.random() < 0.5, 0.0)


TRAFFIC: list[Traffic] = [steady, drifting, turning, bursts, blind]


def deployed(traffic: Traffic, seed: int, max_error: float, requests: int) -> tuple[bool, int]:
    """Whether the share of wrong answers was ever above `max_error`, and how many right ones were served."""
    r = random.Random(seed)
    account, choice = Account(max_error=max_error, rate=0.2), Choice(2)
    items, chosen = traffic(r), None
    wrong = right = 0
    over = False
    for number in range(1, requests + 1):
        account.asked()
        choice.asked()
        item = next(items)
        if number % 50 == 0:
            chosen = choice.best(max_error / 2)
        if item is not None:
            scores, good = item
            if chosen is not None and scores[chosen.rule] >= chosen.score and account.may_serve():
                checked = r.random() < account.rate
                account.serve(checked=checked)
                right, wrong = right + good, wrong + (not good)
                if checked:
                    account.found(right=good)
                    choice.note(scores, right=good, weight=1 / account.rate)
            else:
                choice.note(scores, right=good)
        over = over or wrong > max_error * number
    return over, right


def test_the_bound_on_wrong_answers_holds() -> None:
    """In 200 deployments of all kinds, hostile ones too, at most one in twenty ever exceeds what was promised."""
    overs = [deployed(TRAFFIC[seed % len(TRAFFIC)], seed, (0.01, 0.03)[seed % 2], 3000)[0] for seed in range(200)]
    assert sum(overs) <= 10


def test_what_can_be_served_is_served() -> None:
    """The promise is not kept by serving nothing: where scores tell right from wrong, much is served."""
    _, right = deployed(steady, 1, 0.03, 4000)
    assert right > 300  # of 1,000 right candidates


def test_a_checker_that_sees_it_all_knows_it_all() -> None:
    """With every answer checked, the wrong ones are counted."""
    assert most_wrong(7, 1.0, 0.05) == 7


def test_without_checks_nothing_is_known() -> None:
    """What is never checked may all be wrong."""
    assert most_wrong(0, 0.0, 0.05) == math.inf


@given(found=st.integers(0, 500), rate=st.floats(0.01, 0.99), delta=st.floats(0.001, 0.5))
def test_the_bound_is_no_less_than_the_estimate(found: int, rate: float, delta: float) -> None:
    """It is an upper bound: at least what was found, and above the unbiased estimate."""
    bound = most_wrong(found, rate, delta)
    assert bound >= found
    assert bound >= found / rate * 0.999


@given(found=st.integers(0, 300), rate=st.floats(0.05, 0.9))
def test_more_errors_and_fewer_checks_raise_the_bound(found: int, rate: float) -> None:
    """It grows with what was found, and with how little was looked at."""
    bound = most_wrong(found, rate, 0.05)
    assert most_wrong(found + 1, rate, 0.05) > bound
    assert most_wrong(found, rate * 0.9, 0.05) > bound


@pytest.mark.parametrize("max_error", [0.01, 0.05])
def test_nothing_is_served_before_one_error_could_be_afforded(max_error: float) -> None:
    """A route's first requests are asked of the provider: one wrong answer would be too many."""
    account = Account(max_error=max_error, rate=0.2)
    for _ in range(round(1 / max_error) - 1):
        account.asked()
        assert not account.may_serve()
    account.asked()
    assert account.may_serve()


def test_a_check_under_way_counts_as_failed() -> None:
    """Until the provider has answered, nothing is proven."""
    account = Account(max_error=0.05, rate=1.0, requests=40)
    account.serve(checked=True)
    assert account.may_serve()
    account.serve(checked=True)
    assert not account.may_serve()
    account.found(right=True)
    assert account.may_serve()
