"""One way to write and to call a function of every kind, so that a promise is tested once and must hold for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import anyio
from anyio.to_thread import run_sync

__all__ = ["KINDS", "Body", "call", "called", "made"]

KINDS = ["plain", "coroutine", "generator", "async generator"]


class Body:
    """What a function does: the same for all kinds. Counts its runs, and how many are under way."""

    def __init__(self, value: Callable[[str], object] = lambda q: f"<{q}>") -> None:
        self.value = value
        self.runs = self.open = self.most = 0
        self.failures: list[Exception] = []  # of the first runs
        self.until: Callable[[int], bool] = lambda run: True  # whether a run may go on

    def begin(self) -> int:
        self.runs += 1
        self.open += 1
        self.most = max(self.most, self.open)
        return self.runs

    def end(self, q: str) -> object:
        self.open -= 1
        if self.failures:
            raise self.failures.pop(0)
        return self.value(q)

    def wait(self, run: int) -> None:
        while not self.until(run):
            time.sleep(0.001)

    async def await_(self, run: int) -> None:
        while not self.until(run):
            await anyio.sleep(0.001)


def made(kind: str, body: Body) -> Callable[..., Any]:
    """A function of this kind. Generators give the value, then "more"."""

    def plain(q: str = "q") -> object:
        body.wait(body.begin())
        return body.end(q)

    async def coroutine(q: str = "q") -> object:
        await body.await_(body.begin())
        return body.end(q)

    def generator(q: str = "q") -> Any:
        body.wait(body.begin())
        yield body.end(q)
        yield "more"

    async def async_generator(q: str = "q") -> Any:
        await body.await_(body.begin())
        yield body.end(q)
        yield "more"

    kinds = {"plain": plain, "coroutine": coroutine, "generator": generator, "async generator": async_generator}
    return kinds[kind]


async def called(kind: str, function: Callable[..., Any], *args: object) -> Any:
    """The whole of what it gives, and then its first value. What blocks is called on a thread."""
    if kind == "coroutine":
        return await function(*args)
    if kind == "async generator":
        async with aclosing(function(*args)) as items:
            first, *others = [item async for item in items]
            assert others == ["more"]
            return first
    return await run_sync(call, kind, function, *args)


def call(kind: str, function: Callable[..., Any], *args: object) -> Any:
    """The same on this thread, for plain functions and generators."""
    if kind == "plain":
        return function(*args)
    first, *others = function(*args)
    assert others == ["more"]
    return first
