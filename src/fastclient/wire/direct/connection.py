"""One open socket, plain or secured, on any event loop. It reads when asked, and closes at once and without waiting."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf

import anyio

from fastclient.wire.direct.head import Place
from fastclient.wire.home import by
from fastclient.wire.port import Late

__all__ = ["Connection", "Watched"]

_READ = 2**16  # bytes of one read; more than a TLS record has, of which nothing may be left where no kernel sees it
_TOGETHER = 2**14  # bytes of a body that are copied, to go out in one packet with the head
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError)
_FULL = (BlockingIOError, ssl.SSLWantWriteError)
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_RTT = struct.Struct("I")


class Connection:
    """A connection on any event loop, which is asked to tell when the socket can be read."""

    def __init__(self, sock: socket.socket, place: Place) -> None:
        self.place = place
        self.closed = False
        self.idle = False
        self.idle_since = 0.0
        self.rtt: float | None = None  # seconds, when it was last looked at
        self.looked = -inf
        self._socket = sock
        self._read = partial(sock.recv, _READ)
        self._gathers = hasattr(sock, "sendmsg") and not isinstance(sock, ssl.SSLSocket)
        self._more = False  # the last read had to be waited for: the next one may find more
        self._waiting = 0
        self._told = False

    def send(self, head: bytes, body: bytes) -> list[memoryview]:
        """Write a request as far as that goes without waiting; what is left is for `finish`. Raises OSError."""
        if self._gathers and len(body) > _TOGETHER:
            return self._gathered(head, body)
        first = head + body[:_TOGETHER]
        try:
            sent = self._socket.send(first)
        except _FULL:
            sent = 0
        if sent == len(head) + len(body):
            return []
        return [memoryview(first)[sent:], memoryview(body)[_TOGETHER:]]

    def _gathered(self, head: bytes, body: bytes) -> list[memoryview]:
        """The same for a long body, of which nothing is copied."""
        try:
            sent = self._socket.sendmsg((head, body))
        except _FULL:
            sent = 0
        if sent < len(head):
            return [memoryview(head)[sent:], memoryview(body)]
        sent -= len(head)
        return [memoryview(body)[sent:]] if sent < len(body) else []

    async def finish(self, rest: list[memoryview], patience: float, until: float) -> None:
        """Write what is left. Raises OSError; TimeoutError when nothing can be written for that many seconds."""
        for piece in rest:
            await by(until, self._write(piece, patience))

    async def _write(self, rest: memoryview, patience: float) -> None:
        while rest:
            if self.closed:
                raise anyio.ClosedResourceError
            try:
                rest = rest[self._socket.send(rest) :]
            except _FULL:
                self._waiting += 1
                try:
                    with anyio.fail_after(patience):
                        await anyio.wait_writable(self._socket)
                finally:
                    self._waiting -= 1

    async def receive(self, until: float) -> bytes:
        """What one read brings; empty at the end. Raises OSError, anyio.ClosedResourceError when closed, and Late."""
        if self._more:  # but never twice in a row, so that the loop comes to its turn
            self._more = False
            with suppress(*_NOT_YET):
                return self._read()
        data = await by(until, self._awaited())
        self._more = True
        return data

    async def _awaited(self) -> bytes:
        while True:
            if self.closed:
                raise anyio.ClosedResourceError
            self._waiting += 1
            try:
                await anyio.wait_readable(self._socket)
            finally:
                self._waiting -= 1
            with suppress(*_NOT_YET):
                return self._read()

    def fresh(self) -> bool:
        """Whether the server has said nothing since the last answer: no good-bye, and nothing it was not asked."""
        try:
            self._socket.recv(1)
        except _NOT_YET:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the socket, and wake whoever waits for it. Only on its own event loop, or when that is over."""
        if not self.closed:
            self.closed = True
            try:
                if self._waiting:
                    anyio.notify_closing(self._socket)
            except RuntimeError:
                pass  # there is no loop any more
            finally:
                self._socket.close()

    def look(self, now: float) -> None:
        """Note the kernel's own estimate of the round-trip time (Linux: `tcp_info.tcpi_rtt`, microseconds)."""
        self.looked = now
        if _TCP_INFO is not None:
            with suppress(OSError):
                info = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 104)
                self.rtt = float(_RTT.unpack_from(info, 68)[0]) / 1e6 if len(info) >= 72 else None

    def session(self) -> ssl.SSLSession | None:
        """What the server gave for a shorter handshake next time; told once."""
        if self.closed or self._told or not isinstance(self._socket, ssl.SSLSocket):
            return None
        self._told = True
        return self._socket.session


class Watched(Connection):
    """A connection on an asyncio loop, which goes on watching the socket between two reads: that costs a third.

    What arrives is read where the loop reports it, one piece ahead of its reader; then the watch ends until the next
    read. Limits share one timer, which is set anew only when it rings too early, or would ring too late.
    """

    def __init__(
        self, sock: socket.socket, place: Place, loop: asyncio.AbstractEventLoop, stirred: Callable[[Watched], None]
    ) -> None:
        super().__init__(sock, place)
        self._loop = loop
        self._stirred = stirred  # to be told when something happens while it is idle
        self._number = sock.fileno()
        self._watching = False
        self._waiter: asyncio.Future[None] | None = None
        self._until = inf
        self._rings = inf
        self._timer: asyncio.TimerHandle | None = None
        self._got: bytes | None = None  # read, and not yet taken
        self._error: Exception | None = None

    async def receive(self, until: float) -> bytes:
        if self._got is None and self._error is None:
            await self._wait(until)
        if self._error is not None:
            raise self._error
        got, self._got = self._got, None
        if got is None:
            raise Late
        return got

    async def _wait(self, until: float) -> None:
        """Until something has come, or the time is up."""
        if self._waiter is not None:
            raise anyio.BusyResourceError("reading from")
        if self.closed:
            raise anyio.ClosedResourceError
        if not self._watching:
            self._loop.add_reader(self._number, self._ready)
            self._watching = True
        self._until = until
        if until < self._rings:
            if until <= self._loop.time():
                raise Late
            self._set(until)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _ready(self) -> None:
        """The loop says that there is something to read."""
        if self.idle or self._got is not None or self._error is not None:
            self._unwatch()
            if self.idle:
                self._stirred(self)
            return
        try:
            self._got = self._read()
        except _NOT_YET:
            return
        except OSError as error:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings, self._timer = moment, self._loop.call_at(moment, self._rang)

    def _rang(self) -> None:
        """The timer was set for this wait, or for one before it that is over."""
        self._rings, self._timer = inf, None
        if self._waiter is not None and self._until < inf:
            if self._until <= self._loop.time():
                self._wake()
            else:
                self._set(self._until)

    def fresh(self) -> bool:
        return self._got is None and self._error is None and super().fresh()

    def close(self) -> None:
        if not self.closed:
            alive = not self._loop.is_closed()
            self._unwatch()
            if self._timer is not None:
                self._timer.cancel()
            if alive:
                self._error = anyio.ClosedResourceError()
                self._wake()
        super().close()

    def _unwatch(self) -> None:
        if self._watching and not self._loop.is_closed():
            self._loop.remove_reader(self._number)
        self._watching = False
