"""A late request and its copy to the exact moment: in virtual time, without a socket."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import cycle
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from fastclient import AsyncClient, Hedge, Limits, Policy, Reply, Retry, Target, Timeouts
from fastclient.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    FastClientError,
    Overloaded,
    ServerFailed,
    StreamStalled,
)
from fastclient.testing import EndBody, FakeProvider, Hang, Send, ServerRequest, Tokens, Wait, faults

PROMPT = "Say something."
TEXT = "From the copy."
COPY = (Wait(0.25), Tokens(TEXT))
BUDGET = 0.05


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Rig:
    """A client that hedges, and the provider it asks. Usual answers begin after 0.8 to 1.2 seconds."""

    def __init__(self, target: Target | str = "openai:m", *, hedge: Hedge | None = None, **levers: Any) -> None:
        self.plans: deque[Any] = deque()  # for the next requests; then all is as usual
        self.usual = cycle([0.8, 1.0, 1.2, 0.9, 1.1])
        self.fake = FakeProvider(self._plan)
        levers = {"retry": None, "timeouts": Timeouts(total=1000), **levers}
        policy = Policy(hedge=hedge or Hedge(budget=BUDGET), **levers)
        self.client = AsyncClient(target, wire=self.wire(), policy=policy)

    def wire(self) -> Any:
        return self.fake

    def _plan(self, request: ServerRequest) -> Any:
        plan = self.plans.popleft() if self.plans else (Wait(next(self.usual)), Tokens("Usual."))
        return plan(request) if callable(plan) else plan

    async def warm(self, calls: int = 200, **options: Any) -> Rig:
        """So many usual calls, none of them copied."""
        for _ in range(calls):
            await self.client.chat(PROMPT, **{"hedge": False, **options})
        return self

    def meet(self, *plans: Any) -> None:
        """What the next requests meet."""
        self.plans.extend(plans)
        self.before = len(self.fake.exchanges)

    @property
    def met(self) -> list[Any]:
        return self.fake.exchanges[self.before :]

    async def copied(self, **options: Any) -> bool:
        """Whether a request that takes a minute gets a copy."""
        self.meet((Wait(59), Tokens("Late.")), COPY)
        await self.client.chat(PROMPT, **options)
        self.plans.clear()
        return len(self.met) == 2


@pytest.fixture
async def rigs() -> AsyncIterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(*args: Any, **options: Any) -> Rig:
        made.append(Rig(*args, **options))
        return made[-1]

    yield make
    for rig in made:
        await rig.client.aclose()
        assert rig.fake.live == 0
        assert rig.client.stats().in_flight == 0


def story(attempts: Any) -> list[tuple[str, str]]:
    return [(attempt.role, attempt.outcome) for attempt in attempts]


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [faults.silent(59), faults.headers_then_silence(40), faults.comments(1, 59)])
async def test_the_copy_goes_when_the_request_is_late(rigs, plan: Any) -> None:
    """Beyond what 19 of 20 take: then the copy goes, and with its first token the primary is closed, not later."""
    rig = await rigs().warm()
    rig.meet(plan, COPY)
    start = anyio.current_time()
    async with rig.client.stream(PROMPT) as stream:
        primary, copied = rig.met
        delay = copied.started - primary.started
        assert 1.1 < delay < 1.3
        assert anyio.current_time() - start == pytest.approx(delay + 0.25)
        assert (primary.started, primary.ended) == (start, copied.first_token)
        reply = await stream.reply()
    assert reply.text == TEXT
    assert story(reply.attempts) == [("primary", "lost"), ("hedge", "won")]
    assert reply.timings.ttft == pytest.approx(delay + 0.25)
    assert reply.attempts[0].timings.total == pytest.approx(delay + 0.25)
    assert reply.attempts[1].timings.ttft == pytest.approx(0.25)
    assert reply.usage.wasted_tokens == reply.attempts[0].wasted_tokens > 0
    assert not reply.degraded


async def test_nobody_is_late_who_is_not_known(rigs) -> None:
    """Without forty samples nothing is late: there is no copy, and the first-token limit ends the wait."""
    rig = await rigs(timeouts=Timeouts(first_token=30)).warm(39)
    rig.meet(faults.silent(45), COPY)
    with pytest.raises(FastClientError, match="30 s") as caught:
        await rig.client.chat(PROMPT)
    assert story(caught.value.attempts) == [("primary", "failed")]
    await rig.warm(20)
    assert await rig.copied()


async def test_a_long_prompt_is_not_late(rigs) -> None:
    """Where long prompts take long, twenty times the usual time is no reason for a copy of one sixty times as long."""
    rig = rigs()

    def asked(words: int) -> str:
        return "word " * words

    sizes = cycle([50, 60, 70, 400, 80, 3000, 90, 1000, 100, 6000])
    for _ in range(400):
        words = next(sizes)
        rig.meet((Wait(0.5 + words / 600), Tokens("Usual.")))
        await rig.client.chat(asked(words), hedge=False)
    rig.meet((Wait(0.5 + 6000 / 600), Tokens("Long.")), COPY)
    assert (await rig.client.chat(asked(6000))).text == "Long."
    rig.plans.clear()
    rig.meet((Wait(0.5 + 6000 / 600), Tokens("Late.")), COPY)
    assert (await rig.client.chat(asked(100))).text == TEXT


async def test_fast_failures_move_nothing(rigs) -> None:
    """A tenth of the requests fails after 5 ms: they teach nothing about how long answers take."""
    delays = []
    for failing in (False, True):
        rig = rigs()
        for number in range(300):
            if failing and number % 10 == 0:
                rig.meet((Wait(0.005), *faults.status(500)))
                with pytest.raises(ServerFailed):
                    await rig.client.chat(PROMPT, hedge=False)
            await rig.warm(1)
        rig.meet(faults.silent(59), COPY)
        await rig.client.chat(PROMPT)
        delays.append(rig.met[1].started - rig.met[0].started)
    assert delays[1] == pytest.approx(delays[0], rel=0.05)


# --- at the same moment -----------------------------------------------------------------------------------------------


class Held:
    """A wire that holds back what it reads for the requests after `hold()`, until they are let go."""

    def __init__(self, fake: FakeProvider) -> None:
        self.fake = fake
        self.gate: Callable[[], Any] | None = None

    async def send(self, *args: Any) -> Any:
        response = await self.fake.send(*args)
        if self.gate is not None:
            read, gate = response.read, self.gate

            async def held(until: float) -> bytes:
                data = await read(until)
                await gate()
                return data

            response.read = held  # type: ignore[method-assign]
        return response

    async def aclose(self) -> None:
        await self.fake.aclose()


class HeldRig(Rig):
    def wire(self) -> Held:
        self.held = Held(self.fake)
        return self.held


def whole(text: str) -> tuple[Any, ...]:
    """An answer that comes in one piece, end and all."""
    body = b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    return (Send(body % text.encode()), EndBody())


@pytest.mark.parametrize("plan", [lambda text: (Tokens(text),), whole], ids=["in pieces", "whole"])
async def test_first_tokens_in_the_same_tick(plan: Any) -> None:
    """Both have their first token in the same tick: one answer, unmixed; the other is closed, and counted as lost."""
    winners = set()
    for _ in range(12):
        rig = await HeldRig(retry=None).warm(60)
        both, came = anyio.Event(), 0

        async def together(both: anyio.Event = both) -> None:
            nonlocal came
            came += 1
            if came == 2:
                both.set()
            await both.wait()

        rig.held.gate = together
        rig.meet(plan("One two three."), plan("Four five six."))
        reply = await rig.client.chat(PROMPT)
        assert [attempt.role for attempt in reply.attempts] == ["primary", "hedge"]
        (won,) = [attempt for attempt in reply.attempts if attempt.outcome == "won"]
        assert sorted(attempt.outcome for attempt in reply.attempts) == ["lost", "won"]
        assert reply.text == ("One two three." if won.role == "primary" else "Four five six.")
        assert reply.request_id == won.request_id
        assert reply.usage.wasted_tokens > 0
        assert rig.fake.live == 0
        winners.add(won.role)
        await rig.client.aclose()
    assert winners  # which of them wins is left to the event loop


def test_an_answer_between_the_decision_and_the_sending() -> None:
    """The primary answers in the very tick in which its copy is decided on: none is sent, and it costs nothing."""

    async def late(until: float | None) -> tuple[float, int]:
        """The first of two late calls answers at `until`; when the first copy went, and how many there were."""
        rig = await HeldRig(hedge=Hedge(budget=0.03)).warm(45)  # enough saved up for one copy, not for two
        if until is not None:
            rig.held.gate = partial(trio.sleep_until, until)
            rig.meet(whole("In time."))
            reply = await rig.client.chat(PROMPT)
            assert reply.text == "In time."
            assert story(reply.attempts) == [("primary", "won")]
            rig.held.gate = None
        before = len(rig.fake.exchanges)
        assert await rig.copied()
        when = rig.fake.exchanges[before + 1].started
        assert not await rig.copied(), "one copy was all there was"
        await rig.client.aclose()
        return when, len(rig.fake.exchanges)

    def run(until: float | None) -> tuple[float, int]:
        return trio.run(late, until, clock=MockClock(autojump_threshold=0))

    when, _ = run(None)
    for _ in range(8):  # trio shuffles what happens in one tick
        run(when)


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_a_copy_that_wins_and_stalls(rigs) -> None:
    """Thirty seconds after its last token the error comes, with what the copy had brought and nothing else."""
    rig = await rigs().warm()
    rig.meet(faults.silent(5), (Tokens("One two thre"), Hang()))
    pieces: list[str] = []
    with pytest.raises(StreamStalled) as caught:
        async for text in rig.client.stream(PROMPT).text:
            pieces.append(text)
    error = caught.value
    assert ("".join(pieces), error.partial_text, error.tokens) == ("One two thre", "One two thre", 3)
    assert anyio.current_time() - rig.met[1].started == pytest.approx(30)
    assert story(error.attempts) == [("primary", "lost"), ("hedge", "failed")]
    assert rig.met[0].ended == rig.met[1].first_token


@pytest.mark.parametrize("fault", [faults.status(503), faults.status(400), faults.reset(0), faults.html_page()])
async def test_a_copy_that_fails(rigs, fault: Any) -> None:
    """However the copy fails: the primary goes on, and its answer is all that is seen."""
    rig = await rigs().warm()
    rig.meet((Wait(10), Tokens("From the primary.")), (Wait(1), *fault))
    reply = await rig.client.chat(PROMPT)
    assert (reply.text, story(reply.attempts)) == ("From the primary.", [("primary", "won"), ("hedge", "failed")])
    assert reply.timings.ttft == pytest.approx(10)


@pytest.mark.parametrize("first, second", [(3, 5), (5, 3)], ids=["primary first", "copy first"])
async def test_both_fail(rigs, first: float, second: float) -> None:
    """When the last has failed one error comes: the request's own, never a group, with both causes in its attempts."""
    rig = await rigs().warm()
    start = anyio.current_time()

    def reset(_: ServerRequest) -> Any:
        return (Wait(start + second - anyio.current_time()), *faults.reset(0))

    rig.meet((Wait(first), *faults.status(500)), reset)
    with pytest.raises(ServerFailed) as caught:
        await rig.client.chat(PROMPT)
    assert anyio.current_time() - start == pytest.approx(5)
    assert story(caught.value.attempts) == [("primary", "failed"), ("hedge", "failed")]
    assert isinstance(caught.value.attempts[1].error, ConnectionError)
    assert caught.value.attempts[0].error is caught.value


async def test_both_fail_and_are_tried_again(rigs) -> None:
    """The next attempt is a race of its own, with a copy if it is late, too."""
    rig = await rigs(retry=Retry()).warm()
    rig.meet((Wait(3), *faults.status(500)), faults.status(500), faults.silent(59), COPY)
    reply = await rig.client.chat(PROMPT)
    roles = [("primary", "failed"), ("hedge", "failed"), ("retry", "lost"), ("hedge", "won")]
    assert (reply.text, story(reply.attempts)) == (TEXT, roles)


async def test_a_failure_before_the_copy_is_due(rigs) -> None:
    """A primary that fails at once is retried at once: within the first jitter, not when a copy would have gone."""
    rig = await rigs(retry=Retry()).warm()
    rig.meet((Wait(0.02), *faults.status(500)), (Tokens("Again."),))
    reply = await rig.client.chat(PROMPT)
    assert (reply.text, story(reply.attempts)) == ("Again.", [("primary", "failed"), ("retry", "won")])
    assert 0.02 <= reply.timings.total <= 0.0701


async def test_the_copy_answers_for_a_failed_primary(rigs) -> None:
    """A failure that is no final word waits for the copy under way; nothing is retried."""
    rig = await rigs(retry=Retry()).warm()
    rig.meet((Wait(2), *faults.status(500)), (Wait(5), Tokens(TEXT)))
    reply = await rig.client.chat(PROMPT)
    assert (reply.text, story(reply.attempts)) == (TEXT, [("primary", "failed"), ("hedge", "won")])


async def test_a_refusal_ends_the_race(rigs) -> None:
    """The request itself is refused while its copy runs: raised at that moment, the copy closed."""
    rig = await rigs(retry=Retry()).warm()
    rig.meet((Wait(3), *faults.status(401)), faults.silent(59))
    start = anyio.current_time()
    with pytest.raises(AuthenticationFailed) as caught:
        await rig.client.chat(PROMPT)
    assert anyio.current_time() - start == pytest.approx(3)
    assert story(caught.value.attempts) == [("primary", "failed"), ("hedge", "cancelled")]
    assert rig.met[1].cut_early and rig.met[1].ended == anyio.current_time()


async def test_leaving_while_both_run(rigs) -> None:
    """Whoever gives up waiting stops both at that moment; nothing is left running."""
    rig = await rigs().warm()
    rig.meet(faults.silent(59), faults.silent(59))
    start = anyio.current_time()
    with anyio.move_on_after(3):
        await rig.client.chat(PROMPT)
    assert anyio.current_time() - start == pytest.approx(3)
    assert [(exchange.cut_early, exchange.ended - start) for exchange in rig.met] == [(True, pytest.approx(3))] * 2


async def test_the_deadline_ends_both(rigs) -> None:
    """The call's own limit stops the race; the error says what was waited for, and both stand in its attempts."""
    rig = await rigs().warm()
    rig.meet(faults.silent(59), faults.silent(59))
    start = anyio.current_time()
    with pytest.raises(DeadlineExceeded) as caught:
        await rig.client.chat(PROMPT, timeout=4)
    assert anyio.current_time() - start == pytest.approx(4, abs=0.1)
    assert caught.value.phase == "headers"
    assert [attempt.role for attempt in caught.value.attempts] == ["primary", "hedge"]
    assert rig.fake.live == 0


# --- who gets none ----------------------------------------------------------------------------------------------------

STATEFUL = [
    {"extra_body": {"store": True}},
    {"extra_body": {"background": True}},
    {"extra_body": {"previous_response_id": "resp_1"}},
    {"extra_body": {"conversation": "conv_1"}},
    {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
    {"tools": [{"type": "computer_use_preview"}]},
    {"tools": [{"type": "mcp", "server_url": "https://tools.example"}]},
    {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "local_shell"}]},
]


@pytest.mark.parametrize("options", STATEFUL)
async def test_what_acts_or_is_kept_is_not_copied(rigs, options: Any) -> None:
    """Storing, running on, going on with a kept conversation, acting: once is enough, unless the caller insists."""
    rig = await rigs().warm()
    assert not await rig.copied(**options)
    assert await rig.copied(**options, hedge=True)


HARMLESS = [
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"tools": [{"type": "web_search"}]},
    {"extra_body": {"store": False}},
    {"temperature": 0.0},
]


@pytest.mark.parametrize("options", HARMLESS)
async def test_what_is_only_text_is_copied(rigs, options: Any) -> None:
    """Tools the caller runs, searches, and what says that nothing is stored, are no reason against a copy."""
    assert await (await rigs().warm()).copied(**options)


UNKNOWN = Target("openai:m", base_url="https://llm.example/v1")


@pytest.mark.parametrize(
    "target, wish, copied",
    [
        (UNKNOWN, None, False),
        (UNKNOWN, True, True),
        (Target("openai:m", base_url="https://llm.example/v1", stops_billing=True), None, True),
        (Target("openai:m", base_url="https://llm.example/v1", stops_billing=True), False, False),
        (Target("openai:m", base_url="http://127.0.0.1:8000/v1", stops_billing=False), None, False),
        (Target("openai:m", base_url="http://127.0.0.1:8000/v1"), None, True),
        (Target("anthropic:m"), None, True),
        (Target("anthropic:m"), False, False),
    ],
)
async def test_where_giving_up_costs_on(rigs, target: Target, wish: bool | None, copied: bool) -> None:
    """A server that bills streams nobody reads gets no copies, unless the caller says so, for good or per call."""
    rig = await rigs(target).warm()
    assert await rig.copied(hedge=wish) is copied


async def test_no_copy_while_there_is_no_capacity(rigs) -> None:
    """After a refusal nothing is saved up any more: a late request gets no copy until others have paid for it."""
    rig = await rigs().warm()
    rig.meet(faults.status(529))
    with pytest.raises(Overloaded):
        await rig.client.chat(PROMPT)
    await rig.warm(1)
    assert not await rig.copied()
    await rig.warm(60)
    assert await rig.copied()


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0.02, 0.05])
async def test_everybody_is_slow(rigs, budget: float) -> None:
    """Eight times slower for a minute, at 20 requests a second: hardly any copies, and no call fails for it."""
    rig = rigs(hedge=Hedge(budget=budget), limits=Limits())
    factor, replies = 1.0, []

    def plan(_: ServerRequest) -> Any:
        return (Wait(next(rig.usual) * factor), Tokens("Usual."))

    rig.meet(*[plan] * 5000)

    async def call() -> None:
        replies.append(await rig.client.chat(PROMPT))

    async with anyio.create_task_group() as calls:
        for number in range(2400):
            calls.start_soon(call)
            await anyio.sleep(0.05)
            if number == 1200:
                factor, before = 8.0, len(rig.fake.exchanges) - number
    assert len(replies) == 2400
    extra = len(rig.fake.exchanges) - 2400
    assert extra <= budget * 2400
    assert extra - before <= 0.015 * 1200


# --- another target ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other, degraded", [("openai:small", True), ("anthropic:m", False)])
async def test_copies_may_go_elsewhere(rigs, other: str, degraded: bool) -> None:
    """With targets named for copies the first of them gets the copy; the reply says who answered."""
    rig = await rigs(UNKNOWN, hedge=Hedge(budget=BUDGET, targets=(other,))).warm()
    rig.meet(faults.silent(59), COPY)
    reply: Reply = await rig.client.chat(PROMPT)
    assert (reply.text, reply.target, reply.degraded) == (TEXT, other, degraded)
    assert [attempt.target for attempt in reply.attempts] == ["openai:m", other]
    assert [exchange.request.model for exchange in rig.met] == ["m", other.partition(":")[2]]


async def test_the_primary_wins_against_another_model(rigs) -> None:
    """Where the primary comes first, nothing of the other model is in the reply."""
    rig = await rigs(UNKNOWN, hedge=Hedge(budget=BUDGET, targets=("openai:small",))).warm()
    rig.meet((Wait(3), Tokens("From the primary.")), faults.silent(59))
    reply = await rig.client.chat(PROMPT)
    assert (reply.text, reply.target, reply.model, reply.degraded) == ("From the primary.", "openai:m", "m", False)


async def test_a_broken_target_gets_no_copies(rigs) -> None:
    """The target named for copies fails each time: after a while it is spared, and calls go on as before."""
    rig = await rigs(UNKNOWN, hedge=Hedge(budget=BUDGET, targets=("openai:small",))).warm()
    for _ in range(12):
        rig.meet((Wait(3), Tokens("Late.")), faults.status(500))
        assert (await rig.client.chat(PROMPT)).text == "Late."
        rig.plans.clear()
    asked = [exchange.request.model for exchange in rig.fake.exchanges].count("small")
    assert asked < 12


async def test_waiting_in_line_is_no_lateness(rigs) -> None:
    """A request that got its permit late and its answer in time is not copied."""
    rig = await rigs(limits=Limits(concurrency=5)).warm()
    rig.meet(*[(Wait(25.5), Tokens("Long."))] * 5, (Wait(1.1), Tokens("Usual.")))
    async with anyio.create_task_group() as calls:
        for _ in range(5):
            calls.start_soon(partial(rig.client.chat, PROMPT, hedge=False))
        await anyio.sleep(20)
        reply = await rig.client.chat(PROMPT)
    assert story(reply.attempts) == [("primary", "won")]
    assert reply.timings.queue == pytest.approx(5.5, abs=0.01)
