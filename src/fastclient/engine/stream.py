"""An open answer: pull batches of chunks from it, close it once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from fastclient.types import Chunk

__all__ = ["Stream"]


class Stream(ABC):
    """An answer under way. A handler returns it when its first content has arrived.

    Whoever receives a stream closes it. No task group or cancel scope stays open between two pulls, so a stream may be
    read in one task and closed in another.
    """

    __slots__ = ()

    @abstractmethod
    async def pull(self) -> Sequence[Chunk]:
        """The chunks that are there, at least one: what one read of the network brought. Empty at the clean end.

        Layers pass batches on whole, so a layer costs once per read and not once per chunk.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Give the answer up or let it go. May be called again and under cancellation; no failure comes out of it."""
