"""An answer that came whole, which is how short ones come: there is nothing to wait for, to watch or to stop."""

from __future__ import annotations

from collections.abc import Sequence

from fastclient.engine.answer import Answer
from fastclient.engine.stream import Stream
from fastclient.types import Chunk

__all__ = ["Complete"]


class Complete(Stream):
    """All the chunks of an answer that has come to its clean end, and whose connection is given back.

    A layer that waits for the end of an answer settles its affairs at once, and passes this on as it is.
    """

    __slots__ = ("_ahead", "_answer", "chunks")

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = self._ahead = chunks
        self._answer: Answer | None = None

    @property
    def whole(self) -> Answer:
        if self._answer is None:
            self._answer = Answer()
            self._answer.add(self.chunks)
        return self._answer

    async def pull(self) -> Sequence[Chunk]:
        ahead, self._ahead = self._ahead, ()
        return ahead

    async def aclose(self) -> None:
        self._ahead = ()
