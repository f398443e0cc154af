"""Opening connections before the user waits for them."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from fastclient.config import Target, Timeouts
from fastclient.engine.clock import running_clock
from fastclient.errors import FastClientError
from fastclient.observe.timing import Marks
from fastclient.providers.dialect import find
from fastclient.wire.port import Wire

__all__ = ["Warmed", "warmed"]

_PATIENCE = 5.0  # seconds for the answer that proves the connection
_MOST = 2**20  # bytes of it to read: a connection can only be used again after a complete answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What warming did. `ready` means that the next call finds an open connection; `seconds` is what it will save.

    Providers that close the connection after the probe leave `ready` false; `error` is the class of a failure.
    """

    target: str
    ready: bool
    seconds: float
    error: str | None = None


async def warmed(wire: Wire, target: Target, timeouts: Timeouts) -> Warmed:
    """Open a connection to the target with a request that costs no tokens. Bounded; reports failure, never raises."""
    clock = running_clock()
    marks = Marks(clock, clock())
    complete, error = False, "DeadlineExceeded"
    with anyio.move_on_after(timeouts.connect * 2 + _PATIENCE):
        try:
            response = await wire.send(find(target.provider).ping(target), timeouts, marks)
            try:
                size = 0
                while size < _MOST and (piece := await response.read()):
                    size += len(piece)
                complete = size < _MOST and response.headers.get("connection", "").lower() != "close"
                error = ""
            finally:
                await response.aclose()
        except FastClientError as failure:
            error = type(failure).__name__
    return Warmed(target=target.name, ready=complete, seconds=clock() - marks.started, error=error or None)
