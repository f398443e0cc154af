"""Races whose answers come, fail and are given up at random turns of the event loop, exact ties included."""

from __future__ import annotations

import asyncio
from math import inf
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from fastclient.engine.clock import running_clock
from fastclient.engine.stream import Stream
from fastclient.errors import BadRequest, FastClientError, RateLimited, ServerFailed
from fastclient.observe.timing import CallRecord
from fastclient.tail.hedge import Hedging, Ticket
from fastclient.tail.latency import Latency
from fastclient.tail.race import Race
from fastclient.target import Target
from fastclient.types import Call, Request

TARGET = Target("openai:m", base_url="http://127.0.0.1:1/v1")
RACES = 3000


class Eager(Hedging):
    """Copies every request as soon as it is asked."""

    def send_copy(self, ticket: Ticket, now: float, *, cost: float = 1.0, usable: bool = True) -> bool:
        ticket.wake = inf
        return True


class Answer(Stream):
    """Takes a few turns of the loop to close."""

    def __init__(self, turns: int) -> None:
        self.open, self.turns = True, turns

    async def pull(self) -> Any:
        return ()

    async def aclose(self) -> None:
        try:
            await after(self.turns)
        finally:
            self.open = False


async def after(turns: int) -> None:
    for _ in range(turns):
        await checkpoint()


class Storm:
    """One race, and all the streams that were opened in it."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.streams: list[Answer] = []
        self.winner: Stream | None = None
        self.turns = {"primary": self.rng.randrange(9), "hedge": self.rng.randrange(6)}
        failures = [None] * 6 + [ServerFailed, BadRequest, RateLimited]
        self.failures = {role: self.rng.choice(failures) for role in self.turns}
        clock = running_clock()
        record = CallRecord(clock, clock())
        self.call = Call(id="x", request=Request(messages=()), target=TARGET, deadline=clock() + 99, record=record)
        self.ticket = Ticket(clock(), 1.0, wake=clock() + self.rng.choice([0.0, 0.0, 1e-4]))

    async def answer(self, call: Call) -> Stream:
        call.record.attempt(call.role, "m").marks.note("send_started")
        try:
            await after(self.turns[call.role])
        except BaseException:
            with anyio.CancelScope(shield=True):
                await after(self.rng.randrange(3))  # a connection takes a moment to close
            raise
        failure = self.failures[call.role]
        if failure is not None:
            raise failure("no")
        self.streams.append(Answer(self.rng.randrange(3)))
        return self.streams[-1]

    async def run(self) -> None:
        place = type("Place", (), {"target": TARGET})
        race = Race(self.answer, self.call, Eager(1.0, Latency()), self.ticket, lambda: place)  # type: ignore[arg-type]
        self.winner = await race.run()

    def check(self, *, delivered: bool) -> None:
        """Only what was handed out is open."""
        still = [stream for stream in self.streams if stream.open]
        assert still == ([self.winner] if delivered else []), (self.turns, self.failures)


@pytest.mark.parametrize("leaves", [False, True])
async def test_every_stream_is_handed_out_or_closed(leaves: bool) -> None:
    """However the two meet, and whenever the caller leaves: exactly one stream comes out, or none is left open."""
    won = 0
    for seed in range(RACES):
        storm, scope = Storm(seed), anyio.CancelScope()
        at = storm.rng.randrange(12)

        async def leave(at: int = at, scope: anyio.CancelScope = scope) -> None:
            await after(at)
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            if leaves:
                tasks.start_soon(leave)
            try:
                with scope:
                    await storm.run()
            except FastClientError:
                assert not leaves or storm.winner is None
            tasks.cancel_scope.cancel()
        storm.check(delivered=storm.winner is not None)
        won += storm.winner is not None
    assert won > RACES / 4


async def strike(limit: asyncio.Timeout, at: int) -> None:
    await after(at)
    limit.reschedule(0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("how", ["task.cancel", "asyncio.timeout"])
async def test_asyncios_own_ways_of_leaving(how: str) -> None:
    """`task.cancel()` and `asyncio.timeout` reach through every shield, and are neither lost nor left over."""
    left, running = 0, len(asyncio.all_tasks())
    for seed in range(RACES):
        storm = Storm(seed)
        at = storm.rng.randrange(12)

        async def bounded(storm: Storm = storm, at: int = at) -> None:
            if how == "task.cancel":
                await storm.run()
                return
            async with asyncio.timeout(None) as limit:
                fire = asyncio.ensure_future(strike(limit, at))
                try:
                    await storm.run()
                finally:
                    fire.cancel()

        task = asyncio.ensure_future(bounded())
        await after(at)
        early = not task.done() and how == "task.cancel"
        if early:
            task.cancel()
        try:
            await task
            assert not early, "a cancellation was swallowed"
        except FastClientError:
            pass
        except (TimeoutError, asyncio.CancelledError):
            left += 1
        await after(12)
        storm.check(delivered=storm.winner is not None)
    assert left > RACES / 20
    assert len(asyncio.all_tasks()) == running
