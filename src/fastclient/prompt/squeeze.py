"""Fewer tokens for the same content: JSON without needless bytes, Markdown tables without padding. Pure, lossless.

JSON is never parsed and written anew, so numbers, key order and duplicate keys stay as they were. What is not certainly
JSON as a whole, or certainly a table outside of code, keeps its bytes. Call this once, when a message enters a
conversation: what was sent before must stay as it is, or no provider's cache will know it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import is_
from typing import TypeAlias

import orjson

from fastclient.types import Message

__all__ = ["SQUEEZED", "squeeze", "squeezed"]

SQUEEZED = ("user", "tool", "function")
"""Roles whose words are data to squeeze."""

_LONGEST = 4 * 2**20  # characters; a longer text is not looked at
_Shrink: TypeAlias = Callable[[str], str]


def squeeze(message: Message, *, tables: bool = False) -> Message:
    """The message with its texts squeezed; the same object if that changes nothing.

    Those are what users and tools said, and the arguments of an assistant's calls; never instructions or answers.
    """
    role = message.get("role")
    if role in SQUEEZED:
        return _content(message, partial(squeezed, tables=tables), _part)
    if role == "assistant":
        return _with(message, "tool_calls", lambda calls: _each(calls, _call))
    return message


def squeezed(text: str, *, tables: bool = False) -> str:
    """The text with fewer bytes that say the same; the same object if there are none to save.

    With `tables`, a JSON array of flat records that have the same keys becomes a line of keys and a line for each
    record, with commas between the cells. These are as in JSON, but a string that cannot be taken for anything else
    has no quotes.
    """
    if len(text) > _LONGEST:
        return text
    if _is_json(text):
        small = _minified(text)
        if tables:
            small = min(small, _table(small), key=len)
    elif "|" in text and _DELIMITER.search(text) and "\r" not in text:
        small = _unpadded(text)
    else:
        return text
    return small if len(small) < len(text) else text


# --- messages ---------------------------------------------------------------------------------------------------------


def _content(holder: Message, shrink: _Shrink, part: Callable[[object, _Shrink], object]) -> Message:
    """A message, or the result of a tool, with its text or its parts changed."""

    def changed(content: object) -> object:
        return shrink(content) if isinstance(content, str) else _each(content, lambda each: part(each, shrink))

    return _with(holder, "content", changed)


def _part(part: object, shrink: _Shrink) -> object:
    if isinstance(part, Mapping) and part.get("type") == "tool_result":
        return _content(part, shrink, _text_part)
    return _text_part(part, shrink)


def _text_part(part: object, shrink: _Shrink) -> object:
    if isinstance(part, Mapping) and part.get("type") in ("text", "input_text"):
        return _with(part, "text", lambda text: shrink(text) if isinstance(text, str) else text)
    return part


def _call(call: object) -> object:
    def arguments(text: object) -> object:
        return squeezed(text) if isinstance(text, str) and _is_json(text) else text

    def function(value: object) -> object:
        return _with(value, "arguments", arguments) if isinstance(value, Mapping) else value

    return _with(call, "function", function) if isinstance(call, Mapping) else call


def _with(fields: Message, name: str, change: Callable[[object], object]) -> Message:
    old = fields.get(name)
    new = change(old)
    return fields if new is old else {**fields, name: new}


def _each(items: object, change: Callable[[object], object]) -> object:
    if not isinstance(items, Sequence):
        return items
    old = list(items)
    new = [change(item) for item in old]
    return items if all(map(is_, new, old)) else new


# --- JSON -------------------------------------------------------------------------------------------------------------

_JSON = re.compile(r"[ \t\n\r]*[\[{]")
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u....|\\u....")
_QUOTED = re.compile(  # what could be taken for something else, or for none of this, or for more than one cell
    r'[\[{ ]|.*[",\\]|.* \Z|(?:true|false|null|-?[0-9.]+[eE][-+]?[0-9]+)\Z|[\W\d_]*\Z'
)


def _is_json(text: str) -> bool:
    """Whether this is, as a whole, an object or array in strict JSON."""
    try:
        return _JSON.match(text) is not None and orjson.loads(text) is not None
    except orjson.JSONDecodeError:  # for deep nesting and lone surrogates too
        return False


def _minified(text: str) -> str:
    """JSON without space between its tokens and without needless escapes in its strings."""
    held = _held(text)
    if "\\" in held:
        held = _ESCAPES.sub(_shown, held).replace("\\/", "/")
    pieces = held.split('"')
    bones = '"'.join(pieces[::2])
    pieces[::2] = "".join(bones.split()).split('"')
    return _released('"'.join(pieces))


def _held(text: str) -> str:
    """JSON in which every quote begins or ends a string, and every backslash another escape than these two."""
    return text.replace("\\\\", "\0").replace('\\"', "\1")  # controls are not allowed in JSON, so they are free


def _released(text: str) -> str:
    return text.replace("\1", '\\"').replace("\0", "\\\\")


def _shown(match: re.Match[str]) -> str:
    """Escapes as the characters they stand for, but for those that nobody would see, and for quote and backslash."""
    escapes = match[0]
    text: str = orjson.loads(f'"{escapes}"')
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return escapes if len(text) == 1 else _ESCAPE.sub(_shown, escapes)


def _table(text: str) -> str:
    """Minified JSON as a table, or as it is if that cannot be."""
    pieces = _held(text).split('"')
    bones, strings = '"'.join(pieces[::2]), iter(pieces[1::2])
    records = bones[2:-2].split("},{")
    flat = bones.count("[") == 1 and bones.count("{") == len(records) > 1 and "{}" not in bones
    if not (flat and bones.startswith("[{") and bones.endswith("}]")):
        return text
    rows = [[(next(strings), _value(member, strings)) for member in record.split(",")] for record in records]
    names = [name for name, _ in rows[0]]
    if any([name for name, _ in row] != names for row in rows):
        return text
    lines = [map(_cell, names), *([value for _, value in row] for row in rows)]
    return _released("\n".join(map(",".join, lines)))


def _value(member: str, strings: Iterator[str]) -> str:
    return _cell(next(strings)) if member == '":"' else member[2:]


def _cell(string: str) -> str:
    """A string as the reader of a table will know it for one."""
    return string if string.isprintable() and not _QUOTED.match(string) else f'"{string}"'


# --- Markdown ---------------------------------------------------------------------------------------------------------

_UNCLEAR = re.compile(r"(?!\|)|.*(?:\\[\\`]|``)")
_PIPE = re.compile(r"(?<!\\)\|")
_DELIMITER = re.compile(r"\n\|[ \t]*:?-")
_DASHES = re.compile(r":?-+:?")
_FENCE = re.compile(r"(`{3,})[^`]*|(~{3,}).*")
_FENCE_END = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*")
_FENCE_WITHIN = re.compile(r"[ \t>*+\-\d.)]+(?:```|~~~)")  # where it ends depends on what is around it
_HTML = re.compile(r"<(?:[!?]|pre|script|style|textarea)", re.IGNORECASE)  # as code, and not ended by a blank line
_CLAIM = re.compile(  # what follows may belong to this: HTML, a list and the like, a table without leading pipes
    r"[ \t><]|(?:[-+*]|\d{1,9}[.)])(?:[ \t]|$)|\[\^|.*\||:?-+:?[ \t]*$"
)


def _unpadded(text: str) -> str:
    """Markdown whose tables, as GitHub defines them, have no needless spaces and dashes."""
    lines = text.split("\n")
    for begin, end in _blocks(lines):
        for at in range(begin, end - 1):
            if lines[at].startswith("|"):
                _slim(lines, at, end)
                break
            if _CLAIM.match(lines[at]):
                break
    return "\n".join(lines)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """From where to where lines follow each other without a blank one, outside of code, as far as that is certain."""
    begin, fence = 0, ""
    for at, line in enumerate(lines):
        if fence:
            if (end := _FENCE_END.fullmatch(line)) and end[1].startswith(fence):
                begin, fence = at + 1, ""
        elif not line.strip(" \t"):
            yield begin, at
            begin = at + 1
        elif opened := _FENCE.fullmatch(line):
            yield begin, at
            fence = opened[1] or opened[2]
        elif ("<" in line and _HTML.search(line)) or _FENCE_WITHIN.match(line):
            yield begin, at
            return
    if not fence:
        yield begin, len(lines)


def _slim(lines: list[str], at: int, end: int) -> None:
    """Shorten the table that begins at this line, if it is one."""
    header, delimiter = _columns(lines[at]), _columns(lines[at + 1])
    if len(header) != len(delimiter) or not delimiter or not all(map(_DASHES.fullmatch, delimiter)):
        return
    if all(map(_DASHES.fullmatch, header)):  # the line before it may be a header of one column
        return
    dashes = "|".join(cell if len(cell) < 3 else f"{cell[0]}-{cell[-1]}" for cell in delimiter)
    closed = lines[at + 1].rstrip(" \t").endswith("|")
    lines[at + 1] = f"|{dashes}|" if closed else f"|{dashes}"
    for row in (at, *range(at + 2, end)):
        if not lines[row].startswith("|"):
            return
        if cells := _split(lines[row]):
            lines[row] = min(lines[row], " | ".join(cells).strip(" "), key=len)


def _columns(line: str) -> list[str]:
    """The cells of a line, without what is before the first pipe and after the last."""
    cells = _split(line)[1:]
    return cells if cells and cells[-1] else cells[:-1]


def _split(line: str) -> list[str]:
    """What is between the pipes of a line that begins with one; nothing if renderers may differ on what pipes mean."""
    if _UNCLEAR.match(line) or any("|" in code for code in line.split("`")[1::2]):
        return []
    return [piece.strip(" \t") for piece in (_PIPE.split(line) if "\\" in line else line.split("|"))]
