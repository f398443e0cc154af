"""The life of the connections of one event loop, and the line before them. It ends at the latest with its loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar
from weakref import ref

import anyio

from fastclient.engine.detached import spawner
from fastclient.errors import QueueTimeout
from fastclient.wire.port import Late

__all__ = ["Home", "by"]

_T = TypeVar("_T")

# Closed, never collected: a socket that is collected before it is closed complains about it.
_open_homes: set[Home] = set()


async def by(until: float, work: Awaitable[_T]) -> _T:
    """The result of the work, which is cancelled at `until`: then it raises Late."""
    with anyio.CancelScope(deadline=until):
        return await work
    raise Late


class Home(ABC):
    """Connections on the event loop running now. `spawn` starts work there, from any thread.

    At most `concurrency` requests are open at once (None: any number).
    """

    def __init__(self, loop: Any, concurrency: int | None) -> None:
        self.spawn = spawner()
        self.closed = False
        self.bounded = concurrency is not None
        self._line = anyio.Semaphore(concurrency, fast_acquire=True) if concurrency is not None else None
        self._loop = ref(loop)
        self._life = self._lived()

    async def open(self) -> None:
        """From now on it closes itself when its event loop ends."""
        _open_homes.add(self)
        await anext(self._life)

    async def enter(self, patience: float) -> None:
        """Wait for a place among the open requests."""
        if self._line is None:
            return
        try:
            with anyio.fail_after(patience):
                await self._line.acquire()
        except TimeoutError:
            raise QueueTimeout(f"no connection became free within {patience:g} s", phase="queue") from None

    def leave(self) -> None:
        """Give the place back."""
        if self._line is not None:
            self._line.release()

    @property
    def usable(self) -> bool:
        """Whether there is still a loop to use it on; one that ended rudely took the connections with it."""
        loop = self._loop()
        if (loop is None or getattr(loop, "is_closed", bool)()) and not self.closed:
            self._ended()
            self._abandon()
        return not self.closed

    async def aclose(self) -> None:
        """Close everything."""
        await self._end()
        await self._life.aclose()

    async def _lived(self) -> AsyncGenerator[None, None]:
        """Both event loops finish the asynchronous generators they know before they end: here, with good-byes."""
        try:
            yield
        finally:
            await self._end()

    async def _end(self) -> None:
        if not self.closed:
            self._ended()
            await self._shut()

    def _ended(self) -> None:
        self.closed = True
        _open_homes.discard(self)

    @abstractmethod
    async def _shut(self) -> None:
        """Close all that is open."""

    @abstractmethod
    def _abandon(self) -> None:
        """Let go of all that is open, where there is no event loop any more."""
