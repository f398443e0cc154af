"""The httpx family behind the port: httpx2 by default, httpx for those who need it.

Uses the family's transport, not its client: one call is one POST, with no redirects, cookies, or header merging. TLS is
verified always. HTTP/1.1 only, because neither library resets an HTTP/2 stream on cancel: the provider would go on
generating and the connection would run out of streams.

httpx 0.28 loses a pool slot for good when a request is cancelled before its headers are in. There a send is never
cancelled: it runs on in a task of its own, holding its place in line, and is closed when its headers come.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

from fastclient.config import Timeouts
from fastclient.engine.detached import spawner
from fastclient.errors import ConnectFailed, ConnectTimeout, FastClientError, QueueTimeout, StreamCut
from fastclient.observe.timing import Marks
from fastclient.wire.port import WireRequest, WireResponse

if TYPE_CHECKING:
    import ssl

__all__ = ["FamilyWire"]

_CLOSE = 1.0  # seconds a connection may take to close
_KEEP_ALIVE = 60.0  # seconds an idle connection is kept
_HTTPX_CONNECTIONS = 1000


class FamilyWire:
    """A wire on `httpx2` or `httpx`, with one connection pool per event loop that uses it."""

    def __init__(self, family: str, *, concurrency: int | None = None) -> None:
        self._family = family
        self._module = import_module(family)  # here and not in the first call, where it would hold up an event loop
        _ssl_context(family)
        if concurrency is None and family == "httpx":
            concurrency = _HTTPX_CONNECTIONS
        self._concurrency = concurrency
        self._pools: WeakKeyDictionary[object, _Pool] = WeakKeyDictionary()

    async def send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> WireResponse:
        loop = current_token().native_token
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = _Pool(self._module, self._concurrency)
        await pool.enter(timeouts.queue)
        marks.note("dequeued")
        if self._family == "httpx":
            return await _uncancelled(lambda: pool.send(request, timeouts, marks))
        return await pool.send(request, timeouts, marks)

    async def aclose(self) -> None:
        pool = self._pools.pop(current_token().native_token, None)
        if pool is not None:
            await pool.aclose()

    def __del__(self) -> None:
        for pool in getattr(self, "_pools", {}).values():
            pool.spawn(pool.aclose)  # a client dropped without being closed must leave no socket behind


class _Pool:
    """The connections of one event loop, and the line before them."""

    def __init__(self, family: Any, concurrency: int | None) -> None:
        self._family = family
        self._limits = family.Limits(
            max_connections=concurrency, max_keepalive_connections=concurrency or 100, keepalive_expiry=_KEEP_ALIVE
        )
        self._line = anyio.Semaphore(concurrency, fast_acquire=True) if concurrency is not None else None
        self._transports: dict[str | None, Any] = {}
        self.spawn = spawner()

    async def enter(self, patience: float) -> None:
        """Wait for a place among the open requests."""
        if self._line is None:
            return
        try:
            with anyio.fail_after(patience):
                await self._line.acquire()
        except TimeoutError:
            raise QueueTimeout(f"no connection became free within {patience:g} s", phase="queue") from None

    def leave(self) -> None:
        if self._line is not None:
            self._line.release()

    async def send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> WireResponse:
        """Send, once a place was taken; the place is given back when the response is closed, or here on failure."""
        family = self._family
        limits = {"connect": timeouts.connect, "read": None, "write": timeouts.liveness, "pool": timeouts.queue}
        outgoing = family.Request(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.body,
            extensions={"timeout": limits, "trace": _tracer(marks)},
        )
        try:
            response = await self._transport(request.url).handle_async_request(outgoing)
        except family.ConnectTimeout as error:
            self.leave()
            raise ConnectTimeout(f"no connection within {timeouts.connect:g} s", phase="connect") from error
        except family.TransportError as error:
            self.leave()
            raise _lost(error, marks) from error
        except BaseException:
            self.leave()
            raise
        marks.note("headers")
        marks.rtt = _round_trip(response)
        return FamilyResponse(response, family, self.leave)

    def _transport(self, url: str) -> Any:
        proxy = _proxy_for(url)
        if proxy not in self._transports:
            self._transports[proxy] = self._family.AsyncHTTPTransport(
                verify=_ssl_context(self._family.__name__),
                limits=self._limits,
                proxy=proxy,
                socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            )
        return self._transports[proxy]

    async def aclose(self) -> None:
        transports, self._transports = self._transports, {}
        with anyio.move_on_after(_CLOSE, shield=True):
            for transport in transports.values():
                await transport.aclose()


class FamilyResponse:
    """A response of either family. Reading raises StreamCut when the connection breaks."""

    def __init__(self, response: Any, family: Any, leave: Callable[[], None]) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.rtt = None
        self._family = family
        self._response = response
        self._pieces: AsyncIterator[bytes] = response.stream.__aiter__()
        self._leave: Callable[[], None] | None = leave
        self._complete = False

    async def read(self) -> bytes:
        try:
            async for piece in self._pieces:
                if piece:
                    return piece
        except (self._family.TransportError, anyio.ClosedResourceError) as error:
            raise StreamCut(f"the connection broke ({type(error).__name__})") from error
        self._complete = True
        return b""

    async def aclose(self) -> None:
        if self._leave is None:
            return
        leave, self._leave = self._leave, None
        try:
            with anyio.move_on_after(_CLOSE, shield=True):
                await self._response.stream.aclose()
                if not self._complete:
                    # Unwind the library's nested generators here: dropped ones make trio complain. The connection is
                    # closed, so this ends at once.
                    async for _ in self._pieces:
                        pass
        except (self._family.TransportError, anyio.ClosedResourceError, RuntimeError):
            pass  # it was closed to be gone; how it went does not matter
        finally:
            leave()


async def _uncancelled(send: Callable[[], Awaitable[WireResponse]]) -> WireResponse:
    """Run a send to its end even if the caller is cancelled meanwhile; then its response is closed, not returned."""
    finished = anyio.Event()
    outcome: list[WireResponse | BaseException] = []
    abandoned = False

    async def run() -> None:
        try:
            response = await send()
        except BaseException as error:
            outcome.append(error)
            if not isinstance(error, Exception):
                raise
        else:
            outcome.append(response)
            if abandoned:
                await response.aclose()
        finally:
            finished.set()

    spawner()(run)
    try:
        await finished.wait()
    except BaseException:
        abandoned = True
        if outcome and not isinstance(outcome[0], BaseException):
            await outcome[0].aclose()
        raise
    result = outcome[0]
    if isinstance(result, FastClientError):
        raise result
    if isinstance(result, BaseException):
        raise ConnectFailed("the request was given up while its loop ended") from result
    return result


def _lost(error: Exception, marks: Marks) -> FastClientError:
    """A failure before the response headers. Its text stays out: a library may quote a header in it."""
    where = "while connecting" if marks.send_started is None else "before the answer began"
    return ConnectFailed(f"the connection failed {where} ({type(error).__name__})")


_MOMENTS = {
    "connection.connect_tcp.started": "connect_started",
    "connection.connect_tcp.complete": "connected",
    "connection.start_tls.complete": "secured",
    "http11.send_request_headers.started": "send_started",
    "http11.send_request_body.complete": "sent",
}


def _tracer(marks: Marks) -> Callable[[str, Any], Awaitable[None]]:
    """A trace function that writes the moments it is told about into the marks."""

    async def trace(name: str, _: Any) -> None:
        moment = _MOMENTS.get(name)
        if moment is not None:
            marks.note(moment)

    return trace


def _round_trip(response: Any) -> float | None:
    """The kernel's own estimate of the connection's round-trip time (Linux: `tcp_info.tcpi_rtt`, microseconds)."""
    option = getattr(socket, "TCP_INFO", None)
    stream = response.extensions.get("network_stream")
    raw = stream.get_extra_info("socket") if option is not None and stream is not None else None
    if raw is None:
        return None
    try:
        info = raw.getsockopt(socket.IPPROTO_TCP, option, 104)
    except OSError:
        return None
    return float(struct.unpack_from("I", info, 68)[0]) / 1e6 if len(info) >= 72 else None


@cache
def _ssl_context(family: str) -> ssl.SSLContext:
    """One context per process: building one costs some 15 ms."""
    context: ssl.SSLContext = import_module(family).create_ssl_context()
    return context


def _proxy_for(url: str) -> str | None:
    """The proxy the environment names for this URL (HTTPS_PROXY, NO_PROXY and their kin)."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    if not proxies:
        return None
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")
