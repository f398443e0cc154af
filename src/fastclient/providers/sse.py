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
_LF, _CR = b"\n\r"  # a byte is found much faster as a number than as bytes
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

    __slots__ = (
        *("_cr", "_excess", "_first", "_kept", "_max", "_scan", "_tail", "comments", "end", "last_event_id"),
        "retry",
    )

    def __init__(self, *, max_event: int = 16 * 2**20) -> None:
        self._max = max_event
        self._kept = bytearray()  # whole blocks that dispatched nothing: they go out with the next event
        self._tail = bytearray()  # the block that has not ended yet
        self._scan = 0  # where in the tail to go on looking for its end
        self._cr = False  # a CR was seen: from then on the slower search
        self._first = True  # nothing parsed yet: a byte-order mark may come
        self._excess = 0  # bytes of the first event that is too large
        self.end = b"\n\n"  # what was cut off behind each of the last blocks; empty where they hold it themselves
        self.comments = 0  # blocks that dispatched nothing: keep-alives
        self.last_event_id = ""
        self.retry: int | None = None

    @property
    def tail(self) -> bytes:
        """The bytes fed since the last dispatched event."""
        return bytes(self._kept + self._tail)

    def feed(self, piece: bytes) -> list[Event]:
        """Take the next bytes, in any split, and return the events they completed."""
        events: list[Event] = []
        try:
            for block in self.cut(piece):
                event = self.event(block)
                if event is not None:
                    events.append(event)
            self.check()
        except EventTooLarge as error:
            error.events = events
            raise
        return events

    def cut(self, piece: bytes) -> list[bytes]:
        """Take the next bytes, in any split, and return the blocks they completed, without `end` behind each.

        For those who need not look at each of them: the others are for `event`, in their order. `check` comes last.
        """
        if not self._cr and _CR in piece:
            self._cr = True
        tail = self._tail
        if tail:
            tail += piece
            if not self._ended(tail):
                return []
            piece = bytes(tail)
            tail.clear()
        if self._cr:
            blocks, self.end = self._split(piece)
        else:
            blocks = piece.split(b"\n\n")
        rest = blocks.pop()
        self._scan = 0
        if self._first and blocks:
            self._first = False
            if blocks[0].startswith(_BOM):
                self._kept += _BOM
                blocks[0] = blocks[0][3:]
        if len(piece) > self._max:
            blocks = self._small(blocks)
        if rest:
            tail += rest
            self._ended(tail)
        return blocks

    def event(self, block: bytes) -> Event | None:
        """The event of a block, if it has one: a block without is kept, and goes out with the next event."""
        kept, end = self._kept, self.end
        raw = block + end
        if block[:6] == b"data: " and end and _LF not in block:
            data, name = block[6:], "message"  # by far the most common block: a single data line
        elif (found := self._parse(block)) is not None:
            data, name = found
        else:
            kept += raw
            self.comments += 1
            self._weigh(len(kept))
            self.check()
            return None
        if kept:
            raw = bytes(kept) + raw
            kept.clear()
        return _new(Event, (data, name, raw))

    def check(self) -> None:
        """Raise EventTooLarge if an event outgrew the limit; those before it have been returned."""
        if self._excess:
            raise EventTooLarge(f"an event of {self._excess} bytes or more exceeds the limit of {self._max}")

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

    def _ended(self, tail: bytearray) -> bool:
        """Whether a blank line came. If not, the last three bytes may be the start of one: look there again."""
        if self._cr:
            ended = _BLANK_LINE.search(tail, self._scan) is not None
        else:
            ended = tail.find(b"\n\n", self._scan) >= 0
        if not ended:
            self._weigh(len(tail))
        self._scan = 0 if ended else max(0, len(tail) - 3)
        return ended

    def _small(self, blocks: list[bytes]) -> list[bytes]:
        """The blocks up to the first one that is too large."""
        for number, block in enumerate(blocks):
            if self._weigh(len(block)):
                return blocks[:number]
        return blocks

    def _weigh(self, size: int) -> bool:
        """Whether this is too large, and if so, a note of it for `check`: what came before it goes out first."""
        if size > self._max:
            self._excess = self._excess or size
        return size > self._max

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
