"""Opening connections before the user waits for them."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from fastclient.config import Timeouts
from fastclient.engine.clock import running_clock
from fastclient.observe.timing import Marks
from fastclient.providers.dialect import find
from fastclient.target import Target
from fastclient.wire.port import Wire

__all__ = ["Warmed", "warmed"]

_PATIENCE = 5.0  # seconds for the answer that proves the connection
_MOST = 2**20  # bytes of it to read: a connection can only be used again after a complete answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What warming did. `ready` is the number of open connections the next calls find; `seconds` what each one saves.

    A provider that closes the connection after the probe leaves `ready` at 0; `error` is the class of a failure.
    `prompt_tokens` were read by the provider, if it was given a prompt.
    """

    target: str
    ready: int
    seconds: float
    error: str | None = None
    prompt_tokens: int | None = None


async def warmed(wire: Wire, target: Target, timeouts: Timeouts, connections: int) -> Warmed:
    """Open connections with requests that cost no tokens. Bounded in time; reports failures, never raises them."""
    clock = running_clock()
    started = clock()
    errors: list[str | None] = []

    async def probe() -> None:
        errors.append(await _probe(wire, target, timeouts, Marks(clock, clock())))

    async with anyio.create_task_group() as tasks:
        for _ in range(connections):
            tasks.start_soon(probe)
    return Warmed(
        target=target.name,
        ready=errors.count(None),
        seconds=clock() - started,
        error=next((error for error in errors if error), None),
    )


async def _probe(wire: Wire, target: Target, timeouts: Timeouts, marks: Marks) -> str | None:
    """Open one connection and see it through; the class of what went wrong, or None."""
    with anyio.move_on_after(timeouts.connect * 2 + _PATIENCE):
        try:
            response = await wire.send(find(target.provider).ping(target), timeouts, marks)
            try:
                size = 0
                while piece := await response.read():
                    size += len(piece)
                    if size > _MOST:
                        return "AnswerTooLong"
                return "ConnectionClosed" if response.headers.get("connection", "").lower() == "close" else None
            finally:
                await response.aclose()
        except Exception as failure:  # of whatever wire: warming is a favour, and no reason to fail
            return type(failure).__name__
    return "DeadlineExceeded"
