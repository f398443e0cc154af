"""Putting an answer together again from its stream, and a body from its parts: what all forms share. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from fastclient.providers.decoder import is_stream
from fastclient.providers.dialect import Json
from fastclient.providers.sse import SSEParser

__all__ = ["events_of", "grow", "grown", "opened", "put", "replaced"]

_ONCE = frozenset(("role", "id", "type", "name", "format"))  # said whole: again it is the same, not more of it
_CLOSERS = {"{": "}", "[": "]"}


class _Text(list[str]):
    """A text under way: joined once, so that the cost stays linear."""


def events_of(body: bytes) -> Sequence[Json] | None:
    """The JSON objects of a stream's events, without what cannot be read; None if the body is no stream."""
    if not is_stream(body):
        return None
    parser = SSEParser()
    events = parser.feed(body)
    last = parser.finish()
    found = []
    for event in events if last is None else (*events, last):
        try:
            document = orjson.loads(event.data)
        except ValueError:
            continue  # the closing mark, or what was passed over when it was read
        if isinstance(document, dict):
            found.append(document)
    return found


def put(fields: Json, name: str, value: Any) -> None:
    """Set a field to what was said last, where saying nothing takes nothing back."""
    if name not in fields or (value is not None and value != {}):
        fields[name] = value


def grow(held: Json, delta: Mapping[str, Any]) -> None:
    """Add what a delta says: texts and lists become longer, objects are looked into, all else is replaced."""
    for name, value in delta.items():
        held[name] = opened(value) if name not in held else _longer(held[name], value, once=name in _ONCE)


def opened(value: Any) -> Any:
    """A value of a delta as something that can grow."""
    if isinstance(value, str):
        return _Text((value,))
    if isinstance(value, dict):
        return {name: opened(inner) for name, inner in value.items()}
    return [opened(inner) for inner in value] if isinstance(value, list) else value


def grown(value: Any) -> Any:
    """What has grown, as plain values."""
    if isinstance(value, _Text):
        return value[0] if len(value) == 1 else "".join(value)
    if isinstance(value, dict):
        return {name: grown(inner) for name, inner in value.items()}
    return [grown(inner) for inner in value] if isinstance(value, list) else value


def _longer(held: Any, value: Any, *, once: bool) -> Any:
    if value is None:
        return held
    if isinstance(value, str) and isinstance(held, _Text):
        if not once:
            held.append(value)
        return held if any(held) else opened(value)
    if isinstance(value, dict) and isinstance(held, dict):
        grow(held, value)
        return held
    if isinstance(value, list) and isinstance(held, list) and not isinstance(held, _Text):
        for item in value:
            _place(held, item)
        return held
    return opened(value)


def _place(held: list[Any], item: Any) -> None:
    """Put an item where its index says, or at the end."""
    index = item.get("index") if isinstance(item, dict) else None
    for other in held if index is not None else ():
        if isinstance(other, dict) and other.get("index") == index:
            grow(other, item)
            return
    held.append(opened(item))


def replaced(document: Json, fields: Mapping[str, Any], kept: Collection[str]) -> Json:
    """The document with these fields for its own, in its own order; those that are `kept` stay as they are."""
    out = {}
    for name, value in document.items():
        if name in kept:
            out[name] = value
        elif name in fields:
            out[name] = fields[name]
    return out | {name: value for name, value in fields.items() if name not in out}
