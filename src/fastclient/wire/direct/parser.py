"""One response as it comes in: fed with bytes in any pieces, it gives the status, the header fields and the body.

Interim responses (1xx) and trailers are passed over. What is no HTTP, or too long, is `Malformed`. No input or output.
"""

from __future__ import annotations

import re

import httptools

from fastclient.wire.response import Fields

__all__ = ["Malformed", "ResponseParser"]

_HEAD = 2**16  # bytes a head may have, with all interim ones before it
_FIELDS = 256  # header fields it may have
_END = re.compile(rb"\n\r?\n")
_FIELD = re.compile(rb"([^:\r\n]+):[ \t]*((?:[^\r\n]*[^\r\n\t ])?)")
_NONE = Fields(())


class Malformed(Exception):
    """What came is no HTTP response, or has an endless head."""


class _Heard:
    """What httptools calls back. Knows its parser only until the head is in: a circle would wait for the collector.

    Header fields are checked there, but not told one by one: that takes longer than all the rest.
    """

    __slots__ = ("complete", "heads", "keep_alive", "on_body", "parser", "pieces", "status")

    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser | None = None
        self.status = 0  # of the final response, once its head is in
        self.heads = 0  # that have begun, with those of interim responses
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.keep_alive = False
        self.complete = False

    def on_message_begin(self) -> None:
        if self.status:
            raise Malformed("more than one response")
        self.heads += 1

    def on_headers_complete(self) -> None:
        parser = self.parser
        if parser is not None:
            status = parser.get_status_code()
            if status >= 200:
                self.status, self.parser = status, None
                self.keep_alive = parser.should_keep_alive()  # it forgets that at the end of the message

    def on_message_complete(self) -> None:
        self.complete = self.status > 0


class ResponseParser:
    """The reader of one response. `status` is 0 until its head is in, then `fields` are there too."""

    __slots__ = ("_come", "_error", "_feed", "_heard", "begun", "complete", "fields", "status")

    def __init__(self) -> None:
        heard = self._heard = _Heard()
        parser = heard.parser = httptools.HttpResponseParser(heard)
        parser.set_dangerous_leniencies(  # what gateways are known to write; all of it is unambiguous here
            lenient_chunked_length=True,  # a length beside chunks, which then counts for nothing
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._feed = parser.feed_data
        self._come = b""  # until the head is complete
        self._error: Malformed | None = None
        self.begun = False
        self.status = 0
        self.complete = False  # whether all of the response is there
        self.fields = _NONE

    @property
    def reusable(self) -> bool:
        """Whether the connection can be used again: the response is complete, and nothing else came."""
        return self.complete and self._heard.keep_alive and self._error is None

    def feed(self, data: bytes) -> None:
        """Read on. Raises Malformed unless a head is in; later it is raised behind the body that came before it."""
        heard = self._heard
        self.begun = True
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._error = _malformed(error)
        if not self.status:
            self._head(data)
        self.complete = heard.complete

    def _head(self, data: bytes) -> None:
        """Look at what has come of the head."""
        heard = self._heard
        self._come += data
        if heard.status:
            raw, size = _fields(self._come, heard.heads)
            self._come = b""
            if size > _HEAD or len(raw) > _FIELDS:
                raise self._refused("the head is too long")
            fields = Fields(raw)
            coding = fields.get("transfer-encoding")
            if coding is not None:
                if coding.lower() != "chunked":
                    raise self._refused("a transfer coding that was not asked for")
                if "content-length" in fields:
                    heard.keep_alive = False  # who knows where the next answer would begin
            self.fields, self.status = fields, heard.status
        elif self._error is not None:
            heard.parser = None
            raise self._error
        elif len(self._come) > _HEAD:
            raise self._refused("the head is too long")

    def _refused(self, problem: str) -> Malformed:
        self._heard.parser = None
        self._error = Malformed(problem)
        return self._error

    def end(self) -> None:
        """The connection was closed. Raises EOFError if that is not how this response ends."""
        fields = self.fields
        if not self.status or "content-length" in fields or "transfer-encoding" in fields:
            raise EOFError("the connection was closed before the answer was complete")
        self.complete = self._heard.complete = True

    def take(self) -> bytes:
        """The body that came since the last time; empty if there was none. Raises Malformed where it broke."""
        pieces = self._heard.pieces
        if pieces:
            body = b"".join(pieces)
            pieces.clear()
            return body
        if self._error is not None and not self.complete:
            raise self._error
        return b""


def _fields(data: bytes, heads: int) -> tuple[list[tuple[bytes, bytes]], int]:
    """The fields of the last one of these heads, which are known to be sound, and how long they all are.

    Some servers leave out the CR.
    """
    begin = end = 0
    for _ in range(heads):
        while data.startswith((b"\r", b"\n"), end):
            end += 1
        found = _END.search(data, end)
        begin, end = end, found.end() if found else len(data)
    return _FIELD.findall(data, data.index(b"\n", begin), end), end


def _malformed(error: Exception) -> Malformed:
    """The library's complaint in our words: its own name only, for it may quote what it read."""
    found = Malformed(type(error).__name__)
    found.__cause__ = error.__context__ if isinstance(error.__context__, Malformed) else None
    return found
