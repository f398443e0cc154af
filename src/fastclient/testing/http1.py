"""Just enough of HTTP/1.1 for a server on loopback: bytes in, requests out. Does no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

__all__ = ["CONTINUE", "LAST_CHUNK", "BadRequest", "HttpRequest", "RequestReader", "chunk", "head"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_MAX_HEAD = 256 * 1024


class BadRequest(ValueError):
    """The client did not write HTTP/1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request; header names in lower case, repeated ones joined by a comma."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


class RequestReader:
    """Collects bytes and hands out complete requests in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, str, str, dict[str, str]] | None = None
        self._asked_to_continue = False

    def feed(self, data: bytes) -> None:
        """Take what the socket had."""
        self._buffer += data

    def wants_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends its body; true once per request."""
        if self._head is None or self._asked_to_continue:
            return False
        self._asked_to_continue = self._head[3].get("expect", "").lower() == "100-continue"
        return self._asked_to_continue

    def next(self) -> HttpRequest | None:
        """The next complete request, if it is there."""
        if self._head is None and not self._read_head():
            return None
        assert self._head is not None  # noqa: S101  (for the type checkers)
        method, path, version, headers = self._head
        body = self._chunked() if "chunked" in headers.get("transfer-encoding", "").lower() else self._sized(headers)
        if body is None:
            return None
        self._head, self._asked_to_continue = None, False
        wish = headers.get("connection", "").lower()
        keep_alive = "close" not in wish and (version != "HTTP/1.0" or "keep-alive" in wish)
        return HttpRequest(method=method, path=path, headers=headers, body=body, keep_alive=keep_alive)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise BadRequest("the request head is too long")
            return False
        first, *lines = self._buffer[:end].decode("latin-1").lstrip("\r\n").split("\r\n")
        del self._buffer[: end + 4]
        parts = first.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadRequest(f"not a request line: {first[:80]!r}")
        self._head = (parts[0], parts[1], parts[2], _headers(lines))
        return True

    def _sized(self, headers: Mapping[str, str]) -> bytes | None:
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise BadRequest(f"not a content length: {length[:80]!r}")
        if len(self._buffer) < int(length):
            return None
        return self._take(int(length))

    def _chunked(self) -> bytes | None:
        """The body, once its last chunk is in the buffer; chunk sizes are read again when it is not."""
        chunks: list[bytes] = []
        at = 0
        while (end := self._buffer.find(b"\r\n", at)) >= 0:
            try:
                size = int(self._buffer[at:end].split(b";")[0], 16)
            except ValueError:
                raise BadRequest("not a chunk size") from None
            at = end + 2 + size + 2
            if len(self._buffer) < at:
                return None
            if size == 0:
                self._take(at)
                return b"".join(chunks)
            chunks.append(bytes(self._buffer[end + 2 : end + 2 + size]))
        return None

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(f"not a header: {line[:80]!r}")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded" if status == 529 else "Unknown"


_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


def head(status: int, headers: Mapping[str, str], length: int | None, *, keep_alive: bool) -> bytes:
    """Status line and headers; without a length the body is chunked."""
    line = _LINES.get(status) or f"HTTP/1.1 {status} {_reason(status)}\r\n"
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    framing = "transfer-encoding: chunked\r\n\r\n" if length is None else f"content-length: {length}\r\n\r\n"
    closing = "" if keep_alive else "connection: close\r\n"
    return f"{line}{fields}{closing}{framing}".encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; empty data is no chunk, as that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
