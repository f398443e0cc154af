"""How the tests of our own wire ask, and a server that follows a script."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from fastclient.config import Timeouts
from fastclient.engine.clock import running_clock
from fastclient.observe.timing import Marks
from fastclient.wire.direct.wire import DirectWire
from fastclient.wire.port import WireRequest, WireResponse

__all__ = ["CHUNKED", "HELLO", "Answered", "Script", "asked", "eventually", "sent", "whole"]

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class Answered:
    status: int
    body: bytes
    marks: Any


async def sent(
    wire: DirectWire, url: str, body: bytes = b"{}", headers: Mapping[str, str] | None = None, **timeouts: Any
) -> tuple[WireResponse, Marks]:
    clock = running_clock()
    marks = Marks(clock, clock())
    request = WireRequest(method="POST", url=url, headers=headers or {}, body=body)
    return await wire.send(request, Timeouts(**timeouts), marks), marks


async def asked(wire: DirectWire, url: str, body: bytes = b"{}", **timeouts: Any) -> Answered:
    """A whole exchange."""
    response, marks = await sent(wire, url, body, **timeouts)
    got = b""
    try:
        while piece := await response.read():
            got += piece
    finally:
        await response.aclose()
    return Answered(response.status, got, marks)


class Script:
    """What a listener does: each request meets the next step, on whatever connection it comes; `None` hangs up."""

    def __init__(self, *steps: bytes | None) -> None:
        self.steps, self.requests, self.connections = list(steps), [], 0
        self.served: list[int] = []  # the connection of each request
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            number = self.connections
        while request := whole(connection):
            with self._lock:
                self.requests.append(request)
                self.served.append(number)
                step = self.steps.pop(0) if self.steps else HELLO
            if step is None:
                return
            connection.sendall(step)
            if step.endswith(b"!"):
                return


def whole(connection: socket.socket) -> bytes:
    """One request with its body; empty if the client hung up."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = connection.recv(65536)
        if not data:
            return b""
        got += data
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


async def eventually(check: Callable[[], bool], within: float = 2.0) -> bool:
    end = time.monotonic() + within
    while not check() and time.monotonic() < end:
        await anyio.sleep(0.005)
    return check()
