"""The rules of hedging that hold for all inputs: `Budget`, `Latency` and `Hedging`, without a clock or a network."""

from __future__ import annotations

import random
from collections.abc import Iterable
from math import inf, nan

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastclient.tail.budget import Budget
from fastclient.tail.hedge import Hedging, Ticket
from fastclient.tail.latency import Latency, SizeModel

shares = st.sampled_from([0.01, 0.02, 0.05, 0.10, 0.5])
costs = st.floats(0.0, 1e6)
multiples = st.floats(0.06, 100.0)
odd = st.one_of(st.sampled_from([nan, inf, -inf, 0.0, -1.0, 1e-320, 1.7e308]), st.floats())


class Still(SizeModel):
    """A usual time of one second that stays what it is, so that multiples are seconds."""

    def __init__(self) -> None:
        super().__init__(1.0, 0.0)

    def learn(self, tokens: float, seconds: float) -> None:
        pass

    def begin(self, seen: object) -> None:
        pass


def learned(observed: Iterable[float], censored: Iterable[float] = ()) -> Latency:
    """What is known after these times; attempts given up at once say nothing, and bring the estimate up to date."""
    latency = Latency()
    latency.sizes = Still()
    for seconds in observed:
        latency.observe(0, seconds, 0.0)
    for seconds in [*censored, *[0.0] * 40]:
        latency.censor(0, seconds, 0.0)
    return latency


def times(count: int = 400, seed: int = 1, scale: float = 1.0) -> list[float]:
    """Lognormal times with a median of `scale`, one in fifty of them eight times slower."""
    rng = random.Random(seed)
    return [scale * rng.lognormvariate(0, 0.5) * (8 if rng.random() < 0.02 else 1) for _ in range(count)]


def warm(budget: float = 0.05, scale: float = 1.0) -> tuple[Hedging, float]:
    """A policy with 400 requests behind it, one after the other, and the time it is now."""
    latency, now = Latency(), 0.0
    hedging = Hedging(budget, latency, stops=True)
    for seconds in times(scale=scale):
        ticket, now = hedging.start(now), now + seconds
        latency.observe(0, seconds, now)
        hedging.first_content(ticket, now)
    return hedging, now


def asked(hedging: Hedging, ticket: Ticket, until: float) -> float | None:
    """When the copy is sent, if it is asked for whenever the ticket says, up to this age."""
    while ticket.wake <= ticket.started + until:
        now = ticket.wake
        if hedging.send_copy(ticket, now):
            return now
        assert ticket.wake > now  # or the caller would spin
    return None


# --- the budget -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(shares, st.lists(st.tuples(st.booleans(), costs, st.floats(0.0, 1.0))))
def test_extra_work_is_paid_for_by_work(share: float, events: list[tuple[bool, float, float]]) -> None:
    """After every event, what was spent is at most the share of what was deposited, at any costs in any order."""
    budget, total, spent = Budget(share), 0.0, 0.0
    for deposits, cost, weight in events:
        if deposits:
            budget.deposit(cost, weight=weight)
            total += cost
        elif budget.spend(cost):
            spent += cost
        assert spent <= share * total * (1 + 1e-9)
        assert budget.balance >= 0


@settings(deadline=None)
@given(costs.filter(bool), st.integers(1, 5000))
def test_a_quiet_hour_buys_no_burst(cost: float, requests: int) -> None:
    """No more than ten requests of the usual cost are saved up."""
    budget = Budget(0.05)
    for _ in range(requests):
        budget.deposit(cost)
    assert budget.level <= 10 * (1 + 1e-9)


def test_a_refund_is_kept() -> None:
    """What was taken for a copy that was not sent comes back, also on top of a full balance, and the next keeps it."""
    budget = Budget(0.05)
    for _ in range(1000):
        budget.deposit()
    assert budget.spend(3)
    for _ in range(100):
        budget.deposit()
    budget.refund(3)
    full = budget.balance
    budget.deposit()
    assert budget.balance == full >= 10


events = st.lists(
    st.tuples(
        st.sampled_from(["start", "ask", "end", "drop", "overload"]),
        st.floats(0.0, 100.0),  # seconds since the last event
        st.integers(0, 7),  # which request
        st.floats(0.0, 1e5),  # its tokens
        costs,
    ),
    max_size=60,
)


@settings(deadline=None)
@given(shares, st.booleans(), events)
def test_copies_stay_within_the_budget(share: float, stops: bool, steps: list[tuple[str, float, int, float, float]]):
    """Whatever happens when to whom, copies cost at most the share of what requests cost, after every event."""
    hedging, now = warm(share)
    hedging.overloaded()  # what the warming paid in is not to be counted on here
    total = spent = 0.0
    tickets: dict[int, Ticket] = {}
    for what, gap, who, tokens, cost in steps:
        now += gap
        ticket = tickets.get(who)
        if what == "start" or ticket is None:
            tickets[who] = hedging.start(now, tokens=tokens, cost=cost)
            total += cost
        elif what == "ask":
            spent += cost if hedging.send_copy(ticket, now, cost=cost) else 0.0
        elif what == "end":
            hedging.first_content(ticket, now)
            hedging.latency.observe(tokens, now - ticket.started, now)
            hedging.judged(ticket, won=bool(who % 2))
        elif what == "drop":
            hedging.dropped(tickets.pop(who))
        else:
            hedging.overloaded()
        assert spent <= share * total * (1 + 1e-9)


@pytest.mark.parametrize("rate", [0.01, 1.0, 1000.0])
def test_time_fills_nothing(rate: float) -> None:
    """At any rate of requests that are all very late, copies stay within the budget, and something is sent."""
    hedging, now = warm(0.05)
    hedging.overloaded()
    sent = 0
    for number in range(1, 400):
        now += 1 / rate
        ticket = hedging.start(now)
        # Others finish on time, or it would be everybody who is late.
        for _ in range(9):
            hedging.first_content(hedging.start(now), now)
        sent += asked(hedging, ticket, 50.0) is not None
        hedging.first_content(ticket, now + 50)
        assert sent <= 0.05 * 10 * number * (1 + 1e-9)
    assert sent > 100


def test_overload_empties_the_balance() -> None:
    """After the upstream said it has too much to do, a very late request gets no copy until others have paid for it."""
    hedging, now = warm()
    assert asked(hedging, hedging.start(now), 50.0)
    hedging.overloaded()
    assert hedging.budget.balance == 0
    assert asked(hedging, hedging.start(now), 50.0) is None
    for _ in range(40):
        hedging.first_content(hedging.start(now), now)
    assert asked(hedging, hedging.start(now), 50.0)


# --- who is late ------------------------------------------------------------------------------------------------------


def test_nobody_knows_at_first() -> None:
    """The first 40 requests to an upstream have no timer, and the 60th has one."""
    latency = Latency()
    hedging = Hedging(0.5, latency)
    wakes = []
    for number, seconds in enumerate(times(60)):
        ticket = hedging.start(float(number))
        wakes.append(ticket.wake)
        hedging.first_content(ticket, number + seconds)
        latency.observe(0, seconds, number + seconds)
    assert wakes[:40] == [inf] * 40
    assert wakes[-1] < inf


def test_forty_at_once() -> None:
    """What is still under way teaches nothing: a burst of requests at the very start has no timers."""
    hedging = Hedging(0.5, Latency())
    assert {hedging.start(0.0).wake for _ in range(1000)} == {inf}


def test_a_long_prompt_is_not_late() -> None:
    """A prompt 60 times as long takes 20 times as long, as its size predicts, and gets no copy. A short one does."""
    latency, rng, now = Latency(), random.Random(2), 0.0
    hedging = Hedging(0.05, latency, stops=True)
    for _ in range(2000):
        tokens = min(1500 * rng.lognormvariate(0, 1.3), 180_000)
        seconds = (0.25 + tokens / 9000) * rng.lognormvariate(0, 0.35)
        ticket, now = hedging.start(now, tokens=tokens), now + seconds
        hedging.first_content(ticket, now)
        latency.observe(tokens, seconds, now)
    usual = 0.25 + 60 * 1500 / 9000
    assert 20 < usual / (0.25 + 1500 / 9000) < 25
    assert asked(hedging, hedging.start(now, tokens=60 * 1500), 1.2 * usual) is None
    assert asked(hedging, hedging.start(now, tokens=1500), 0.5 * usual)


def test_what_cannot_be_copied_has_no_timer() -> None:
    """A request that must not be sent twice is never asked about."""
    hedging, now = warm()
    assert hedging.start(now, hedgeable=False).wake == inf
    assert hedging.start(now).wake < inf


def test_late_together() -> None:
    """When those who came after are as late, nobody gets a copy; when they are done, the first one does."""
    hedging, now = warm()
    first, *others = [hedging.start(now + number / 100) for number in range(10)]
    assert asked(hedging, first, 20.0) is None
    for other in others:
        hedging.first_content(other, now + 20)
    assert asked(hedging, first, 30.0)


def test_late_one_after_another() -> None:
    """When each request is late, although none is there at the same time, copies stop, until requests are on time."""
    hedging, now = warm(0.02)

    def late() -> bool:
        nonlocal now
        ticket, now = hedging.start(now), now + 20
        sent = asked(hedging, ticket, 20.0) is not None
        hedging.first_content(ticket, now)
        return sent

    assert any(late() for _ in range(3))
    for _ in range(10):
        late()
    assert hedging.budget.level > 1
    assert not any(late() for _ in range(200))
    for _ in range(100):
        hedging.first_content(hedging.start(now), now)
    assert late()


def test_times_rise() -> None:
    """When recent answers take much longer than usual, the late get no copy, and requests pay next to nothing in."""
    hedging, now = warm(0.02)
    for seconds in times(50, seed=6, scale=8.0):
        hedging.latency.observe(0, seconds, now)
    assert asked(hedging, hedging.start(now), 60.0) is None
    before = hedging.budget.balance
    for _ in range(50):
        hedging.first_content(hedging.start(now), now)
    assert hedging.budget.balance - before < 0.3 * 50 * 0.02


def test_nowhere_to_send_it() -> None:
    """Without a usable upstream the question comes again later, and costs nothing."""
    hedging, now = warm()
    ticket, balance = hedging.start(now), hedging.budget.balance
    for _ in range(5):
        asked_at = ticket.wake
        assert not hedging.send_copy(ticket, max(asked_at, now + 20), usable=False)
        assert ticket.wake > asked_at
    assert hedging.budget.balance == balance


def test_too_late_to_matter() -> None:
    """After a minute nobody asks any more."""
    hedging, now = warm()
    ticket = hedging.start(now)
    assert not hedging.send_copy(ticket, now + 61)
    assert ticket.wake == inf


# --- what is learned --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(multiples, min_size=20, max_size=200), st.lists(multiples, max_size=50))
def test_attempts_given_up_raise_quantiles(observed: list[float], censored: list[float]) -> None:
    """An attempt that took at least so long makes no quantile smaller."""
    without, with_them = learned(observed), learned(observed, censored)
    for share in (0.1, 0.5, 0.8, 0.9, 0.95, 0.99):
        assert with_them.quantile(share) >= without.quantile(share) * (1 - 1e-9)


def test_losers_are_not_forgotten() -> None:
    """Twenty given up at 5 s among 400 of 1 s or less move p99 beyond 5 s; left out, it would stay at 1 s."""
    observed = [0.5 + number / 800 for number in range(400)]
    assert learned(observed).quantile(0.99) < 1.06
    assert learned(observed, [5.0] * 20).quantile(0.99) > 5


@settings(deadline=None)
@given(st.lists(multiples, min_size=20, max_size=200))
@example([1.0] * 20)
def test_quantiles_are_the_empirical_ones(observed: list[float]) -> None:
    """With nobody given up, a quantile is that of the samples, within one bin of 5 %."""
    latency = learned(observed)
    for share in (0.1, 0.5, 0.8, 0.9, 0.95, 0.99):
        found = latency.quantile(share)
        # Older samples count a little less: 0.02 is what that can shift among 200.
        assert sum(seconds <= found * 1.0501 for seconds in observed) >= (share - 0.02) * len(observed)
        assert sum(seconds < found / 1.0501 for seconds in observed) <= (share + 0.02) * len(observed)


@settings(deadline=None)
@given(st.lists(multiples, min_size=20, max_size=200))
def test_survival_falls(observed: list[float]) -> None:
    """Survival goes from 1 down, never up, and agrees with the quantiles."""
    latency = learned(observed)
    survival = [latency.survival(0.01 * 1.07**step) for step in range(160)]
    assert survival[0] == 1
    assert survival == sorted(survival, reverse=True)
    for share in (0.5, 0.9):
        assert latency.survival(latency.quantile(share) * 1.0501) <= 1 - share + 1e-9


def test_a_new_upstream_borrows_a_shape() -> None:
    """One that was never late hedges by the lateness known from another, at its own speed; after 40 calls like any."""
    latency = Latency(learned(times(2000)))
    hedging = Hedging(0.05, latency)
    assert hedging.start(0.0).wake == inf
    alone = Latency()
    for seconds in [7.0] * 39:
        latency.observe(0, seconds, 0.0)
        alone.observe(0, seconds, 0.0)
    assert hedging.start(0.0).wake == inf
    latency.observe(0, 7.0, 0.0)
    assert latency.size(0) == pytest.approx(7.0)
    assert alone.quantile(0.95) == pytest.approx(1.0, rel=0.06)
    assert 1.5 < latency.quantile(0.95) < 4
    assert 7 < hedging.start(0.0).wake < 40


def test_time_alone_forgets_no_more_than_all_but_sixty() -> None:
    """A request a day keeps 60 samples' worth; the old ones go as new ones come."""
    latency, now = learned(times(3000)), 0.0
    assert latency.samples > 2000
    for _ in range(200):
        now += 86_400
        latency.observe(0, 1.4, now)
        assert latency.samples >= 60
    assert latency.samples < 100
    assert latency.quantile(0.5) == pytest.approx(1.4, rel=0.06)


def test_it_can_run_for_ever() -> None:
    """After 60,000 days with a request each the numbers are as sound as after one."""
    latency = Latency()
    for day in range(60_000):
        latency.observe(0, 3.0, day * 86_400.0)
    assert latency.samples == pytest.approx(60, abs=2)
    assert latency.size(0) * latency.quantile(0.5) == pytest.approx(3.0, rel=0.06)


@pytest.mark.parametrize("seconds", [nan, inf, -inf, 0.0, -1.0, 1e-320, 1e300])
def test_odd_times_harm_nobody(seconds: float) -> None:
    """A clock that jumps, or a time that is none, stops no call and spoils nothing that is known."""
    hedging, now = warm()
    latency, before = hedging.latency, hedging.latency.quantile(0.9)
    latency.observe(0, seconds, now)
    latency.censor(0, seconds, now)
    for known in times(64, seed=5):
        latency.observe(0, known, now)
    assert latency.quantile(0.9) == pytest.approx(before, rel=0.2)
    assert 0 < latency.drift.calm <= 1
    assert now < hedging.start(now).wake < now + 60


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e9), odd, costs), max_size=60))
def test_odd_numbers_stop_no_call(calls: list[tuple[float, float, float, float]]) -> None:
    """From the very first sample, times that are none and sizes beyond all models get an answer like others."""
    latency = Latency()
    hedging = Hedging(0.05, latency)
    for now, tokens, seconds, cost in calls:
        ticket = hedging.start(now, tokens=tokens, cost=cost)
        latency.observe(tokens, seconds, now)
        latency.censor(tokens, seconds, now)
        hedging.send_copy(ticket, now + 5, cost=cost)
        hedging.first_content(ticket, now + 5)
        assert hedging.budget.balance >= 0
        assert 0 < latency.size(tokens) < inf
