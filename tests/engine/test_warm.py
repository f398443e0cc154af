"""Warming: what is got ready, that all of it happens at once and within its time, and what is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.testing import FakeProvider, ProviderServer
from tests.engine.virtual import virtual_backend

anyio_backend = virtual_backend

on_threads = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
"""Real time, for what waits for a thread."""


def client(wire: Any = None, **options: Any) -> fc.AsyncClient:
    return fc.AsyncClient("openai:m", wire=wire or FakeProvider("Hello"), **options)


def part(made: fc.AsyncClient, name: str, work: Callable[[], Awaitable[int | None]]) -> None:
    """What a part of the client does that has something to load."""
    made._core.warming[name] = work


class Stuck(FakeProvider):
    """Answers so many requests, and never the others."""

    def __init__(self, answered: int = 0) -> None:
        super().__init__()
        self.left = answered

    async def send(self, *args: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            await anyio.sleep_forever()
        return await super().send(*args)


async def test_each_part_is_told_of() -> None:
    """Every step has its name, how long it took and what there was to count; the sum of it stands above."""
    async with client() as made:
        done = await made.warm(connections=2, prompt="What is there to know about pumps?")
    assert {name: step.error for name, step in done.steps.items()} == {"connections": None, "prompt": None}
    assert done.ready == done.steps["connections"].count == 2
    assert done.prompt_tokens == done.steps["prompt"].count and done.prompt_tokens
    assert done.error is None and all(step.seconds <= done.seconds for step in done.steps.values())


@on_threads
async def test_the_store_is_opened() -> None:
    """A cache's store is one of the steps; without a cache there is none."""
    async with client(policy=fc.Policy(cache=fc.Cache())) as made, client() as plain:
        assert (await made.warm()).steps["store"].error is None
        assert set((await plain.warm()).steps) == {"connections"}


async def test_parts_add_steps_of_their_own() -> None:
    """A part that has something to load is asked each time; copies of the client know it too."""
    asked: list[str] = []

    async def load() -> int:
        asked.append("model")
        return 7

    async with client() as made:
        part(made, "model", load)
        copy = made.with_(policy=fc.Policy(retry=None))
        assert (await made.warm()).steps["model"].count == (await copy.warm()).steps["model"].count == 7
    assert asked == ["model", "model"]


async def test_all_steps_are_taken_at_once() -> None:
    """Two parts that wait for each other both get ready."""
    met = anyio.Event(), anyio.Event()

    async def load(mine: anyio.Event, others: anyio.Event) -> None:
        mine.set()
        await others.wait()

    async with client() as made:
        part(made, "one", lambda: load(met[0], met[1]))
        part(made, "two", lambda: load(met[1], met[0]))
        done = await made.warm(timeout=1)
    assert done.error is None and done.seconds < 0.1


async def test_one_that_fails_or_hangs_stops_no_other() -> None:
    """Each step fails for itself, and the class of its error is told; the first is that of all."""

    async def fail() -> None:
        raise LookupError("there is no such model")

    async with client() as made:
        part(made, "model", fail)
        part(made, "vectors", anyio.sleep_forever)
        done = await made.warm(timeout=20)
    assert done.ready == 1 and done.error == "LookupError"
    assert (done.steps["model"].error, done.steps["vectors"].error) == ("LookupError", "DeadlineExceeded")
    assert done.seconds == pytest.approx(20)


async def test_the_timeout_bounds_all_of_it() -> None:
    """Nothing answers, and it is over in time, with a prompt too; what is worth a second is not given a minute."""
    async with client(Stuck()) as made:
        done = await made.warm(connections=3, prompt="Hi", timeout=2)
        assert (done.ready, done.prompt_tokens, done.error) == (0, None, "DeadlineExceeded")
        assert done.seconds == pytest.approx(2)


async def test_the_default_is_a_minute() -> None:
    """Without a word of the caller's a part that hangs costs a minute, and a connection fifteen seconds."""
    async with client(Stuck()) as made:
        part(made, "model", anyio.sleep_forever)
        done = await made.warm()
    assert (done.seconds, done.steps["connections"].seconds) == (pytest.approx(60), pytest.approx(15))


async def test_connections_that_opened_in_time_are_counted() -> None:
    """One of three gets no answer: two are ready, and the failure is told."""
    async with client(Stuck(answered=2)) as made:
        done = await made.warm(connections=3, timeout=5)
    assert (done.ready, done.error) == (2, "DeadlineExceeded")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "1"])
async def test_a_timeout_that_cannot_be_is_an_error(timeout: Any) -> None:
    """It is told off before anything is sent."""
    async with client() as made:
        with pytest.raises(fc.ConfigError, match="timeout"):
            await made.warm(timeout=timeout)


def test_threads_warm_the_same_way() -> None:
    """The blocking client over sockets: connections, a prompt and the store, with a bound."""
    policy = fc.Policy(cache=fc.Cache())
    with ProviderServer() as server, fc.Client("openai:m", base_url=server.base_url, policy=policy) as made:
        done = made.warm(connections=2, prompt="Hi", timeout=30)
        assert (done.ready, done.error, set(done.steps)) == (2, None, {"connections", "store", "prompt"})
        assert made.chat("Hi again").timings.reused
