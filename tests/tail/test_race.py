"""A late request and its copy over real sockets, in all worlds: who answers, what the loser costs, and what may not be.

Each world has one warmed client. A scenario says what the next requests meet, in the order of their arrival; all others
are answered after a hundredth of a second. The exact moments are checked in `test_race_virtual.py`.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import to_thread

from fastclient import AsyncClient, Hedge, Policy, Reply, Retry, Target, Timeouts
from fastclient.errors import (
    AuthenticationFailed,
    BadRequest,
    ConnectFailed,
    FastClientError,
    ServerFailed,
    StreamStalled,
)
from fastclient.observe.events import CallFinished
from fastclient.testing import Hang, ProviderServer, Reset, ServerRequest, Status, Tokens, Wait, faults
from tests.engine.doors import ASYNC_WORLDS, PROMPT, WORLDS, AsyncDoor, Door, ThreadDoor, seen

pytestmark = pytest.mark.slow

USUAL = (Wait(0.01), Tokens("Usual."))
COPY = (Wait(0.05), Tokens("From the copy."))
BUDGET = 0.05
LATE = 10.0  # seconds a late request takes

two_wires = pytest.mark.parametrize("world", [world for world in WORLDS if not world.endswith("httpx")], indirect=True)


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def anyio_backend(world: str) -> str:
    return "trio" if world.startswith("trio") else "asyncio"


class Rig:
    """A client that hedges, and the server it asks."""

    def __init__(self, world: str, provider: str = "openai") -> None:
        self.home, self.wire = world.split("-")
        self.plans: deque[Any] = deque()  # for the next requests; then all is as usual
        self.finished: list[CallFinished] = []
        self.server = ProviderServer(script=self._plan).start()
        policy = Policy(
            timeouts=Timeouts(total=20, progress=0.3), retry=None, hedge=Hedge(budget=BUDGET), observers=(self._note,)
        )
        kind = ThreadDoor if self.home == "threads" else AsyncDoor
        self.door: Door = kind(f"{provider}:m", base_url=self.server.base_url, policy=policy, wire=self.wire)
        self._policy = policy

    def _plan(self, request: ServerRequest) -> Any:
        plan = self.plans.popleft() if self.plans else USUAL
        return plan(request) if callable(plan) else plan

    def _note(self, event: Any) -> None:
        if isinstance(event, CallFinished):
            self.finished.append(event)

    async def warm(self, calls: int) -> None:
        """So many usual calls, four at a time; none is copied, so what they pay in is there for the scenario."""
        chat = partial(self.door.client.chat, hedge=False)
        if self.home == "threads":
            with ThreadPoolExecutor(4) as threads:
                await to_thread.run_sync(lambda: list(threads.map(chat, [PROMPT] * calls)))
            return

        async def some() -> None:
            for _ in range(calls // 4):
                await chat(PROMPT)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(some)

    def with_(self, **levers: Any) -> Door:
        """The same client with other levers."""
        door = copy.copy(self.door)
        door.client = self.door.client.with_(policy=replace(self._policy, **levers))  # type: ignore[assignment]
        return door

    def meet(self, *plans: Any) -> None:
        """What the next requests meet."""
        self.plans.extend(plans)
        self.before = len(self.server.exchanges)

    @property
    def met(self) -> list[Any]:
        """The exchanges of this scenario."""
        return self.server.exchanges[self.before :]

    async def settled(self, within: float = 0.25) -> None:
        """The server has nothing open any more."""
        assert await seen(self.server, lambda counters: counters.live == 0, within)

    def copies(self) -> int:
        return sum(attempt.role == "hedge" for event in self.finished for attempt in event.attempts)

    async def close(self) -> None:
        await self.door.close()
        assert await seen(self.server, lambda counters: counters.open_connections == 0), "a connection is still open"
        self.server.stop()


async def opened(world: str, provider: str) -> AsyncIterator[Rig]:
    rig = Rig(world, provider)
    await rig.warm(200)
    yield rig
    await rig.close()
    gc.collect()


@pytest.fixture(scope="module")
async def warmed(world: str) -> AsyncIterator[Rig]:
    async for rig in opened(world, "openai"):
        yield rig


@pytest.fixture(scope="module")
async def warmed_anthropic(world: str) -> AsyncIterator[Rig]:
    async for rig in opened(world, "anthropic"):
        yield rig


@pytest.fixture
async def rig(warmed: Rig) -> AsyncIterator[Rig]:
    async for rig in ready(warmed):
        yield rig


@pytest.fixture
async def anthropic(warmed_anthropic: Rig) -> AsyncIterator[Rig]:
    async for rig in ready(warmed_anthropic):
        yield rig


async def ready(rig: Rig) -> AsyncIterator[Rig]:
    """The rig between scenarios: its allowance is filled, and what one late call taught is not all it knows."""
    await rig.warm(40)
    yield rig
    rig.plans.clear()
    await rig.settled(1.5 if rig.wire == "httpx" else 0.25)
    assert rig.door.client.stats().in_flight == 0
    assert rig.copies() <= BUDGET * len(rig.finished), "copies stay within their budget at all times"


def story(attempts: Any) -> list[tuple[str, str]]:
    return [(attempt.role, attempt.outcome) for attempt in attempts]


async def rescued(rig: Rig, plan: Any, *, closed: float = 0.15) -> Reply:
    """A call whose primary meets `plan` and whose copy answers after 50 ms: it must be answered by the copy."""
    rig.meet(plan, COPY)
    pieces: list[str] = []
    reply = await rig.door.read(pieces)
    assert "".join(pieces) == reply.text == "From the copy."
    assert story(reply.attempts) == [("primary", "lost"), ("hedge", "won")]
    assert 0.06 <= reply.timings.ttft < 0.6  # the delay and 50 ms; the rest is for a busy machine
    primary, copied = rig.met
    assert primary.request.body == copied.request.body
    await rig.settled(closed + 0.1)
    assert primary.cut_early
    assert primary.ended - copied.first_token < closed, "the loser is closed when the winner's first token is there"
    return reply


PRELUDES = {
    "headers": faults.headers_then_silence(LATE),
    "role": faults.role_then_silence(LATE),
    "comments": faults.comments(0.05, LATE),
    "gateway": faults.comments(0.05, LATE, "OPENROUTER PROCESSING"),
    "blank-lines": faults.blank_lines(0.05, LATE),
}


async def test_a_silent_primary(rig: Rig) -> None:
    """When nothing comes, the copy's tokens do; the primary is closed, and what it cost is in the usage."""
    if rig.wire == "httpx":  # which closes nothing before its headers are in
        reply = await rescued(rig, (Wait(0.8), Status(200), Hang()), closed=1.2)
    else:
        reply = await rescued(rig, (Wait(LATE),))
    assert reply.usage.wasted_tokens == reply.attempts[0].wasted_tokens > 0


@pytest.mark.parametrize("plan", PRELUDES.values(), ids=PRELUDES)
async def test_what_is_not_content_stops_no_timer(rig: Rig, plan: Any) -> None:
    """Headers, roles, comments and blank lines are no answer: the copy goes out all the same, and wins."""
    await rescued(rig, plan)


@two_wires
@pytest.mark.parametrize("plan", [faults.pings(0.05, LATE), faults.role_then_silence(LATE)], ids=["pings", "start"])
async def test_pings_stop_no_timer(anthropic: Rig, plan: Any) -> None:
    """Anthropic's pings and `message_start` are no answer either."""
    await rescued(anthropic, plan)


async def test_a_chat_is_raced_too(rig: Rig) -> None:
    """`chat` returns the copy's answer, and knows when its first token came."""
    rig.meet(faults.headers_then_silence(LATE), COPY)
    reply = await rig.door.chat()
    assert (reply.text, story(reply.attempts)) == ("From the copy.", [("primary", "lost"), ("hedge", "won")])
    assert reply.request_id == reply.attempts[1].request_id


async def test_first_tokens_at_the_same_moment(rig: Rig) -> None:
    """Both write at once: one answer comes out, whole and unmixed; the other is closed and counted as lost."""
    at = 0.0

    def plan(text: str, request: ServerRequest) -> Any:
        nonlocal at
        at = at if text == "copy" else time.monotonic() + 0.15
        return (Wait(max(0.0, at - time.monotonic())), Tokens(text * 20, gap=0.002))

    for _ in range(3):
        rig.meet(partial(plan, "primary"), partial(plan, "copy"))
        pieces: list[str] = []
        reply = await rig.door.read(pieces)
        assert "".join(pieces) == reply.text in ("primary" * 20, "copy" * 20)
        assert sorted(outcome for _, outcome in story(reply.attempts)) == ["lost", "won"]
        assert [attempt.role for attempt in reply.attempts] == ["primary", "hedge"]
        won = next(attempt for attempt in reply.attempts if attempt.outcome == "won")
        assert (reply.request_id == won.request_id) and reply.text.startswith(
            "primary" if won.role == "primary" else "copy"
        )
        await rig.settled()
        await rig.warm(20)


async def test_a_primary_that_answers_after_all(rig: Rig) -> None:
    """The copy is under way when the primary's first token comes: the primary wins, and the copy is closed."""
    rig.meet((Wait(0.2), Tokens("From the primary.")), faults.headers_then_silence(LATE))
    reply = await rig.door.chat()
    assert (reply.text, story(reply.attempts)) == ("From the primary.", [("primary", "won"), ("hedge", "lost")])
    assert reply.usage.wasted_tokens > 0
    assert await seen(rig.server, lambda counters: counters.live == 0)
    assert rig.met[1].cut_early


async def test_a_copy_that_wins_and_stalls(rig: Rig) -> None:
    """The primary is gone by then: the error has what the copy brought, and no other text is put in its place."""
    rig.meet(faults.headers_then_silence(LATE), (Tokens("One two thre"), Hang()))
    pieces: list[str] = []
    with pytest.raises(StreamStalled) as caught:
        await rig.door.read(pieces)
    error = caught.value
    assert ("".join(pieces), error.partial_text, error.tokens) == ("One two thre", "One two thre", 3)
    assert story(error.attempts) == [("primary", "lost"), ("hedge", "failed")]


async def test_a_failure_before_the_copy_is_due(rig: Rig) -> None:
    """The primary fails at once: the call is tried again at once, as a retry; no copy is sent for it."""
    rig.meet(faults.status(500))
    start = time.monotonic()
    reply = await rig.with_(retry=Retry()).chat()
    assert time.monotonic() - start < 0.6
    assert (reply.text, story(reply.attempts)) == ("Usual.", [("primary", "failed"), ("retry", "won")])


@pytest.mark.parametrize("code, kind", [(401, AuthenticationFailed), (400, BadRequest), (413, BadRequest)])
@two_wires
async def test_a_refused_request_is_not_copied(rig: Rig, code: int, kind: type[Exception]) -> None:
    """The provider's no is raised at once, with its body; nothing else is sent."""
    rig.meet(faults.status(code, message="No!"))
    with pytest.raises(kind) as caught:
        await rig.with_(retry=Retry()).chat()
    assert "No!" in caught.value.body  # type: ignore[attr-defined]
    assert (len(rig.met), len(caught.value.attempts)) == (1, 1)  # type: ignore[attr-defined]


async def test_a_refused_request_takes_its_copy_along(rig: Rig) -> None:
    """The primary is refused while its copy runs: the copy is closed, and the refusal raised."""
    rig.meet((Wait(0.2), *faults.status(401)), faults.headers_then_silence(LATE))
    with pytest.raises(AuthenticationFailed) as caught:
        await rig.with_(retry=Retry()).chat()
    assert story(caught.value.attempts) == [("primary", "failed"), ("hedge", "cancelled")]
    await rig.settled()
    assert rig.met[1].cut_early


async def test_a_copy_that_fails(rig: Rig) -> None:
    """The copy's 503 is nobody's business: the primary goes on and answers."""
    rig.meet((Wait(0.25), Tokens("From the primary.")), faults.status(503))
    reply = await rig.door.chat()
    assert (reply.text, story(reply.attempts)) == ("From the primary.", [("primary", "won"), ("hedge", "failed")])
    assert reply.attempts[1].error.status_code == 503  # type: ignore[union-attr]


async def test_both_fail(rig: Rig) -> None:
    """One error comes out, the request's own, and no group; its attempts tell of both causes."""
    times = 2 if rig.wire == "direct" else 1  # it sends once more if a kept connection breaks before any answer
    rig.meet((Wait(0.2), *faults.status(500)), *[(Reset(),)] * times)
    with pytest.raises(ServerFailed) as caught:
        await rig.door.chat()
    first, second = caught.value.attempts
    assert story((first, second)) == [("primary", "failed"), ("hedge", "failed")]
    assert first.error is caught.value
    assert isinstance(second.error, ConnectionError)


@two_wires
async def test_fast_failures_are_no_fast_answers(rig: Rig) -> None:
    """A tenth of the requests fails in no time: what counts as late hardly moves."""
    for _ in range(12):
        rig.meet(faults.status(500))
        with pytest.raises(ServerFailed):
            await rig.door.chat(hedge=False)
        await rig.warm(8)
    await rescued(rig, faults.headers_then_silence(LATE))


async def test_leaving_while_both_run(rig: Rig) -> None:
    """Whoever leaves while a copy runs stops both: nothing is left running at the server, nor here."""
    rig.meet(faults.headers_then_silence(LATE), faults.headers_then_silence(LATE))
    answer = rig.door.begin()
    both = len(rig.met) + 2

    async def read() -> None:
        assert await answer.next() == ""

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        with anyio.fail_after(2):
            while len([exchange for exchange in rig.met if exchange.status]) < both:
                await anyio.sleep(0.005)
        if rig.home == "threads":
            await answer.close()
        else:
            tasks.cancel_scope.cancel()
    left = time.monotonic()
    await rig.settled()
    assert [exchange.cut_early for exchange in rig.met] == [True, True]
    assert max(exchange.ended for exchange in rig.met) - left < 0.15
    assert story(rig.finished[-1].attempts) == [("primary", "cancelled"), ("hedge", "cancelled")]


@two_wires
async def test_hedging_does_not_leak_into_the_next_call(rig: Rig) -> None:
    """After a race won by a copy the connections serve other calls, each with its own answer."""
    await rescued(rig, faults.headers_then_silence(LATE))
    rig.meet(*[(Tokens(f"Number {number}."),) for number in range(20)])
    texts = [(await rig.door.chat()).text for _ in range(20)]
    assert texts == [f"Number {number}." for number in range(20)]


LOW = {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "5s"}


@two_wires
async def test_no_copy_when_the_quota_runs_low(world: str) -> None:
    """One request of 500 is left, the headers say: a late request gets no copy, it is waited for."""
    rig = Rig(world)
    await rig.warm(200)
    rig.meet((Status(200, LOW), Tokens("Low.")), (Wait(0.5), Tokens("Late, and alone.")))
    await rig.door.chat()
    reply = await rig.door.chat()
    assert (reply.text, story(reply.attempts)) == ("Late, and alone.", [("primary", "won")])
    await rig.close()


@pytest.mark.parametrize("wish, copied", [(False, False), (None, True)])
@two_wires
async def test_a_call_may_do_without(rig: Rig, wish: bool | None, copied: bool) -> None:
    """`hedge=False` keeps a call from being copied, however late it is."""
    rig.meet((Wait(0.3), Tokens("From the primary.")), COPY)
    reply = await rig.door.chat(hedge=wish)
    assert (len(reply.attempts) == 2) is copied


@contextmanager
def slow_to_connect() -> Iterator[tuple[str, threading.Event, list[bytes]]]:
    """An origin that takes no connection before it is opened; what it was sent."""
    opened, heard = threading.Event(), []
    with socket.socket() as listener, ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):  # a full queue drops every further attempt
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())

        def serve() -> None:
            opened.wait()
            listener.settimeout(3)
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(0.1)
                        with contextlib.suppress(OSError):
                            if data := connection.recv(1000):
                                heard.append(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", opened, heard
        opened.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("world", ASYNC_WORLDS, indirect=True)
async def test_a_copy_given_up_while_it_connects(world: str) -> None:
    """A copy that was never sent costs nothing; one that goes out after all, as httpx does it, was paid for."""
    plans: deque[Any] = deque()
    with ProviderServer(script=lambda _: plans.popleft() if plans else USUAL) as server, slow_to_connect() as slow:
        url, opened, heard = slow
        own = Target("openai:m", base_url=server.base_url, stops_billing=False)
        hedge = Hedge(budget=0.03, targets=(Target("openai:copies", base_url=url),))
        policy = Policy(retry=None, hedge=hedge)
        async with AsyncClient(own, wire=world.split("-")[1], policy=policy) as client:
            for _ in range(45):  # enough for one copy, not for two
                await client.chat(PROMPT, hedge=False)
            for wait in (1.3, 0.3):  # the kernel tries again after a second
                plans.append((Wait(0.4), Tokens("Late.")))
                reply = await client.chat(PROMPT)
                assert story(reply.attempts)[0] == ("primary", "won")
                opened.set()
                await anyio.sleep(wait)
        assert len(heard) <= 1


@pytest.mark.parametrize("world", ["asyncio-httpx2", "asyncio-httpx"], indirect=True)
async def test_one_connection_per_answer(world: str) -> None:
    """Only HTTP/1.1 is offered: over HTTP/2 neither library tells the server that an answer is not wanted any more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def greeting() -> bytes:
            connection, _ = listener.accept()
            with connection:
                return connection.recv(4000)

        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        policy = Policy(retry=None, hedge=Hedge())
        async with AsyncClient("openai:m", base_url=url, wire=world.split("-")[1], policy=policy) as client:
            with ThreadPoolExecutor(1) as thread:
                hello = thread.submit(greeting)
                with pytest.raises(ConnectFailed):
                    await client.chat(PROMPT)
    assert hello.result().startswith(b"\x16\x03")
    assert b"\x02h2" not in hello.result()


@two_wires
async def test_both_out_of_reach(rig: Rig) -> None:
    """Errors of any kind leave the client as it was: the next call is answered."""
    rig.meet((Wait(0.2), Reset()), *[(Reset(),)] * 3)  # our own wire asks again where a kept connection had ended
    with pytest.raises(FastClientError) as caught:
        await rig.door.chat()
    assert not isinstance(caught.value, BaseExceptionGroup)
    rig.plans.clear()
    assert (await rig.door.chat()).text == "Usual."
