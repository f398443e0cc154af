"""What the engine itself costs: a layer, driving without a loop, and the crossing from a thread to the event loop.

The handler behind it answers from memory, so nothing but the engine is measured. The baseline in the same run is the
usual way across: `asyncio.run_coroutine_threadsafe` for the call and for each chunk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fastclient.engine.seam import drive, seam
from fastclient.engine.stack import Handler, stack
from fastclient.engine.stream import Stream
from fastclient.observe.timing import CallRecord
from fastclient.target import Target
from fastclient.types import Call, Chunk, Request

CHUNKS = 100


class Ready(Stream):
    """An answer that is all there, one chunk to a batch."""

    def __init__(self) -> None:
        self._left = CHUNKS

    async def pull(self) -> Sequence[Chunk]:
        if not self._left:
            return ()
        self._left -= 1
        return (Chunk("word"),)

    async def aclose(self) -> None:
        pass


async def ready(call: Call) -> Stream:
    return Ready()


def call() -> Call:
    record = CallRecord(lambda: 0.0, 0.0)
    return Call(id="", request=Request(messages=()), target=Target("openai:m"), deadline=1e9, record=record)


async def read(handler: Handler) -> int:
    stream = await handler(call())
    count = 0
    while batch := await stream.pull():
        count += len(batch)
    await stream.aclose()
    return count


def nothing(handler: Handler) -> Handler:
    async def layer(call: Call) -> Stream:
        return await handler(call)

    return layer


@pytest.mark.parametrize("layers", [0, 5])
@pytest.mark.benchmark(group="100 chunks in one thread")
def test_layers(benchmark: Any, layers: int) -> None:
    """Driven without a loop, through so many empty layers."""
    handler = stack(*[nothing] * layers, around=ready)
    assert benchmark(lambda: drive(read(handler))) == CHUNKS


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.benchmark(group="100 chunks across threads")
def test_seam(benchmark: Any) -> None:
    """Through the seam."""
    handler = seam(ready)
    assert benchmark(lambda: drive(read(handler))) == CHUNKS


@pytest.mark.benchmark(group="100 chunks across threads")
def test_run_coroutine_threadsafe(benchmark: Any, loop: asyncio.AbstractEventLoop) -> None:
    """By a future for the call and one for each chunk."""

    def ask() -> int:
        stream = asyncio.run_coroutine_threadsafe(ready(call()), loop).result()
        count = 0
        while batch := asyncio.run_coroutine_threadsafe(stream.pull(), loop).result():
            count += len(batch)
        return count

    assert benchmark(ask) == CHUNKS
