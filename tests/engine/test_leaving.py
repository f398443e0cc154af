"""What callers do to a stream: leave it in every way, move it between tasks, or read it slowly. In all worlds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import anyio
import pytest

from fastclient.errors import DeadlineExceeded, StreamCut
from fastclient.observe.events import CallFinished, StreamAbandoned
from fastclient.testing import Hang, Role, Status, Tokens, Wait, faults
from tests.engine.doors import ASYNC_WORLDS, AsyncDoor, Door, in_new_thread, seen

ENDLESS = (Tokens(3), Wait(0.02), Tokens(1000, gap=0.02))  # tokens come and come


@pytest.fixture
def anyio_backend(world: str) -> str:
    return "trio" if world.startswith("trio") else "asyncio"


async def stopped(door: Door, server, *, within: float = 0.25) -> None:
    """The server was told in time, and the client goes on as if nothing had been."""
    assert await seen(server, lambda counters: (counters.live, counters.cut_early) == (0, 1), within)
    with anyio.fail_after(within):  # a finaliser's clean-up is a task of its own, which may be a step behind the server
        while door.client.stats().in_flight:
            await anyio.sleep(0.002)
    assert (await door.chat("Again.")).text


async def left(client: Any, how: str) -> None:
    """Read one piece from an `AsyncClient`, and leave."""
    stream = client.stream("Say something.")
    match how:
        case "break":
            async for _ in stream.text:
                break
        case "break out of with":
            async with stream:
                async for _ in stream:
                    break
        case "exception":
            async for _ in client.stream("Say something.").text:
                raise LookupError
        case "exception in with":
            async with stream:
                async for _ in stream.text:
                    raise LookupError
        case "dropped iterator":
            pieces = aiter(stream)
            await anext(pieces)
            del pieces


def left_blocking(client: Any, how: str) -> None:
    """Read one piece from a `Client`, and leave."""
    stream = client.stream("Say something.")
    match how:
        case "break":
            for _ in stream.text:
                break
        case "break out of with":
            with stream:
                for _ in stream:
                    break
        case "exception":
            for _ in client.stream("Say something.").text:
                raise LookupError
        case "exception in with":
            with stream:
                for _ in stream.text:
                    raise LookupError
        case "dropped iterator":
            pieces = iter(stream)
            next(pieces)
            del pieces


BY_FINALISER = {"break", "exception", "dropped iterator"}


@pytest.mark.parametrize("how", ["break", "break out of with", "exception", "exception in with", "dropped iterator"])
async def test_leaving_a_stream_stops_the_server(door, provider_server, how) -> None:
    """Leaving closes the call at the server, also without `with`; only what a finaliser had to close is `Abandoned`."""
    events: list[Any] = []
    client = door(server := provider_server(script=[ENDLESS]), observers=[events.append])
    try:
        if isinstance(client, AsyncDoor):
            await left(client.client, how)
        else:
            await in_new_thread(lambda: left_blocking(client.client, how))
    except LookupError:
        assert "exception" in how
    await stopped(client, server)
    *story, _ = events  # the last is the next call's
    assert [type(event) for event in story] == [StreamAbandoned] * (how in BY_FINALISER) + [CallFinished]
    assert len({event.call_id for event in story}) == 1


async def test_a_closed_stream_gives_nothing_more(door, provider_server) -> None:
    """Closing stops the server and ends the stream for whoever goes on reading; closing again is nothing."""
    client = door(server := provider_server(script=[ENDLESS]))
    answer = client.begin()
    assert await answer.next()
    await answer.close()
    await answer.close()
    assert await answer.next() == ""
    await stopped(client, server)


async def test_a_stream_never_started_asks_nobody(door, provider_server) -> None:
    """Without entering or reading there is no call, and closing is nothing."""
    events: list[object] = []
    client = door(server := provider_server(), observers=[events.append])
    await client.begin().close()
    client.begin()
    assert (server.counters.accepted, events) == (0, [])


async def test_what_was_read_to_its_end_keeps_the_connection(door, provider_server) -> None:
    """A whole answer leaves its connection to the next call, however it was read; closing then cuts nothing."""
    client = door(server := provider_server(answer="All of it."))
    for _ in range(2):
        answer = client.begin()
        while await answer.next():
            pass
        await answer.close()
        await client.chat()
        await client.read([])
    assert (server.counters.accepted, server.counters.cut_early, server.counters.connections) == (6, 0, 1)


PHASES = {
    "headers": (Hang(),),
    "first_token": (Role(), Hang()),
    "stall": faults.stall(3),
    "tokens": ENDLESS,
}


@pytest.mark.parametrize("world", ASYNC_WORLDS)
@pytest.mark.parametrize("how", ["scope", "task"])
@pytest.mark.parametrize("phase", PHASES)
async def test_cancelling_stops_the_server(door, provider_server, world, phase, how) -> None:
    """A cancelled call, in whatever phase, is closed at the server and stays the caller's own cancellation."""
    if phase == "headers" and world.endswith("-httpx"):
        pytest.skip("httpx is never cancelled before its headers: the next test")
    client = door(server := provider_server(script=[PHASES[phase]]))
    start = time.monotonic()
    if how == "scope":
        with anyio.move_on_after(0.15) as scope:
            await client.chat()
        assert scope.cancelled_caught
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.read, [])
            await anyio.sleep(0.15)
            tasks.cancel_scope.cancel()
    assert 0.14 < time.monotonic() - start < 0.4
    await stopped(client, server)


@pytest.mark.parametrize("world", [world for world in ASYNC_WORLDS if world.endswith("-httpx")])
async def test_a_send_given_up_on_httpx_ends_with_its_headers(door, provider_server, world) -> None:
    """On httpx the caller is free at once, and the server is left as soon as it answers."""
    client = door(server := provider_server(script=[faults.silent(0.4)]))
    with anyio.move_on_after(0.1) as scope:
        await client.chat()
    assert scope.cancelled_caught
    assert server.counters.live == 1
    assert await seen(server, lambda counters: counters.live == 0, within=0.6)
    assert (await client.chat("Again.")).text


@pytest.mark.parametrize("world", [world for world in ASYNC_WORLDS if world.startswith("asyncio")])
async def test_asyncio_timeout_is_a_timeout(door, provider_server, world) -> None:
    """`asyncio.timeout` around a call raises its own TimeoutError, not one of ours, and stops the server."""
    client = door(server := provider_server(script=[PHASES["stall"]]))
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1):
            await client.chat()
    assert not isinstance(caught.value, DeadlineExceeded)
    await stopped(client, server)


async def test_a_call_timeout_stops_the_server(door, provider_server) -> None:
    """A call's own `timeout` is an error of ours, and closes the call at the server."""
    client = door(server := provider_server(script=[ENDLESS]))
    with pytest.raises(DeadlineExceeded):
        await client.chat(timeout=0.15)
    await stopped(client, server)


async def test_a_stream_may_move_between_tasks(door, provider_server) -> None:
    """Opened in one task (or thread), read in a second, closed in a third."""
    client = door(server := provider_server(script=[ENDLESS]))
    answer, pieces = client.begin(), []

    async def read() -> None:
        pieces.append(await answer.next())

    for step in (read, read, answer.close):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(step)
    assert all(pieces)
    await stopped(client, server)


async def test_a_stream_may_be_read_to_its_end_elsewhere(door, provider_server) -> None:
    """A task that finishes a stream another one opened gets the rest of it, and the call counts as won."""
    events: list[Any] = []
    client = door(provider_server(script=[faults.slow(0.01)], answer="One two three."), observers=[events.append])
    answer = client.begin()
    pieces = [await answer.next()]

    async def rest() -> None:
        while piece := await answer.next():
            pieces.append(piece)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rest)
    assert "".join(pieces) == "One two three."
    assert [event.attempts[0].outcome for event in events] == ["won"]


async def test_closing_while_another_task_reads(door, provider_server) -> None:
    """A stream closed under its reader ends for the reader, at once: as an end or a cut, not as an error of ours."""
    client = door(server := provider_server(script=[faults.stall(1)]))
    answer = client.begin()
    assert await answer.next()

    async def read() -> None:
        with contextlib.suppress(StreamCut):
            assert await answer.next() == ""

    start = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.sleep(0.1)
        await answer.close()
    assert time.monotonic() - start < 0.6
    await stopped(client, server)


@pytest.mark.parametrize("plan", [faults.slow(0.01), (Status(200),)], ids=["slowly", "at-once"])
async def test_a_slow_reader_trips_no_limit(door, provider_server, plan) -> None:
    """Only waiting for the network counts: a reader may sleep beyond every limit between two pieces."""
    client = door(provider_server(script=[plan], answer="word" * 20), first_token=0.2, progress=0.2, liveness=0.2)
    pieces: list[str] = []
    reply = await client.read(pieces, pause=0.35)
    assert "".join(pieces) == reply.text == "word" * 20
    assert reply.timings.consumer > 0.3
    assert [attempt.outcome for attempt in reply.attempts] == ["won"]


async def test_a_slow_reader_still_sees_a_stall(door, provider_server) -> None:
    """The time a reader slept is not held against the server, and the server's silence after it still is."""
    client = door(server := provider_server(script=[faults.stall(1)]), progress=0.25)
    pieces: list[str] = []
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await client.read(pieces, pause=0.4)
    assert len(pieces) == 1
    assert time.monotonic() - start < 1.2
    await stopped(client, server)
