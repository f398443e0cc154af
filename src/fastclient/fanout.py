"""Asking many prompts at once, and handing over the replies as they come.

Nothing stays open between two replies but the calls themselves: leaving early gives them up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import anyio

from fastclient.checks import instance, whole
from fastclient.core import Core
from fastclient.engine.detached import Work, behind, spawner
from fastclient.engine.seam import engine
from fastclient.errors import ConfigError, FastClientError
from fastclient.types import Messages, Reply, Request

__all__ = ["AsyncReplies", "OnError", "Replies", "fan_out"]

_HEAD_START = 1.5  # seconds the others wait at most until the first answer begins

OnError = Callable[[int, FastClientError], object]
"""Told the number of a prompt and its error."""

_Result = Reply | tuple[int, Exception]


def fan_out(
    core: Core,
    prompts: Iterable[Messages],
    options: Mapping[str, Any],
    *,
    limit: int,
    warm_first: bool,
    on_error: OnError | None,
) -> AsyncReplies:
    """The replies to these prompts. Raises ConfigError for words that cannot be; nothing is sent yet."""
    whole("limit", limit)
    instance("warm_first", warm_first, bool)
    if on_error is not None and not callable(on_error):
        raise ConfigError.of("on_error", on_error, "must be a function")
    if isinstance(prompts, str) or not isinstance(prompts, Iterable):
        raise ConfigError.at("prompts", f"must be a list of prompts, not a {type(prompts).__name__}")
    requests = [core.ask(messages, options) for messages in prompts]
    return AsyncReplies(_Fan(core, requests, limit, warm_first, on_error is None), on_error)


class _Fan:
    """The calls under way: some workers, one list, and what they have brought."""

    def __init__(self, core: Core, requests: list[Request], limit: int, warm_first: bool, error_ends: bool) -> None:
        self._core = core
        self._waiting = deque(enumerate(requests))
        self._limit = limit
        self._workers = min(limit, len(requests))
        self._warm_first = warm_first
        self._error_ends = error_ends
        self._scopes: list[anyio.CancelScope] = []
        self._leader_on_its_way: anyio.Event | None = None
        self._news: anyio.Event
        self._taken: anyio.Event
        self.results: deque[_Result] = deque()

    def begin(self) -> None:
        """Start the workers, on the loop running now: a blocking client was called elsewhere, maybe on another one."""
        self._news, self._taken = anyio.Event(), anyio.Event()
        if self._warm_first and self._workers > 1:
            self._leader_on_its_way = anyio.Event()
        for number in range(self._workers):
            scope = anyio.CancelScope()
            self._scopes.append(scope)
            behind(lambda scope=scope, leads=number == 0: self._work(scope, leads))  # type: ignore[misc]

    @property
    def under_way(self) -> bool:
        return self._workers > 0

    async def take(self) -> _Result | None:
        """The next result; None if no more will come."""
        while self._workers and not self.results:
            self._news = anyio.Event()
            await self._news.wait()
        result = self.results.popleft() if self.results else None
        self._taken.set()  # for all who wait; there is a new one for those who come now
        self._taken = anyio.Event()
        return result

    def stop(self) -> None:
        """Begin no more, and give up what is under way."""
        self._waiting.clear()
        for scope in self._scopes:
            scope.cancel()

    async def _work(self, scope: anyio.CancelScope, leads: bool) -> None:
        try:
            with scope:
                first = self._leader_on_its_way
                if first is not None and not leads:
                    with anyio.move_on_after(_HEAD_START):
                        await first.wait()
                while self._waiting:
                    result = await self._ask(*self._waiting.popleft())
                    self._bring(result)
                    if self._error_ends and not isinstance(result, Reply):
                        self.stop()
                    await self._room()
        finally:
            self._workers -= 1
            self._opened()
            self._news.set()

    async def _ask(self, number: int, request: Request) -> _Result:
        try:
            reply = await self._core.inside(request, self._opened)
        except Exception as error:
            return number, error
        finally:
            self._opened()
        reply.index = number
        return reply

    async def _room(self) -> None:
        """Until the reader has taken some of what is there: replies nobody reads must not pile up."""
        while len(self.results) >= self._limit:
            await self._taken.wait()

    def _bring(self, result: _Result) -> None:
        self.results.append(result)
        self._news.set()

    def _opened(self) -> None:
        """An answer begins, so the provider's cache has what the prompts have in common; or nobody will write it."""
        if self._leader_on_its_way is not None:
            self._leader_on_its_way.set()


class AsyncReplies(AsyncIterator[Reply]):
    """Replies as they come. `reply.index` is the number of its prompt. Closing it gives up what is under way."""

    def __init__(self, fan: _Fan, on_error: OnError | None) -> None:
        self._fan = fan
        self._on_error = on_error
        self._spawn: Callable[[Work], None] | None = None

    async def __anext__(self) -> Reply:
        while (result := await self.take()) is not None:
            if isinstance(result, Reply):
                return result
            try:
                self.tell(*result)
            except BaseException:
                await self.aclose()
                raise
        raise StopAsyncIteration

    async def take(self) -> _Result | None:
        """The next reply, or the number of a prompt and its error; None at the end."""
        if self._spawn is None:
            self._spawn = spawner()
            self._fan.begin()
        return await self._fan.take()

    def tell(self, number: int, error: Exception) -> None:
        """Tell whoever wants to know of errors; raise it if there is nobody."""
        if self._on_error is None or not isinstance(error, FastClientError):
            raise error
        self._on_error(number, error)

    async def aclose(self) -> None:
        """Give up what is under way."""
        self._fan.stop()

    def __del__(self) -> None:
        if self._spawn is not None and self._fan.under_way:
            self._spawn(self.aclose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Replies(Iterator[Reply]):
    """Replies as they come, for plain threads. `reply.index` is the number of its prompt."""

    def __init__(self, replies: AsyncReplies) -> None:
        self._replies = replies

    def __next__(self) -> Reply:
        while (result := engine().run(self._replies.take)) is not None:
            if isinstance(result, Reply):
                return result
            try:
                self._replies.tell(*result)  # here, since on the engine's thread it could not use the client
            except BaseException:
                self.close()
                raise
        raise StopIteration

    def close(self) -> None:
        """Give up what is under way."""
        engine().run(self._replies.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
