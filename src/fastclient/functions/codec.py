"""How the values of a cached function are written down, and that they come back as they were. Pure.

By default as JSON, and then only what JSON has an exact word for: a hit must return what the function did. Models
write and read themselves. What cannot be kept is refused, saying why without showing it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from math import isfinite
from typing import Protocol, cast, runtime_checkable

import orjson

from fastclient.errors import ConfigError

__all__ = ["Codec", "Refused", "codec_for", "exact", "named", "returned"]

_LOW, _HIGH = -(2**63), 2**64  # what orjson writes and reads as whole numbers
_DEEP = 250
_ITEMS = ("Iterator", "Iterable", "Generator", "AsyncIterator", "AsyncIterable", "AsyncGenerator")


@runtime_checkable
class Codec(Protocol):
    """Writes values down and reads them again. `decode(encode(value))` is equal to the value."""

    def encode(self, value: object) -> bytes: ...

    def decode(self, data: bytes) -> object: ...


class _Model(Protocol):
    """What a model class offers, as pydantic's do."""

    def model_validate_json(self, json_data: bytes) -> object: ...


class Refused(Exception):
    """A value that cannot be kept; says why, without showing it."""


def exact(value: object, depth: int = 0) -> None:
    """Raise Refused unless JSON has an exact word for this."""
    kind = type(value)
    if depth > _DEEP:
        raise Refused("is nested too deeply")
    if value is None or kind is bool:
        return
    if kind is str:
        if not _encodable(cast(str, value)):
            raise Refused("holds half a surrogate pair")
    elif kind is int:
        if not _LOW <= cast(int, value) < _HIGH:
            raise Refused("holds a whole number of more than 64 bits")
    elif kind is float:
        if not isfinite(cast(float, value)):
            raise Refused("holds a number that is not finite")
    elif kind is list:
        for item in cast("list[object]", value):
            exact(item, depth + 1)
    elif kind is dict:
        for name, item in cast("dict[object, object]", value).items():
            if type(name) is not str:
                raise Refused(f"holds a dict with a key of type {type(name).__name__}")
            exact(name)
            exact(item, depth + 1)
    else:
        raise Refused(f"is of type {kind.__qualname__}" if not depth else f"holds a {kind.__qualname__}")


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Exact:
    """JSON, for what it has an exact word for."""

    name = "json"

    def encode(self, value: object) -> bytes:
        exact(value)
        return orjson.dumps(value)

    def decode(self, data: bytes) -> object:
        return orjson.loads(data)


class Modelled:
    """A model class that writes and reads itself. What would come back as something else is refused."""

    def __init__(self, kind: type) -> None:
        self.name = f"{kind.__module__}.{kind.__qualname__}"
        self._kind = kind
        self._read = cast(_Model, kind).model_validate_json

    def encode(self, value: object) -> bytes:
        if type(value) is not self._kind:
            raise Refused(f"is of type {type(value).__qualname__}, not {self._kind.__qualname__}")
        write: Callable[..., str] = getattr(value, "model_dump_json")  # noqa: B009  # checkers do not know the class
        for options in ({}, {"by_alias": True}):
            try:
                data = write(**options).encode()
                if self.decode(data) == value:
                    return data
            except Exception:  # noqa: S112  # the other way, or no way: its words may quote the value
                continue
        raise Refused(f"is a {self._kind.__qualname__} that does not come back as it was")

    def decode(self, data: bytes) -> object:
        return self._read(data)


class Listed:
    """A list of what another codec writes as JSON."""

    def __init__(self, inner: Codec) -> None:
        self.name = f"list[{named(inner)}]"
        self._inner = inner

    def encode(self, value: object) -> bytes:
        if type(value) is not list:
            raise Refused(f"is of type {type(value).__qualname__}, not list")
        return b"[" + b",".join([self._inner.encode(item) for item in value]) + b"]"

    def decode(self, data: bytes) -> object:
        return [self._inner.decode(orjson.dumps(item)) for item in orjson.loads(data)]


class Maybe:
    """None, or what another codec writes as JSON."""

    def __init__(self, inner: Codec) -> None:
        self.name = f"{named(inner)} or none"
        self._inner = inner

    def encode(self, value: object) -> bytes:
        return b"null" if value is None else self._inner.encode(value)

    def decode(self, data: bytes) -> object:
        return None if data == b"null" else self._inner.decode(data)


def codec_for(form: object) -> Codec:
    """The codec that `codec=` stands for. Raises ConfigError for what is none."""
    found = _modelled(form)
    if found is not None:
        return found
    if isinstance(form, Codec) and not isinstance(form, type):
        return form
    raise ConfigError.at("codec", "must be a model class, or an object with encode(value) and decode(bytes)")


def returned(function: Callable[..., object], *, items: bool) -> Codec:
    """The codec that a function's annotation asks for, or plain JSON. `items`: of what a generator yields."""
    try:
        form = typing.get_type_hints(function).get("return")
    except Exception:  # names that are not there when the function is decorated
        form = None
    if items:
        origin, parts = typing.get_origin(form), typing.get_args(form)
        form = parts[0] if parts and getattr(origin, "__name__", "") in _ITEMS else None
    return _modelled(form) or Exact()


def _modelled(form: object) -> Codec | None:
    """A codec for a model class, a list of one, or one that may be None."""
    if isinstance(form, type) and typing.get_origin(form) is None:
        both = callable(getattr(form, "model_validate_json", None)) and hasattr(form, "model_dump_json")
        return Modelled(form) if both else None
    origin, parts = typing.get_origin(form), typing.get_args(form)
    if origin is list:
        inner = _modelled(parts[0])
        return Listed(inner) if isinstance(inner, Modelled) else None
    if origin in (typing.Union, types.UnionType) and len(parts) == 2 and type(None) in parts:
        inner = _modelled(parts[0] if parts[1] is type(None) else parts[1])
        return Maybe(inner) if inner is not None else None
    return None


def named(codec: Codec) -> str:
    """What a codec is called in a key: another one must not read what this one wrote."""
    if isinstance(codec, (Exact, Modelled, Listed, Maybe)):
        return codec.name
    return f"{type(codec).__module__}.{type(codec).__qualname__}"
