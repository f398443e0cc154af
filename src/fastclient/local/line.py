"""The way of an answer from the engine's thread to one task on an event loop: many pieces, one wake-up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

import anyio

from fastclient.engine.clock import running_loop
from fastclient.engine.detached import Bell
from fastclient.local.port import Begun, Ended, Piece

__all__ = ["Item", "Line"]

_TOGETHER = 1e-3  # seconds: pieces that come closer together are told of together

Item = Begun | str | Piece | Ended | Exception


class _Waiter:
    """One wait of the reader, and whether it was told that something came."""

    __slots__ = ("bell", "told")

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.told = False


class Line:
    """A queue with one reader. `lost` is called if the reader's event loop is gone."""

    __slots__ = ("_due", "_items", "_loop", "_tell", "_timer", "_told", "_waiter", "lost")

    def __init__(self) -> None:
        loop: Any = running_loop()
        tell = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon  # asyncio's, or trio's
        self._items: deque[Item] = deque()
        self._waiter: _Waiter | None = None
        self._loop: asyncio.AbstractEventLoop | None = loop if isinstance(loop, asyncio.AbstractEventLoop) else None
        self._tell: Callable[[Callable[[], object]], object] = tell
        self._timer: asyncio.TimerHandle | None = None
        self._told = -inf  # when he was told last
        self._due = inf  # when the timer rings
        self.lost: Callable[[], object] | None = None

    def put(self, item: Item) -> None:
        """From the engine's thread."""
        self._items.append(item)
        waiter = self._waiter
        if waiter is not None and not waiter.told:
            now = monotonic()
            if now - self._told < _TOGETHER and isinstance(item, (str, Piece)):
                return  # the next piece brings it, or `flush`
            self._told = now
            self._tell_him(waiter)

    def flush(self) -> None:
        """From the engine's thread."""
        waiter = self._waiter
        if waiter is not None and not waiter.told and self._items:
            self._tell_him(waiter)

    def _tell_him(self, waiter: _Waiter) -> None:
        waiter.told = True  # set here alone, and the waiter changed there alone: neither can undo the other
        try:
            self._tell(waiter.bell.ring)
        except RuntimeError:
            if self.lost is not None:
                self.lost()

    def take(self) -> list[Item]:
        """All that has come."""
        taken: list[Item] = []
        items = self._items
        while items:
            taken.append(items.popleft())
        return taken

    async def wait(self, until: float) -> None:
        """Return when something has come, or at that moment of the loop's clock; maybe earlier."""
        bell = Bell(self._loop or self)
        self._waiter = _Waiter(bell)
        if self._items:  # it came between the last look and now
            self._waiter = None
            return
        try:
            if self._loop is None:
                with anyio.CancelScope(deadline=until):
                    await bell.rung()
            else:
                if until < self._due:
                    self._set(until)
                await bell.rung()
        finally:
            self._waiter = None

    def _set(self, when: float) -> None:
        """One timer for many waits: it is moved only to an earlier time, and who is woken too early waits again."""
        self.close()
        if self._loop is not None and when < inf:
            self._due, self._timer = when, self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._due, self._timer = inf, None
        if self._waiter is not None:
            self._waiter.bell.ring()

    def close(self) -> None:
        """Nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._due, self._timer = inf, None
