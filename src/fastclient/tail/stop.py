"""Cancel scopes that cost next to nothing while nobody uses them, for what is hardly ever given up.

On asyncio they cancel their own task, as `asyncio.timeout()` does, and have no timer of their own; elsewhere they are
anyio's.
"""

from __future__ import annotations

import asyncio
from math import inf
from types import TracebackType

import anyio

from fastclient.tail.alarms import alarms_on

__all__ = ["Stop", "stoppable"]

_AGAIN = 2.0  # seconds for what was cancelled to end: closing takes up to one


class Stop:
    """What anyio's scope is, within one task on asyncio. `when` is the moment at which it ends by itself.

    It cancels once, whoever asks for it, so that closing is not cut short; only who does not mind is cancelled again.
    """

    __slots__ = ("_alarms", "_before", "_calls", "_task", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        self._task = task = asyncio.current_task(loop)
        self._before = 0 if task is None else task.cancelling()
        self._calls = 0
        self._alarms = None if when == inf else alarms_on(loop)
        self.when = when

    def cancel(self) -> None:
        """End what the scope is around. Nothing happens if that is over."""
        if not self._calls:
            self.ring()

    def ring(self) -> None:
        """Its moment is there."""
        self.when += _AGAIN
        if self._task is not None:
            self._calls += 1
            self._task.cancel()

    def __enter__(self) -> None:
        if self._alarms is not None:
            self._alarms.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._alarms is not None:
            self._alarms.remove(self)
        task, self._task = self._task, None
        if task is None or not self._calls:
            return False
        for _ in range(self._calls):
            task.uncancel()
        # Another's cancellation in the same turn comes as the same exception: it must go on.
        return task.cancelling() <= self._before and kind is not None and issubclass(kind, asyncio.CancelledError)


def stoppable(loop: object, when: float = inf) -> Stop | anyio.CancelScope:
    """A scope for the running task, which anybody on this loop, the running one, may cancel, or which ends at a moment.

    Enter it at once.
    """
    return Stop(loop, when) if isinstance(loop, asyncio.AbstractEventLoop) else anyio.CancelScope(deadline=when)
