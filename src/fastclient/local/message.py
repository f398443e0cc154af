"""What an engine in a process of its own and the process that asks it say to each other: a line of JSON each. Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import orjson

from fastclient import errors
from fastclient.local.ask import Ask
from fastclient.local.port import Begun, Ended, Piece
from fastclient.local.settings import Local

__all__ = ["answered", "answering", "asking", "settings", "settled", "understood"]

_KINDS = ("LocalUnavailable", "PromptTooLong", "BadRequest", "StreamCut")


def asking(number: int, ask: Ask | None) -> bytes:
    """A request, as it is sent."""
    return orjson.dumps(["ask", number, ask]) + b"\n"


def understood(fields: dict[str, Any] | None) -> Ask | None:
    """The request in such a line."""
    if fields is None:
        return None
    messages = tuple((role, text) for role, text in fields.pop("messages"))
    return Ask(messages=messages, stops=tuple(fields.pop("stops")), **fields)


def settings(local: Local) -> bytes:
    """What the other process has to know first."""
    fields = {name: getattr(local, name) for name in Local.__slots__}
    return orjson.dumps(fields) + b"\n"


def settled(line: bytes) -> Local:
    """The settings in such a line, for an engine in a thread."""
    fields = orjson.loads(line) | {"isolation": "thread"}
    return Local(fields.pop("path"), **fields)


def answering(number: int, item: Begun | str | Piece | Ended | Exception) -> bytes:
    """A piece of an answer, as it is sent."""
    if isinstance(item, str):
        fields: list[object] = ["text", number, item]
    elif isinstance(item, Begun):
        fields = ["begun", number, *item]
    elif isinstance(item, Ended):
        fields = ["ended", number, *item]
    elif isinstance(item, Piece):
        fields = ["piece", number, item.text, b64encode(item.raw).decode(), item.logprob]
    else:
        kind = type(item).__name__
        needed, limit = getattr(item, "needed", None), getattr(item, "limit", None)
        fields = ["error", number, kind if kind in _KINDS else "LocalUnavailable", str(item), needed, limit]
    return orjson.dumps(fields) + b"\n"


def answered(kind: str, fields: list[Any]) -> Begun | str | Piece | Ended | Exception | None:
    """The piece of an answer in such a line; None for what is none."""
    match kind:
        case "text":
            text: str = fields[0]
            return text
        case "begun":
            return Begun(*fields)
        case "ended":
            return Ended(*fields)
        case "piece":
            return Piece(fields[0], b64decode(fields[1]), fields[2])
        case "error":
            return _error(*fields)
    return None


def _error(kind: str, message: str, needed: int | None, limit: int | None) -> Exception:
    error: Exception = getattr(errors, kind)(message)
    if isinstance(error, errors.PromptTooLong):
        error.needed, error.limit = needed, limit
    elif isinstance(error, errors.BadRequest):
        error.provider, error.status_code = "local", 400
    return error
