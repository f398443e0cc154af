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

__all__ = ["Decoder", "is_stream"]

_BLANK = b" \t\r\n\xef\xbb\xbf"
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError)


def is_stream(body: bytes | bytearray) -> bool:
    """Whether a body is a stream of events, going by its first visible byte: a comment, or one of the four fields."""
    return body.lstrip(_BLANK).startswith((b":", b"d", b"e", b"i", b"r"))


class Decoder:
    """Decodes one answer. After each call look at `done` and `error`; chunks returned with an error come before it. The
    bytes of an error that the provider sent are a chunk too, which means nothing else.

    Whether the body is a stream or a document shows in its first visible byte. Content types are not to be trusted;
    `document` is what this one promised, and decides for an empty body only.
    """

    __slots__ = ("_body", "_document", "_parser", "_reader", "_suspect", "_whole", "done", "error", "malformed")

    def __init__(self, reader: Reader, *, document: bool = False) -> None:
        self._reader = reader
        self._document = document
        self._parser = SSEParser()
        self._body = bytearray()
        self._whole: bool | None = None  # not known yet
        self._suspect = False  # the last event was unreadable
        self.done = False
        self.error: FastClientError | None = None
        self.malformed = 0

    @property
    def thinking(self) -> bool:
        """Whether the model is reasoning now."""
        return self._reader.thinking

    @property
    def pings(self) -> int:
        """Keep-alives so far: comments and the provider's own pings."""
        return self._parser.comments + self._reader.pings

    def feed(self, piece: bytes) -> list[Chunk]:
        """Take the next bytes of the body."""
        if self._whole is None:
            self._body += piece
            if not self._body.lstrip(_BLANK):
                self._reader.pings += 1  # blank lines, sent to keep the connection open
                return []
            self._whole = not is_stream(self._body)
            piece = bytes(self._body)
            if not self._whole:
                self._body.clear()
        elif self._whole:
            self._body += piece
        if self._whole:
            return []
        try:
            events: Sequence[Event] = self._parser.feed(piece)
            too_large = None
        except EventTooLarge as error:
            events, too_large = error.events, StreamCut(str(error))
        chunks = self._read(events)
        self.error = self.error or too_large
        return chunks

    def finish(self) -> list[Chunk]:
        """The body has ended."""
        if self.done:
            return []
        if self._whole or (self._whole is None and self._document):
            return self._read_document(bytes(self._body))
        last = self._parser.finish()
        chunks = self._read([last]) if last is not None else []
        if self._reader.ended == "maybe" and not self._suspect and self.error is None:
            self.done = True
            if last is None and (rest := self._parser.tail):
                chunks.append(Chunk(raw=rest))
        if not self.done and self.error is None:
            self.error = StreamCut("the stream ended without its terminal event")
            self.error.truncated = True
        return chunks

    def _read(self, events: Sequence[Event]) -> list[Chunk]:
        reader = self._reader
        chunks: list[Chunk] = []
        for event in events:
            if reader.is_end(event):
                self.done = True
                chunks.append(Chunk(raw=event.raw))
                break
            try:
                chunks.append(_sound(reader.chunk(orjson.loads(event.data), event)))
                self._suspect = False
            except ProviderError as error:
                self.error = error
                chunks.append(Chunk(raw=event.raw))
                break
            except _UNREADABLE:
                self.malformed += 1
                chunks.append(Chunk(raw=event.raw))
                if self._suspect:
                    self.error = StreamCut("the stream is corrupt: two unreadable events in a row")
                    break
                self._suspect = True
            if reader.ended == "here":
                self.done = True
                break
        return chunks

    def _read_document(self, body: bytes) -> list[Chunk]:
        self.done = True
        try:
            return [_sound(self._reader.whole(orjson.loads(body.strip()), body))]
        except ProviderError as error:
            self.error = error
        except _UNREADABLE:
            self.error = ServerFailed("the provider sent a JSON answer that cannot be read", status_code=200)
        return [Chunk(raw=body)]


def _sound(chunk: Chunk) -> Chunk:
    """The chunk, or a TypeError if the provider put something else where a text or a number belongs."""
    texts = [chunk.text, chunk.reasoning, chunk.model or "", chunk.finish_reason or ""]
    for call in chunk.tool_calls:
        texts += (call.id, call.name, call.arguments)
        if not isinstance(call.index, int):
            raise TypeError("a tool call's index is no number")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError("something else where a text belongs")
    return chunk
