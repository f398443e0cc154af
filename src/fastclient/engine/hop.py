"""The way from any event loop to the engine's, for work that can only be done there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

from fastclient.engine.clock import running_loop
from fastclient.engine.seam import Engine, engine
from fastclient.errors import ConfigError

__all__ = ["Away", "on_engine", "start_on", "the_engine"]

_T = TypeVar("_T")


class Away(Exception):
    """What is wanted is not to be had now: a server does not answer, or the interpreter is exiting."""


async def on_engine(work: Callable[[], Coroutine[Any, Any, _T]], lost: Callable[[_T], object] = lambda _: None) -> _T:
    """Run a coroutine on the engine's loop and await it from any event loop.

    A caller who is cancelled leaves at once, and the work is cancelled; `lost` gets a result that nobody took.
    """
    home = the_engine()
    if home.is_current:
        return await work()
    done, loop = anyio.Event(), running_loop()
    tell = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon  # asyncio's, or trio's
    tasks: list[asyncio.Task[None]] = []
    results: list[_T] = []
    errors: list[BaseException] = []
    left = False

    async def run() -> None:
        try:
            results.append(await work())
        except BaseException as error:
            errors.append(error)
        if left and results:
            lost(results.pop())
        try:
            tell(done.set)
        except RuntimeError:
            return  # the caller's loop has ended

    def leave() -> None:
        nonlocal left
        left = True
        if results:
            lost(results.pop())
        else:
            tasks[0].cancel()

    start_on(home, run, tasks.append)
    try:
        await done.wait()
    except BaseException:
        home.call(leave)
        raise
    if results:
        return results[0]
    raise errors.pop() if isinstance(errors[0], Exception) else Away("the interpreter is exiting")


def the_engine() -> Engine:
    """This process's engine. Raises Away where it cannot be had any more."""
    try:
        return engine()
    except ConfigError:
        raise Away("the interpreter is exiting") from None


def start_on(
    home: Engine,
    work: Callable[[], Coroutine[Any, Any, None]],
    on_start: Callable[[asyncio.Task[None]], None] | None = None,
) -> None:
    """Run `work` as a task there; `on_start` gets the task, on its thread. Raises Away where it has ended."""
    try:
        home.start(work, on_start)
    except (ConfigError, RuntimeError):
        raise Away("the interpreter is exiting") from None
