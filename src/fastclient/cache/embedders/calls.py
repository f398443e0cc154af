"""Anybody's function as an embedder: what it returns is looked at, and put to length one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, cast

from fastclient.cache.embedders.port import Embedder
from fastclient.cache.embedders.vectors import Vectors, np, received
from fastclient.engine.seam import engine
from fastclient.errors import ConfigError

__all__ = ["AsyncCalls", "Calls", "Function", "as_embedder"]

Function: TypeAlias = Callable[[Sequence[str]], Any]
"""Takes a list of texts, and returns (or, if it is an `async def`, is awaited for) one row of numbers for each."""


def as_embedder(embedder: Embedder | Function, *, id: str | None = None) -> Embedder:  # noqa: A002  # our word for it
    """An embedder as it is, or one made of a function that takes texts and returns rows of numbers.

    `id` names the space of its vectors; without one it is the function's name. Give another one when the function's
    vectors change: old ones must not be compared with new ones.
    """
    if id is not None and not (isinstance(id, str) and id):
        raise ConfigError.of("id", id, "must be a text")
    if callable(getattr(embedder, "embed", None)) and not isinstance(embedder, type):
        if id is not None:
            raise ConfigError.of("id", id, "is for functions; this embedder has its own")
        if not isinstance(getattr(embedder, "id", None), str) or not isinstance(getattr(embedder, "dim", None), int):
            raise ConfigError.of("embedder", embedder, "must have an id (a text) and a dim (a whole number)")
        return cast(Embedder, embedder)
    if not callable(embedder) or isinstance(embedder, type):
        raise ConfigError.of("embedder", embedder, "must be an embedder, or a function from texts to rows of numbers")
    name = f"function-{id or _name(embedder)}"
    waiting = iscoroutinefunction(embedder) or iscoroutinefunction(getattr(embedder, "__call__", None))  # noqa: B004
    return AsyncCalls(embedder, name) if waiting else Calls(embedder, name)


class Calls:
    """A function that works."""

    def __init__(self, function: Callable[[Sequence[str]], object], name: str) -> None:
        self._function = function
        self.id = name
        self.dim = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text. Raises ConfigError if the function returns something else."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        rows = received(self._function(list(texts)), len(texts), self.dim)
        self.dim = rows.shape[1]
        return rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


class AsyncCalls:
    """A function that is awaited: on the caller's own event loop, or for blocking callers on the engine's."""

    def __init__(self, function: Callable[[Sequence[str]], Awaitable[object]], name: str) -> None:
        self._function = function
        self.id = name
        self.dim = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text. Raises ConfigError if the function returns something else."""
        return engine().run(lambda: self.aembed(texts))

    async def aembed(self, texts: Sequence[str]) -> Vectors:
        """What `embed` returns, on the event loop running now."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        rows = received(await self._function(list(texts)), len(texts), self.dim)
        self.dim = rows.shape[1]
        return rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


def _name(function: object) -> str:
    """The name a function is found by; a method has that of its class, an object is called by its class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    name = f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', '')}"
    if "<" in name or isinstance(function, partial):
        raise ConfigError.at("embedder", "has no name of its own: say as_embedder(function, id=...)")
    return name
