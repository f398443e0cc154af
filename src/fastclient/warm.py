"""Getting ready before the user waits: connections, stores, vocabularies, the provider's prompt cache; all at once.

What is to be got ready is a list of named steps. Each is bounded in time and fails for itself: warming reports what
went wrong, and never raises it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import anyio
import anyio.to_thread

from fastclient.config import Timeouts
from fastclient.engine.clock import running_clock
from fastclient.errors import DeadlineExceeded
from fastclient.observe.timing import Marks
from fastclient.providers.dialect import find
from fastclient.target import Target
from fastclient.types import Request
from fastclient.wire.port import Wire

__all__ = ["PATIENCE", "Step", "WarmStep", "Warmed", "brief", "ping", "threaded", "warmed"]

PATIENCE = 60.0  # seconds for all of it, unless the caller says so
_ANSWER = 5.0  # seconds for the answer that proves a connection
_MOST = 2**20  # bytes of it to read: a connection can only be used again after a complete answer
_WHOLE_ANSWERS = ("max_tokens", "max_completion_tokens", "thinking", "response_format")

Step: TypeAlias = Callable[[], Awaitable[int | None]]
"""Gets one thing ready, and returns how much of it where that can be counted. What goes wrong is raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStep:
    """One thing that was to be got ready: how long it took, and what went wrong.

    `count` is how many connections were opened, or tokens read; None where there is nothing to count.
    """

    seconds: float
    count: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What warming did. `ready` is the number of open connections the next calls find; `seconds` what all of it took.

    A provider that closes the connection after the probe leaves `ready` at 0; `error` is the class of the first
    failure. `prompt_tokens` were read by the provider, if it was given a prompt. `steps` tells the same of each part by
    its name: "connections", "store", "tokenizer", "prompt".
    """

    target: str
    ready: int
    seconds: float
    error: str | None = None
    prompt_tokens: int | None = None
    steps: Mapping[str, WarmStep] = field(default_factory=dict, hash=False)


async def warmed(target: str, steps: Iterable[tuple[str, Step]], timeout: float) -> Warmed:
    """Take all steps at once, for `timeout` seconds at most; those of the same name count as one."""
    clock = running_clock()
    started = clock()
    found: dict[str, list[WarmStep]] = {}
    async with anyio.create_task_group() as tasks:
        for name, step in steps:
            tasks.start_soon(_take, step, timeout, found.setdefault(name, []))
    done = {name: _together(parts) for name, parts in found.items()}
    return Warmed(
        target=target,
        ready=done["connections"].count or 0,
        seconds=clock() - started,
        error=next((step.error for step in done.values() if step.error), None),
        prompt_tokens=done["prompt"].count if "prompt" in done else None,
        steps=done,
    )


async def _take(step: Step, timeout: float, found: list[WarmStep]) -> None:
    clock = running_clock()
    began = clock()
    count: int | None = None
    error: str | None = "DeadlineExceeded"
    with anyio.move_on_after(timeout):
        try:
            count, error = await step(), None
        except Exception as failure:  # of whatever part: warming is a favour, and no reason to fail
            error = type(failure).__name__
    found.append(WarmStep(seconds=clock() - began, count=count, error=error))


def _together(parts: Sequence[WarmStep]) -> WarmStep:
    counts = [part.count for part in parts if part.count is not None]
    return WarmStep(
        seconds=max(part.seconds for part in parts),
        count=sum(counts) if counts else None,
        error=next((part.error for part in parts if part.error), None),
    )


class AnswerTooLong(Exception):
    """The connection cannot be used again: what it carries has no end."""


class ConnectionClosed(Exception):
    """The server does not keep the connection."""


async def ping(wire: Wire, target: Target, timeouts: Timeouts) -> int:
    """See one connection through with a request that costs no tokens, and return 1. Raises what goes wrong."""
    with anyio.move_on_after(timeouts.connect * 2 + _ANSWER):
        await _answered(wire, target, timeouts)
        return 1
    raise DeadlineExceeded("no answer to a request that opens a connection")


async def _answered(wire: Wire, target: Target, timeouts: Timeouts) -> None:
    clock = running_clock()
    response = await wire.send(find(target.provider).ping(target), timeouts, Marks(clock, clock()))
    try:
        size = 0
        while piece := await response.read():
            size += len(piece)
            if size > _MOST:
                raise AnswerTooLong
        if response.headers.get("connection", "").lower() == "close":
            raise ConnectionClosed
    finally:
        await response.aclose()


def threaded(work: Callable[[], None]) -> Step:
    """A step that may block, on a thread that is left to itself when nobody waits any more."""

    async def step() -> None:
        await anyio.to_thread.run_sync(work, abandon_on_cancel=True)

    return step


def brief(request: Request, provider: str) -> Request:
    """The request that has the provider read the prompt, and write as good as nothing."""
    params = {name: value for name, value in request.params.items() if name not in _WHOLE_ANSWERS}
    params["max_tokens"] = find(provider).shortest
    return replace(request, params=params, cache="off", priority="background")
