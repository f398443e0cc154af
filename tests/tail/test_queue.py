"""Waiting for permission to send: who goes first, who is told at once, and that no place is ever lost.

What depends on sockets, threads and event loops runs in all worlds; what is about time runs in virtual time.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from fastclient import AsyncClient, Limits, Policy, Retry, Timeouts
from fastclient.errors import ConfigError, FastClientError, QueueTimeout, RateLimited, ServerFailed
from fastclient.testing import FakeProvider, Hang, ProviderServer, ServerRequest, Status, Tokens, Wait, faults
from tests.engine.doors import PROMPT, WORLDS, AsyncDoor, Door, ThreadDoor, in_new_thread, seen
from tests.engine.test_leaving import ENDLESS, left, left_blocking

pytestmark = pytest.mark.slow

# --- in all worlds ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def anyio_backend(world: str) -> str:
    return "trio" if world.startswith("trio") else "asyncio"


class Rig:
    """A server, and a client with limits that asks it. A prompt says what its request meets."""

    def __init__(self, world: str, limits: Limits, plans: Any, retry: Retry | None, **timeouts: float) -> None:
        self.home, wire = world.split("-")
        self.plans = plans
        self.server = ProviderServer(script=self._plan).start()
        policy = Policy(timeouts=Timeouts(**{"total": 10, "queue": 5, **timeouts}), retry=retry, limits=limits)
        kind = ThreadDoor if self.home == "threads" else AsyncDoor
        self.door: Door = kind("openai:m", base_url=self.server.base_url, policy=policy, wire=wire)

    def _plan(self, request: ServerRequest) -> Any:
        return self.plans(request) if callable(self.plans) else self.plans.get(request.text, (Tokens("Well."),))

    async def outcome(self, prompt: str, into: list[Any], **options: Any) -> None:
        """Make a call, and note what came of it."""
        try:
            into.append((await self.door.chat(prompt, **options)).text)
        except FastClientError as error:
            into.append(error)

    async def arrived(self, number: int) -> None:
        assert await seen(self.server, lambda counters: counters.accepted >= number, 2)

    async def waiting(self, number: int) -> None:
        """Until so many calls are under way here; then they have had time to get in line."""
        with anyio.fail_after(2):
            while self.door.client.stats().in_flight < number:
                await anyio.sleep(0.002)
        await anyio.sleep(0.05)


@pytest.fixture
async def rig(world: str) -> AsyncIterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(concurrency: int | None = 1, retry: Retry | None = None, plans: Any = None, **timeouts: float) -> Rig:
        made.append(Rig(world, Limits(concurrency=concurrency), plans or {}, retry, **timeouts))
        return made[-1]

    yield make
    for each in made:
        await each.door.close()
        assert await seen(each.server, lambda counters: counters.open_connections == 0, 1)
        each.server.stop()
    gc.collect()


async def test_so_many_at_once_and_no_more(rig) -> None:
    """With a limit of three, nine calls are answered, three at a time."""
    here = rig(3, plans={"slow": (Wait(0.1), Tokens("Slow."))})
    outcomes: list[Any] = []
    most = 0

    async with anyio.create_task_group() as calls:
        for _ in range(9):
            calls.start_soon(here.outcome, "slow", outcomes)
        while len(outcomes) < 9:
            most = max(most, here.server.counters.live)
            await anyio.sleep(0.005)
    assert outcomes == ["Slow."] * 9
    assert most == 3


async def leave(door: Door, how: str) -> None:
    if isinstance(door, AsyncDoor):
        await left(door.client, how)
    else:
        await in_new_thread(lambda: left_blocking(door.client, how))


WAYS = ["break", "break out of with", "exception", "exception in with", "dropped iterator"]


@pytest.mark.parametrize("how", WAYS)
async def test_leaving_gives_the_place_back(rig, how: str) -> None:
    """However a stream is left, the next call goes at once; and it is one place that came back, not two."""
    here = rig(1, plans={PROMPT: ENDLESS, "slow": (Wait(0.1), Tokens("Slow."))})
    for _ in range(2):
        try:
            await leave(here.door, how)
        except LookupError:
            assert "exception" in how
    await still_one(here)


async def still_one(here: Rig) -> None:
    """A call goes at once, and two more go one after the other."""
    with anyio.fail_after(2):
        assert (await here.door.chat("Again.")).text == "Well."
    outcomes: list[Any] = []
    here.plans["slow"] = (Wait(0.1), Tokens("Slow."))
    assert await seen(here.server, lambda counters: counters.live == 0, 1.5)
    async with anyio.create_task_group() as calls:
        for _ in range(2):
            calls.start_soon(here.outcome, "slow", outcomes)
        await here.waiting(2)
        assert here.server.counters.live == 1
    assert outcomes == ["Slow."] * 2


ENDS = {
    "whole": ((Tokens("One two."),), None),
    "refused": (faults.status(400), "BadRequest"),
    "broken": (faults.status(500), "ServerFailed"),
    "throttled": (faults.status(429, retry_after="0.1"), "RateLimited"),
    "reset at once": (faults.reset(0), "ConnectFailed"),
    "cut": (faults.truncated(3), "StreamCut"),
    "stalled": (faults.stall(3), "StreamStalled"),
    "silent": (faults.headers_then_silence(10), "FirstTokenTimeout"),
}


@pytest.mark.parametrize("world", [world for world in WORLDS if not world.endswith("httpx")], indirect=True)
@pytest.mark.parametrize("plan, error", ENDS.values(), ids=ENDS)
async def test_every_end_gives_the_place_back(rig, plan: Any, error: str | None) -> None:
    """A whole answer, a refusal, a failure, a cut, a stall: the next call goes."""
    here = rig(1, plans={"this": plan}, first_token=0.2, progress=0.2)
    outcomes: list[Any] = []
    for _ in range(2):
        await here.outcome("this", outcomes)
    assert {type(outcome).__name__ for outcome in outcomes} == {error or "str"}
    await still_one(here)


@pytest.mark.parametrize("plan", [faults.headers_then_silence(10), ENDLESS], ids=["while opening", "while reading"])
async def test_cancelling_gives_the_place_back(rig, plan: Any) -> None:
    """A call that is cancelled, before its first token or behind it, makes room for the next."""
    here = rig(1, plans={PROMPT: plan})
    answer = here.door.begin()
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            while await answer.next():
                pass

        tasks.start_soon(read)
        await here.arrived(1)
        await anyio.sleep(0.05)
        if here.home == "threads":
            await answer.close()
        else:
            tasks.cancel_scope.cancel()
    with anyio.CancelScope(shield=True):
        await answer.close()
    await still_one(here)


async def test_who_gives_up_waiting_leaves_no_hole(rig) -> None:
    """Of five in line the first and the third leave: the others are served, each in turn."""
    here = rig(1, plans={"slow": (Wait(0.4), Tokens("Slow.")), PROMPT: (Tokens("Never."),)})
    outcomes: list[Any] = []
    async with anyio.create_task_group() as calls:
        calls.start_soon(here.outcome, "slow", outcomes)
        await here.arrived(1)
        leavers = [here.door.begin(), here.door.begin()]
        async with anyio.create_task_group() as leaving:

            async def read(answer: Any) -> None:
                assert await answer.next() == ""

            for number, answer in enumerate(leavers):
                leaving.start_soon(read, answer)
                await here.waiting(2 + 2 * number)
                calls.start_soon(here.outcome, f"Number {number}.", outcomes)
                await here.waiting(3 + 2 * number)
            if here.home == "threads":
                for answer in leavers:
                    await answer.close()
            else:
                leaving.cancel_scope.cancel()
    for answer in leavers:
        await answer.close()
    assert outcomes == ["Slow.", "Well.", "Well."]
    assert [exchange.request.text for exchange in here.server.exchanges] == ["slow", "Number 0.", "Number 1."]
    await still_one(here)


async def test_closing_while_calls_wait(rig) -> None:
    """Closing the client ends the waiting at once, with an error that says so; nothing more is sent."""
    here = rig(1, plans={PROMPT: (Hang(),)})
    outcomes: list[Any] = []
    with anyio.fail_after(3):
        async with anyio.create_task_group() as calls:
            for number in range(4):
                calls.start_soon(here.outcome, PROMPT, outcomes)
                await here.waiting(number + 1)
            await here.arrived(1)
            await here.door.close()
    assert len(outcomes) == 4
    assert sum(isinstance(outcome, ConfigError) for outcome in outcomes) == 3
    assert here.server.counters.accepted == 1


async def test_closing_during_a_pause(rig) -> None:
    """Who waits for a pause to end, with nothing under way, hears of the closing at once, too."""
    here = rig(None, plans={"first": faults.status(429, retry_after="4")})
    outcomes: list[Any] = []
    await here.outcome("first", outcomes)
    with anyio.fail_after(1):
        async with anyio.create_task_group() as calls:
            for _ in range(3):
                calls.start_soon(here.outcome, PROMPT, outcomes)
            await here.waiting(3)
            await here.door.close()
    assert [type(outcome) for outcome in outcomes] == [RateLimited, *[ConfigError] * 3]


async def test_everybody_goes_on_after_a_pause(rig) -> None:
    """After a refusal all wait; then one goes first, and with its answer all the others do."""
    refusals = iter([faults.status(429, retry_after="0.3")])
    here = rig(None, retry=Retry(), plans=lambda _: next(refusals, (Wait(0.1), Tokens("Slow."))))
    outcomes: list[Any] = []
    async with anyio.create_task_group() as calls:
        calls.start_soon(here.outcome, "first", outcomes)
        await here.arrived(1)
        await anyio.sleep(0.05)
        for number in range(6):
            calls.start_soon(here.outcome, f"Number {number}.", outcomes)
        await here.waiting(7)
        assert here.server.counters.accepted == 1
    assert outcomes == ["Slow."] * 7
    starts = [exchange.started for exchange in here.server.exchanges]
    assert starts[1] - starts[0] >= 0.28
    assert all(start - starts[1] >= 0.08 for start in starts[2:]), "one goes first"
    assert starts[-1] - starts[2] < 0.2, "then all the others at once"


# --- in virtual time --------------------------------------------------------------------------------------------------


class Line:
    """A client with limits and the provider it asks, in virtual time."""

    def __init__(self, limits: Limits, plan: Callable[[ServerRequest], Any], **levers: Any) -> None:
        self.fake = FakeProvider(plan)
        policy = {"retry": None, "timeouts": Timeouts(total=1000, queue=500), **levers}
        self.client = AsyncClient("openai:m", wire=self.fake, policy=Policy(limits=limits, **policy))

    @property
    def order(self) -> list[str]:
        return [request.text for request in self.fake.requests]


def in_virtual_time(test: Callable[[], Any]) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))


def test_better_classes_go_first() -> None:
    """Interactive before default before background, but each class that waits gets every tenth place."""

    async def main() -> None:
        line = Line(Limits(concurrency=1), lambda _: (Wait(1), Tokens("Well.")))
        async with anyio.create_task_group() as calls:
            for number in range(120):
                for priority in ("background", "default", "interactive"):
                    calls.start_soon(partial(line.client.chat, f"{priority} {number}", priority=priority))
                await anyio.sleep(0)
        kinds = [text.partition(" ")[0] for text in line.order]
        first = Counter(kinds[1:101])
        assert first["background"] >= 9 and first["default"] >= 9
        assert first["interactive"] >= 78
        for kind in ("interactive", "default", "background"):
            numbers = [int(text.split()[1]) for text in line.order if text.startswith(kind)]
            assert numbers == sorted(numbers), "first come, first served"

    in_virtual_time(main)


def test_the_longest_wait() -> None:
    """Nobody waits longer than `Timeouts.queue`; the error says what for, and nothing was sent."""

    async def main() -> None:
        line = Line(Limits(concurrency=1), lambda _: (Hang(),), timeouts=Timeouts(total=100, queue=7, first_token=50))
        async with anyio.create_task_group() as calls:
            calls.start_soon(expect, FastClientError, line)
            await anyio.sleep(1)
            error = await expect(QueueTimeout, line)
            assert anyio.current_time() == pytest.approx(8)
            assert (error.phase, error.attempts, len(line.order)) == ("queue", (), 1)
            assert error.timings.queue == pytest.approx(7)

    in_virtual_time(main)


async def expect(kind: type[FastClientError], line: Line, **options: Any) -> Any:
    with pytest.raises(kind) as caught:
        await line.client.chat("Say something.", **options)
    return caught.value


def test_the_calls_own_deadline_in_line() -> None:
    """A call whose time is up while it waits ends then, sooner than the longest wait."""

    async def main() -> None:
        line = Line(Limits(concurrency=1), lambda _: (Wait(30), Tokens("Well.")))
        async with anyio.create_task_group() as calls:
            calls.start_soon(line.client.chat, "first")
            await anyio.sleep(1)
            error = await expect(FastClientError, line, timeout=3)
            assert isinstance(error, TimeoutError)
            assert anyio.current_time() == pytest.approx(4, abs=0.06)
            assert len(line.order) == 1

    in_virtual_time(main)


def test_a_line_too_long_is_told_at_once() -> None:
    """Where answers take four seconds and nobody waits more than ten: the fifth in line hears it at once."""

    async def main() -> None:
        line = Line(
            Limits(concurrency=1), lambda _: (Wait(4), Tokens("Well.")), timeouts=Timeouts(total=1000, queue=10)
        )
        await line.client.chat("before")
        outcomes: list[Any] = []

        async def call() -> None:
            start = anyio.current_time()
            try:
                await line.client.chat("Say something.")
                outcomes.append(None)
            except QueueTimeout as error:
                outcomes.append((anyio.current_time() - start, error.attempts))

        async with anyio.create_task_group() as calls:
            for _ in range(6):
                calls.start_soon(call)
        shed = [outcome for outcome in outcomes if outcome is not None]
        assert 2 <= len(shed) <= 4
        assert shed == [(0, ())] * len(shed)

    in_virtual_time(main)


def test_waiting_is_queue_time() -> None:
    """What a call waited for its permit is the queue part of its timings, and in its time to the first token."""

    async def main() -> None:
        line = Line(Limits(concurrency=1), lambda _: (Wait(5), Tokens("Well.")))
        async with anyio.create_task_group() as calls:
            calls.start_soon(line.client.chat, "first")
            await anyio.sleep(1)
            reply = await line.client.chat("second")
            assert reply.timings.queue == pytest.approx(4)
            assert reply.timings.ttft == pytest.approx(9)
            assert sum(reply.timings.parts().values()) == pytest.approx(reply.timings.total)
            assert reply.attempts[0].timings.total == pytest.approx(5)

    in_virtual_time(main)


QUOTA = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "20s",
}


def test_the_next_in_line_takes_over_the_watch() -> None:
    """All wait for a quota to come back; the first, who watches the clock, leaves: the others go when it does."""

    async def main() -> None:
        empty = iter([QUOTA])
        line = Line(Limits(), lambda _: (Status(200, next(empty, {})), Tokens("Well.")))
        await line.client.chat("before")
        async with anyio.create_task_group() as calls:
            with anyio.move_on_after(5):
                async with anyio.create_task_group() as leaving:
                    leaving.start_soon(line.client.chat, "leaves")
                    await anyio.sleep(1)
                    for number in range(3):
                        calls.start_soon(line.client.chat, f"Number {number}.")
        assert sorted(line.order) == ["Number 0.", "Number 1.", "Number 2.", "before"]
        assert 20 <= anyio.current_time() <= 23

    in_virtual_time(main)


def test_pacing_may_be_left_out() -> None:
    """With `pace=False` nobody waits for a quota; refusals are obeyed all the same."""

    async def main() -> None:
        plans = iter([(Status(200, QUOTA), Tokens("Well.")), (Tokens("Well."),), faults.status(429, retry_after="5")])
        line = Line(Limits(pace=False), lambda _: next(plans, (Tokens("Well."),)))
        for _ in range(2):
            await line.client.chat("before")
        assert anyio.current_time() == 0
        await expect(RateLimited, line)
        await line.client.chat("after")
        assert anyio.current_time() == pytest.approx(5)

    in_virtual_time(main)


@pytest.mark.parametrize("probe", ["answers", "fails", "is refused", "is cancelled"])
def test_a_pause_and_its_end(probe: str) -> None:
    """Five seconds for all, then one goes first. Whatever becomes of it, nobody is forgotten."""

    async def main() -> None:
        first = {
            "answers": (Wait(2), Tokens("Well.")),
            "fails": (Wait(2), *faults.status(500)),
            "is refused": (Wait(2), *faults.status(429, retry_after="5")),
            "is cancelled": (Hang(),),
        }[probe]
        plans = iter([faults.status(429, retry_after="5"), first])
        line = Line(Limits(), lambda _: next(plans, (Tokens("Well."),)))
        await expect(RateLimited, line)
        starts: list[float] = []

        async def call(patience: float) -> None:
            with anyio.move_on_after(patience):
                try:
                    await line.client.chat("waits")
                except (ServerFailed, RateLimited):
                    return
                starts.append(anyio.current_time())

        async with anyio.create_task_group() as calls:
            calls.start_soon(call, 8.0 if probe == "is cancelled" else 100.0)
            await anyio.sleep(0.1)
            for _ in range(4):
                calls.start_soon(call, 100.0)
        when = {"answers": 7, "fails": 7, "is refused": 12, "is cancelled": 8}[probe]
        assert starts == pytest.approx([when] * (5 if probe == "answers" else 4), abs=0.01)
        assert len(line.order) == 6

    in_virtual_time(main)


def test_who_cannot_wait_for_the_pause() -> None:
    """When a refusal comes, those in line for whom the pause is too long hear it at once, with its length."""

    async def main() -> None:
        plans = iter([(Wait(3), *faults.status(429, retry_after="30"))])
        line = Line(Limits(concurrency=1), lambda _: next(plans, (Tokens("Well."),)))
        told: list[tuple[float, float | None]] = []

        async def hurried() -> None:
            error = await expect(RateLimited, line, timeout=20)
            told.append((anyio.current_time(), error.retry_after))

        async with anyio.create_task_group() as calls:
            calls.start_soon(expect, RateLimited, line)
            await anyio.sleep(1)
            calls.start_soon(hurried)
            calls.start_soon(line.client.chat, "patient")
        assert told == [(3, 30)]
        assert anyio.current_time() == 33

    in_virtual_time(main)


def test_no_limits_no_line() -> None:
    """Without the lever nothing waits: a hundred at once are a hundred at once."""

    async def main() -> None:
        line = Line(None, lambda _: (Wait(1), Tokens("Well.")))  # type: ignore[arg-type]
        async with anyio.create_task_group() as calls:
            for _ in range(100):
                calls.start_soon(line.client.chat, "Say something.")
        assert anyio.current_time() == pytest.approx(1)

    in_virtual_time(main)


def test_threads_share_one_line() -> None:
    """Blocking callers in many threads stand in the same line, and all are served."""
    from fastclient import Client

    with ProviderServer(script=lambda _: (Wait(0.02), Tokens("Well."))) as server:
        policy = Policy(limits=Limits(concurrency=2), timeouts=Timeouts(queue=10))
        most, texts = 0, []
        with Client("openai:m", base_url=server.base_url, policy=policy) as client:
            threads = [threading.Thread(target=lambda: texts.append(client.chat("Hi").text)) for _ in range(20)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                most = max(most, server.counters.live)
                threads[0].join(0.002)
            for thread in threads:
                thread.join()
    assert texts == ["Well."] * 20
    assert most == 2
