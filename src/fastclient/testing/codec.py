"""The package's values as JSON and back, for a server in another process. Knows a fixed list of classes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import orjson

from fastclient.testing import script
from fastclient.testing.answer import Answer, ServerRequest, ToolCall
from fastclient.testing.provider import Setup
from fastclient.testing.record import Counters, Exchange
from fastclient.testing.worlds import Pace, World

__all__ = ["packed", "unpacked"]

_STEPS = (getattr(script, name) for name in script.__all__)
_KNOWN: dict[str, type] = {
    kind.__name__: kind
    for kind in (Answer, Counters, Exchange, Pace, ServerRequest, Setup, ToolCall, World, *_STEPS)
    if isinstance(kind, type)
}


def packed(value: object) -> bytes:
    """One line of JSON."""
    return orjson.dumps(_plain(value)) + b"\n"


def unpacked(line: bytes) -> Any:
    """The value again; lists come back as tuples."""
    return _rich(orjson.loads(line))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__name__, "of": {f.name: _plain(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {"is": "map", "of": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, bytes):
        return {"is": "bytes", "of": b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_rich(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind, content = value["is"], value["of"]
    if kind == "bytes":
        return b64decode(content)
    if kind == "map":
        return {_rich(key): _rich(item) for key, item in content}
    return _KNOWN[kind](**{name: _rich(item) for name, item in content.items()})
