"""One way to speak to every client, so that a scenario is written once and must end the same everywhere.

The worlds: `AsyncClient` on asyncio, `AsyncClient` on trio, `Client` in plain threads; each over httpx2, httpx and the
wire of our own.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import anyio
import pytest
from anyio.to_thread import run_sync

from fastclient import AsyncClient, Client, Policy, Reply, Timeouts
from fastclient.testing import Counters, ProviderServer

__all__ = ["ASYNC_WORLDS", "WORLDS", "AsyncDoor", "Door", "ThreadDoor", "door", "world"]

ASYNC_WORLDS = [f"{home}-{wire}" for home in ("asyncio", "trio") for wire in ("httpx2", "httpx", "direct")]
WORLDS = [*ASYNC_WORLDS, "threads-httpx2", "threads-httpx", "threads-direct"]

PROMPT = "Say something."
_T = TypeVar("_T")
warmed: set[str] = set()


class AsyncDoor:
    """Asks an `AsyncClient`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.client = AsyncClient(*args, **options)

    async def chat(self, prompt: str = PROMPT, **options: Any) -> Reply:
        return await self.client.chat(prompt, **options)

    async def read(self, into: list[str], *, pause: float = 0.0, **options: Any) -> Reply:
        """Take an answer piece by piece, with one pause after the first piece."""
        async with self.client.stream(PROMPT, **options) as stream:
            async for text in stream.text:
                into.append(text)
                if len(into) == 1:
                    await anyio.sleep(pause)
            return await stream.reply()

    def begin(self, **options: Any) -> AsyncAnswer:
        return AsyncAnswer(self.client.stream(PROMPT, **options))

    async def close(self) -> None:
        await self.client.aclose()


class AsyncAnswer:
    """An answer whose steps can be taken one by one, wherever the caller likes."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.pieces = stream, stream.text

    async def next(self) -> str:
        return await anext(self.pieces, "")

    async def close(self) -> None:
        await self.stream.aclose()


class ThreadDoor:
    """Asks a blocking `Client`. Every step is taken in a new thread: none may depend on the thread of another."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.client = Client(*args, **options)

    async def chat(self, prompt: str = PROMPT, **options: Any) -> Reply:
        return await in_new_thread(lambda: self.client.chat(prompt, **options))

    async def read(self, into: list[str], *, pause: float = 0.0, **options: Any) -> Reply:
        def reading() -> Reply:
            with self.client.stream(PROMPT, **options) as stream:
                for text in stream.text:
                    into.append(text)
                    if len(into) == 1:
                        time.sleep(pause)
                return stream.reply()

        return await in_new_thread(reading)

    def begin(self, **options: Any) -> ThreadAnswer:
        return ThreadAnswer(self.client.stream(PROMPT, **options))

    async def close(self) -> None:
        await in_new_thread(self.client.close)


class ThreadAnswer:
    """The same, blocking."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.pieces = stream, stream.text

    async def next(self) -> str:
        return await in_new_thread(lambda: next(self.pieces, ""))

    async def close(self) -> None:
        await in_new_thread(self.stream.close)


Door = AsyncDoor | ThreadDoor


async def in_new_thread(work: Callable[[], _T]) -> _T:
    with ThreadPoolExecutor(1) as thread:
        return await asyncio.wrap_future(thread.submit(work))


async def seen(server: ProviderServer, check: Callable[[Counters], bool], within: float = 0.25) -> bool:
    """Whether the server's counters pass a check within some seconds."""
    return await run_sync(server.wait_for, check, within)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def door(world: str) -> AsyncIterator[Callable[..., Door]]:
    """Makes doors: `door(server, "anthropic", first_token=0.3)`. Once closed they must leave no connection behind."""
    home, wire = world.split("-")
    made: list[tuple[Door, ProviderServer]] = []

    def make(
        server: ProviderServer,
        provider: str = "openai",
        *,
        observers: Any = (),
        api_key: Any = None,
        retry: Any = None,
        hedge: Any = None,
        **timeouts: float,
    ) -> Door:
        limits = Timeouts(**{"total": 10.0, **timeouts})
        policy = Policy(timeouts=limits, retry=retry, hedge=hedge, observers=tuple(observers))
        kind = ThreadDoor if home == "threads" else AsyncDoor
        opened = kind(f"{provider}:m", base_url=server.base_url, api_key=api_key, policy=policy, wire=wire)
        made.append((opened, server))
        return opened

    if world not in warmed:  # the first call of a process imports a lot: no test's clock should run then
        warmed.add(world)
        with ProviderServer() as server:
            first = make(server)
            await first.chat()
            await first.close()
        made.clear()
    gc.freeze()  # what was there before is not collected below: that makes it quick
    yield make
    for opened, _ in made:
        await opened.close()
    for _, server in made:
        assert await seen(server, lambda counters: counters.open_connections == 0), "a connection is still open"
    gc.collect()  # whatever was forgotten complains here, in the test that forgot it
    gc.unfreeze()
