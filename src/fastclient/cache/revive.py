"""Asking again behind a caller's back, for an answer that was served stale."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from random import getrandbits

from fastclient.config import Timeouts
from fastclient.engine.detached import Work
from fastclient.engine.stack import Handler
from fastclient.observe.timing import CallRecord
from fastclient.types import CacheInfo, Call, Chunk

__all__ = ["asked_again", "revival"]


def revival(handler: Handler, timeouts: Timeouts, spawn: Callable[[Work], object]) -> Callable[[Call], None]:
    """A function that repeats a call in the background, once at a time for each key; the layers below keep its answer.

    It has the lowest priority and a deadline of its own. What comes of it is seen by observers and by nobody else.
    """
    under_way: set[tuple[int, bytes | None]] = set()  # by process: a forked child goes on with nothing

    def revive(call: Call) -> None:
        turn = (os.getpid(), call.key)
        if turn in under_way:
            return
        under_way.add(turn)
        spawn(lambda: again(call, turn))

    async def again(call: Call, turn: tuple[int, bytes | None]) -> None:
        try:
            await asked_again(handler, call, timeouts)
        finally:
            under_way.discard(turn)

    return revive


async def asked_again(handler: Handler, call: Call, timeouts: Timeouts) -> list[Chunk]:
    """Ask what a call asks once more, for nobody; the layers below keep the answer. Raises what goes wrong."""
    clock = call.record.clock
    now = clock()
    again = replace(
        call,
        id=f"{getrandbits(64):016x}",
        request=replace(call.request, cache="refresh", priority="background"),
        deadline=now + timeouts.total,
        record=CallRecord(clock, now, cache=CacheInfo(state="miss")),
    )
    stream = await handler(again)
    chunks: list[Chunk] = []
    try:
        while batch := await stream.pull():
            if batch[0].restarted:
                chunks.clear()
            chunks += batch
    finally:
        await stream.aclose()
    return chunks
