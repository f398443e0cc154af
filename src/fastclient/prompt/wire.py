"""A piece of a prompt as bytes: what providers match, and what their caches' markers look like in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from math import isfinite

import orjson

__all__ = ["fingerprint", "marks_in", "on_the_wire", "unmarked", "unwritable"]

_MARKERS = ("cache_control", "prompt_cache_breakpoint")


def fingerprint(wire: bytes) -> int:
    """64 bits of a message's bytes."""
    return int.from_bytes(blake2b(wire, digest_size=8).digest())


def marks_in(value: object, wire: bytes | None = None) -> tuple[str, ...]:
    """The lifetimes of the breakpoints in a piece of a prompt; its bytes, if they are known, save a look."""
    if wire is not None and b'"cache_control"' not in wire and b'"prompt_cache_breakpoint"' not in wire:
        return ()
    return tuple(_marks(value))


def _marks(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "prompt_cache_breakpoint":
                yield "30m"
            elif name == "cache_control":
                yield str(inner.get("ttl", "5m")) if isinstance(inner, Mapping) else "5m"
            else:
                yield from _marks(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _marks(inner)


def unmarked(value: object) -> object:
    """The same without breakpoints, which are no part of what providers match.

    Callers who mark their newest message have to make parts of its text: one part of text is that text again.
    """
    if isinstance(value, Mapping):
        bare = {name: unmarked(inner) for name, inner in value.items() if name not in _MARKERS}
        return bare | {"content": _as_text(bare["content"])} if "content" in bare else bare
    return [unmarked(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _as_text(content: object) -> object:
    if isinstance(content, list) and len(content) == 1 and isinstance(part := content[0], dict):
        return part["text"] if part.keys() == {"type", "text"} and part["type"] == "text" else content
    return content


def on_the_wire(message: object) -> bytes:
    """The message as it stands on the wire. Raises TypeError for what JSON cannot say."""
    return orjson.dumps(message)


def unwritable(value: object, path: str = "", depth: int = 0) -> tuple[str, object] | None:
    """Where the first value is that JSON has no word for, and the value."""
    if depth > 250:
        return path, value  # orjson's own limit; a structure that holds itself ends here too
    if isinstance(value, dict):
        for key, item in value.items():
            place = f"{path}.{key}".lstrip(".")
            if not isinstance(key, str):
                return place, key
            if found := unwritable(item, place, depth + 1):
                return found
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if found := unwritable(item, f"{path}[{index}]", depth + 1):
                return found
    elif isinstance(value, float):
        return None if isfinite(value) else (path, value)
    else:
        try:
            orjson.dumps(value)
        except TypeError:
            return path, value
    return None
