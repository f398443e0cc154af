"""The pace of one quota: never faster than the headers allow, never stuck after the reset."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.providers.rates import Rate
from fastclient.tail.limit import Gate
from fastclient.tail.pace import Mark, Pacer
from tests.tail.upstream import Quota, Upstream


def told(remaining: float, reset: float, *, limit: float = 100, dated: bool = False) -> Rate:
    return Rate("requests", limit, remaining, reset, dated)


def trickling(rate: float = 10.0, limit: float = 100.0) -> Pacer:
    """A pacer that has seen a bucket of this rate half empty, at 1 s."""
    pacer = Pacer()
    for at, used in ((0.0, limit / 2 - 5), (1.0, limit / 2)):
        mark = pacer.reserve(at, 1)
        pacer.heard(told(limit - used, used / rate + 0.001, limit=limit), at, mark)
    return pacer


def admitted(pacer: Pacer, now: float) -> int:
    count = 0
    while pacer.admits(now, 1) and count < 10_000:
        pacer.reserve(now, 1)
        count += 1
    return count


def test_without_a_header_everything_may_go() -> None:
    """Nothing is known, so nothing is held back, and no wait is predicted."""
    pacer = Pacer()
    assert admitted(pacer, 0.0) == 10_000
    assert (pacer.room(0.0), pacer.wait(0.0, 1e9)) == (1.0, 0.0)


def test_what_is_left_may_go_and_no_more() -> None:
    """A header that leaves 3 lets 3 go."""
    pacer = Pacer()
    pacer.heard(told(3, 60), 0.0, pacer.reserve(0.0, 1))
    assert admitted(pacer, 0.0) == 3


def test_requests_the_header_could_not_know_are_subtracted() -> None:
    """Of 10 left, 4 were sent since the request that this answer belongs to: 6 may go."""
    pacer = Pacer()
    mark = pacer.reserve(0.0, 1)
    for number in range(4):
        pacer.reserve(1.0 + number, 1)
    pacer.heard(told(10, 60), 6.0, mark)
    assert admitted(pacer, 6.0) == 6


def test_an_answer_without_its_request_counts_all_under_way() -> None:
    """If nobody says whose headers these are, the server may know none of the open requests."""
    pacer = Pacer()
    for number in range(4):
        pacer.reserve(number, 1)
    pacer.settle(1, 1, told=False)
    pacer.heard(told(10, 60), 5.0)
    assert admitted(pacer, 5.0) == 7


def test_a_late_answer_does_not_undo_a_newer_one() -> None:
    """An answer that took long tells of the past: what a later request heard stays."""
    pacer = Pacer()
    first, second = pacer.reserve(0.0, 1), pacer.reserve(5.0, 1)
    pacer.heard(told(2, 60), 6.0, second)
    pacer.heard(told(90, 60), 7.0, first)
    assert admitted(pacer, 7.0) == 2


def test_before_the_kind_of_server_is_known_nothing_comes_back_early() -> None:
    """One header does not tell a bucket from a window, so the rest waits for the reset, and then all may go."""
    pacer = Pacer()
    pacer.heard(told(0, 30.5), 0.0, pacer.reserve(0.0, 1))
    assert admitted(pacer, 30.4) == 0
    assert pacer.wake_at(1.0, 1) == pytest.approx(30.5, abs=0.02)
    assert admitted(pacer, 30.6) > 90


def test_a_prediction_goes_by_the_likely_rate() -> None:
    """The wait predicted meanwhile is that of a bucket: callers are not sent away for a doubt."""
    pacer = Pacer()
    pacer.heard(told(0, 50.5), 0.0, pacer.reserve(0.0, 1))
    assert pacer.wait(0.0, 10) == pytest.approx(5.05, rel=0.05)


def test_a_bucket_is_paced_at_its_rate() -> None:
    """Once a bucket is known, requests go at 0.98 of the learned rate."""
    pacer = trickling(rate=10.0)
    admitted(pacer, 1.0)
    sent = 0
    for tick in range(1000):
        sent += admitted(pacer, 1.0 + tick / 100)
    assert 9.2 <= sent / 10 <= 9.8


def test_a_window_is_not_taken_for_a_bucket() -> None:
    """A reset that stays where it is while more is used means a window: nothing may go before it."""
    pacer = Pacer()
    for number in range(11):
        pacer.heard(told(10 - number, 30.5 - number), number, pacer.reserve(number, 1))
    assert pacer.rate == 0
    assert admitted(pacer, 30.0) == 0
    assert admitted(pacer, 31.0) > 80


def test_whole_seconds_are_not_trusted_to_the_second() -> None:
    """A window that says 30 s may mean 30.9: a burst that comes early is refused."""
    pacer = Pacer()
    pacer.heard(told(0, 30), 0.0, pacer.reserve(0.0, 1))
    assert admitted(pacer, 30.9) == 0
    assert admitted(pacer, 31.1) > 90


def test_a_minute_of_silence_ends_every_wait() -> None:
    """With no header for a minute after the reset, all is there again: nothing waits for ever."""
    pacer = Pacer()
    mark = pacer.reserve(0.0, 1)
    for _ in range(200):
        pacer.reserve(1.0, 1)
    pacer.heard(told(0, 10.5), 2.0, mark)
    wake = pacer.wake_at(2.0, 1)
    assert wake == pytest.approx(72.5, abs=0.02)
    assert admitted(pacer, wake) == 100


def test_a_request_above_the_limit_goes_when_all_is_there() -> None:
    """What can never fit goes alone; the provider says what it thinks of it."""
    pacer = Pacer()
    pacer.heard(told(60, 10.5), 0.0, pacer.reserve(0.0, 1))
    assert not pacer.admits(0.0, 5000)
    assert pacer.admits(pacer.wake_at(0.0, 5000), 5000)


def test_what_was_reserved_too_much_comes_back() -> None:
    """A request that reserved 50 and took 10 gives back 40, unless the server has spoken since."""
    for heard, left in ((False, 40), (True, 0)):
        pacer = Pacer()
        pacer.heard(told(50, 60), 0.0, pacer.reserve(0.0, 1))
        mark = pacer.reserve(1.0, 50)
        if heard:
            pacer.heard(told(0, 60), 2.0, mark)
        pacer.settle(50, 10, told=heard)
        assert admitted(pacer, 2.0) == left


def test_what_was_reserved_too_little_is_taken() -> None:
    """A request that took 30 where 10 were reserved costs 20 more."""
    pacer = Pacer()
    pacer.heard(told(50, 60), 0.0, pacer.reserve(0.0, 1))
    pacer.reserve(1.0, 10)
    pacer.settle(10, 30, told=False)
    assert admitted(pacer, 1.0) == 20


def test_others_with_the_same_key_are_noticed() -> None:
    """What other programs took shows in the headers, once, and not again with each answer on its way."""
    pacer = Pacer()
    pacer.heard(told(99, 60.5), 0.0, pacer.reserve(0.0, 1))
    marks = [pacer.reserve(1.0 + number, 1) for number in range(5)]
    for number, mark in enumerate(marks):
        pacer.heard(told(58 - number, 50.5 - number), 10.0 + number, mark)
    assert admitted(pacer, 14.0) == 54


@given(
    st.lists(
        st.tuples(
            *[st.sampled_from(["heard", "alone", "reserve", "settle"]), st.floats(0, 1e4), st.floats(0, 1e9)],
            *[st.floats(0, 1e7), st.floats(1e-3, 1e9), st.booleans()],
        )
    )
)
def test_no_history_leaves_it_stuck(history: list[tuple[str, float, float, float, float, bool]]) -> None:
    """Whatever headers said, in whatever order: `wake_at` is finite, and then the request may go."""
    pacer, now = Pacer(), 0.0
    marks: list[Mark] = []
    for what, passed, amount, reset, limit, dated in history:
        now += passed
        if what in ("heard", "alone"):
            rate = Rate("requests", limit, amount, reset, dated)
            pacer.heard(rate, now, marks.pop() if marks and what == "heard" else None)
        elif what == "reserve":
            marks.append(pacer.reserve(now, amount))
        else:
            pacer.settle(amount, reset, told=dated)
        assert pacer.wait(now, 1) >= 0
    for _ in range(3):
        wake = pacer.wake_at(now, 1)
        assert now <= wake < inf
        now = wake
    assert pacer.admits(now, 1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([0.5, 5.0, 50.0]),
    size=st.sampled_from([2.0, 10.0, 60.0]),
    window=st.booleans(),
    way=st.sampled_from([0.0, 0.01, 0.05]),
    first=st.sampled_from([0.05, 0.5, 3.0]),
)
def test_a_lone_client_is_never_refused(
    seed: int, rate: float, size: float, window: bool, way: float, first: float
) -> None:
    """Against a bucket or a window, with bursts of any shape, no request is refused after the first header."""
    rng = Random(seed)
    quota = Quota(rate, max(3, int(rate * size)), window=window, offset=rng.random())
    upstream = Upstream(Gate(), quota, rng, way=way, first=first)
    at = 3 * first + 1.0
    upstream.at(0.0, upstream.enter)
    for _ in range(12):
        crowd = rng.choice([1, 1, rng.randint(1, 2 * quota.burst)])
        spread = rng.choice([0.0, 0.05, quota.burst / rate])
        for _ in range(min(crowd, 300)):
            upstream.at(at + rng.uniform(0, spread), upstream.enter)
        at += rng.expovariate(1.0) * rng.choice([1 / rate, quota.burst / rate])
    upstream.run()
    assert not [sent for sent in upstream.refused if sent >= upstream.known]
    assert len(upstream.granted) == upstream.entered


@pytest.mark.parametrize("first", [0.3, 3.0])
@pytest.mark.parametrize("rate, burst", [(10.0, 20), (8.0, 500), (50.0, 100)])
def test_a_bucket_is_used_to_the_full(rate: float, burst: int, first: float) -> None:
    """Where more is wanted than the limit allows, at least 0.95 of it goes through, and nothing is refused."""
    upstream = Upstream(Gate(), Quota(rate, burst, window=False), Random(1), way=0.04, first=first)
    upstream.at(0.0, upstream.enter)
    for number in range(int(rate * 2 * 60)):
        upstream.at(2.0 + number / (2 * rate), upstream.enter)
    upstream.run(until=62.0)
    sent = [at for at in upstream.sent if at > 32.0]
    assert len(sent) / (30 * rate) > 0.95
    assert not upstream.refused
