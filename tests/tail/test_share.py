"""Single flight: what calls that share an answer get, each at its own moment, and what their leaving changes.

Time is virtual on both event loops, so moments are exact. The upstream is a script; threads and sockets are elsewhere.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from random import Random
from time import monotonic
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from fastclient.engine.answer import Answer
from fastclient.engine.clock import running_clock
from fastclient.engine.detached import GivenUp
from fastclient.engine.seam import drive, seam
from fastclient.engine.stack import Handler, stack
from fastclient.engine.stream import Stream
from fastclient.errors import (
    BadRequest,
    ConnectFailed,
    DeadlineExceeded,
    FastClientError,
    FirstTokenTimeout,
    QueueTimeout,
    RateLimited,
    ServerFailed,
    StreamCut,
    StreamStalled,
)
from fastclient.observe.stats import StatsRecorder
from fastclient.observe.timed import timed
from fastclient.observe.timing import CallRecord
from fastclient.tail.deadline import deadline
from fastclient.tail.share import Flights, shared
from fastclient.target import Target
from fastclient.types import Call, Chunk, Request
from tests.engine.virtual import virtual_backend

TARGET = Target("openai:m", base_url="http://127.0.0.1:1/v1")
TEXT = "One two three."
PLAN = (0.5, "One ", 0.2, "two ", 0.2, "three.", 0.1)
"""First content after half a second, the end after a whole one."""


anyio_backend = virtual_backend
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


class Upstream:
    """Answers calls by a script. A number is a pause, a text or chunk a batch, an exception is raised.

    Each plan is for one call, the last one for all others. Closing a stream takes `closing` seconds.
    """

    def __init__(self, *plans: Sequence[Any], closing: float = 0.0) -> None:
        self.plans = plans or (PLAN,)
        self.closing = closing
        self.calls: list[Call] = []
        self.live = 0
        self.closed: list[float] = []

    async def handler(self, call: Call) -> Stream:
        feed = Feed(self, self.plans[min(len(self.calls), len(self.plans) - 1)])
        self.calls.append(call)
        self.live += 1
        marks = call.record.attempt(call.role, call.target.name).marks
        marks.dequeued = marks.send_started = marks.sent = marks.started
        try:
            await feed.open()
        except BaseException:
            await feed.aclose()
            raise
        marks.headers = marks.first_content = call.record.clock()
        return feed


class Feed(Stream):
    """One scripted answer."""

    def __init__(self, upstream: Upstream, plan: Sequence[Any]) -> None:
        self.upstream, self.steps = upstream, list(plan)
        self.open_, self.complete = True, False

    async def open(self) -> None:
        while self.steps and isinstance(self.steps[0], int | float):
            await anyio.sleep(self.steps.pop(0))
        if self.steps and isinstance(self.steps[0], BaseException):
            raise self.steps[0]

    async def pull(self) -> Sequence[Chunk]:
        await self.open()
        self.complete = not self.steps
        batch = self.steps.pop(0) if self.steps else ()
        return [Chunk(text=batch)] if isinstance(batch, str) else [batch] if isinstance(batch, Chunk) else batch

    async def aclose(self) -> None:
        if self.open_:
            self.open_ = False
            try:
                if self.upstream.closing and not self.complete:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(self.upstream.closing)
            finally:
                self.upstream.live -= 1
                self.upstream.closed.append(running_clock()())


class Caller:
    """One call through the layer, and what became of it."""

    def __init__(self, handler: Handler, **wishes: Any) -> None:
        self.handler, self.call = handler, make_call(**wishes)
        self.clock, self.record = self.call.record.clock, self.call.record
        self.answer, self.batches = Answer(), list[Sequence[Chunk]]()
        self.stream: Stream | None = None
        self.complete = False
        self.error: BaseException | None = None
        self.opened = self.ended = -1.0  # seconds from the beginning

    @cached_property
    def scope(self) -> anyio.CancelScope:
        return anyio.CancelScope()

    @property
    def text(self) -> str:
        return self.answer.text

    def since(self) -> float:
        return round(self.clock() - self.record.started, 6)

    async def open(self) -> None:
        self.stream = await self.handler(self.call)
        self.opened = self.since()

    async def step(self) -> bool:
        """Pull once; False at the end."""
        assert self.stream is not None
        batch = await self.stream.pull()
        self.answer.add(batch)
        self.batches.append(batch)
        self.complete = not batch
        return bool(batch)

    async def run_on(self) -> None:
        """What is left, and its end."""
        assert self.stream is not None
        while await self.step():
            pass
        await self.stream.aclose()

    async def run(self) -> None:
        """All of it. Whatever happens is noted, and nothing raised."""
        try:
            with self.scope:
                try:
                    await self.open()
                    while await self.step():
                        pass
                finally:
                    if self.stream is not None:
                        await self.stream.aclose()
        except Exception as error:
            self.error = error
        finally:
            self.ended = self.since()


def make_call(
    *,
    key: bytes | None = b"k",
    shown: bool = False,
    timeout: float = 60.0,
    clock: Any = None,
    **wishes: Any,
) -> Call:
    clock = clock or running_clock()
    record = CallRecord(clock, clock(), consumer=0.0 if shown else None)
    request = Request(messages=({"role": "user", "content": "Hi"},), **wishes)
    return Call(id="x", request=request, target=TARGET, deadline=clock() + timeout, record=record, key=key)


class Rig:
    """The layer around a scripted upstream."""

    def __init__(self, *plans: Sequence[Any], closing: float = 0.0) -> None:
        self.upstream = Upstream(*plans, closing=closing)
        self.handler = shared(Flights())(self.upstream.handler)
        self.callers: list[Caller] = []

    def caller(self, **wishes: Any) -> Caller:
        self.callers.append(Caller(self.handler, **wishes))
        return self.callers[-1]

    async def meet(self, *arrivals: tuple[float, dict[str, Any]]) -> list[Caller]:
        """Callers that arrive after so many seconds each, in the order of their arrival; all run to their end."""
        callers: list[Caller] = []
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for at, wishes in arrivals:
                await anyio.sleep(start + at - anyio.current_time())
                callers.append(self.caller(**wishes))
                tasks.start_soon(callers[-1].run)
                await turn()
        assert self.upstream.live == 0
        return callers


async def turn() -> None:
    """Whatever was started has taken its first step; trio shuffles those of one turn."""
    await checkpoint()
    await checkpoint()


def state(caller: Caller) -> str:
    return caller.record.cache.state


# --- sharing ----------------------------------------------------------------------------------------------------------


async def test_a_hundred_calls_are_one() -> None:
    """A hundred callers at once, half of them streaming: one call upstream, a hundred equal answers."""
    rig = Rig()
    callers = await rig.meet(*[(0.0, {"shown": number % 2 == 0}) for number in range(100)])
    assert len(rig.upstream.calls) == 1
    assert {(caller.text, caller.complete, caller.opened, caller.ended) for caller in callers} == {
        (TEXT, True, 0.5, 1.0)
    }
    assert [state(caller) for caller in callers] == ["bypass"] + ["shared"] * 99
    assert [len(caller.record.attempts) for caller in callers] == [1] + [0] * 99


async def test_all_parts_of_the_time_add_up() -> None:
    """Under the outer layers: replies are equal, and the parts of each one's time are its total."""
    upstream = Upstream(PLAN[:-1])
    handler = timed(stack(deadline, shared(Flights()), around=upstream.handler), (), StatsRecorder())
    replies = []

    async def chat(after: float) -> None:
        await anyio.sleep(after)
        stream = await handler(make_call())
        while await stream.pull():
            pass
        await stream.aclose()
        replies.append(stream.reply())

    async with anyio.create_task_group() as tasks:
        for after in (0.0, 0.0, 0.3, 0.6):
            tasks.start_soon(chat, after)
    assert len(upstream.calls) == 1
    assert {reply.text for reply in replies} == {TEXT}
    assert sorted(round(reply.timings.ttft or 0.0, 6) for reply in replies) == [0.0, 0.2, 0.5, 0.5]
    for reply in replies:
        assert sum(reply.timings.parts().values()) == pytest.approx(reply.timings.total)
        assert reply.timings.overhead == pytest.approx(0.0)
    followers = [reply for reply in replies if reply.cache.state == "shared"]
    assert sorted(round(reply.timings.queue or 0.0, 6) for reply in followers) == [0.0, 0.2, 0.5]


@pytest.mark.parametrize("at", [0.0, 0.25, 0.5, 0.6, 0.7, 0.95])
async def test_whoever_joins_gets_the_whole(at: float) -> None:
    """Before the first content, or at any moment after it: the answer is whole, and begins at once if it has begun."""
    rig = Rig()
    _, joiner = await rig.meet((0.0, {}), (at, {"shown": True}))
    assert (joiner.text, state(joiner), len(rig.upstream.calls)) == (TEXT, "shared", 1)
    assert joiner.opened == pytest.approx(max(0.0, 0.5 - at))
    assert joiner.ended == pytest.approx(1.0 - at)
    assert joiner.record.waited == pytest.approx(joiner.opened)
    assert [batch[0].text for batch in joiner.batches if batch] == ["One ", "two ", "three."]


async def test_what_is_over_is_not_joined() -> None:
    """A call after the end of another begins a new one, also while others still read the old answer."""
    rig = Rig()
    slow = rig.caller()
    await slow.open()
    await anyio.sleep(0.5)
    (later,) = await rig.meet((0.1, {}))
    assert (later.text, len(rig.upstream.calls), state(later)) == (TEXT, 2, "bypass")
    while await slow.step():
        pass
    assert slow.text == TEXT


DIFFERENT = [
    ({}, {"key": b"other"}),
    ({"key": None}, {"key": None}),
    ({}, {"key": None}),
    ({}, {"cache": "refresh"}),
    ({"cache": "refresh"}, {}),
    ({}, {"recover": "restart"}),
    ({"recover": "resume"}, {"recover": "restart"}),
]


@pytest.mark.parametrize("one, other", DIFFERENT)
async def test_what_differs_is_not_shared(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Another key, none, a wish for a new answer, another way to recover: each has a call of its own."""
    rig = Rig()
    callers = await rig.meet((0.0, one), (0.1, other))
    assert len(rig.upstream.calls) == 2
    assert [(caller.text, state(caller)) for caller in callers] == [(TEXT, "bypass")] * 2


async def test_refreshes_share_among_themselves() -> None:
    """Two that want a new answer at the same time get the same new one."""
    rig = Rig()
    await rig.meet((0.0, {}), (0.1, {"cache": "refresh"}), (0.2, {"cache": "refresh"}))
    assert len(rig.upstream.calls) == 2


async def test_an_empty_answer() -> None:
    """An answer without any content ends for all at the same moment."""
    rig = Rig((0.3,))
    callers = await rig.meet((0.0, {}), (0.1, {}))
    assert [(caller.text, caller.complete, caller.opened) for caller in callers] == [("", True, 0.3), ("", True, 0.2)]
    assert len(rig.upstream.calls) == 1


async def test_a_slow_reader_holds_nobody_up() -> None:
    """Who takes a minute over each chunk gets all of them, and the others get theirs in time."""
    rig = Rig()
    slow = rig.caller(timeout=2.0)
    async with anyio.create_task_group() as tasks:
        await slow.open()
        quick = rig.caller()
        tasks.start_soon(quick.run)
        while await slow.step():
            await anyio.sleep(60)
    assert (slow.text, quick.text, quick.ended) == (TEXT, TEXT, 0.5)


# --- leaving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("who", [0, 1, 2])
async def test_others_do_not_notice_who_leaves(at: float, who: int) -> None:
    """The first or another is cancelled at some moment: it returns at once, and the others get what they would have."""
    rig = Rig(closing=0.5)
    callers = [rig.caller(shown=True) for _ in range(3)]

    async def cancel() -> None:
        await anyio.sleep(at)
        callers[who].scope.cancel()

    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(caller.run)
            await turn()
        tasks.start_soon(cancel)
    left = callers.pop(who)
    assert left.ended == at
    assert not left.complete
    assert [(caller.text, caller.opened, caller.ended) for caller in callers] == [(TEXT, 0.5, 1.0)] * 2
    assert (len(rig.upstream.calls), rig.upstream.live) == (1, 0)


@pytest.mark.parametrize("at", [0.25, 0.5, 0.65, 0.9])
@pytest.mark.parametrize("many", [1, 3])
async def test_the_last_to_leave_closes(at: float, many: int) -> None:
    """When nobody is left the call upstream is closed, and the last to leave waits for that."""
    rig = Rig(closing=0.3)
    callers = [rig.caller() for _ in range(many)]
    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(caller.run)
        await anyio.sleep(at)
        for caller in callers:
            caller.scope.cancel()
    assert sorted(caller.ended for caller in callers) == pytest.approx([at] * (many - 1) + [at + 0.3])
    assert rig.upstream.live == 0
    assert (await rig.meet((0.0, {})))[0].text == TEXT
    assert len(rig.upstream.calls) == 2


async def test_leaving_takes_a_second_at_most() -> None:
    """A connection that does not close is left to itself; who left may go, and nobody joins it any more."""
    rig = Rig(closing=30.0)
    caller = rig.caller()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller.run)
        await anyio.sleep(0.1)
        caller.scope.cancel()
    assert caller.ended == pytest.approx(1.1)
    later = rig.caller()
    await later.run()
    assert (later.text, len(rig.upstream.calls)) == (TEXT, 2)
    await anyio.sleep(30)
    assert rig.upstream.live == 0


async def test_leaving_at_the_very_start() -> None:
    """Who is cancelled before anything began leaves nothing behind, and may be followed by others at once."""
    rig = Rig()
    callers = [rig.caller() for _ in range(20)]
    for caller in callers:
        caller.scope.cancel()
    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(caller.run)
        other = rig.caller()
        tasks.start_soon(other.run)
    assert {caller.ended for caller in callers} == {0.0}
    assert (other.text, other.ended, rig.upstream.live) == (TEXT, 1.0, 0)


async def test_left_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tasks take their first step late, a call that nobody waits for by then is not sent."""
    begun: list[Callable[[], Any]] = []
    monkeypatch.setattr("fastclient.tail.flight.behind", lambda work, _loop: begun.append(work))
    rig = Rig()
    caller = rig.caller()
    caller.scope.cancel()
    await caller.run()
    await begun[0]()
    assert (caller.ended, rig.upstream.calls) == (0.0, [])


async def test_a_stream_is_closed_by_hand() -> None:
    """`aclose` closes upstream, may be called again, and ends the stream quietly; it gives nothing more."""
    rig = Rig(closing=0.3)
    caller = rig.caller()
    await caller.open()
    assert await caller.step()
    await caller.stream.aclose()  # type: ignore[union-attr]
    assert (caller.since(), rig.upstream.live) == (0.8, 0)
    await caller.stream.aclose()  # type: ignore[union-attr]
    assert not await caller.step()
    assert (caller.text, caller.since()) == ("One ", 0.8)


@pytest.mark.parametrize("others", [0, 1])
async def test_closing_while_another_task_reads(others: int) -> None:
    """A reader that is blocked when its stream is closed elsewhere is told of the end, at once."""
    rig = Rig((0.5, "One ", 5.0, "two"))
    caller, other = rig.caller(), rig.caller()

    async def read() -> None:
        while await caller.step():
            pass
        assert caller.since() == 0.8

    async with anyio.create_task_group() as tasks:
        if others:
            tasks.start_soon(other.run)
        await caller.open()
        tasks.start_soon(read)
        await anyio.sleep(0.3)
        await caller.stream.aclose()  # type: ignore[union-attr]
        assert rig.upstream.live == others
    assert caller.text == "One "
    assert other.text == ("One two" if others else "")


async def test_three_tasks_for_one_stream() -> None:
    """Opened in one task, read in another, closed in a third; no scope of the first two is left behind."""
    rig = Rig()
    caller = rig.caller(timeout=30)
    longer = rig.caller(timeout=90)

    async def in_a_task(work: Callable[[], Any]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)

    await in_a_task(longer.open)
    await in_a_task(caller.open)
    await in_a_task(caller.step)
    await in_a_task(caller.step)
    await in_a_task(longer.step)
    await in_a_task(caller.stream.aclose)  # type: ignore[union-attr]
    await in_a_task(longer.stream.aclose)  # type: ignore[union-attr]
    assert (caller.text, longer.text, rig.upstream.live) == ("One two ", "One ", 0)


@on_asyncio
@pytest.mark.parametrize("how", ["cancel", "timeout", "wait_for"])
async def test_asyncios_own_ways_of_leaving(how: str) -> None:
    """`task.cancel`, `asyncio.timeout` and `wait_for` leave like any other cancellation, and none is swallowed."""
    rig = Rig(closing=0.2)
    for at in (0.0, 0.3, 0.7):
        caller, other = rig.caller(), rig.caller()

        async def reads(caller: Caller = caller) -> None:
            await caller.run()

        running = asyncio.create_task(other.run())
        await turn()
        task = asyncio.create_task(reads() if how == "cancel" else bounded(reads, at, how))
        await asyncio.sleep(at)
        if how == "cancel":
            task.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await task
        assert caller.ended in ((at,) if at else (0.0, -1.0))
        await running
        assert other.text == TEXT
        lone = rig.caller()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lone.run(), 0.7)
        assert (lone.ended, rig.upstream.live) == (0.9, 0)


async def bounded(reads: Callable[[], Any], at: float, how: str) -> None:
    if how == "wait_for":
        await asyncio.wait_for(reads(), at)
        return
    async with asyncio.timeout(at):
        await reads()


async def test_a_close_under_way_is_not_cut_short() -> None:
    """Whoever leaves while a failed call is being closed waits for that, and does not break it off."""
    rig = Rig((0.5, "One ", StreamCut("cut")), closing=0.3)
    caller = rig.caller()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller.run)
        await anyio.sleep(0.6)
        caller.scope.cancel()
    assert (rig.upstream.live, caller.since()) == (0, pytest.approx(0.8))


async def test_what_does_not_mind_is_told_again() -> None:
    """A layer that swallows the end of its time ends all the same, some moments later."""
    upstream = Upstream((0.5, "One ", 9.0))

    async def stubborn(call: Call) -> Stream:
        try:
            await anyio.sleep(60)
        except BaseException:
            await anyio.sleep(60)
        return await upstream.handler(call)

    flights = Flights()
    leader, other = Caller(shared(flights)(stubborn), timeout=2.0), Caller(shared(flights)(stubborn), timeout=2.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.run)
        tasks.start_soon(other.run)
    assert type(leader.error) is type(other.error) is DeadlineExceeded
    assert 2.05 <= leader.ended <= 5.0


# --- failures ---------------------------------------------------------------------------------------------------------


class Awkward(Exception):
    """Cannot be called with what it keeps as its arguments."""

    def __init__(self, one: int, *, other: int) -> None:
        super().__init__(f"{one} and {other}")
        self.one, self.other = one, other


def failures() -> list[Exception]:
    cut = StreamCut("cut", partial_text="One ", tokens=1)
    cut.retryable = True
    cut.__cause__ = OSError(104, "reset")
    exhausted = RateLimited("slow down", provider="openai", status_code=429, retry_after=2.5, body="{}", request_id="r")
    exhausted.retry_budget_exhausted = True
    return [
        BadRequest("no", provider="openai", status_code=400, body="wrong"),
        exhausted,
        ConnectFailed("refused"),
        ConnectionResetError(104, "reset"),
        FirstTokenTimeout("late", phase="first_token"),
        StreamStalled("stalled", phase="decode", partial_text="One ", tokens=1),
        cut,
        Awkward(1, other=2),
    ]


@pytest.mark.parametrize("number", range(len(failures())))
@pytest.mark.parametrize("before", [(0.5,), (0.5, "One ", 0.2)])
async def test_all_get_the_failure(number: int, before: Sequence[Any]) -> None:
    """The leader gets the exception itself, each other one a copy, after all that came before; nobody asks again."""
    failure = failures()[number]
    rig = Rig((*before, failure))
    callers = await rig.meet((0.0, {}), (0.1, {"shown": True}), (0.2, {"timeout": 600.0}))
    errors = [caller.error for caller in callers]
    assert errors[0] is failure
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert type(error) is type(failure)
        assert (str(error), error.args, vars(error)) == (str(failure), failure.args, vars(failure))
        assert error.__cause__ is failure.__cause__
        assert getattr(error, "errno", None) == getattr(failure, "errno", None)
    assert {caller.text for caller in callers} == {"".join(step for step in before if isinstance(step, str))}
    assert [state(caller) for caller in callers] == ["bypass", "shared", "shared"]
    assert len(rig.upstream.calls) == 1
    assert (await rig.meet((0.0, {})))[0].error is failure
    assert len(rig.upstream.calls) == 2


async def test_each_failure_tells_of_its_own_call() -> None:
    """Under the outer layer: ids, timings and attempts in the exception are those of the call that raised it."""
    upstream = Upstream((0.5, ServerFailed("broken", status_code=500)))
    handler = timed(stack(deadline, shared(Flights()), around=upstream.handler), (), StatsRecorder())
    errors: list[ServerFailed] = []

    async def chat(number: int) -> None:
        await anyio.sleep(number * 0.1)
        with pytest.raises(ServerFailed) as caught:
            await handler(replace(make_call(), id=str(number)))
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(chat, number)
    assert sorted((error.call_id, len(error.attempts), error.status_code) for error in errors) == [
        ("0", 1, 500),
        ("1", 0, 500),
        ("2", 0, 500),
    ]
    totals = sorted(round(error.timings.total, 6) for error in errors if error.timings)
    assert totals == [0.3, 0.4, 0.5]


# --- deadlines and what else is the leader's own ----------------------------------------------------------------------


async def test_a_longer_deadline_goes_on() -> None:
    """The leader's time is up before the first content: it fails, and one of the others asks again for all of them."""
    rig = Rig((9.0, "Late."), PLAN)
    leader, *others = await rig.meet((0.0, {"timeout": 2.0}), (0.5, {"timeout": 30.0}), (1.0, {"shown": True}))
    assert type(leader.error) is DeadlineExceeded
    assert leader.ended == pytest.approx(2.05)
    assert [(other.text, other.error) for other in others] == [(TEXT, None)] * 2
    assert [round(other.record.started + other.ended - leader.record.started, 6) for other in others] == [3.05, 3.05]
    assert sorted(state(other) for other in others) == ["bypass", "shared"]
    assert not any(chunk.restarted for other in others for batch in other.batches for chunk in batch)
    assert len(rig.upstream.calls) == 2


async def test_the_second_call_lasts_for_all() -> None:
    """Whoever asks again, the new call has the time of the one who has most, so that nobody asks a third time."""
    rig = Rig((9.0, "Late."), (9.0, *PLAN))
    arrivals = [(0.1 * number, {"timeout": 2.0 + number}) for number in range(12)]
    callers = await rig.meet(*arrivals)
    assert len(rig.upstream.calls) == 2
    for caller, (_, wishes) in zip(callers, arrivals, strict=True):
        limit = wishes["timeout"]
        if caller is callers[0] or limit + caller.record.started - callers[0].record.started < 12.05:
            assert type(caller.error) is DeadlineExceeded
            assert caller.ended == pytest.approx(limit, abs=0.06)
        else:
            assert caller.text == TEXT


async def test_deadlines_of_one_moment() -> None:
    """Calls that began together end together: none of them asks again for its last milliseconds."""
    rig = Rig((9.0, "Late."))
    callers = await rig.meet(*[(0.0045 * number, {"timeout": 2.0}) for number in range(20)])
    assert {type(caller.error) for caller in callers} == {DeadlineExceeded}
    assert len({id(caller.error) for caller in callers}) == 20
    assert len(rig.upstream.calls) == 1


@pytest.mark.parametrize("timeout, phase, text", [(0.3, "first_token", ""), (0.65, "decode", "One ")])
async def test_a_shorter_deadline_ends_by_itself(timeout: float, phase: str, text: str) -> None:
    """A follower's waits end with its own deadline, with what it was handed; the others go on."""
    rig = Rig()
    leader, short = await rig.meet((0.0, {}), (0.0, {"timeout": timeout, "shown": True}))
    error = short.error
    assert type(error) is DeadlineExceeded
    assert (error.phase, error.partial_text, error.tokens) == (phase, text, 1 if text else 0)
    assert (short.text, short.ended) == (text, timeout)
    assert (leader.text, leader.ended, len(rig.upstream.calls)) == (TEXT, 1.0, 1)


async def test_what_has_come_is_handed_out_after_the_deadline() -> None:
    """A deadline bounds waiting: a reader that comes late finds all that is there."""
    rig = Rig()
    leader, short = rig.caller(), rig.caller(timeout=0.7)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.run)
        await turn()
        await short.open()
        await anyio.sleep(5)
        while await short.step():
            pass
    assert short.text == TEXT


@pytest.mark.parametrize("shown", [False, True])
async def test_the_leaders_deadline_in_the_middle(shown: bool) -> None:
    """Whoever has shown nothing yet goes on with another answer, whole; who has gets an answer that is cut off."""
    rig = Rig(("One ", 0.5, "two ", 9.0, "three."), (0.5, "1 2 3", 0.2))
    leader, other, late = rig.caller(timeout=2.0), rig.caller(shown=shown), rig.caller(shown=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.run)
        await turn()
        tasks.start_soon(other.run)
        await late.open()
        await anyio.sleep(2.2)
        await late.run_on()
    assert (leader.text, type(leader.error), leader.ended) == ("One two ", DeadlineExceeded, 2.05)
    assert leader.error.partial_text == "One two "  # type: ignore[union-attr]
    assert (late.text, late.complete) == ("1 2 3", True)
    assert rig.upstream.calls[1].record.shown is shown  # for the layers below, which may restart what nobody saw
    if shown:
        assert type(other.error) is StreamCut
        assert (other.error.partial_text, other.error.tokens) == ("One two ", 2)
        assert other.error.__cause__ is leader.error
    else:
        assert (other.text, other.error) == ("1 2 3", None)
        assert other.ended == pytest.approx(2.75)
    assert len(rig.upstream.calls) == 2


async def test_going_on_is_time_of_decoding() -> None:
    """The parts add up also for a caller whose shared answer ended in the middle, and who led the next one."""
    upstream = Upstream((0.5, "One ", 9.0), PLAN[:-1])
    handler = timed(stack(deadline, shared(Flights()), around=upstream.handler), (), StatsRecorder())
    replies = []

    async def chat(timeout: float) -> None:
        try:
            stream = await handler(make_call(timeout=timeout))
            while await stream.pull():
                pass
        except DeadlineExceeded:
            return
        await stream.aclose()
        replies.append(stream.reply())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chat, 2.0)
        await turn()
        tasks.start_soon(chat, 9.0)
    (reply,) = replies
    assert (reply.text, reply.cache.state) == (TEXT, "shared")
    assert sum(reply.timings.parts().values()) == pytest.approx(reply.timings.total) == pytest.approx(2.95)
    assert reply.timings.decode == pytest.approx(2.45)
    assert len(upstream.calls) == 2


@pytest.mark.parametrize("failure", [QueueTimeout("no permit", phase="queue"), RateLimited("a pause")])
async def test_what_there_was_no_time_for(failure: FastClientError) -> None:
    """Nothing was sent because the leader's time would not do: who has more time asks again, who has not fails."""
    if isinstance(failure, RateLimited):
        failure.sent = False
    rig = Rig((0.5, failure), PLAN)
    leader, same, longer = await rig.meet((0.0, {"timeout": 2.0}), (0.01, {"timeout": 2.0}), (0.1, {}))
    assert leader.error is failure
    assert type(same.error) is type(failure)
    assert longer.text == TEXT
    assert len(rig.upstream.calls) == 2


async def test_a_leader_given_up() -> None:
    """Work given up at the leader's end concerns nobody else, however often it happens."""
    rig = Rig((0.5, GivenUp("the event loop is ending")), (0.5, GivenUp("again")), PLAN)
    callers = await rig.meet(*[(0.0, {})] * 4)
    assert sorted(type(caller.error).__name__ for caller in callers) == ["GivenUp", "GivenUp", "NoneType", "NoneType"]
    assert [caller.text for caller in callers].count(TEXT) == 2
    assert len(rig.upstream.calls) == 3


@on_asyncio
@pytest.mark.parametrize("at", [0.2, 0.6])
async def test_a_task_cancelled_from_outside(at: float) -> None:
    """Somebody cancels the task that no caller owns: the leader is told, the others go on as far as they can."""
    rig = Rig()
    before = asyncio.all_tasks()
    leader, other, shown = (rig.caller(), rig.caller(), rig.caller(shown=True))
    tasks = [asyncio.create_task(caller.run()) for caller in (leader, other, shown)]
    await asyncio.sleep(at)
    (flight,) = asyncio.all_tasks() - before - set(tasks)
    flight.cancel()
    await asyncio.gather(*tasks)
    assert type(leader.error) is StreamCut
    assert leader.error.partial_text == leader.text == ("" if at < 0.5 else "One ")
    assert (other.text, other.error) == (TEXT, None)
    assert type(shown.error) is (StreamCut if at > 0.5 else type(None))
    assert (len(rig.upstream.calls), rig.upstream.live) == (2, 0)


async def test_the_net_below_a_lone_call() -> None:
    """Whatever hangs below without minding the deadline, the call ends by it, with what had come."""
    for plan, phase, text in (((99.0,), "headers", ""), (("One ", 99.0), "decode", "One ")):
        rig = Rig(plan)
        (caller,) = await rig.meet((0.0, {"timeout": 2.0}))
        assert type(caller.error) is DeadlineExceeded
        assert (caller.error.phase, caller.error.partial_text, caller.text) == (phase, text, text)
        assert caller.ended == pytest.approx(2.05)


# --- restarts ---------------------------------------------------------------------------------------------------------


async def test_an_answer_that_begins_anew() -> None:
    """It broke off and is asked for again: who has shown nothing gets the second answer, who has shown some is told."""
    rig = Rig((0.5, "One ", 0.5, Chunk(text="1 ", restarted=True), 0.5, "2."))
    chat, shown, late, later = await rig.meet((0.0, {}), (0.1, {"shown": True}), (0.6, {}), (1.2, {"shown": True}))
    assert (chat.text, late.text, later.text) == ("1 2.",) * 3
    assert type(shown.error) is StreamCut
    assert (shown.error.partial_text, shown.error.tokens, shown.text) == ("One ", 1, "One ")
    assert [batch[0].text for batch in later.batches if batch] == ["1 ", "2."]
    assert len(rig.upstream.calls) == 1


async def test_a_restart_that_nobody_saw_begin() -> None:
    """A stream that was opened, but not read yet, hands out the second answer only; one without content is no loss."""
    rig = Rig(([Chunk(model="m")], 0.2, "One ", 0.5, Chunk(text="1 ", restarted=True), "2."))
    unread, role, chat = (rig.caller(shown=True), rig.caller(shown=True), rig.caller())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chat.run)
        await turn()
        await unread.open()
        await role.open()
        await role.step()
        await anyio.sleep(3)
        await role.run_on()
        await unread.run_on()
    assert (unread.text, role.text, chat.text) == ("1 2.",) * 3
    assert len(unread.batches) == 3


async def test_how_it_was_recovered_is_told_to_all() -> None:
    """Who shares an answer that broke off and went on learns that from the reply."""
    rig = Rig()
    leader, follower = rig.caller(recover="restart"), rig.caller(recover="restart")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.run)
        await turn()
        tasks.start_soon(follower.run)
        await anyio.sleep(0.6)
        leader.record.recovered = "restart"
    assert follower.record.recovered == "restart"


# --- priorities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["background", "default", "interactive"])
@pytest.mark.parametrize("second", ["background", "default", "interactive"])
@pytest.mark.parametrize("at", [0.2, 0.6])
async def test_nobody_waits_behind_the_less_urgent(first: str, second: str, at: float) -> None:
    """Before the first content only what is as urgent is joined, and then the more urgent one is what others join."""
    ranks = ["background", "default", "interactive"]
    rig = Rig()
    one, two, three = await rig.meet((0.0, {"priority": first}), (at, {"priority": second}), (at, {"priority": first}))
    joins = at > 0.5 or ranks.index(first) >= ranks.index(second)
    assert [state(caller) for caller in (one, two, three)] == ["bypass", "shared" if joins else "bypass", "shared"]
    assert {caller.text for caller in (one, two, three)} == {TEXT}
    assert three.ended == pytest.approx(1.0 - at if joins else 1.0)
    assert len(rig.upstream.calls) == 2 - joins


# --- storms -----------------------------------------------------------------------------------------------------------


async def test_a_thousand_cancelled_leaders() -> None:
    """The leader leaves at any moment, and some of the others too: those who stay get everything, from one call."""
    whole = 0
    for seed in range(1000):
        rng = Random(seed)
        rig = Rig((0.2, "One ", 0.1, "two ", 0.1, "three."), closing=rng.choice([0.0, 0.3]))
        callers = [rig.caller(shown=rng.random() < 0.5) for _ in range(rng.randint(2, 6))]
        leaving = [callers[0], *(caller for caller in callers[2:] if rng.random() < 0.5)]
        async with anyio.create_task_group() as tasks:
            for caller in callers:
                tasks.start_soon(caller.run)
                await turn()
            for caller in leaving:
                tasks.start_soon(
                    leave, caller, rng.choice([0.0, 0.1, 0.2, 0.3, 0.4, rng.random() / 2]), rng.randrange(4)
                )
        for caller in callers:
            assert caller.error is None
            assert caller.complete or (caller in leaving and TEXT.startswith(caller.text))
            assert caller.ended <= 0.5
            whole += caller.text == TEXT
        assert (len(rig.upstream.calls), rig.upstream.live) == (1, 0), seed
    assert whole > 2000


async def leave(caller: Caller, at: float, turns: int) -> None:
    await anyio.sleep(at)
    for _ in range(turns):
        await checkpoint()
    caller.scope.cancel()


@on_asyncio
async def test_cancelled_by_asyncio_itself() -> None:
    """`task.cancel()`, once or while the leaving still goes on: it is never swallowed, and nothing stays open."""
    for seed in range(400):
        rng = Random(seed)
        rig = Rig((0.2, "One ", 0.1, "two ", 0.1, "three."), closing=rng.choice([0.0, 0.3]))
        callers = [rig.caller(shown=rng.random() < 0.5) for _ in range(rng.randint(1, 4))]
        tasks = [asyncio.create_task(caller.run()) for caller in callers]
        left: set[int] = set()
        for _ in range(rng.randint(1, 6)):
            await asyncio.sleep(rng.choice([0.0, 0.0, 0.1, 0.2, rng.random() / 5]))
            number = rng.randrange(len(callers))
            if tasks[number].cancel():
                left.add(number)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, (caller, result) in enumerate(zip(callers, results, strict=True)):
            assert isinstance(result, asyncio.CancelledError) == (number in left), seed
            assert caller.error is None
            assert caller.text == TEXT or number in left, seed
        await asyncio.sleep(0.5)
        assert rig.upstream.live == 0, seed
        assert len(rig.upstream.calls) <= 1, seed


WISHES: list[dict[str, Any]] = [
    {},
    {},
    {"shown": True},
    {"shown": True},
    {"timeout": 0.3},
    {"timeout": 0.5, "shown": True},
    {"timeout": 1.0},
    {"priority": "interactive"},
    {"priority": "background"},
    {"cache": "refresh"},
]


def endings(rng: Random) -> list[Any]:
    """How a random answer ends; half of them end well."""
    restart = [Chunk(text="[", restarted=True), 0.1, "x]"]
    failures = [[BadRequest("no")], [StreamCut("cut")], [GivenUp("gone")], [9.0, "]"], restart]
    return rng.choice([[0.1, "]"]] * 5 + failures)


async def test_any_order_of_coming_and_going() -> None:
    """Callers with all kinds of wishes come, go and fail at random: each gets a whole answer, or knows why not."""
    outcomes: dict[str, int] = {}
    for seed in range(600):
        rng = Random(seed)
        plans = []
        for number in range(40):
            words = [f"[{number}", *rng.choice([("a", "b"), ("a",), ("a", "b", "c")])]
            plan: list[Any] = [step for word in words for step in (rng.choice([0, 0.05, 0.1, 0.2]), word)]
            plans.append([*plan, *endings(rng)])
        rig = Rig(*plans, closing=rng.choice([0.0, 0.0, 0.2]))
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(rng.randint(2, 7)):
                await anyio.sleep(rng.choice([0, 0, 0.05, 0.1, rng.random() / 5]))
                caller = rig.caller(**rng.choice(WISHES))
                tasks.start_soon(caller.run)
                if rng.random() < 0.4:
                    tasks.start_soon(leave, caller, rng.choice([0, 0.1, 0.2, rng.random() / 2]), rng.randrange(4))
        for caller in rig.callers:
            kind = judged(caller)
            outcomes[kind] = outcomes.get(kind, 0) + 1
        await anyio.sleep(1)
        assert rig.upstream.live == 0, seed
        assert len(rig.upstream.calls) <= len(rig.callers)
        assert anyio.current_time() - start < 80
    assert outcomes["whole"] > 500
    assert min(outcomes[kind] for kind in ("left", "BadRequest", "StreamCut", "GivenUp", "DeadlineExceeded")) > 10


def judged(caller: Caller) -> str:
    """How a call ended; checks what must hold for it."""
    text, error = caller.text, caller.error
    assert text.count("[") <= 1, "two answers were mixed"
    if caller.complete:
        assert error is None
        assert text.startswith("[") and text.endswith("]")
        return "whole"
    if error is None:
        assert caller.scope.cancelled_caught
        return "left"
    if isinstance(error, DeadlineExceeded):
        limit = caller.call.deadline - caller.record.started
        assert limit - 0.051 <= caller.ended <= limit + 1.06
        assert error.partial_text == text or not (error.partial_text or caller.record.shown)
    elif isinstance(error, StreamCut) and str(error) != "cut":
        assert error.partial_text == text
    return type(error).__name__


# --- threads, and what is left behind ---------------------------------------------------------------------------------


def test_a_hundred_threads() -> None:
    """Blocking callers in a hundred threads meet on the one engine: one call upstream, equal answers."""
    many, arrived = 100, 0
    upstream = Upstream((0.0, "One ", 0.01, "two ", 0.01, "three."))
    barrier = threading.Barrier(many)

    async def patient(call: Call) -> Stream:
        while arrived < many:
            await anyio.sleep(0.005)
        return await upstream.handler(call)

    def counted(handler: Handler) -> Handler:
        async def counting(call: Call) -> Stream:
            nonlocal arrived
            arrived += 1
            return await handler(call)

        return counting

    handler = stack(seam, counted, shared(Flights()), around=patient)

    def chat(number: int) -> tuple[str, str]:
        caller = Caller(handler, clock=monotonic, shown=number % 2 == 0)
        barrier.wait()
        drive(caller.open())
        while drive(caller.step()):
            pass
        drive(caller.stream.aclose())  # type: ignore[union-attr]
        return caller.text, state(caller)

    with ThreadPoolExecutor(many) as threads:
        answers = list(threads.map(chat, range(many)))
    assert len(upstream.calls) == 1
    assert [text for text, _ in answers] == [TEXT] * many
    assert sorted(how for _, how in answers) == ["bypass"] + ["shared"] * (many - 1)
    assert upstream.live == 0


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("home", ["asyncio", "trio"])
def test_a_loop_that_ends_first(home: str, opened: bool) -> None:
    """A run that is over while a call is under way closes it, says nothing about it, and leaves nothing behind."""
    flights, upstream = Flights(), Upstream((0.01, "One ", 60.0))
    handler = shared(flights)(upstream.handler)

    async def main() -> None:
        caller = Caller(handler)
        if opened:
            await caller.open()
        else:
            with anyio.move_on_after(0.001):
                await caller.open()
            asyncio.ensure_future(Caller(handler).run()) if home == "asyncio" else None
            await turn()

    asyncio.run(main()) if home == "asyncio" else trio.run(main)
    gc.collect()
    assert upstream.live == 0


@on_asyncio
async def test_nothing_is_kept() -> None:
    """When a call is over, nothing holds its parts in a circle: they go at once, without the collector."""
    flights = Flights()

    class Part:
        pass

    for leave_early in (False, True):
        upstream = Upstream()
        upstream.part = part = Part()  # type: ignore[attr-defined]
        gone = weakref.ref(part)
        caller = Caller(shared(flights)(upstream.handler))
        gc.disable()
        try:
            if leave_early:
                await caller.open()
                await caller.stream.aclose()  # type: ignore[union-attr]
            else:
                await caller.run()
            await turn()
            del caller, upstream, part
            assert gone() is None
        finally:
            gc.enable()


def test_loops_are_not_kept() -> None:
    """The table outlives loops, and keeps none of them."""
    flights, loops = Flights(), []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await Caller(shared(flights)(Upstream((0.001, "Hi")).handler)).run()

    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3


@on_asyncio
async def test_no_task_is_left() -> None:
    """After an answer, a failure or a cancellation only the caller's own task runs on."""
    before = asyncio.all_tasks()
    rig = Rig(PLAN, (0.5, ServerFailed("no")), PLAN)
    await rig.meet((0.0, {}), (0.1, {}))
    await rig.meet((0.0, {}), (0.1, {}))
    caller = rig.caller()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller.run)
        await anyio.sleep(0.6)
        tasks.cancel_scope.cancel()
    await turn()
    assert asyncio.all_tasks() == before
