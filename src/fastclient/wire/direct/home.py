"""The life of what belongs to one event loop: it ends when it is closed, and at the latest with its loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Any
from weakref import ref

from fastclient.engine.detached import spawner

__all__ = ["Home"]

# Closed, never collected: a socket that is collected before it is closed complains about it.
_open_homes: set[Home] = set()


class Home(ABC):
    """Something with sockets on the event loop running now. `spawn` starts work there, from any thread."""

    def __init__(self, loop: Any) -> None:
        self.spawn = spawner()
        self.closed = False
        self._loop = ref(loop)
        self._life = self._lived()

    async def open(self) -> None:
        """From now on it closes itself when its event loop ends."""
        _open_homes.add(self)
        await anext(self._life)

    @property
    def usable(self) -> bool:
        """Whether there is still a loop to use it on. What is left over from one that ended rudely is closed here."""
        loop = self._loop()
        if loop is None or getattr(loop, "is_closed", bool)():
            self._end()
        return not self.closed

    async def aclose(self) -> None:
        """Close everything."""
        self._end()
        await self._life.aclose()

    async def _lived(self) -> AsyncGenerator[None, None]:
        """Both event loops finish the asynchronous generators they know before they end: here, with good-byes."""
        try:
            yield
        finally:
            self._end()

    def _end(self) -> None:
        if not self.closed:
            self.closed = True
            _open_homes.discard(self)
            self._shut()

    @abstractmethod
    def _shut(self) -> None:
        """Close all that is open, at once."""
