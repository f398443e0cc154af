"""Calls to a local model's handler, as the layers above it make them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from fastclient.engine.answer import Answer
from fastclient.engine.clock import running_clock
from fastclient.engine.seam import drive, seam
from fastclient.engine.stream import Stream
from fastclient.local.handler import LocalHandler
from fastclient.observe.timing import CallRecord, Clock
from fastclient.request import checked
from fastclient.target import Target
from fastclient.types import Call

__all__ = ["RANDOM", "SHOP", "ask", "block", "call_of", "read"]

DATA = Path(__file__).parent.parent / "data"
SHOP = DATA / "tiny-shop.gguf"
RANDOM = DATA / "tiny-random.gguf"
_numbers = itertools.count()


def call_of(words: object, params: dict[str, object], clock: Clock, timeout: float = 60.0) -> Call:
    now = clock()
    return Call(
        id=f"call{next(_numbers)}",
        request=checked(words, params),  # type: ignore[arg-type]
        target=Target("local:tiny"),
        deadline=now + timeout,
        record=CallRecord(clock, now),
    )


async def read(stream: Stream, most: int | None = None) -> Answer:
    """All of an answer, or so many batches of it."""
    answer, count = Answer(), 0
    try:
        while (most is None or count < most) and (batch := await stream.pull()):
            answer.add(batch)
            count += 1
    finally:
        await stream.aclose()
    return answer


async def ask(handler: LocalHandler, words: object, **params: object) -> Answer:
    """The answer to one call, on the event loop running now."""
    return await read(await handler(call_of(words, params, running_clock())))


def block(handler: LocalHandler, words: object, **params: object) -> Answer:
    """The same from a thread that blocks."""
    stream = drive(seam(handler)(call_of(words, params, monotonic)))
    answer = Answer()
    batches: Sequence[object] = ()
    try:
        while batches := drive(stream.pull()):
            answer.add(batches)  # type: ignore[arg-type]
    finally:
        drive(stream.aclose())
    return answer
