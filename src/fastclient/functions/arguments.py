"""The key of a function's call: its arguments as JSON, which has to say them exactly. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import orjson

from fastclient.errors import ConfigError
from fastclient.functions.codec import Refused, exact

__all__ = ["Arguments", "Key"]

Key = Callable[..., object]
"""Gets the arguments of a call, and returns what tells it from others: anything that JSON has an exact word for."""

_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Arguments:
    """Makes the keys of one function's calls."""

    __slots__ = ("_defaults", "_key", "_name", "_names", "_signature")

    def __init__(self, function: Callable[..., object], name: str, key: Key | None) -> None:
        if key is not None and not callable(key):
            raise ConfigError.at("key", "must be a function that takes the arguments of a call")
        self._name = name
        self._key = key
        self._names: tuple[str, ...] | None = None  # where arguments by position need no binding
        try:
            self._signature: inspect.Signature | None = inspect.signature(function)
        except (TypeError, ValueError):  # of something written in C
            self._signature = None
            return
        parameters = self._signature.parameters
        self._defaults = {each.name: each.default for each in parameters.values() if each.default is not each.empty}
        if all(each.kind in _PLAIN for each in parameters.values()):
            self._names = tuple(parameters)

    def text(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """The key of this call. Raises ConfigError naming the argument that JSON has no word for."""
        if self._key is not None:
            return self._written({"key": self._key(*args, **kwargs)}, "the result of key=")
        return self._written(self._bound(args, kwargs), "argument")

    def _bound(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Mapping[str, object]:
        names = self._names
        if names is not None and not kwargs and len(names) - len(self._defaults) <= len(args) <= len(names):
            return {**self._defaults, **dict(zip(names, args, strict=False))}
        if self._signature is None:
            raise ConfigError.at("key", f"{self._name} does not tell its arguments: say key=")
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return {name: list(value) if self._is_rest(name) else value for name, value in bound.arguments.items()}

    def _is_rest(self, name: str) -> bool:
        return self._signature is not None and self._signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL

    def _written(self, said: Mapping[str, object], what: str) -> str:
        for name, value in said.items():
            try:
                exact(value)
            except Refused as problem:
                place = f"{what} {name!r}" if what == "argument" else what
                text = f"{place} of {self._name} {problem}: JSON cannot say that exactly, so say key="
                raise ConfigError.at("key", text) from None
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
