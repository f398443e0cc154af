"""Server-sent events: bytes in any split in, whole events out. Pure; does no I/O.

Follows the WHATWG HTML standard, section 9.2.6, for event boundaries, fields, comments and the byte-order mark, and
keeps the exact bytes of each event beside its meaning, so that a stream can be passed on as it came. Time is linear in
the input, also for one large event that arrives in many small pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Event", "EventTooLarge", "SSEParser"]

_BOM = b"\xef\xbb\xbf"
# Lines end in CRLF, LF or CR; two line ends in a row end an event. Possessive: a CRLF is never taken for two ends.
_BLANK_LINE = re.compile(rb"(?:\r\n?+|\n)(?:\r\n?+|\n)")
_new = tuple.__new__  # cheaper than the generated constructor, and called once per event


class Event(NamedTuple):
    """One dispatched event: its data lines joined by LF, its type, and every byte since the previous event's end."""

    data: bytes
    name: str
    raw: bytes


class EventTooLarge(ValueError):
    """A single event outgrew the limit: a broken or hostile server, not an answer. `events` came whole before it."""

    events: Sequence[Event] = ()


class SSEParser:
    """An incremental parser. `max_event` (bytes, default 16 MiB) bounds the memory one event may take.

    About half the time of httpx-sse per event in large reads (`benchmarks/test_sse_parser.py`).
    """

    __slots__ = ("_cr", "_first", "_kept", "_max", "_scan", "_tail", "comments", "last_event_id", "retry")

    def __init__(self, *, max_event: int = 16 * 2**20) -> None:
        self._max = max_event
        self._kept = bytearray()  # whole blocks that dispatched nothing: they go out with the next event
        self._tail = bytearray()  # the block that has not ended yet
        self._scan = 0  # where in the tail to go on looking for its end
        self._cr = False  # a CR was seen: from then on the slower search
        self._first = True  # nothing parsed yet: a byte-order mark may come
        self.comments = 0  # blocks that dispatched nothing: keep-alives
        self.last_event_id = ""
        self.retry: int | None = None

    @property
    def tail(self) -> bytes:
        """The bytes fed since the last dispatched event."""
        return bytes(self._kept + self._tail)

    def feed(self, piece: bytes) -> list[Event]:
        """Take the next bytes, in any split, and return the events they completed."""
        if not self._cr and b"\r" in piece:
            self._cr = True
        tail = self._tail
        if tail:
            tail += piece
            if not self._ended(tail):
                return []
            piece = bytes(tail)
            tail.clear()
        if self._cr:
            blocks, end = self._split(piece)
        else:
            blocks, end = piece.split(b"\n\n"), b"\n\n"
        if rest := blocks.pop():
            tail += rest
        self._scan = 0
        events: list[Event] = []
        kept, plain, large = self._kept, end, len(piece) > self._max
        if self._first and blocks:
            self._first = False
            if blocks[0].startswith(_BOM):
                kept += _BOM
                blocks[0] = blocks[0][3:]
        for block in blocks:
            if large:
                self._check(len(block), events)
            if plain and block.startswith(b"data: ") and block.find(b"\n") < 0:
                data, name = block[6:], "message"  # by far the most common block: a single data line
            elif (found := self._parse(block)) is not None:
                data, name = found
            else:
                kept += block + end
                self.comments += 1
                self._check(len(kept), events)
                continue
            raw = block + end
            if kept:
                raw = bytes(kept) + raw
                kept.clear()
            events.append(_new(Event, (data, name, raw)))
        if tail:
            self._ended(tail, events)
        return events

    def finish(self) -> Event | None:
        """The unterminated last block as an event, if it has data. WHATWG discards it; the caller may know better."""
        identity, retry = self.last_event_id, self.retry
        last = bytes(self._tail)
        found = self._parse(last.removeprefix(_BOM) if self._first else last)
        if found is None:
            self.last_event_id, self.retry = identity, retry
            return None
        return Event(*found, self.tail)

    def _split(self, piece: bytes) -> tuple[list[bytes], bytes]:
        """The blocks in these bytes, the unfinished one last, and the end that was cut off each of the others."""
        ends = piece.count(b"\r\n")
        if ends == piece.count(b"\n") == piece.count(b"\r"):  # all lines end in CRLF
            return piece.split(b"\r\n\r\n"), b"\r\n\r\n"
        starts = [0, *(match.end() for match in _BLANK_LINE.finditer(piece))]
        return [piece[i:j] for i, j in zip(starts, [*starts[1:], len(piece)], strict=True)], b""

    def _ended(self, tail: bytearray, events: Sequence[Event] = ()) -> bool:
        """Whether a blank line came. If not, the last three bytes may be the start of one: look there again."""
        if self._cr:
            ended = _BLANK_LINE.search(tail, self._scan) is not None
        else:
            ended = tail.find(b"\n\n", self._scan) >= 0
        if not ended:
            self._check(len(tail), events)
        self._scan = 0 if ended else max(0, len(tail) - 3)
        return ended

    def _check(self, size: int, events: Sequence[Event]) -> None:
        if size > self._max:
            error = EventTooLarge(f"an event of {size} bytes or more exceeds the limit of {self._max}")
            error.events = events
            raise error

    def _parse(self, block: bytes) -> tuple[bytes, str] | None:
        """The data and type of one block; None where there is nothing to dispatch."""
        if self._cr:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        data: list[bytes] = []
        name = b""
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
            elif field == b"id" and b"\0" not in value:
                self.last_event_id = value.decode("utf-8", "replace")
            elif field == b"retry" and value.isdigit() and len(value) < 19:
                self.retry = int(value)
        if not data:
            return None
        return b"\n".join(data), name.decode("utf-8", "replace") if name else "message"
