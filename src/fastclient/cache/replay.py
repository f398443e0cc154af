"""A stored answer as a stream: in the chunks it came in, at once or at a pace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fastclient.cache.entry import Entry
from fastclient.engine.stream import Stream
from fastclient.types import Call, Chunk

__all__ = ["Nap", "Replay"]

Nap = Callable[[float], Awaitable[None]]
"""How a caller of this client waits for some seconds."""


class Replay(Stream):
    """The answer in an entry.

    `pause` is how many seconds to let pass before each content chunk but the first, as long as the call has them.
    """

    __slots__ = ("_at", "_call", "_chunks", "_entry", "_nap", "_pause")

    def __init__(self, entry: Entry, chunks: Sequence[Chunk], call: Call, nap: Nap, pause: float = 0.0) -> None:
        self._call = call
        self._entry = entry
        self._chunks = chunks
        self._nap = nap
        self._pause = pause
        self._at = 0

    @property
    def whole(self) -> Entry:
        return self._entry

    async def pull(self) -> Sequence[Chunk]:
        start, chunks = self._at, self._chunks
        if not self._pause or self._call.record.clock() + self._pause > self._call.deadline:
            self._at = len(chunks)
            return chunks[start:]
        content = [at for at in range(start, len(chunks)) if chunks[at].is_content]
        if content and start:
            await self._nap(self._pause)
        self._at = content[0] + 1 if content else len(chunks)
        return self._chunks[start : self._at]

    async def aclose(self) -> None:
        self._chunks = ()
