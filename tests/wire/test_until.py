"""The moment to give up, which goes down with each request and each read: every wire keeps it, and says so."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator

import anyio
import pytest

from fastclient.config import Policy, Timeouts
from fastclient.engine.clock import running_clock
from fastclient.observe.timing import Marks
from fastclient.testing import FakeProvider, faults
from fastclient.wire.direct.wire import DirectWire
from fastclient.wire.named import wire_for
from fastclient.wire.port import Late, Wire, WireRequest, WireResponse
from tests.wire.asking import CHUNKED, HELLO, sent, whole
from tests.wire.peers import Listener


@pytest.fixture(params=["httpx2", "httpx", "direct"])
async def each(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    made = wire_for(request.param, Policy())
    yield made
    await made.aclose()


async def opened(wire: Wire, url: str, patience: float) -> WireResponse:
    """What a request is answered with, if its head is in by then."""
    clock = running_clock()
    marks = Marks(clock, clock(), until=clock() + patience)
    return await wire.send(WireRequest(method="POST", url=url, headers={}, body=b"{}"), Timeouts(), marks)


def talking(*words: bytes, pause: float = 0.0) -> Listener:
    """A server that answers each request with these words, and then waits for the client to leave."""

    def serve(connection: socket.socket) -> None:
        whole(connection)
        for word in words:
            connection.sendall(word)
            time.sleep(pause)
        connection.recv(1)

    return Listener(serve)


async def test_a_head_that_does_not_come(each: Wire) -> None:
    """A request is given up at its moment, not before, and that is told apart from a failure."""
    with talking() as server:
        start = time.monotonic()
        with pytest.raises(Late):
            await opened(each, server.url, 0.1)
    assert 0.09 < time.monotonic() - start < 1


async def test_a_body_that_does_not_go_on(each: Wire) -> None:
    """A read is given up at its moment, which is not the end of the body."""
    with talking(CHUNKED + b"5\r\nfirst\r\n") as server:
        response = await opened(each, server.url, 5)
        assert await response.read(running_clock()() + 5) == b"first"
        start = time.monotonic()
        with pytest.raises(Late):
            await response.read(running_clock()() + 0.1)
        assert 0.09 < time.monotonic() - start < 1
        assert not response.complete
        await response.aclose()


async def test_a_body_that_is_read(each: Wire) -> None:
    """A moment that has not come changes nothing, and at its end a body is known to be complete."""
    with talking(HELLO) as server:
        response = await opened(each, server.url, 5)
        until = running_clock()() + 5
        assert [await response.read(until) for _ in range(2)] == [b"Hello", b""]
        assert response.complete
        await response.aclose()


async def test_a_flood_is_no_reason_to_go_on(each: Wire) -> None:
    """Bytes that come faster than they are read do not keep a moment away for ever."""
    with talking(*[b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65536] * 100_000]) as server:
        response = await opened(each, server.url, 5)
        start = time.monotonic()
        with pytest.raises(Late):
            while await response.read(running_clock()() + 0.2 - (time.monotonic() - start)):
                pass
        assert time.monotonic() - start < 2
        await response.aclose()


@pytest.mark.parametrize("moments", [(9, 0.1), (0.2, 0.1), (0.1, 0.2), (0.1, 0.1, 0.1), (9, 0.2, 0.1, 0)])
async def test_each_moment_counts_for_itself(wire: DirectWire, moments: tuple[float, ...]) -> None:
    """On one connection one request after the other is given its time, whatever the one before had."""
    pieces = [CHUNKED, *[b"5\r\nHello\r\n"] * (len(moments) - 1)]
    with talking(*pieces, pause=0.05) as server:
        response, _ = await sent(wire, server.url)
        for moment in moments[:-1]:
            assert await response.read(running_clock()() + moment) == b"Hello"
        start = time.monotonic()
        with pytest.raises(Late):
            await response.read(running_clock()() + moments[-1])
        assert moments[-1] - 0.01 < time.monotonic() - start < moments[-1] + 0.5
        await response.aclose()


async def test_a_moment_that_has_passed_does_not_hide_what_has_come(wire: DirectWire) -> None:
    """A caller who was busy gets what came meanwhile; only what would have to be waited for is too late."""
    with talking(CHUNKED, b"5\r\nHello\r\n", pause=0.02) as server:
        response, _ = await sent(wire, server.url)
        await anyio.sleep(0.2)
        assert await response.read(running_clock()() - 0.1) == b"Hello"
        with pytest.raises(Late):
            await response.read(running_clock()() - 0.1)
        await response.aclose()


async def test_a_request_given_up_leaves_no_connection(wire: DirectWire) -> None:
    """What is too late is closed at once, and the next request is not answered with it."""
    ends: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        whole(connection)
        ends.append(connection.recv(1))

    with Listener(serve) as server:
        with pytest.raises(Late):
            await opened(wire, server.url, 0.05)
        with anyio.fail_after(2):
            while not ends:
                await anyio.sleep(0.005)
    assert ends == [b""]


async def test_the_fake_keeps_it_too() -> None:
    """So tests without a network see the same."""
    for plan, patience in ((faults.silent(9), 0.05), (faults.headers_then_silence(9), 5)):
        fake = FakeProvider(plan)
        with pytest.raises(Late):
            response = await opened(fake, "http://127.0.0.1/v1/chat/completions", patience)
            while await response.read(running_clock()() + 0.05):
                pass
