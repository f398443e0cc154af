"""An answer in the hands of its user: opened on first use, handed out chunk by chunk, closed once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import anyio

from fastclient.core import Core
from fastclient.errors import ConfigError, StreamCut
from fastclient.observe.timed import TimedStream
from fastclient.types import Call, Chunk, Reply, Request

__all__ = ["Reading"]

_T = TypeVar("_T")


class Reading:
    """An answer being read by a user: opened on first use, buffered by batch, closed once."""

    def __init__(self, core: Core, request: Request) -> None:
        self.core = core
        self.buffer: deque[Chunk] = deque()
        self._request = request
        self._call: Call | None = None
        self._stream: TimedStream | None = None
        self._busy = False
        self._dropped = False
        self._closed = False
        self._complete = False
        self._failure: BaseException | None = None

    async def open(self) -> None:
        """Start the call, once; returns when its first content is there, or when somebody closed it meanwhile."""
        if self._stream is None:
            await self._alone(self._open)

    async def _alone(self, step: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Open or read, which only one task or thread may do at a time."""
        if self._busy:
            raise ConfigError.at("stream", "is being read by another task or thread already")
        self._busy = True
        try:
            return await step()
        except Exception as error:
            self._failure = self._failure or error
            raise
        finally:
            self._busy = False

    async def _open(self) -> None:
        if self._call is not None or self.is_closed():
            return
        self._call = call = self.core.begin(self._request, held=True)
        scope: AbstractContextManager[object]
        if self.core.blocking:
            scope = nullcontext()  # the seam knows how to leave
        else:
            scope = cancel = anyio.CancelScope()
            call.record.leave = cancel.cancel
        try:
            with scope:
                self._stream = await self.core.handler(call)
        except StreamCut:
            if not self.is_closed():
                raise
        finally:
            call.record.leave = None
        if self.is_closed() and self._stream is not None:
            await self._stream.aclose()

    async def fill(self) -> bool:
        """Put the next batch into the buffer; False at the end of the answer."""
        if self._failure is not None:
            raise self._failure
        more = await self._alone(self._fill)
        if self._complete:
            await self.aclose()
        return more

    async def _fill(self) -> bool:
        await self._open()
        if self.is_closed() or self._stream is None:
            return False
        try:
            batch = await self._stream.pull()
        except BaseException as error:
            if self.is_closed() and isinstance(error, StreamCut):
                return False  # by our own side, while it was being read
            await self.aclose()
            raise
        if self.is_closed():
            return False
        self.buffer.extend(batch)
        self._complete = not batch
        return not self._complete

    async def reply(self) -> Reply:
        """Read what is left, and return the whole. An answer that is not whole is an error, however it was left."""
        while await self.fill():
            self.buffer.clear()
        if self._stream is None:
            raise StreamCut("the stream was closed before it was opened")
        if not self._complete:
            raise self._stream.unfinished()
        return self._stream.reply()

    def is_closed(self) -> bool:
        """Whether it was closed, maybe by somebody else while we waited."""
        return self._closed

    async def aclose(self) -> None:
        self._closed = True
        self.buffer.clear()
        if self._stream is not None:
            await self._stream.aclose()
        elif self._call is not None and self._failure is None and self._call.record.leave is not None:
            self._call.record.leave()

    def dropped(self) -> bool:
        """Whether this is being thrown away with the answer still open; says so to the observers if it is."""
        if self._closed or self._dropped or self._stream is None or self._call is None:
            return False
        self._dropped = True
        self.core.abandoned(self._call)
        return True
