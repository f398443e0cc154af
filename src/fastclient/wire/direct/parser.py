"""One response as it comes in: fed with bytes in any pieces, it gives the status, the header fields and the body.

Interim responses (1xx) and trailers are passed over. What is no HTTP, or too long, is `Malformed`. No input or output.
"""

from __future__ import annotations

import httptools

from fastclient.wire.response import Fields

__all__ = ["Malformed", "ResponseParser"]

_HEAD = 2**16  # bytes a head may have, with all interim ones before it
_FIELDS = 256  # header fields it may have


class Malformed(Exception):
    """What came is no HTTP response, or has an endless head."""


class _Heard:
    """What httptools calls back. Knows its parser only until the head is in: a circle would wait for the collector."""

    __slots__ = ("complete", "keep_alive", "on_body", "parser", "pieces", "raw", "size", "status")

    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser | None = None
        self.status = 0  # of the final response, once its head is in
        self.raw: list[tuple[bytes, bytes]] = []
        self.size = 0
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.keep_alive = False
        self.complete = False

    def on_message_begin(self) -> None:
        if self.status:
            raise Malformed("more than one response")
        self.raw.clear()  # of an interim one

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer
        self.size += len(name) + len(value)
        self.raw.append((name, value))
        if self.size > _HEAD or len(self.raw) > _FIELDS:
            raise Malformed("the head is too long")

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

    __slots__ = ("_error", "_heard", "_parser", "_waiting", "begun", "fields")

    def __init__(self) -> None:
        self._heard = _Heard()
        self._parser = self._heard.parser = httptools.HttpResponseParser(self._heard)
        self._parser.set_dangerous_leniencies(  # what gateways are known to write; all of it is unambiguous here
            lenient_chunked_length=True,  # a length beside chunks, which then counts for nothing
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._waiting = 0  # bytes that came while the head was not complete
        self._error: Malformed | None = None
        self.begun = False
        self.fields = Fields(())

    @property
    def status(self) -> int:
        return self._heard.status

    @property
    def complete(self) -> bool:
        """Whether all of the response is there."""
        return self._heard.complete

    @property
    def reusable(self) -> bool:
        """Whether the connection can be used again: the response is complete, and nothing else came."""
        return self._heard.complete and self._heard.keep_alive and self._error is None

    def feed(self, data: bytes) -> None:
        """Read on. Raises Malformed unless a head is in; later it is raised behind the body that came before it."""
        heard = self._heard
        self.begun = True
        headless = not heard.status
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._error = _malformed(error)
        if headless:
            self._head(len(data))

    def _head(self, size: int) -> None:
        """Look at what has come of the head."""
        heard = self._heard
        self._waiting += size
        if heard.status:
            self.fields = Fields(heard.raw)
            coding = self.fields.get("transfer-encoding")
            if coding is not None:
                if coding.lower() != "chunked":
                    self._error = Malformed("a transfer coding that was not asked for")
                    heard.complete = False
                    raise self._error
                if "content-length" in self.fields:
                    heard.keep_alive = False  # who knows where the next answer would begin
        elif self._waiting > _HEAD and self._error is None:
            self._error = Malformed("the head is too long")
        if self._error is not None and not heard.status:
            heard.parser = None
            raise self._error

    def end(self) -> None:
        """The connection was closed. Raises EOFError if that is not how this response ends."""
        fields = self.fields
        if not self.status or "content-length" in fields or "transfer-encoding" in fields:
            raise EOFError("the connection was closed before the answer was complete")
        self._heard.complete = True

    def take(self) -> bytes:
        """The body that came since the last time; empty if there was none. Raises Malformed where it broke."""
        pieces = self._heard.pieces
        if pieces:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            return body
        if self._error is not None and not self._heard.complete:
            raise self._error
        return b""


def _malformed(error: Exception) -> Malformed:
    """The library's complaint in our words: its own name only, for it may quote what it read."""
    found = Malformed(type(error).__name__)
    found.__cause__ = error.__context__ if isinstance(error.__context__, Malformed) else None
    return found
