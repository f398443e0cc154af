"""New attempts after a failure: which, when and how many. In virtual time, through the public client."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import count
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from fastclient import AsyncClient, Hedge, Limits, Policy, Retry, Route, Target, Timeouts
from fastclient.errors import (
    BadRequest,
    ConfigError,
    ConnectFailed,
    ConnectTimeout,
    FastClientError,
    FirstTokenTimeout,
    Overloaded,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from fastclient.observe.timing import CallRecord
from fastclient.tail.budget import Budget
from fastclient.tail.retry import Retrial
from fastclient.testing import (
    EndBody,
    ErrorEvent,
    Event,
    FakeProvider,
    Hang,
    ProviderServer,
    Reset,
    Role,
    ServerRequest,
    Status,
    Tokens,
    Wait,
    blackhole,
    faults,
)
from fastclient.types import Call, Request

PROMPT = "Say something."
HAIR = 1e-6  # seconds, for rounding


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Rig:
    """A client that retries, and the provider it asks; answers come at once unless a plan says otherwise."""

    def __init__(self, **policy: Any) -> None:
        self.plans: deque[Any] = deque()
        self.fake = FakeProvider(self._plan)
        self.client = AsyncClient("openai:m", wire=self.fake, policy=Policy(**policy))

    def _plan(self, request: ServerRequest) -> Any:
        plan = self.plans.popleft() if self.plans else (Tokens("Well."),)
        return plan(request) if callable(plan) else plan

    @property
    def asked(self) -> list[float]:
        """When each request came."""
        return [exchange.started for exchange in self.fake.exchanges]

    async def fails(self, kind: type[FastClientError], **options: Any) -> Any:
        with pytest.raises(kind) as caught:
            await self.client.chat(PROMPT, **options)
        return caught.value


@pytest.fixture
async def rig() -> AsyncIterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(*plans: Any, **policy: Any) -> Rig:
        made.append(Rig(**policy))
        made[-1].plans.extend(plans)
        return made[-1]

    yield make
    for each in made:
        await each.client.aclose()
        assert each.fake.live == 0


def story(attempts: Any) -> list[tuple[str, str]]:
    return [(attempt.role, attempt.outcome) for attempt in attempts]


# --- which ------------------------------------------------------------------------------------------------------------

TRIED_AGAIN = {
    "500": faults.status(500),
    "502": faults.status(502),
    "408": faults.status(408),
    "409": faults.status(409),
    "429": faults.status(429),
    "503": faults.status(503),
    "529": faults.status(529),
    "html": faults.html_page(),
    "html 502": faults.html_page(502),
    "empty json": (Status(200, {"content-type": "application/json"}, b""),),
    "error event": (Role(), ErrorEvent("api_error", "Sorry"), EndBody()),
    "overloaded event": faults.overloaded_event(),
    "reset": faults.reset(0),
    "cut before content": (Role(), Reset()),
    "ended before content": (Role(), EndBody()),
    "connect timeout": ConnectTimeout("nobody there"),
    "never ending": faults.never_ending_error(500),
    "unreadable": (Event(b"data: {\n\n"), Event(b"data: {\n\n"), EndBody()),
}


@pytest.mark.parametrize("fault", TRIED_AGAIN.values(), ids=TRIED_AGAIN)
async def test_what_is_tried_again(rig, fault: Any) -> None:
    """A broken server, a lost connection, no capacity, an answer that is none: a second attempt, and its answer."""
    here = rig(fault)
    reply = await here.client.chat(PROMPT)
    assert (reply.text, story(reply.attempts)) == ("Well.", [("primary", "failed"), ("retry", "won")])
    assert here.fake.requests[0].body == here.fake.requests[1].body


NOT_AGAIN = {
    "400": faults.status(400),
    "401": faults.status(401),
    "403": faults.status(403),
    "404": faults.status(404),
    "413": faults.status(413),
    "422": faults.status(422),
    "redirect": (Status(307, {"location": "https://other.example"}),),
    "account empty": faults.status(429, kind="insufficient_quota"),
    "refused in the stream": (Role(), ErrorEvent("invalid_request_error", "No"), EndBody()),
    "after content": (Tokens("One "), Reset()),
    "overloaded after content": faults.overloaded_event(1),
    "truncated": faults.truncated(3),
}


@pytest.mark.parametrize("fault", NOT_AGAIN.values(), ids=NOT_AGAIN)
async def test_what_is_not_tried_again(rig, fault: Any) -> None:
    """A refused request, an empty account, an answer that had begun: one attempt, and its error at once."""
    here = rig(fault)
    error = await here.fails(FastClientError)
    assert (len(here.asked), len(error.attempts), anyio.current_time()) == (1, 1, 0)
    assert not error.retry_budget_exhausted


async def test_the_first_token_limit_counts_for_each_attempt(rig) -> None:
    """A silent attempt is given up and tried again, and the new one has all of the limit."""
    here = rig((Hang(),), (Wait(6), Tokens("Late.")), timeouts=Timeouts(first_token=7))
    reply = await here.client.chat(PROMPT)
    assert reply.text == "Late."
    assert 13 <= reply.timings.total <= 13.051
    assert isinstance(reply.attempts[0].error, FirstTokenTimeout)


async def test_without_the_lever_nothing_is_tried_again(rig) -> None:
    """`retry=None`: every failure is the call's."""
    here = rig(*TRIED_AGAIN.values(), retry=None)
    for _ in TRIED_AGAIN:
        error = await here.fails(FastClientError)
        assert len(error.attempts) == 1
    assert len(here.asked) == len(TRIED_AGAIN)


@pytest.mark.parametrize(
    "code, wish, asked", [(503, "false", 1), (500, "false", 1), (400, "true", 2), (401, "true", 2)]
)
async def test_the_server_says_whether(rig, code: int, wish: str, asked: int) -> None:
    """`x-should-retry` is obeyed, whatever the status."""
    here = rig(faults.status(code, headers={"x-should-retry": wish}))
    if asked == 1:
        await here.fails(FastClientError)
    else:
        assert (await here.client.chat(PROMPT)).text == "Well."
    assert len(here.asked) == asked


async def test_the_servers_wish_is_paid_for_too(rig) -> None:
    """A server that always says "try again" gets no more than the budget, and no more attempts than allowed."""
    here = rig(*[faults.status(400, headers={"x-should-retry": "true"})] * 500)
    for _ in range(100):
        await here.fails(BadRequest)
    assert len(here.asked) <= 100 + 10 + 10


ONCE = {"extra_body": {"store": True}}
UNTOUCHED = {
    "429": faults.status(429),
    "503": faults.status(503),
    "529": faults.status(529),
    "overloaded event": faults.overloaded_event(),
    "connect timeout": ConnectTimeout("nobody there"),
}
MAYBE_DONE = {
    "500": faults.status(500),
    "html": faults.html_page(),
    "reset": faults.reset(0),
    "cut before content": (Role(), Reset()),
    "silent": (Hang(),),
}


@pytest.mark.parametrize("fault", UNTOUCHED.values(), ids=UNTOUCHED)
async def test_what_may_happen_once_and_did_not(rig, fault: Any) -> None:
    """A request that must not be answered twice is sent again when the provider did nothing about it."""
    assert (await rig(fault).client.chat(PROMPT, **ONCE)).text == "Well."


async def test_an_unsent_request_may_be_sent(rig) -> None:
    """A connection that was lost before the request went out has done no harm."""
    lost = ConnectFailed("lost while connecting")
    lost.sent = False
    assert (await rig(lost).client.chat(PROMPT, **ONCE)).text == "Well."


@pytest.mark.parametrize("fault", MAYBE_DONE.values(), ids=MAYBE_DONE)
async def test_what_may_happen_once_and_perhaps_did(rig, fault: Any) -> None:
    """A request that must not be answered twice is not sent again when it may have been answered."""
    here = rig(fault, timeouts=Timeouts(first_token=5))
    await here.fails(FastClientError, **ONCE)
    assert len(here.asked) == 1


# --- when -------------------------------------------------------------------------------------------------------------


async def test_later_each_time(rig) -> None:
    """Up to 0.05, 0.1, 0.2 s and so on, each anywhere in between; three attempts unless told otherwise."""
    waits: list[list[float]] = []
    for _ in range(20):
        here = rig(*[faults.status(500)] * 9, retry=Retry(attempts=8, budget=1))
        error = await here.fails(ServerFailed)
        assert len(error.attempts) == 8
        waits.append([later - sooner for sooner, later in zip(here.asked, here.asked[1:], strict=False)])
    for number, column in enumerate(zip(*waits, strict=True)):
        bound = min(2.0, 0.05 * 2**number)
        assert max(column) <= bound + HAIR
        assert min(column) < bound / 2 < max(column), "full jitter uses the whole span"
    assert len((await rig(*[faults.status(500)] * 9).fails(ServerFailed)).attempts) == 3


def failures() -> st.SearchStrategy[FastClientError]:
    wish = st.none() | st.floats(0.1, 1e6)
    throttled = st.builds(
        lambda kind, wish: kind("", retry_after=wish), st.sampled_from([RateLimited, Overloaded]), wish
    )
    broken = st.builds(lambda wish: ServerFailed("", retry_after=wish), wish)
    return throttled | broken | st.builds(ConnectFailed) | st.builds(FirstTokenTimeout)


@given(
    st.lists(st.tuples(failures(), st.floats(0, 30)), max_size=12),
    st.integers(1, 10),
    st.floats(0, 1000),
    st.floats(0, 1),
    st.floats(0, 20),
)
def test_for_all_failures(
    story: list[tuple[FastClientError, float]], most: int, deadline: float, jitter: float, balance: float
) -> None:
    """Whatever fails: never past the deadline, never sooner than asked, never more often than allowed or paid for."""
    now, tried, paid = 0.0, 1, balance
    call = Call(
        id="c",
        request=Request(messages=()),
        target=Target("openai:m"),
        deadline=deadline,
        record=CallRecord(lambda: now, 0.0),
    )
    retrial = Retrial(Retry(attempts=most), Budget(0.1, start=balance), call, lambda: jitter)
    for number, (error, passed) in enumerate(story):
        now += passed
        wait = retrial.wait(error, now)
        if wait is None:
            assert tried == most or error.retry_budget_exhausted or now + 60 + _wish(error) >= deadline
            break
        throttled = isinstance(error, (RateLimited, Overloaded))
        bound = min(60, 2.0**number) if throttled and _wish(error) == 0 else min(2, 0.05 * 2**number)
        assert _wish(error) <= wait <= _wish(error) + bound + HAIR
        assert now + wait < deadline
        now += wait
        tried += 1
        paid -= 0.36 if throttled else 1.0
        assert tried <= most and paid >= -HAIR


def _wish(error: FastClientError) -> float:
    return getattr(error, "retry_after", None) or 0.0


@pytest.mark.parametrize("header, seconds", [("5", 5.0), ("0", 0.0), ("1.5", 1.5)])
@pytest.mark.parametrize("code", [429, 503, 500])
async def test_as_late_as_the_provider_asks(rig, code: int, header: str, seconds: float) -> None:
    """`Retry-After` is waited for, and a little more, so that not everybody comes at once."""
    here = rig(faults.status(code, retry_after=header))
    await here.client.chat(PROMPT)
    assert seconds <= here.asked[1] - here.asked[0] <= seconds + 0.05 + HAIR


ODD = ["Wed, 21 Oct 2015 07:28:00 GMT", "-1", "NaN", "inf", "1e308", "", "soon"]


@pytest.mark.parametrize("headers", [*({"retry-after": odd} for odd in ODD), {"retry-after-ms": "abc"}])
async def test_an_odd_wish_is_none(rig, headers: dict[str, str]) -> None:
    """A wish that is past, negative, endless or unreadable: the usual wait of up to a second, and the answer."""
    here = rig(faults.status(429, headers=headers))
    assert (await here.client.chat(PROMPT)).text == "Well."
    assert here.asked[1] - here.asked[0] <= 1 + HAIR


@pytest.mark.parametrize("limits", [None, Limits()])
async def test_nobody_waits_for_three_days(rig, limits: Any) -> None:
    """A wish beyond the call's deadline is told at once, with the wish; nothing is slept through."""
    here = rig(faults.status(429, retry_after="277403"), limits=limits)
    error = await here.fails(RateLimited)
    assert (error.retry_after, anyio.current_time(), len(here.asked)) == (277403, 0, 1)
    assert not error.retry_budget_exhausted


@pytest.mark.parametrize("took", [0.001, 0.3, 0.9])
async def test_the_deadline_holds_over_all_attempts(rig, took: float) -> None:
    """However many attempts there are: the call is over at its deadline, and no wait is begun that ends beyond it."""
    here = rig(*[(Wait(took), *faults.status(500))] * 3000, retry=Retry(attempts=1000, budget=1))
    error = await here.fails(FastClientError, timeout=2)
    assert isinstance(error, (ServerFailed, TimeoutError))
    assert anyio.current_time() <= 2 + 0.051
    assert max(here.asked) < 2


async def test_connecting_takes_its_time_and_no_more(rig) -> None:
    """Each attempt has its own limit for connecting; the next one is made when it has passed."""

    class Slow(FakeProvider):
        async def send(self, request: Any, timeouts: Any, marks: Any) -> Any:
            if next(number) == 0:
                await anyio.sleep(timeouts.connect)
                raise ConnectTimeout(f"no connection within {timeouts.connect:g} s", phase="connect")
            return await super().send(request, timeouts, marks)

    number = count()
    async with AsyncClient("openai:m", wire=Slow("Well.")) as client:
        reply = await client.chat(PROMPT)
    assert reply.text == "Well."
    assert 5 <= reply.timings.total <= 5.0501


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
async def test_an_address_that_swallows_packets(wire: str) -> None:
    """Over real sockets: after `Timeouts.connect` the next target is asked, and answers."""
    with blackhole() as nowhere, ProviderServer(answer="Well.") as server:
        policy = Policy(
            retry=None,
            timeouts=Timeouts(total=5, connect=0.3),
            route=Route(fallback=(Target("openai:m", base_url=server.base_url),)),
        )
        async with AsyncClient("openai:m", base_url=nowhere, wire=wire, policy=policy) as client:
            reply = await client.chat(PROMPT)
    assert reply.text == "Well."
    assert 0.28 <= reply.timings.total < 1.5
    assert isinstance(reply.attempts[0].error, ConnectTimeout)


async def test_leaving_while_it_waits(rig) -> None:
    """Whoever leaves between two attempts is gone at once: the next one is not made."""
    here = rig(faults.status(429, retry_after="50"))
    with anyio.move_on_after(10):
        await here.client.chat(PROMPT)
    await anyio.sleep(100)
    assert (len(here.asked), here.client.stats().in_flight) == (1, 0)


# --- how many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_many_failures_are_not_made_more(rig, seed: int) -> None:
    """30 % fail for two minutes: a tenth of the calls is retried, and ten; the others fail at once, and say why."""
    rng = Random(seed)
    here = rig(*[lambda _: faults.status(500) if rng.random() < 0.3 else (Tokens("Well."),)] * 5000)
    errors: list[tuple[ServerFailed, float]] = []

    async def call() -> None:
        start = anyio.current_time()
        try:
            await here.client.chat(PROMPT)
        except ServerFailed as error:
            errors.append((error, anyio.current_time() - start))

    async with anyio.create_task_group() as calls:
        for _ in range(1200):
            calls.start_soon(call)
            await anyio.sleep(0.1)
    assert 1200 * 0.08 < len(here.asked) - 1200 <= 1200 * 0.10 + 10
    marked = [(error, took) for error, took in errors if error.retry_budget_exhausted]
    assert len(marked) > 100
    assert all(error.retry_budget_exhausted or len(error.attempts) == 3 for error, _ in errors)
    assert max(took for error, took in marked if len(error.attempts) == 1) == 0


async def test_the_budget_is_one_for_all_copies_of_a_client(rig) -> None:
    """A copy with another policy shares the allowance: it belongs to the upstream, not to who asks."""
    here = rig(*[faults.status(500)] * 100)
    other = here.client.with_(policy=Policy(timeouts=Timeouts(total=50)))
    for number in range(20):
        with pytest.raises(ServerFailed):
            await (other if number % 2 else here.client).chat(PROMPT)
    assert len(here.asked) <= 20 + 10 + 2


# --- no capacity ------------------------------------------------------------------------------------------------------


async def test_refused_for_a_minute(rig) -> None:
    """429 to everything for a minute: one asks per pause, no copies are sent, and who cannot wait is told at once."""
    recommended = Policy.recommended()
    here = rig(hedge=recommended.hedge, limits=recommended.limits)
    for _ in range(200):
        here.plans.append((Wait(1.0), Tokens("Usual.")))
        await here.client.chat(PROMPT, hedge=False)
    begin = anyio.current_time() + 10

    def plan(_: ServerRequest) -> Any:
        refusing = begin <= anyio.current_time() < begin + 60
        return faults.status(429, retry_after="5") if refusing else (Wait(1.0), Tokens("Usual."))

    here.plans.extend([plan] * 5000)
    done: list[tuple[float, float, float, Any]] = []

    async def call(timeout: float) -> None:
        start = anyio.current_time()
        try:
            outcome: Any = await here.client.chat(PROMPT, timeout=timeout)
        except FastClientError as error:
            outcome = error
        done.append((start, anyio.current_time() - start, timeout, outcome))

    async with anyio.create_task_group() as calls:
        for number in range(320):
            calls.start_soon(call, 3.0 if number % 2 else 30.0)
            await anyio.sleep(0.25)
    sent = [at for at in here.asked if at >= begin - 10]
    assert len(sent) <= 1.1 * 320
    storm = [at for at in sent if begin <= at < begin + 60]
    assert len(storm) <= 1 + 60 / 5 + 1
    assert "hedge" not in {attempt.role for *_, outcome in done for attempt in outcome.attempts}
    hurried = [row for row in done if begin < row[0] < begin + 55 and row[2] == 3.0]
    told = [row for row in hurried if (row[0] - begin) % 5 < 1.9]  # the pause has more than three seconds to go
    assert len(told) > 40
    assert all(took == 0 and isinstance(error, RateLimited) for _, took, _, error in told)
    assert all(3 < error.retry_after <= 5 and not error.attempts for *_, error in told)
    assert all(took <= 3.06 for _, took, *_ in hurried)


async def test_no_wait_for_what_comes_too_late(rig) -> None:
    """A pause that leaves no time for an answer is told at once, also where failures are tried again."""
    here = rig(limits=Limits())
    for _ in range(60):
        here.plans.append((Wait(1.0), Tokens("Usual.")))
        await here.client.chat(PROMPT)
    here.plans.append(faults.status(429, retry_after="5"))
    async with anyio.create_task_group() as calls:
        calls.start_soon(here.client.chat, PROMPT)
        await anyio.sleep(2.25)
        start = anyio.current_time()
        error = await here.fails(RateLimited, timeout=3)  # the pause takes 2.75 of them, and an answer 1
        assert (anyio.current_time(), error.retry_after) == (start, pytest.approx(2.75))


async def test_no_copy_until_an_answer_after_the_pause(rig) -> None:
    """Overload inside a stream is overload: who is late meanwhile gets no copy, until a later request was answered."""
    here = rig(hedge=Hedge(budget=0.05), retry=None)
    for _ in range(200):
        here.plans.append((Wait(1.0), Tokens("Usual.")))
        await here.client.chat(PROMPT, hedge=False)
    before = len(here.asked)
    here.plans.extend([(Wait(50), Tokens("Late.")), faults.overloaded_event()])
    async with anyio.create_task_group() as calls:
        calls.start_soon(here.client.chat, PROMPT)
        await anyio.sleep(0.5)
        await here.fails(Overloaded)
        await anyio.sleep(29.5)
        assert len(here.asked) == before + 2
        await here.client.chat(PROMPT, hedge=False)


async def test_an_overload_event_is_waited_out(rig) -> None:
    """Overload told inside a 200 has the long waits: up to a second, not a twentieth."""
    waits = []
    for _ in range(20):
        here = rig(faults.overloaded_event())
        await here.client.chat(PROMPT)
        waits.append(here.asked[1] - here.asked[0])
    assert 0.3 < max(waits) <= 1 + HAIR


async def test_after_content_an_overload_is_a_break(rig) -> None:
    """Overload in the middle of an answer: what came stays, nothing is asked again."""
    here = rig(faults.overloaded_event(3))
    error = await here.fails(StreamCut)
    assert (error.tokens, len(here.asked)) == (3, 1)
    assert isinstance(error.__cause__, Overloaded)


async def test_closing_wakes_who_waits_to_try_again(rig) -> None:
    """A call that sleeps off a pause when its client is closed ends at once, with nothing sent any more."""
    here = rig()
    here.plans.append(faults.status(429, retry_after="60"))
    async with anyio.create_task_group() as calls:

        async def call() -> None:
            with pytest.raises(ConfigError, match="closed"):
                await here.client.chat(PROMPT)

        calls.start_soon(call)
        await anyio.sleep(1)
        await here.client.aclose()
    assert (anyio.current_time(), len(here.asked)) == (pytest.approx(1), 1)
