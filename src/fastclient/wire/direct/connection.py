"""One open socket, plain or secured, on any event loop. It reads when asked, and closes at once and without waiting."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from functools import partial

import anyio

from fastclient.wire.direct.head import Place

__all__ = ["Connection", "Watched"]

_READ = 2**16  # bytes of one read; more than a TLS record has, of which nothing may be left where no kernel sees it
_TOGETHER = 2**14  # bytes of a body that are copied, to go out in one packet with the head
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError)
_FULL = (BlockingIOError, ssl.SSLWantWriteError)
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)


class Connection:
    """A connection on any event loop, which is asked to tell when the socket can be read."""

    def __init__(self, sock: socket.socket, place: Place) -> None:
        self.place = place
        self.closed = False
        self.stirred: Callable[[Connection], None] | None = None  # to be told when something happens while it is idle
        self.idle_since = 0.0
        self._socket = sock
        self._read = partial(sock.recv, _READ)
        self._waiting = 0
        self._told = False

    async def send(self, head: bytes, body: bytes, patience: float) -> None:
        """Write a request. Raises OSError; TimeoutError when nothing can be written for that many seconds."""
        first = head + body if len(body) <= _TOGETHER else head + body[:_TOGETHER]
        try:
            sent = self._socket.send(first)
        except _FULL:
            sent = 0
        if sent < len(first):
            await self._send(memoryview(first)[sent:], patience)
        if len(body) > _TOGETHER:
            await self._send(memoryview(body)[_TOGETHER:], patience)

    async def _send(self, rest: memoryview, patience: float) -> None:
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

    async def receive(self) -> bytes:
        """What one read brings; empty at the end. Raises OSError, or anyio.ClosedResourceError when closed."""
        while True:
            if self.closed:
                raise anyio.ClosedResourceError
            self._waiting += 1
            try:
                await anyio.wait_readable(self._socket)
            finally:
                self._waiting -= 1
            try:
                return self._read()
            except _NOT_YET:
                continue

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

    def round_trip(self) -> float | None:
        """The kernel's own estimate of the round-trip time (Linux: `tcp_info.tcpi_rtt`, microseconds)."""
        if _TCP_INFO is None:
            return None
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 104)
        except OSError:
            return None
        return float(struct.unpack_from("I", info, 68)[0]) / 1e6 if len(info) >= 72 else None

    def session(self) -> ssl.SSLSession | None:
        """What the server gave for a shorter handshake next time; told once."""
        if self.closed or self._told or not isinstance(self._socket, ssl.SSLSocket):
            return None
        self._told = True
        return self._socket.session


class Watched(Connection):
    """A connection on an asyncio loop, which goes on watching the socket between two reads: that costs a third.

    What arrives is read where the loop reports it, if it is waited for; otherwise the watch ends until the next read.
    """

    def __init__(self, sock: socket.socket, place: Place, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(sock, place)
        self._loop = loop
        self._number = sock.fileno()
        self._watching = False
        self._waiter: asyncio.Future[None] | None = None
        self._got: bytes | None = None  # read, and not yet taken: its reader may have been cancelled
        self._error: Exception | None = None

    async def receive(self) -> bytes:
        if self._got is None and self._error is None:
            if self._waiter is not None:
                raise anyio.BusyResourceError("reading from")
            if self.closed:
                raise anyio.ClosedResourceError
            if not self._watching:
                self._loop.add_reader(self._number, self._ready)
                self._watching = True
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._error is not None:
            raise self._error
        got, self._got = self._got, None
        return got or b""

    def _ready(self) -> None:
        """The loop says that there is something to read."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._unwatch()
            if self.stirred is not None:
                self.stirred(self)
            return
        try:
            self._got = self._read()
        except _NOT_YET:
            return
        except OSError as error:
            self._error = error
        waiter.set_result(None)

    def fresh(self) -> bool:
        return self._got is None and self._error is None and super().fresh()

    def close(self) -> None:
        if not self.closed:
            self._unwatch()
            if self._waiter is not None and not self._loop.is_closed() and not self._waiter.done():
                self._error = anyio.ClosedResourceError()
                self._waiter.set_result(None)
        super().close()

    def _unwatch(self) -> None:
        if self._watching and not self._loop.is_closed():
            self._loop.remove_reader(self._number)
        self._watching = False
