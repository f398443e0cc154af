"""From the bytes of a response body to chunks, whatever the provider: SSE or a single JSON document. Pure.

An answer counts as complete only with its provider's terminal event. One unreadable event is skipped and counted if
the next one is readable; two in a row mean the stream is corrupt.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from fastclient.errors import FastClientError, ProviderError, ServerFailed, StreamCut
from fastclient.providers.dialect import Reader
from fastclient.providers.sse import Event, EventTooLarge, SSEParser
from fastclient.types import Chunk

__all__ = ["Decoder"]

_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError)


class Decoder:
    """Decodes one answer. After each call look at `done` and `error`; chunks returned with an error come before it."""

    __slots__ = ("_body", "_parser", "_reader", "_suspect", "done", "error", "malformed")

    def __init__(self, reader: Reader, *, whole: bool = False) -> None:
        self._reader = reader
        self._parser = SSEParser()
        self._body = bytearray() if whole else None
        self._suspect = False  # the last event was unreadable
        self.done = False
        self.error: FastClientError | None = None
        self.malformed = 0

    @property
    def thinking(self) -> bool:
        return self._reader.thinking

    def feed(self, piece: bytes) -> list[Chunk]:
        """Take the next bytes of the body."""
        if self._body is not None:
            self._body += piece
            return []
        try:
            events = self._parser.feed(piece)
        except EventTooLarge as error:
            chunks = self._read(error.events)
            self.error = self.error or StreamCut(str(error))
            return chunks
        return self._read(events)

    def finish(self) -> list[Chunk]:
        """The body has ended."""
        if self._body is not None:
            return self._whole(bytes(self._body))
        last = self._parser.finish() if not self.done else None
        chunks = self._read([last]) if last is not None else []
        if not self.done and self.error is None:
            self.error = StreamCut("the stream ended without its terminal event")
        return chunks

    def _read(self, events: Sequence[Event]) -> list[Chunk]:
        reader = self._reader
        chunks: list[Chunk] = []
        for event in events:
            if reader.is_end(event):
                self.done = True
                chunks.append(Chunk(raw=event.raw))
                self._suspect = False
                break
            try:
                chunks.append(reader.chunk(orjson.loads(event.data), event))
                self._suspect = False
            except ProviderError as error:
                self.error = error
                break
            except _UNREADABLE:
                self.malformed += 1
                chunks.append(Chunk(raw=event.raw))
                if self._suspect:
                    self.error = StreamCut("the stream is corrupt: two unreadable events in a row")
                    break
                self._suspect = True
        return chunks

    def _whole(self, body: bytes) -> list[Chunk]:
        self.done = True
        try:
            return [self._reader.whole(orjson.loads(body.strip()), body)]
        except ProviderError as error:
            self.error = error
        except _UNREADABLE:
            self.error = ServerFailed("the provider sent a JSON answer that cannot be read", status_code=200)
        return []
