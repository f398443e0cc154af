"""From the bytes of a response body to chunks, whatever the provider: SSE or a single JSON document. Pure.

An answer counts as complete only with its provider's terminal event. One unreadable event is skipped and counted if
the next one is readable; two in a row mean the stream is corrupt. An event that repeats the one before but for its text
is not parsed.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from fastclient.errors import FastClientError, ProviderError, ServerFailed, StreamCut
from fastclient.providers.dialect import Reader
from fastclient.providers.sse import Event, EventTooLarge, SSEParser
from fastclient.providers.template import Template, is_plain
from fastclient.types import Chunk

__all__ = ["Decoder", "is_stream"]

_BLANK = b" \t\r\n\xef\xbb\xbf"
_FIELDS = (b":", b"d", b"e", b"i", b"r")
_TRIES = 8  # templates in a row that fit nothing: some servers put a number or noise into each event
_new = tuple.__new__  # cheaper than the generated constructor
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError)


def is_stream(body: bytes | bytearray) -> bool:
    """Whether a body is a stream of events, going by its first visible byte: a comment, or one of the four fields."""
    return body.lstrip(_BLANK).startswith(_FIELDS)


class Decoder:
    """Decodes one answer. After each call look at `done` and `error`; chunks returned with an error come before it. The
    bytes of an error that the provider sent are a chunk too, which means nothing else.

    Whether the body is a stream or a document shows in its first visible byte. Content types are not to be trusted;
    `document` is what this one promised, and decides for an empty body only.
    """

    __slots__ = (
        *("_body", "_document", "_parser", "_reader", "_suspect", "_template", "_tries", "_whole"),
        *("done", "error", "malformed"),
    )

    def __init__(self, reader: Reader, *, document: bool = False) -> None:
        self._reader = reader
        self._document = document
        self._parser = SSEParser()
        self._body = bytearray()
        self._whole: bool | None = None  # not known yet
        self._suspect = False  # the last event was unreadable
        self._template: Template | None = None  # of the last event that was parsed, if it was only a text
        self._tries = _TRIES
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
            if self._body:
                piece = bytes(self._body) + piece
            visible = piece.lstrip(_BLANK)
            if not visible:
                self._reader.pings += 1  # blank lines, sent to keep the connection open
                self._body = bytearray(piece)
                return []
            self._whole = not visible.startswith(_FIELDS)
            self._body = bytearray(piece if self._whole else b"")
        elif self._whole:
            self._body += piece
        if self._whole:
            return []
        chunks: list[Chunk] = []
        try:
            self._read(self._parser.cut(piece), chunks)
            self._parser.check()
        except EventTooLarge as error:
            self.error = self.error or StreamCut(str(error))
        return chunks

    def finish(self) -> list[Chunk]:
        """The body has ended."""
        if self.done:
            return []
        if self._whole or (self._whole is None and self._document):
            return self._read_document(bytes(self._body))
        last = self._parser.finish()
        chunks = [self._chunk(last)] if last is not None else []
        if self._reader.ended == "maybe" and not self._suspect and self.error is None:
            self.done = True
            if last is None and (rest := self._parser.tail):
                chunks.append(Chunk(raw=rest))
        if not self.done and self.error is None:
            self.error = StreamCut("the stream ended without its terminal event")
            self.error.truncated = True
        return chunks

    def _read(self, blocks: Sequence[bytes], chunks: list[Chunk]) -> None:
        """Read these blocks, up to the end of the answer. What repeats the template is not parsed."""
        at, parsed, end = 0, -1, len(blocks)  # the next block, and the last one that certainly has to be parsed
        while at < end:
            if self._template is not None and at > parsed:
                parsed, same = self._template.read(blocks, at, self._parser.end)
                if same:
                    chunks += same
                    at, self._tries = parsed, _TRIES
                    continue
            event = self._parser.event(blocks[at])
            if event is None:
                self._template = None  # the bytes of this block go out with the next event
            else:
                chunk = self._chunk(event)
                chunks.append(chunk)
                if self.done or self.error is not None:
                    break
                self._template = self._next(blocks[at], chunk) if chunk.text else None
            at += 1

    def _next(self, block: bytes, chunk: Chunk) -> Template | None:
        """The template from this event on, if it is nothing but a text. One with escapes leaves it as it is."""
        reader = self._reader
        if not (self._tries and reader.verbatim and is_plain(chunk)):
            return None
        template = Template.of(block, chunk, reader.noise)
        if template is None:
            return self._template
        self._tries -= 1
        return template

    def _chunk(self, event: Event) -> Chunk:
        """What one event means, parsed."""
        reader = self._reader
        if reader.is_end(event):
            self.done = True
            return _new(Chunk, ("", "", (), None, None, None, event.raw, None, (), False))
        try:
            chunk = _sound(reader.chunk(orjson.loads(event.data), event))
            self._suspect = False
        except ProviderError as error:
            self.error = error
            return Chunk(raw=event.raw)
        except _UNREADABLE:
            chunk = Chunk(raw=event.raw)
            self.malformed += 1
            if self._suspect:
                self.error = StreamCut("the stream is corrupt: two unreadable events in a row")
                return chunk
            self._suspect = True
        if reader.ended == "here":
            self.done = True
        return chunk

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
    text, reasoning, calls, finish, _, model, _, _, _, _ = chunk
    if not (type(text) is type(reasoning) is str and type(finish or "") is type(model or "") is str):
        raise TypeError("something else where a text belongs")
    for call in calls:
        if not (type(call.id) is type(call.name) is type(call.arguments) is str and isinstance(call.index, int)):
            raise TypeError("something else where a part of a tool call belongs")
    return chunk
