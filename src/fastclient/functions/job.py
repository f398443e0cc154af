"""One of the user's functions, and what is made of what it does: a parcel, or a failure the layers understand. Pure."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from fastclient.errors import ConfigError
from fastclient.functions.codec import Codec, Refused
from fastclient.functions.parcel import Parcel
from fastclient.functions.transient import Rule, carrier, final

__all__ = ["Bound", "Job", "Kind", "inside", "kind_of", "name_of"]

Kind: TypeAlias = Literal["plain", "coroutine", "generator", "async generator"]

_nothing: frozenset[object] = frozenset()
_inside: ContextVar[frozenset[object]] = ContextVar("fastclient_inside", default=_nothing)


def inside(mark: object) -> bool:
    """Whether this code runs inside of a call that left this mark."""
    return mark in _inside.get()


def kind_of(function: Callable[..., object]) -> Kind:
    """What kind of function it is; objects that can be called are what their `__call__` is."""
    if isinstance(function, (classmethod, staticmethod)) or not callable(function):
        problem = f"cannot be decorated: a {type(function).__name__} is no function (decorate what is inside of it)"
        raise ConfigError.at("function", problem)
    inner = None if isinstance(function, type) else getattr(function, "__call__", None)  # noqa: B004  # not whether
    for each in (function, inner):
        if inspect.isasyncgenfunction(each):
            return "async generator"
        if inspect.iscoroutinefunction(each):
            return "coroutine"
        if inspect.isgeneratorfunction(each):
            return "generator"
    return "plain"


def name_of(function: Callable[..., object]) -> str:
    """What the function is called in targets, errors and keys."""
    kind = type(function)
    module = getattr(function, "__module__", None) or kind.__module__
    return f"{module}.{getattr(function, '__qualname__', kind.__qualname__)}"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A function, and how its values and failures travel. Without a codec values are not written down."""

    function: Callable[..., object]
    kind: Kind
    name: str
    transient: Rule
    codec: Codec | None = None

    def failed(self, error: Exception) -> Exception:
        """What carries this failure."""
        return carrier(error, self.transient)

    def parcel(self, value: object, *, kept: bool) -> Parcel:
        """The value, and if it may be kept how it is written down. Raises ConfigError if that cannot be."""
        if self.codec is None or not kept:
            return Parcel.of(value)
        try:
            raw = self.codec.encode(value)
        except Refused as problem:
            text = f"what {self.name} returned {problem}, which a hit could not return again: say codec="
            raise ConfigError.at("codec", text) from None
        except Exception as error:
            text = f"writing a {type(value).__qualname__} of {self.name} failed with {type(error).__name__}"
            raise ConfigError.at("codec", text) from None
        if not isinstance(raw, bytes):
            raise ConfigError.at("codec", f"encode of {self.name} must return bytes, not {type(raw).__name__}")
        return Parcel.of(value, raw)


class Bound:
    """A function with its arguments, begun once. `marks` are left on whatever runs inside of it."""

    __slots__ = ("_args", "_generator", "_items", "_kwargs", "_marks", "job", "kept")

    def __init__(
        self, job: Job, args: tuple[object, ...], kwargs: dict[str, object], marks: frozenset[object], *, kept: bool
    ) -> None:
        self.job = job
        self.kept = kept
        self._args = args
        self._kwargs = kwargs
        self._marks = marks
        self._generator: Generator[object] | None = None
        self._items: AsyncGenerator[object] | None = None

    def step(self) -> Parcel | None:
        """Call a plain function, or take a generator's next item; None at its end. On the thread it is asked on."""
        job, ended = self.job, False
        value: object = None
        token = _inside.set(_inside.get() | self._marks) if self._marks else None
        try:
            if job.kind == "plain":
                value = job.function(*self._args, **self._kwargs)
            else:
                generator, self._generator = self._generator or self._made(), None
                try:
                    value = next(generator)
                except StopIteration:
                    ended = True
                else:
                    self._generator = generator  # an error would have ended it
        except Exception as error:
            raise self.job.failed(error) from error
        finally:
            if token is not None:
                _inside.reset(token)
        return None if ended else job.parcel(value, kept=self.kept)

    def guarded(self) -> Parcel | None:
        """The same for a thread of ours: there, SystemExit and the like are the caller's too."""
        try:
            return self.step()
        except Exception:
            raise
        except BaseException as error:
            raise final(error) from error

    def _made(self) -> Generator[object]:
        return cast("Generator[object]", self.job.function(*self._args, **self._kwargs))

    @property
    def begun(self) -> bool:
        """Whether there is a generator to be closed."""
        return self._generator is not None

    def close(self) -> None:
        """Let go of a generator."""
        if self._generator is not None:
            self._generator.close()

    async def astep(self) -> Parcel | None:
        """Await a coroutine function, or an asynchronous generator's next item; None at its end."""
        job, ended = self.job, False
        value: object = None
        token = _inside.set(_inside.get() | self._marks) if self._marks else None
        try:
            if job.kind == "coroutine":
                value = await cast("Awaitable[object]", job.function(*self._args, **self._kwargs))
            else:
                if self._items is None:
                    self._items = cast("AsyncGenerator[object]", job.function(*self._args, **self._kwargs))
                try:
                    value = await anext(self._items)
                except StopAsyncIteration:
                    ended = True
        except Exception as error:
            raise self.job.failed(error) from error
        finally:
            if token is not None:
                _inside.reset(token)
        return None if ended else job.parcel(value, kept=self.kept)

    async def aclose(self) -> None:
        """Let go of an asynchronous generator."""
        if self._items is not None:
            await self._items.aclose()
