"""Every decorator on every kind of function, on asyncio, on trio and in threads: each does what its lever promises."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.decorators import stats_of
from fastclient.observe.events import CallFinished
from tests.functions.kinds import KINDS, Body, called, made

kinds = pytest.mark.parametrize("kind", KINDS)


async def together(count: int, work: Callable[[], Awaitable[object]]) -> list[object]:
    """So many at once."""
    results: list[object] = []

    async def one() -> None:
        results.append(await work())

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return results


async def a_hit_does_not_run(kind: str, decorate: Callable[[Any], Any]) -> None:
    body = Body(lambda q: {"asked": q})
    function = decorate(made(kind, body))
    first, again = await called(kind, function, "a"), await called(kind, function, "a")
    assert first == again == {"asked": "a"}
    assert first is not again and body.runs == 1
    assert stats_of(function).cache_hits == 1


async def accelerate(kind: str) -> None:
    await a_hit_does_not_run(kind, fc.accelerate)


async def cached(kind: str) -> None:
    await a_hit_does_not_run(kind, fc.cached)


async def hedged(kind: str) -> None:
    """The first 40 are never copied; then a copy goes past a straggler."""
    body = Body(lambda q: time.sleep(0.005) or f"<{q}>")  # so that a copy never begins before the request itself
    function = fc.hedged(budget=0.5)(made(kind, body))
    for _ in range(60):
        await called(kind, function, "warm")
    await anyio.sleep(0.1)  # for copies of these, of which a busy machine may send some
    late = body.runs + 1
    given_up = time.monotonic() + 20
    body.until = lambda run: run != late or time.monotonic() > given_up
    started = time.monotonic()
    assert await called(kind, function, "late") == "<late>"
    assert time.monotonic() - started < 10
    stats = stats_of(function)
    assert stats.hedges_won >= 1
    if kind in ("plain", "generator"):
        assert stats.stray_threads == 1
        given_up = 0
        with anyio.fail_after(5):
            while stats_of(function).stray_threads:
                await anyio.sleep(0.001)


async def retried(kind: str) -> None:
    body = Body()
    body.failures = [ConnectionError("gone")]
    function = fc.retried(attempts=2)(made(kind, body))
    assert await called(kind, function) == "<q>"
    assert (body.runs, stats_of(function).retries) == (2, 1)


async def shared(kind: str) -> None:
    body = Body(lambda q: [q])
    function = fc.shared(made(kind, body))
    arrived = 0.0

    def all_there(_: int) -> bool:
        nonlocal arrived
        if stats_of(function).in_flight < 10:
            return False
        arrived = arrived or time.monotonic()
        return time.monotonic() > arrived + 0.1  # the last one is on its way to the flight

    body.until = all_there
    results = await together(10, lambda: called(kind, function))
    assert body.runs == 1
    assert all(result is results[0] for result in results)


async def timed(kind: str) -> None:
    events: list[Any] = []
    kept = object()
    function = fc.timed(observers=[events.append])(made(kind, Body(lambda q: kept)))
    assert await called(kind, function) is kept
    assert [type(event) for event in events] == [CallFinished]
    assert stats_of(function).calls == 1


async def fallback(kind: str) -> None:
    body, other = Body(), Body(lambda q: f"instead of {q}")
    body.failures = [TimeoutError("slow")]
    function = fc.fallback(made(kind, other))(made(kind, body))
    assert await called(kind, function, "a") == "instead of a"
    assert await called(kind, function, "b") == "<b>"
    assert (body.runs, other.runs, stats_of(function).fallbacks) == (2, 1, 1)


async def limited(kind: str) -> None:
    body = Body()
    function = fc.limited(concurrency=2)(made(kind, body))
    body.until = lambda run: body.most == 2 or body.runs > 2
    assert await together(10, lambda: called(kind, function)) == ["<q>"] * 10
    assert (body.runs, body.most) == (10, 2)


async def stack(kind: str) -> None:
    """All of them at once, outermost first: what failed is tried again below the cache, and kept once."""
    body = Body(lambda q: {"asked": q})
    body.failures = [ConnectionError("gone")]
    other = Body()
    function = made(kind, body)
    for decorate in (
        fc.timed,
        fc.limited(concurrency=4),
        fc.retried,
        fc.hedged,
        fc.fallback(made(kind, other)),
        fc.shared,
        fc.cached,
    ):
        function = decorate(function)
    assert await called(kind, function, "a") == await called(kind, function, "a") == {"asked": "a"}
    assert (body.runs, other.runs, stats_of(function).cache_hits) == (2, 0, 1)


LEVERS = [accelerate, cached, hedged, retried, shared, timed, fallback, limited, stack]


@kinds
@pytest.mark.parametrize("lever", LEVERS, ids=lambda lever: lever.__name__)
async def test_lever(lever: Callable[[str], Awaitable[None]], kind: str) -> None:
    """Whatever the function, the lever keeps its promise."""
    await lever(kind)


DECORATORS: list[Callable[[Any], Any]] = [
    *(fc.accelerate, fc.cached, fc.hedged, fc.retried, fc.shared, fc.timed, fc.fallback(lambda q: q)),
    *(fc.limited(concurrency=1), fc.accelerate(fc.Policy()), fc.cached(ttl=5), fc.hedged(), fc.retried(), fc.timed()),
    fc.shared(),
]


@pytest.mark.parametrize("decorate", DECORATORS)
@kinds
def test_what_comes_back_is_of_the_same_kind(kind: str, decorate: Callable[[Any], Any]) -> None:
    """With and without parentheses; its name, its words and its signature are those of the user's function."""
    original = made(kind, Body())
    original.__doc__ = "Its words."
    if decorate is DECORATORS[6]:
        decorate = fc.fallback(made(kind, Body()))
    function = decorate(original)
    for asks in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert asks(function) == asks(original)
    assert (function.__name__, function.__doc__) == (original.__name__, "Its words.")
    assert inspect.signature(function) == inspect.signature(original)
