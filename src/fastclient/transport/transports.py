"""The transports that go under an SDK's HTTP client: `Transport` for threads, `AsyncTransport` for asyncio and trio.

One class serves both `httpx` and `httpx2`, and answers in the library it is asked in. A request that is a call of a
known format goes through the layers of the policy; every other one is passed on untouched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import httpx2

from fastclient.config import Policy
from fastclient.engine.detached import Work, spawner
from fastclient.engine.seam import drive, running_engine
from fastclient.errors import FastClientError, ProviderError, StreamCut
from fastclient.transport.door import Door
from fastclient.transport.recognise import STEER, Headers, may_be_call
from fastclient.transport.respond import Answered, Raised, Readable, ends, raised

if TYPE_CHECKING:
    from fastclient.observe.stats import Stats

__all__ = ["AsyncTransport", "Transport", "family_of"]


def family_of(thing: object) -> Any:
    """The library that an object of `httpx` or `httpx2` comes from. Raises TypeError for others."""
    for kind in type(thing).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in ("httpx", "httpx2"):
            return httpx if name == "httpx" else httpx2
    raise TypeError(f"an object of httpx or httpx2 is needed, not a {type(thing).__name__}")


class Transport(httpx.BaseTransport, httpx2.BaseTransport):
    """Answers the calls of a blocking SDK client: `OpenAI(http_client=httpx2.Client(transport=fc.Transport(policy)))`.

    Without a policy it is `Policy()`: timeouts and retries. `wire` is what calls go out on, "direct" or "httpx2"; what
    passes goes out as the asking library sends it. Safe for any number of threads. What `fc.http_client` makes
    has one of these inside; take it by itself to have its `stats()`, or an HTTP client with options of your own.
    """

    def __init__(self, policy: Policy | None = None, *, wire: str = "direct") -> None:
        self._door = Door(policy, wire, kind="HTTPTransport", blocking=True)

    def handle_request(self, request: Any) -> Any:
        """Answer one request of either library."""
        family = family_of(request)
        url = request.url
        if may_be_call(request.method, url.path):
            headers = _fields(request)
            with _in_words_of(family, request):
                found = drive(self._door.answer(str(url), headers, request.read(), request.extensions))
            if found is not None:
                return _response(family, found, lambda stream: _Body(stream, family, request))
        return self._door.passing.through(family, _unsteered(request)).handle_request(request)

    def stats(self) -> Stats:
        """Counts and percentiles of the calls so far; requests passed on are not among them."""
        return self._door.stats()

    def close(self) -> None:
        """Close every connection, and the cache."""
        core, running = self._door.core, running_engine()
        core.refuse()
        core.close_store()
        if running is not None:
            running.run(core.aclose)
        for transport in self._door.passing.taken():
            transport.close()


class AsyncTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
    """Answers the calls of an asynchronous SDK client, on asyncio or trio. See `Transport`."""

    def __init__(self, policy: Policy | None = None, *, wire: str = "direct") -> None:
        self._door = Door(policy, wire, kind="AsyncHTTPTransport", blocking=False)

    async def handle_async_request(self, request: Any) -> Any:
        """Answer one request of either library."""
        family = family_of(request)
        url = request.url
        if may_be_call(request.method, url.path):
            headers, body = _fields(request), await request.aread()
            with _in_words_of(family, request):
                found = await self._door.answer(str(url), headers, body, request.extensions)
            if found is not None:
                return _response(family, found, lambda stream: _AsyncBody(stream, family, request))
        return await self._door.passing.through(family, _unsteered(request)).handle_async_request(request)

    def stats(self) -> Stats:
        """Counts and percentiles of the calls so far; requests passed on are not among them."""
        return self._door.stats()

    async def aclose(self) -> None:
        """Close every connection, and the cache."""
        self._door.core.refuse()
        await self._door.core.aclose()
        for transport in self._door.passing.taken():
            await transport.aclose()


def _fields(request: Any) -> Headers:
    """The headers; in one walk, where the library needs one for each name."""
    return Headers({name.lower(): value for name, value in request.headers.items()})


def _unsteered(request: Any) -> str:
    """The URL of a request that passes; what steers calls, and may be said to an SDK for all of them, is not sent."""
    for name in [name for name in request.headers if name.startswith(STEER)]:
        del request.headers[name]
    return str(request.url)


def _response(family: Any, answered: Answered, body: Callable[[Readable], Any]) -> Any:
    headers, extensions = answered.headers, {"http_version": b"HTTP/1.1"}
    if answered.stream is not None:
        return family.Response(answered.status, headers=headers, stream=body(answered.stream), extensions=extensions)
    headers = [*headers, (b"content-length", b"%d" % len(answered.body))]
    return family.Response(
        answered.status, headers=headers, stream=family.ByteStream(answered.body), extensions=extensions
    )


@contextmanager
def _in_words_of(family: Any, request: Any) -> Iterator[None]:
    """What fails on the way is raised as the class that the asking library has for it."""
    try:
        yield
    except Raised as failure:
        kind = getattr(family, failure.name)
        raise kind(str(failure), request=request) from failure.error


class _Reading:
    """An answer being read by an SDK, in the bytes the provider sent."""

    def __init__(self, stream: Readable, family: Any, request: Any) -> None:
        self._stream = stream
        self._family = family
        self._request = request

    async def _next(self) -> bytes:
        """The next bytes; none at the end."""
        try:
            batch = await self._stream.pull()
        except FastClientError as error:
            if isinstance(error, StreamCut) and (
                isinstance(error.__cause__, ProviderError) or ends(error, self._stream)
            ):
                return b""  # the SDK has the error event, or lacks nothing but the provider's last word
            with _in_words_of(self._family, self._request):
                raise raised(error) from error
        return b"".join([chunk.raw for chunk in batch])


class _Body(_Reading, httpx.SyncByteStream, httpx2.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        while piece := drive(self._next()):
            yield piece

    def close(self) -> None:
        drive(self._stream.aclose())


class _AsyncBody(_Reading, httpx.AsyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, stream: Readable, family: Any, request: Any) -> None:
        super().__init__(stream, family, request)
        self._spawn: Callable[[Work], None] = spawner()
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._next()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._closed = True
        await self._stream.aclose()

    def __del__(self) -> None:
        if not self._closed:
            self._spawn(self._stream.aclose)
