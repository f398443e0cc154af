"""One piece of test code for blocking and asynchronous clients: written as async, and run in each style."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import isawaitable
from typing import Any, TypeVar

import anyio

__all__ = ["run", "settled"]

T = TypeVar("T")


async def settled(value: Any) -> Any:
    """What a client's method returned, waited for if the client is asynchronous."""
    return await value if isawaitable(value) else value


def run(style: str, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run async code on a loop, or without one where its client is blocking: there it never has to wait."""
    if style != "threads":
        return anyio.run(work, *args, backend=style)
    coroutine = work(*args)
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("a blocking client has nothing to wait for")
