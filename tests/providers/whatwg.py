"""Reference reading of an event stream: the WHATWG HTML standard, section 9.2.6, step by step, with no care for speed.

Nothing here comes from the parser under test: the whole stream is decoded first, by the state machine of the
Encoding standard, and only then cut into lines and fields.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE_END = re.compile("\r\n|\n|\r")
_ASCII_DIGITS = re.compile("[0-9]+")


class Message(NamedTuple):
    """One dispatched event: its type, its data and the last event ID string at that moment."""

    type: str
    data: str
    last_event_id: str


class Outcome(NamedTuple):
    """All that a stream leaves behind: its events, and what the next connection would use."""

    messages: list[Message]
    last_event_id: str  # of the event source; a block without data sets it too
    retry: int | None  # the reconnection time, None if no field set it
    retry_at_blank_line: int | None  # the same as of the last blank line


def utf8_decode(stream: bytes) -> str:
    """'UTF-8 decode' of the Encoding standard: one leading BOM is dropped, each ill-formed part becomes U+FFFD."""
    if stream.startswith(b"\xef\xbb\xbf"):
        stream = stream[3:]
    if stream.isascii():
        return stream.decode("ascii")
    out: list[str] = []
    code_point = seen = needed = 0
    lower, upper = 0x80, 0xBF
    at = 0
    while at < len(stream):
        byte = stream[at]
        at += 1
        if needed == 0:
            if byte <= 0x7F:
                out.append(chr(byte))
            elif 0xC2 <= byte <= 0xDF:
                needed, code_point = 1, byte & 0x1F
            elif 0xE0 <= byte <= 0xEF:
                lower = 0xA0 if byte == 0xE0 else 0x80
                upper = 0x9F if byte == 0xED else 0xBF
                needed, code_point = 2, byte & 0x0F
            elif 0xF0 <= byte <= 0xF4:
                lower = 0x90 if byte == 0xF0 else 0x80
                upper = 0x8F if byte == 0xF4 else 0xBF
                needed, code_point = 3, byte & 0x07
            else:
                out.append("\ufffd")
            continue
        if not lower <= byte <= upper:
            code_point = seen = needed = 0
            lower, upper = 0x80, 0xBF
            at -= 1  # the byte is restored: it is read again as the first of a new sequence
            out.append("\ufffd")
            continue
        lower, upper = 0x80, 0xBF
        code_point = (code_point << 6) | (byte & 0x3F)
        seen += 1
        if seen == needed:
            out.append(chr(code_point))
            code_point = seen = needed = 0
    if needed:
        out.append("\ufffd")
    return "".join(out)


def read(stream: bytes) -> Outcome:
    """Interpret a whole event stream, from its first byte to the end of the body."""
    lines = _LINE_END.split(utf8_decode(stream))
    lines.pop()  # what follows the last line end is no line yet, and at the end of the file it is discarded
    messages: list[Message] = []
    data = event_type = id_buffer = last_event_id = ""
    retry: int | None = None
    retry_at_blank_line: int | None = None
    for line in lines:
        if line == "":
            # Dispatch the event.
            last_event_id, retry_at_blank_line = id_buffer, retry
            if data == "":
                event_type = ""
                continue
            if data.endswith("\n"):
                data = data[:-1]
            messages.append(Message(event_type if event_type != "" else "message", data, last_event_id))
            data = event_type = ""
            continue
        if line.startswith(":"):
            continue
        if ":" in line:
            colon = line.index(":")
            field, value = line[:colon], line[colon + 1 :]
            if value.startswith(" "):
                value = value[1:]
        else:
            field, value = line, ""
        # Process the field.
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
        elif field == "id":
            if "\0" not in value:
                id_buffer = value
        elif field == "retry" and _ASCII_DIGITS.fullmatch(value):
            retry = 0
            for digit in value:
                retry = retry * 10 + ord(digit) - ord("0")
        # Any other field is ignored.
    return Outcome(messages, last_event_id, retry, retry_at_blank_line)  # a block that no blank line ended is discarded


def interpret(stream: bytes) -> list[Message]:
    """The events of a whole stream, as (type, data, last_event_id)."""
    return read(stream).messages
