"""An open answer: pull batches of chunks from it, close it once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Protocol

from fastclient.types import Chunk, ToolCall, Usage

__all__ = ["Stream", "Whole", "unshared"]


class Whole(Protocol):
    """All of an answer."""

    @property
    def text(self) -> str: ...
    @property
    def reasoning(self) -> str: ...
    @property
    def tool_calls(self) -> tuple[ToolCall, ...]: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def usage(self) -> Usage: ...
    @property
    def blocks(self) -> tuple[Mapping[str, object], ...]: ...
    @property
    def raw(self) -> bytes: ...


def unshared(batch: Sequence[Chunk]) -> Sequence[Chunk]:
    """The same chunks for another reader: what one does to a provider's blocks does not show to the others."""
    if not [chunk for chunk in batch if chunk.blocks]:
        return batch
    return [chunk._replace(blocks=deepcopy(chunk.blocks)) if chunk.blocks else chunk for chunk in batch]


class Stream(ABC):
    """An answer under way. A handler returns it when its first content has arrived.

    Whoever receives a stream closes it. No task group or cancel scope stays open between two pulls, so a stream may be
    read in one task and closed in another.
    """

    __slots__ = ()

    @property
    def whole(self) -> Whole | None:
        """The answer, where all of it is there. Whoever wants no more need neither pull nor close."""
        return None

    @abstractmethod
    async def pull(self) -> Sequence[Chunk]:
        """The chunks that are there, at least one: what one read of the network brought. Empty at the clean end.

        Layers pass batches on whole, so a layer costs once per read and not once per chunk.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Give the answer up or let it go. May be called again and under cancellation; no failure comes out of it."""
