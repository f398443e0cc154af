"""Running a short clean-up outside of every task group, on asyncio and trio.

Needed in two places only: closing a stream that the garbage collector found, and letting a request that must not be
cancelled run to its end. Both are bounded and swallow their own errors.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["spawner"]

_running: set[asyncio.Task[None]] = set()  # the loop holds tasks weakly

Cleanup = Callable[[], Coroutine[Any, Any, None]]


def spawner() -> Callable[[Cleanup], None]:
    """A function that starts a clean-up on the loop running now; callable later from any thread, or after its end."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _on_trio()

    def start(cleanup: Cleanup) -> None:
        task = loop.create_task(cleanup())
        _running.add(task)
        task.add_done_callback(_running.discard)

    process = os.getpid()

    def spawn(cleanup: Cleanup) -> None:
        if not loop.is_closed() and os.getpid() == process:  # a forked child has the loop, but nobody runs it there
            loop.call_soon_threadsafe(start, cleanup)

    return spawn


def _on_trio() -> Callable[[Cleanup], None]:
    import trio

    token = trio.lowlevel.current_trio_token()

    def spawn(cleanup: Cleanup) -> None:
        try:
            token.run_sync_soon(trio.lowlevel.spawn_system_task, cleanup)
        except trio.RunFinishedError:
            return

    return spawn
