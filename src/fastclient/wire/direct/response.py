"""An answer on our own HTTP: read as it comes, and closed without waiting for anything."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import anyio

from fastclient.errors import StreamCut
from fastclient.wire.direct.connection import Connection
from fastclient.wire.direct.parser import Malformed, ResponseParser

__all__ = ["DirectResponse"]

Done = Callable[[Connection, bool], None]


class DirectResponse:
    """A response whose head is in. `done` gets its connection back, and whether that can be used again."""

    __slots__ = ("_connection", "_done", "_parser", "complete", "headers", "rtt", "status")

    def __init__(self, connection: Connection, parser: ResponseParser, done: Done) -> None:
        self.status = parser.status
        self.headers = parser.fields
        self.rtt = connection.rtt
        self.complete = False
        self._connection = connection
        self._parser = parser
        self._done: Done | None = done

    async def read(self, until: float = inf) -> bytes:
        parser = self._parser
        try:
            while True:
                piece = parser.take()
                if parser.complete:
                    self.complete = True
                    return piece
                if piece:
                    return piece
                if self._done is None:
                    raise StreamCut("the connection was closed before it was read to its end")
                data = await self._connection.receive(until)
                if data:
                    parser.feed(data)
                else:
                    parser.end()
        except (OSError, EOFError, Malformed, anyio.ClosedResourceError) as error:
            raise StreamCut(f"the connection broke ({type(error).__name__})") from error

    async def aclose(self) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done(self._connection, self._parser.reusable)
