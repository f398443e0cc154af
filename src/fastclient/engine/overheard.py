"""An answer that somebody else hears too, once it has come to its clean end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastclient.engine.stream import Stream, unshared
from fastclient.types import Chunk

__all__ = ["Overheard"]


class Overheard(Stream):
    """Passes an answer on, and at its end tells of all its chunks. One that broke off is not told of."""

    __slots__ = ("_chunks", "_inner", "_tell")

    def __init__(self, inner: Stream, tell: Callable[[Sequence[Chunk]], object]) -> None:
        self._inner = inner
        self._tell = tell
        self._chunks: list[Chunk] | None = []

    async def pull(self) -> Sequence[Chunk]:
        batch = await self._inner.pull()
        if self._chunks is None:
            return batch
        if batch:
            if batch[0].restarted:
                self._chunks.clear()
            self._chunks += unshared(batch)
        else:
            chunks, self._chunks = self._chunks, None
            self._tell(chunks)
        return batch

    async def aclose(self) -> None:
        await self._inner.aclose()
