"""From a decorated function back to a function of the same kind: what it gives is what the user's own would.

Failures come out as they were raised, outside of every handler, so that their tracebacks show nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import replace
from functools import wraps
from typing import TypeVar, cast

from fastclient.core import Core
from fastclient.engine.detached import GivenUp
from fastclient.engine.seam import drive
from fastclient.errors import StreamCut
from fastclient.functions.function import Asking, Function
from fastclient.functions.parcel import Parcel
from fastclient.functions.transient import Carried
from fastclient.observe.timed import TimedStream
from fastclient.types import Call, Chunk, Request

__all__ = ["MARK", "lowered"]

MARK = "__fastclient__"
"""The attribute of a decorated function that holds its `Function`."""

logger = logging.getLogger("fastclient")

_F = TypeVar("_F", bound=Callable[..., object])


def lowered(function: Function, like: _F) -> _F:
    """A function of the same kind, name and signature as `like`, which goes through the levers."""
    kind = function.job.kind
    lower = {
        "plain": _plain,
        "coroutine": _coroutine,
        "generator": _generator,
        "async generator": _async_generator,
    }[kind](function)
    lower = wraps(like)(lower)
    setattr(lower, MARK, function)
    return cast(_F, lower)


def _plain(function: Function) -> Callable[..., object]:
    def calling(*args: object, **kwargs: object) -> object:
        asking = function.asking(args, kwargs)
        if asking is None:
            return function.job.function(*args, **kwargs)
        try:
            return drive(_whole(function, asking))
        except (Carried, GivenUp) as error:
            failure = _failure(error)
        try:
            raise failure
        finally:
            del failure  # its traceback has this frame, which would have it

    return calling


def _coroutine(function: Function) -> Callable[..., object]:
    async def calling(*args: object, **kwargs: object) -> object:
        asking = function.asking(args, kwargs)
        if asking is None:
            return await function.job.function(*args, **kwargs)  # type: ignore[misc]  # a coroutine function
        try:
            return await _whole(function, asking)
        except (Carried, GivenUp) as error:
            failure = _failure(error)
        try:
            raise failure
        finally:
            del failure

    return calling


def _generator(function: Function) -> Callable[..., object]:
    def calling(*args: object, **kwargs: object) -> Generator[object]:
        asking = function.asking(args, kwargs)
        if asking is None:
            yield from cast("Generator[object]", function.job.function(*args, **kwargs))
            return
        items = _Items(function, asking)
        failure: BaseException | None = None
        try:
            while True:
                try:
                    batch = drive(items.more())
                except (Carried, GivenUp) as error:
                    failure = _failure(error)
                    break
                if not batch:
                    break
                yield from batch
        finally:
            drive(items.aclose())
        if failure is not None:
            try:
                raise failure
            finally:
                del failure

    return calling


def _async_generator(function: Function) -> Callable[..., object]:
    async def calling(*args: object, **kwargs: object) -> AsyncGenerator[object]:
        asking = function.asking(args, kwargs)
        if asking is None:
            async for item in cast("AsyncGenerator[object]", function.job.function(*args, **kwargs)):
                yield item
            return
        items = _Items(function, asking)
        failure: BaseException | None = None
        try:
            while True:
                try:
                    batch = await items.more()
                except (Carried, GivenUp) as error:
                    failure = _failure(error)
                    break
                if not batch:
                    break
                for item in batch:
                    yield item
        finally:
            await items.aclose()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure

    return calling


def _failure(error: Carried | GivenUp) -> BaseException:
    """What the caller is to get: the very exception of the function, with the traceback it had then."""
    if isinstance(error, Carried):
        return error.original.with_traceback(error.trace)
    return StreamCut("the call was given up by the one it was shared with")


class _Unreadable(Exception):
    """What was kept cannot be read any more."""


async def _whole(function: Function, asking: Asking) -> object:
    """The value of a function that returns one."""
    try:
        return await _value(function, asking.core, asking.request)
    except _Unreadable:
        return await _value(function, asking.core, replace(asking.request, cache="refresh"))


async def _value(function: Function, core: Core, request: Request) -> object:
    call = core.begin(request, held=False)
    stream: TimedStream = await core.handler(call)
    if stream.complete:  # all of it was kept
        return _read(function, lambda: stream.answer.raw)
    chunks: list[Chunk] = []
    try:
        while batch := await stream.pull():
            chunks += batch
    finally:
        await stream.aclose()
    return _unpacked(function, chunks[:1], call)[0]


class _Items:
    """The items of one call, as they come."""

    def __init__(self, function: Function, asking: Asking) -> None:
        self._function = function
        self._core = asking.core
        self._request = asking.request
        self._call: Call | None = None
        self._stream: TimedStream | None = None
        self._shown = False

    async def more(self) -> Sequence[object]:
        """The next items; none at the end."""
        while True:
            if self._stream is None:
                self._call = self._core.begin(self._request, held=True)
                self._stream = await self._core.handler(self._call)
            batch = await self._stream.pull()
            try:
                items = _unpacked(self._function, batch, cast(Call, self._call))
            except _Unreadable:
                if self._shown:
                    raise
                await self.aclose()
                self._stream, self._request = None, replace(self._request, cache="refresh")
                continue
            if items or not batch:
                self._shown = True
                return items

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()


def _unpacked(function: Function, chunks: Sequence[Chunk], call: Call) -> list[object]:
    """The values in these chunks. What was kept, or made for another caller, is read from how it was written down."""
    values: list[object] = []
    for chunk in chunks:
        if not isinstance(chunk, Parcel):
            if chunk.finish_reason is None:
                values.append(_read(function, lambda chunk=chunk: chunk.raw))  # type: ignore[misc]
        elif chunk.raw and call.record.cache.state == "shared":
            values.append(_read(function, lambda chunk=chunk: chunk.raw))  # type: ignore[misc]
        else:
            values.append(chunk.value)
    return values


def _read(function: Function, raw: Callable[[], bytes]) -> object:
    codec = function.job.codec
    try:
        if codec is not None:
            return codec.decode(raw())
    except Exception as error:  # written by another version of the program: as good as nothing
        logger.warning("reading a value of %s failed with %s", function.job.name, type(error).__name__)
    raise _Unreadable
