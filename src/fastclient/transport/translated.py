"""The answer of a target that speaks another format than the SDK, in the SDK's own."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from fastclient.engine.answer import Answer
from fastclient.engine.complete import Complete
from fastclient.engine.stream import Whole
from fastclient.observe.timed import TimedStream
from fastclient.providers.native.original import Original
from fastclient.providers.native.spoken import Speaker
from fastclient.types import Call, Chunk

__all__ = ["TRANSLATED", "Translated"]

TRANSLATED = {"openai": ("anthropic",)}
"""By the provider an SDK asks: the others whose answers it can be given."""


class Translated:
    """A stream whose chunks come in other bytes; all else is as with the one inside."""

    def __init__(self, inner: TimedStream, call: Call, original: Original) -> None:
        self._inner = inner
        options = original.document.get("stream_options")
        usage = not original.asked.streamed or (isinstance(options, dict) and options.get("include_usage") is True)
        self._speaker = Speaker(name=call.id, model=original.asked.model, created=time(), usage=usage)
        self.complete = False

    @property
    def answer(self) -> Answer | Whole:
        return self._inner.answer

    async def pull(self) -> Sequence[Chunk]:
        if self.complete:
            return ()
        inner = self._inner.inner
        if self._inner.complete and isinstance(inner, Complete):
            self.complete = True
            return [Chunk(raw=self._speaker.events(inner.chunks) + self._speaker.end())]
        while batch := await self._inner.pull():
            if raw := self._speaker.events(batch):
                return [Chunk(raw=raw)]
        self.complete = True
        return [Chunk(raw=self._speaker.end())]

    async def aclose(self) -> None:
        await self._inner.aclose()
