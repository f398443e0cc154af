"""A copy of a late request is sent in the name of the caller who asked."""

from __future__ import annotations

from contextvars import ContextVar
from math import inf
from typing import Any

import anyio

from fastclient.engine.clock import running_clock
from fastclient.engine.stream import Stream
from fastclient.observe.timing import CallRecord
from fastclient.tail.hedge import Hedging, Ticket
from fastclient.tail.latency import Latency
from fastclient.tail.race import Race
from fastclient.target import Target
from fastclient.types import Call, Request

TARGET = Target("openai:m", base_url="http://127.0.0.1:1/v1")
CALLER: ContextVar[str] = ContextVar("caller", default="nobody")


class Eager(Hedging):
    """Copies every request as soon as it is asked."""

    def send_copy(self, ticket: Ticket, now: float, *, cost: float = 1.0, usable: bool = True) -> bool:
        ticket.wake = inf
        return True


class Empty(Stream):
    """An answer without anything in it."""

    async def pull(self) -> Any:
        return ()

    async def aclose(self) -> None:
        pass


async def test_copies_run_in_their_callers_context() -> None:
    """Whatever a caller has put into context variables is there for its copy, though one timer rings for all."""
    said: dict[str, str] = {}
    clock = running_clock()

    async def answer(call: Call) -> Stream:
        call.record.attempt(call.role, "m")
        if call.role == "primary":
            await anyio.sleep(60)
        said[call.id] = CALLER.get()
        return Empty()

    async def ask(name: str) -> None:
        CALLER.set(name)
        record = CallRecord(clock, clock())
        call = Call(id=name, request=Request(messages=()), target=TARGET, deadline=clock() + 99, record=record)
        ticket = Ticket(clock(), 1.0, wake=clock() + 0.01)
        place = type("Place", (), {"target": TARGET})
        await Race(answer, call, Eager(1.0, Latency()), ticket, lambda: place).run()  # type: ignore[arg-type]

    async with anyio.create_task_group() as tasks:
        for name in ("one", "two", "three"):
            tasks.start_soon(ask, name)
    assert said == {"one": "one", "two": "two", "three": "three"}
