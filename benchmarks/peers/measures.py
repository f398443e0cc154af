"""What a worker does with a library, and what it notes: processor time, the wall clock, memory. Standard library only.

A client has `ask`, `stream` and `close`, awaited at the asynchronous door and not at the blocking one. Every measure
warms up first, and checks every answer. Times are in seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

__all__ = ["async_calls", "async_clients", "async_paced", "async_streams", "blocking_calls", "blocking_clients"]
__all__ += ["blocking_streams", "builds", "memory"]

Found = dict[str, float]

TEXT = "".join(f"word{number} " for number in range(10))
LONG = TEXT * 100
_LINE = "The quick brown fox jumps over the lazy dog, and nobody asks it why; section 7 has more on that.\n"
_numbers = itertools.count()


def prompts(size: int) -> Iterator[str]:
    """Prompts that are all different, of about so many bytes."""
    rest = _LINE * (size // len(_LINE))
    return (f"Question {os.getpid()}-{number}? {rest}" for number in _numbers)


def check(text: str, wanted: str) -> None:
    if text != wanted:
        raise ValueError(f"wrong answer: {text[:60]!r}")


class Spent:
    """Notes how long each call took, and what all took together."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self._wall, self._cpu = perf_counter(), process_time()

    def found(self) -> Found:
        cpu, wall = process_time() - self._cpu, perf_counter() - self._wall
        calls, number = sorted(self.calls), len(self.calls)
        p50, p99 = calls[number // 2], calls[min(number - 1, int(number * 0.99))]
        return {"calls": number, "cpu": cpu / number, "wall": wall / number, "p50": p50, "p99": p99}


async def async_calls(client: Any, seconds: float, at_once: int, size: int) -> Found:
    """So many callers, each asking one question after the other."""
    asked = prompts(size)

    async def caller(spent: Spent, until: float) -> None:
        while True:
            began = perf_counter()
            check(await client.ask(next(asked)), TEXT)
            ended = perf_counter()
            spent.calls.append(ended - began)
            if ended >= until:
                return

    async def all_of_them(until: float) -> Spent:
        spent = Spent()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(caller(spent, until))
        return spent

    await all_of_them(0.0)
    return (await all_of_them(perf_counter() + seconds)).found()


def blocking_calls(client: Any, seconds: float, at_once: int, size: int) -> Found:
    """One question after the other."""
    asked = prompts(size)
    check(client.ask(next(asked)), TEXT)
    spent, until = Spent(), perf_counter() + seconds
    while perf_counter() < until or not spent.calls:
        began = perf_counter()
        check(client.ask(next(asked)), TEXT)
        spent.calls.append(perf_counter() - began)
    return spent.found()


async def async_streams(client: Any, seconds: float) -> Found:
    """One long stream after the other, the chunks as fast as they can be read."""

    async def read() -> None:
        pieces: list[str] = []
        await client.stream(next(asked), pieces.append)
        check("".join(pieces), LONG)

    asked = prompts(0)
    await read()
    spent, until = Spent(), perf_counter() + seconds
    while perf_counter() < until or len(spent.calls) < 2:
        began = perf_counter()
        await read()
        spent.calls.append(perf_counter() - began)
    return spent.found()


def blocking_streams(client: Any, seconds: float) -> Found:
    """The same at the blocking door."""

    def read() -> None:
        pieces: list[str] = []
        client.stream(next(asked), pieces.append)
        check("".join(pieces), LONG)

    asked = prompts(0)
    read()
    spent, until = Spent(), perf_counter() + seconds
    while perf_counter() < until or len(spent.calls) < 2:
        began = perf_counter()
        read()
        spent.calls.append(perf_counter() - began)
    return spent.found()


async def async_paced(client: Any, seconds: float, tokens: int) -> Found:
    """Streams whose every chunk says when it was sent: how much later is it in the caller's hands?"""
    late: list[int] = []
    firsts: list[int] = []

    async def read() -> None:
        began, count = time.monotonic_ns(), len(late)

        def take(text: str) -> None:
            now = time.monotonic_ns()
            late.extend(now - int(stamp) for stamp in text.split())
            if len(firsts) == reads:
                firsts.append(now - began)

        await client.stream(next(asked), take)
        if len(late) - count != tokens:
            raise ValueError(f"{len(late) - count} chunks instead of {tokens}")

    asked = prompts(0)
    reads = 0
    await read()
    late.clear()
    spent, until = process_time(), perf_counter() + seconds
    while perf_counter() < until or reads < 2:
        reads += 1
        await read()
    cpu = (process_time() - spent) / len(late)
    late.sort()
    firsts = sorted(firsts[1:])
    p99 = late[int(len(late) * 0.99)] / 1e9
    return {"cpu": cpu, "p50": late[len(late) // 2] / 1e9, "p99": p99, "ttft": firsts[len(firsts) // 2] / 1e9}


async def async_clients(make: Callable[[], Any], seconds: float) -> Found:
    """A client built for each call, and closed after it."""

    async def once() -> None:
        client = make()
        check(await client.ask(next(asked)), TEXT)
        await client.close()

    asked = prompts(0)
    await once()
    spent, until = Spent(), perf_counter() + seconds
    while perf_counter() < until or len(spent.calls) < 2:
        began = perf_counter()
        await once()
        spent.calls.append(perf_counter() - began)
    return spent.found()


def blocking_clients(make: Callable[[], Any], seconds: float) -> Found:
    """The same at the blocking door."""

    def once() -> None:
        client = make()
        check(client.ask(next(asked)), TEXT)
        client.close()

    asked = prompts(0)
    once()
    spent, until = Spent(), perf_counter() + seconds
    while perf_counter() < until or len(spent.calls) < 2:
        began = perf_counter()
        once()
        spent.calls.append(perf_counter() - began)
    return spent.found()


async def builds(make: Callable[[], Any], seconds: float) -> Found:
    """Clients built and closed without a call. Only the building counts."""

    async def once() -> tuple[float, float]:
        began, cpu = perf_counter(), process_time()
        client = make()
        took = perf_counter() - began, process_time() - cpu
        closing = client.close()
        if isinstance(closing, Awaitable):
            await closing
        return took

    await once()
    until = perf_counter() + seconds
    took: list[tuple[float, float]] = []
    while perf_counter() < until or len(took) < 3:
        took.append(await once())
    walls = sorted(wall for wall, _ in took)
    cpu = sum(cpu for _, cpu in took) / len(took)
    return {"calls": len(took), "cpu": cpu, "wall": sum(walls) / len(walls), "p50": walls[len(walls) // 2]}


async def memory(client: Any, at_once: int) -> Found:
    """Resident bytes after one call, and what each call under way adds. The server answers after 1.5 seconds."""
    asked = prompts(0)
    check(await client.ask(next(asked)), TEXT)
    after_one = resident()
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(client.ask(next(asked))) for _ in range(at_once)]
        await asyncio.sleep(1.3)
        most = resident()
    for call in calls:
        check(call.result(), TEXT)
    return {"resident": after_one, "per_call": (most - after_one) / at_once}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
