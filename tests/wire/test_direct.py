"""Our own HTTP over real sockets: which connections are used again, what is sent twice, and what is read when."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time

import anyio
import pytest
import trio
from trio.testing import MockClock

from fastclient.errors import ConfigError, ConnectFailed, StreamCut
from fastclient.wire.direct.wire import DirectWire
from tests.wire.asking import CHUNKED, HELLO, Script, asked, eventually, sent, whole
from tests.wire.peers import Listener

# connections that are used again


KEPT = {
    "length": (HELLO, True),
    "chunks": (CHUNKED + b"5\r\nHello\r\n0\r\n\r\n", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    "after interim ones": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\n" + HELLO, True),
    "says close": (HELLO.replace(b"content", b"connection: close\r\ncontent"), False),
    "HTTP/1.0": (HELLO.replace(b"/1.1", b"/1.0"), False),
    "one byte too many": (HELLO + b"x", False),
}


@pytest.mark.parametrize("form", KEPT)
async def test_what_leaves_a_connection_usable(wire: DirectWire, form: str) -> None:
    """A connection is used again after a complete answer that keeps it, and after nothing else."""
    answer, kept = KEPT[form]
    with Listener(script := Script(answer)) as server:
        await asked(wire, server.url)
        again = await asked(wire, server.url)
    assert (again.body, again.marks.reused, script.connections) == (b"Hello", kept, 1 if kept else 2)


async def test_an_answer_left_early_closes_its_connection(wire: DirectWire) -> None:
    """Half an answer that nobody reads on is cut at the server, and its connection not used again."""
    with Listener(script := Script(CHUNKED + b"5\r\nHello\r\n")) as server:
        response, _ = await sent(wire, server.url)
        assert await response.read() == b"Hello"
        await response.aclose()
        await response.aclose()
        with pytest.raises(StreamCut):
            await response.read()
        assert (await asked(wire, server.url)).marks.reused is False
    assert script.connections == 2


async def test_the_connection_used_last_is_used_next(wire: DirectWire) -> None:
    """After a burst, single calls stay on one connection, so that the others can grow old."""
    with Listener(script := Script()) as server:
        several = [await sent(wire, server.url) for _ in range(3)]
        for response, _ in several:
            assert await response.read() == b"Hello"
            await response.aclose()
        for _ in range(3):
            await asked(wire, server.url)
    assert script.served == [1, 2, 3, 3, 3, 3]


def test_an_idle_connection_grows_old() -> None:
    """A minute without use is the end of a connection, on the clock of its loop."""

    async def main(url: str) -> list[bool | None]:
        wire, clock = DirectWire(), trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        reused = []
        for pause in (0, 59, 61):
            clock.jump(pause)
            reused.append((await asked(wire, url)).marks.reused)
        await wire.aclose()
        return reused

    with Listener(Script()) as server:
        assert trio.run(main, server.url, clock=MockClock()) == [False, True, False]


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"])
async def test_a_connection_the_server_ended_is_not_used(wire: DirectWire, farewell: bytes) -> None:
    """A server that says good-bye to an idle connection, with or without a word, does not cost the next call."""
    asked_for, over = [], threading.Event()

    def serve(connection: socket.socket) -> None:
        asked_for.append(whole(connection))
        connection.sendall(HELLO)
        if len(asked_for) == 1:
            over.wait(2)
            connection.sendall(farewell)
            connection.shutdown(socket.SHUT_WR)
            over.clear()
        connection.recv(1)

    with Listener(serve) as server:
        await asked(wire, server.url)
        over.set()
        await eventually(lambda: not over.is_set())
        await anyio.sleep(0.02)
        again = await asked(wire, server.url)
    assert (again.body, again.marks.reused, len(asked_for)) == (b"Hello", False, 2)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_good_bye_is_answered_at_once(wire: DirectWire) -> None:
    """On asyncio the idle connection a server ends is closed here too, without waiting for the next call."""
    ends: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        whole(connection)
        connection.sendall(HELLO)
        time.sleep(0.05)
        connection.shutdown(socket.SHUT_WR)
        ends.append(connection.recv(1))

    with Listener(serve) as server:
        await asked(wire, server.url)
        assert await eventually(lambda: ends == [b""])


# what is sent twice


async def test_a_request_that_met_a_dead_connection_is_sent_again(wire: DirectWire) -> None:
    """A kept connection that breaks before any answer costs a reconnect, which the timings show, and not the call."""
    with Listener(script := Script(HELLO, None)) as server:
        await asked(wire, server.url)
        again = await asked(wire, server.url, b'{"n":2}')
    assert (again.body, script.connections, len(script.requests)) == (b"Hello", 2, 3)
    assert script.requests[1] == script.requests[2]
    marks = again.marks
    assert marks.reused is False
    assert (
        marks.started <= marks.connect_started <= marks.connected <= marks.send_started <= marks.sent <= marks.headers
    )


@pytest.mark.parametrize(
    "steps",
    [(None,), (HELLO, b"HTTP/1.1 2!"), (HELLO, b"HTTP/1.1 500 Oops\r\n!"), (HELLO, None, None)],
    ids=["fresh", "a few bytes", "half a head", "twice"],
)
async def test_nothing_else_is_sent_again(wire: DirectWire, steps: tuple[bytes | None, ...]) -> None:
    """Not on a fresh connection, not once a byte came back, and not a third time: then the call has failed."""
    with Listener(script := Script(*steps)) as server:
        if steps[0] == HELLO:
            await asked(wire, server.url)
        with pytest.raises(ConnectFailed) as caught:
            await asked(wire, server.url)
    assert caught.value.sent
    assert len(script.requests) == len(steps)


async def test_a_broken_answer_is_not_sent_for_again(wire: DirectWire) -> None:
    """Once the head is in, a kept connection that breaks is a cut answer."""
    with Listener(script := Script(HELLO, CHUNKED + b"ff\r\nHello!")) as server:
        await asked(wire, server.url)
        with pytest.raises(StreamCut):
            await asked(wire, server.url)
    assert len(script.requests) == 2


# sending and reading


async def test_the_first_piece_comes_before_the_second_is_sent(wire: DirectWire) -> None:
    """Nothing is held back: a piece can be read while the server still waits with the next."""
    go = threading.Event()

    def serve(connection: socket.socket) -> None:
        whole(connection)
        connection.sendall(CHUNKED + b"5\r\nfirst\r\n")
        assert go.wait(5)
        connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
        connection.recv(1)

    with Listener(serve) as server:
        response, _ = await sent(wire, server.url)
        assert await response.read() == b"first"
        go.set()
        assert [await response.read() for _ in range(3)] == [b"second", b"", b""]
        await response.aclose()


async def test_a_read_that_was_given_up_loses_nothing(wire: DirectWire) -> None:
    """Reads cancelled at whatever moment leave what has come to the next one."""
    numbers = b"".join(b"%d," % number for number in range(300))

    def serve(connection: socket.socket) -> None:
        whole(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for at in range(0, len(numbers), 8):
            connection.sendall(numbers[at : at + 8])
            time.sleep(0.001)

    with Listener(serve) as server:
        response, _ = await sent(wire, server.url)
        got, over, given_up, rng = b"", False, 0, random.Random(1)
        while not over:
            with anyio.move_on_after(rng.random() * 0.002) as scope:
                piece = await response.read()
                got, over = got + piece, not piece
            given_up += scope.cancelled_caught
        await response.aclose()
    assert got == numbers
    assert given_up


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_read_that_was_given_up_in_the_last_moment_loses_nothing(wire: DirectWire) -> None:
    """The loop has read the bytes, and before the reader wakes up it is cancelled: they are there for the next one."""
    go = threading.Event()

    def serve(connection: socket.socket) -> None:
        whole(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        go.wait(5)
        connection.sendall(b"Hello")
        connection.recv(1)

    with Listener(serve) as server:
        response, _ = await sent(wire, server.url)
        reading = asyncio.create_task(response.read())
        await asyncio.sleep(0.01)
        go.set()
        time.sleep(0.05)  # the bytes arrive while the loop is busy
        asyncio.get_running_loop().call_later(0, reading.cancel)  # comes behind what the sockets have to tell
        with pytest.raises(asyncio.CancelledError):
            await reading
        with anyio.fail_after(2):
            assert await response.read() == b"Hello"
        await response.aclose()


async def test_an_answer_may_come_before_all_was_sent(wire: DirectWire) -> None:
    """A server that refuses a large request half-way and tears the connection is heard all the same."""
    refusal = b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 4\r\n\r\nmuch"

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(refusal)
        time.sleep(0.05)  # closed with so much unread, it resets

    with Listener(serve) as server:
        answer = await asked(wire, server.url, b"x" * 8_000_000)
    assert (answer.status, answer.body) == (413, b"much")


async def test_a_deaf_server_is_given_up(wire: DirectWire) -> None:
    """When not a byte can be written for `liveness` seconds, the connection has failed."""
    with Listener(lambda connection: time.sleep(2)) as server:
        start = time.monotonic()
        with pytest.raises(ConnectFailed) as caught:
            await asked(wire, server.url, b"x" * 20_000_000, liveness=0.2)
    assert time.monotonic() - start < 1.5
    assert caught.value.sent


async def test_headers_that_cannot_be_written_open_no_connection(wire: DirectWire) -> None:
    """A value with a line end is the caller's mistake: told without the value, before anything is sent."""
    with Listener(script := Script()) as server:
        with pytest.raises(ConfigError) as caught:
            await sent(wire, server.url, headers={"x-key": "secret\r\nx: y"})
        assert script.connections == 0
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_an_unusual_url_goes_another_way(wire: DirectWire) -> None:
    """What has to be escaped is left to httpx2, inside the same wire: it works, and is closed with it."""
    with Listener(script := Script()) as server:
        assert (await asked(wire, f"{server.url}/ü")).body == b"Hello"
        assert script.requests[0].startswith(b"POST /v1/%C3%BC HTTP/1.1\r\n")
