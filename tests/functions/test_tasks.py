"""Coroutine functions and asynchronous generators stay in their caller's task, and are closed when they are left."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.decorators import stats_of

LEVERS: dict[str, Callable[[Any], Any]] = {
    "cached": fc.cached,
    "hedged": fc.hedged,
    "retried": fc.retried,
    "shared": fc.shared,
    "timed": fc.timed,
    "limited": fc.limited(concurrency=1),
    "accelerate": fc.accelerate,
}
levers = pytest.mark.parametrize("decorate", LEVERS.values(), ids=LEVERS)
APART = ("cached", "shared", "accelerate")
at_home = pytest.mark.parametrize("decorate", [LEVERS[name] for name in LEVERS if name not in APART])


@at_home
async def test_a_coroutine_function_runs_in_its_callers_task(decorate: Callable[[Any], Any]) -> None:
    """What belongs to a task, such as a cancel scope or a database session, goes on working."""
    tasks: list[int] = []

    async def function() -> None:
        tasks.append(anyio.get_current_task().id)

    await decorate(function)()
    assert tasks == [anyio.get_current_task().id]


@levers
async def test_cancelling_reaches_the_function(decorate: Callable[[Any], Any]) -> None:
    """Who is cancelled takes his function with him; its clean-up is done by then."""
    story: list[str] = []

    async def function() -> None:
        try:
            story.append("begun")
            await anyio.sleep_forever()
        finally:
            story.append("cleaned")

    decorated = decorate(function)
    async with anyio.create_task_group() as group:
        group.start_soon(decorated)
        while not story:
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert story == ["begun", "cleaned"]
    assert stats_of(decorated).cancelled == 1


@levers
async def test_closing_a_generator_closes_the_functions(decorate: Callable[[Any], Any]) -> None:
    """Its clean-up may wait for something, and is done when the closing returns."""
    story: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await anyio.sleep(0.01)
            story.append("closed")

    async with aclosing(decorate(numbers)()) as items:
        async for _ in items:
            break
    assert story == ["closed"]


@levers
async def test_cancelling_closes_a_generator(decorate: Callable[[Any], Any]) -> None:
    """Also between two items, and its clean-up may still wait for something."""
    story: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            story.append("closed")

    async def read() -> None:
        async with aclosing(decorate(numbers)()) as items:
            async for _ in items:
                story.append("read")

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        while "read" not in story:
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert story == ["read", "closed"]


@levers
def test_a_break_closes_on_asyncio_without_a_word(decorate: Callable[[Any], Any]) -> None:
    """Leaving a loop early is no error, and leaves nothing for the event loop to complain about."""
    story: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            story.append("closed")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: story.append(str(context)))
        async for _ in decorate(numbers)():
            break
        gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)
        assert story == ["closed"]

    asyncio.run(main())
    assert story == ["closed"]


@levers
async def test_an_asynchronous_generator_advances_only_when_asked(decorate: Callable[[Any], Any]) -> None:
    """No step is taken ahead of its consumer, also where a task of its own takes them."""
    steps: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            steps.append(number)
            yield number

    async with aclosing(decorate(numbers)()) as items:
        for number in range(3):
            assert await anext(items) == number
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            assert steps == list(range(number + 1))


@at_home
async def test_no_scope_stays_open_between_two_items(decorate: Callable[[Any], Any]) -> None:
    """A generator may be begun in one task, read in another and closed in a third."""

    async def numbers() -> AsyncIterator[int]:
        while True:
            yield 1

    items = decorate(numbers)()
    for step in (items.__anext__, items.__anext__, items.aclose):
        async with anyio.create_task_group() as group:
            group.start_soon(step)


async def test_who_shares_a_run_may_leave_it() -> None:
    """Cancelling the first caller does not take the answer from the second."""
    runs: list[int] = []
    go = anyio.Event()

    @fc.shared
    async def value() -> int:
        runs.append(1)
        await go.wait()
        return 5

    results: list[int] = []

    async def second() -> None:
        results.append(await value())

    async with anyio.create_task_group() as outer:
        async with anyio.create_task_group() as inner:
            inner.start_soon(value)
            while not runs:
                await anyio.sleep(0.001)
            outer.start_soon(second)
            while stats_of(value).in_flight < 2:
                await anyio.sleep(0.001)
            await anyio.sleep(0.05)
            inner.cancel_scope.cancel()
        go.set()
    assert (results, runs) == ([5], [1])


@levers
async def test_a_coroutine_function_may_await_itself(decorate: Callable[[Any], Any]) -> None:
    """A call inside of a call gets through, also with the only permit taken and with the same arguments."""
    tries: list[int] = []

    @decorate
    async def again(depth: int) -> int:
        return 0 if depth == 0 else 1 + await again(depth - 1)

    @decorate
    async def itself(depth: int) -> int:
        tries.append(depth)
        return len(tries) if len(tries) == 3 else await itself(depth)

    with anyio.fail_after(10):
        assert (await again(5), await itself(1)) == (5, 3)


async def test_a_stale_answer_is_renewed_behind_the_callers_back() -> None:
    """The old value comes at once, and the next caller finds a new one."""
    runs: list[int] = []

    @fc.cached(ttl=0.05, stale=100)
    async def count() -> int:
        runs.append(1)
        return len(runs)

    assert await count() == 1
    await anyio.sleep(0.06)
    assert await count() == 1
    with anyio.fail_after(5):
        while await count() == 1:
            await anyio.sleep(0.005)


def test_a_module_with_coroutine_functions_serves_many_loops() -> None:
    """Functions are decorated once, and called from each loop that comes."""
    code = """
import asyncio, fastclient as fc, trio
@fc.accelerate
async def ask(q): return q
for _ in range(3): assert asyncio.run(ask("a")) == "a"
assert trio.run(ask, "b") == "b"
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
