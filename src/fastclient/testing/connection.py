"""One client connection of the test server: reads requests, plays the moves that answer them, notices who leaves."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Iterator

from fastclient.testing.http1 import CONTINUE, LAST_CHUNK, BadRequest, HttpRequest, RequestReader, chunk, head
from fastclient.testing.moves import Cut, Data, End, Head, Move, Pause, Raise
from fastclient.testing.provider import Provider
from fastclient.testing.record import Exchange

__all__ = ["Connection"]

_log = logging.getLogger("fastclient.testing")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with zero seconds: close() sends RST
_AT_ONCE = 64 * 1024  # more than this is not "sent" before the socket took it


class Connection(asyncio.Protocol):
    """Serves one keep-alive connection, one exchange at a time; asyncio has set TCP_NODELAY on it."""

    def __init__(self, provider: Provider, open_ones: set[Connection], *, per_event: bool) -> None:
        self._provider = provider
        self._open_ones = open_ones
        self._per_event = per_event
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader()
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._room: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        self._chunked = False
        self._tokens = 0
        self._handshake = provider.handshake

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (for the type checkers)
        self._transport = transport
        self._open_ones.add(self)
        self._provider.connections += 1
        self._provider.open_connections += 1

    def data_received(self, data: bytes) -> None:
        """Take bytes; begin to answer if that completes a request."""
        self._reader.feed(data)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client left (or we closed): what was being answered stops at once."""
        self._open_ones.discard(self)
        self._provider.open_connections -= 1
        if self._exchange is not None:
            self._provider.ended(self._exchange, cut_early=True)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def abort(self) -> None:
        """Drop the connection because the server stops."""
        self._transport.abort()

    # one request after another

    def _next(self) -> None:
        if self._task is not None:
            return
        try:
            request = self._reader.next()
        except BadRequest as error:
            self._transport.write(head(400, {}, 0, keep_alive=False))
            self._transport.close()
            _log.warning("closed a connection: %s", error)
            return
        if request is not None:
            self._task = self._loop.create_task(self._serve(request))
        elif self._reader.wants_continue():
            self._transport.write(CONTINUE)

    async def _serve(self, request: HttpRequest) -> None:
        provider = self._provider
        if self._handshake:
            delay, self._handshake = self._handshake, 0.0
            await asyncio.sleep(delay)
        self._exchange, moves = provider.receive(request.method, request.path, request.headers, request.body)
        try:
            kept = await self._play(moves, keep_alive=request.keep_alive)
        except Exception:  # a plan that cannot be played must not leave the client waiting
            _log.exception("could not play an answer")
            kept = False
        self._done()
        self._task = None
        if kept:
            self._next()
        else:
            self._transport.close()

    def _done(self) -> None:
        if self._exchange is not None:
            self._provider.ended(self._exchange, cut_early=False)
            self._exchange = None

    async def _play(self, moves: Iterator[Move], *, keep_alive: bool) -> bool:
        """Play all moves; whether the connection can serve another request.

        Times are kept on an absolute schedule, so that a late timer does not push the later tokens back.
        """
        due = self._loop.time()
        for move in moves:
            match move:
                case Data(events, tokens):
                    await self._data(events, tokens)
                case Pause(seconds):
                    due += seconds
                    if (delay := due - self._loop.time()) > 0:
                        await self._flush()
                        await asyncio.sleep(delay)
                case Head(status, headers, length):
                    self._chunked = length is None
                    self._out.append(head(status, headers, length, keep_alive=keep_alive))
                case Cut():
                    await self._segments(move)
                case End(how):
                    return await self._end(how) and keep_alive
                case Raise():
                    return await self._end("reset")
        return keep_alive

    # writing

    async def _data(self, events: tuple[bytes, ...], tokens: int) -> None:
        if not self._per_event:
            body = b"".join(events)
            self._out.append(chunk(body) if self._chunked else body)
            self._tokens += tokens
            return
        for at, event in enumerate(events):
            self._out.append(chunk(event) if self._chunked else event)
            self._tokens += tokens * (at == 0)
            await self._flush()

    async def _flush(self) -> None:
        if self._out:
            data = self._noted()
            self._transport.write(data)
        if self._room is not None:
            await self._room

    def _noted(self) -> bytes:
        """The bytes waiting to be written, counted before the client can have them."""
        data, tokens = b"".join(self._out), self._tokens
        self._out.clear()
        self._tokens = 0
        if self._exchange is not None:
            self._provider.sent(self._exchange, len(data), tokens)
        return data

    async def _segments(self, cut: Cut) -> None:
        await self._flush()
        pieces = [cut.data[at : at + cut.every] for at in range(0, len(cut.data), cut.every)]
        wire = b"".join(map(chunk, pieces)) if self._chunked else cut.data
        self._tokens += cut.tokens
        for at in range(0, len(wire), cut.every):
            self._out.append(wire[at : at + cut.every])
            await self._flush()
            await asyncio.sleep(cut.gap)

    async def _end(self, how: str) -> bool:
        if how == "clean":
            if self._chunked:
                self._out.append(LAST_CHUNK)
            self._write_last()
            if self._room is not None:
                await self._room
            return True
        await self._flush()
        if how == "hang":
            await self._loop.create_future()
        if how == "reset":
            await self._reset()
        return False

    def _write_last(self) -> None:
        """Write what is left. The books close first, so that a client that has it all finds them closed."""
        data = self._noted()
        if len(data) <= _AT_ONCE and self._room is None:
            self._done()
        self._transport.write(data)

    async def _reset(self) -> None:
        self._transport.set_write_buffer_limits(0)  # pauses us until all is in the kernel's hands
        if self._room is not None:
            await self._room
        await asyncio.sleep(0.02)  # let the client read what was sent: some systems drop it on RST
        self._done()
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
