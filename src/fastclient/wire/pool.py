"""The connections of one event loop over the httpx family, and the notes taken on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import anyio

from fastclient.config import Timeouts
from fastclient.errors import ConfigError, ConnectFailed, ConnectTimeout, FastClientError
from fastclient.observe.timing import Marks
from fastclient.wire.home import Home
from fastclient.wire.port import WireRequest
from fastclient.wire.response import FamilyResponse
from fastclient.wire.sockets import OPTIONS, closed_in_children, proxy_for, round_trip, ssl_context

__all__ = ["Pool"]

_CLOSE = 1.0  # seconds the connections may take to close
_ROUTES = 1000  # URLs that are kept ready
_TICK = 0.005  # seconds between two looks at what is still being closed
_KEEP_ALIVE = 60.0  # seconds an idle connection is kept


class Pool(Home):
    """The connections of one event loop."""

    def __init__(self, family: Any, loop: Any, concurrency: int | None, *, fragile: bool) -> None:
        super().__init__(loop, concurrency)
        self._family = family
        self._fragile = fragile
        self._limits = family.Limits(
            max_connections=concurrency, max_keepalive_connections=concurrency or 100, keepalive_expiry=_KEEP_ALIVE
        )
        self._transports: dict[str | None, Any] = {}  # by proxy
        self._routes: dict[str, tuple[Any, Any, str]] = {}  # by URL: a client has very few
        # Open responses are held until they are closed: a dropped one would have its generators finished by the event
        # loop and by its closing, at the same time.
        self._held: set[FamilyResponse] = set()

    async def _shut(self) -> None:
        with anyio.move_on_after(_CLOSE / 2, shield=True):
            for response in tuple(self._held):
                await response.aclose()
            while self._held:  # noqa: ASYNC110  # by others, who dropped them just now
                await anyio.sleep(_TICK)
        with anyio.move_on_after(_CLOSE, shield=True):
            for transport in self._transports.values():
                await transport.aclose()

    def _abandon(self) -> None:
        """The libraries cannot close anything without an event loop."""

    async def send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> FamilyResponse:
        """Send, once a place was taken; the place is given back when the response is closed, or here on failure."""
        family = self._family
        # The read limit bounds a send that nobody waits for any more; after the headers the watchdogs take over.
        limits: dict[str, float | None] = {
            "connect": timeouts.connect,
            "read": max(0.001, marks.until - marks.clock()),
            "write": timeouts.liveness,
            "pool": timeouts.queue,
        }
        try:
            transport, url, host = self._routes.get(request.url) or self._route(request.url)
            fixed = {"host": host, "content-length": str(len(request.body))}
            outgoing = family.Request(
                request.method,
                url,
                headers={**fixed, **request.headers},
                stream=_body(family)(request.body),
                extensions={"timeout": limits, "trace": _tracer(marks)},
            )
            response = await transport.handle_async_request(outgoing)
        except family.ConnectTimeout as error:
            self.leave()
            raise ConnectTimeout(f"no connection within {timeouts.connect:g} s", phase="connect") from error
        except family.TransportError as error:
            self.leave()
            raise _lost(error, marks) from error
        except family.InvalidURL:
            self.leave()
            raise ConfigError.at("base_url", "is not a URL the HTTP library can use") from None
        except BaseException:
            self.leave()
            raise
        limits["read"] = None
        marks.note("headers")
        held = FamilyResponse(response, family, self._let_go, rtt=round_trip(response), fragile=self._fragile)
        self._held.add(held)
        return held

    def _let_go(self, response: FamilyResponse) -> None:
        """A response was closed: its place is free."""
        self._held.discard(response)
        self.leave()

    def _route(self, url: str) -> tuple[Any, Any, str]:
        """The transport for a URL, straight or through a proxy that the environment names; the URL itself; its host."""
        proxy = proxy_for(url)
        if proxy not in self._transports:
            try:
                self._transports[proxy] = self._family.AsyncHTTPTransport(
                    verify=ssl_context(self._family.__name__),
                    limits=self._limits,
                    proxy=proxy,
                    socket_options=OPTIONS,
                )
            except (ImportError, ValueError, self._family.InvalidURL) as error:
                problem = f"the proxy named by the environment cannot be used ({type(error).__name__})"
                raise ConfigError.at("proxy", problem) from None
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        parsed = self._family.URL(url)
        self._routes[url] = self._transports[proxy], parsed, parsed.netloc.decode("ascii")
        return self._routes[url]


@cache
def _body(family: Any) -> Any:
    """The family's kind of request body, without the generator that trio complains about when a send breaks off."""

    class Body(family.AsyncByteStream):  # type: ignore[misc]  # the family is known at run time only
        def __init__(self, content: bytes) -> None:
            self._pieces = [content] if content else []

        def __aiter__(self) -> Body:
            return self

        async def __anext__(self) -> bytes:
            if not self._pieces:
                raise StopAsyncIteration
            return self._pieces.pop()

    return Body


def _lost(error: Exception, marks: Marks) -> FastClientError:
    """A failure before the response headers. Its text stays out: a library may quote a header in it."""
    where = "while connecting" if marks.send_started is None else "before the answer began"
    lost = ConnectFailed(f"the connection failed {where} ({type(error).__name__})")
    lost.sent = marks.send_started is not None
    return lost


_MOMENTS = {
    "connection.connect_tcp.started": "connect_started",
    "connection.connect_tcp.complete": "connected",
    "connection.start_tls.started": "tls_started",
    "connection.start_tls.complete": "secured",
    "http11.send_request_headers.started": "send_started",
    "http11.send_request_body.complete": "sent",
}


def _tracer(marks: Marks) -> Callable[[str, Any], Awaitable[None]]:
    """A trace function that writes the moments it is told about into the marks."""

    async def trace(name: str, info: Any) -> None:
        moment = _MOMENTS.get(name)
        if moment is not None:
            marks.note(moment)
            if moment == "connected":
                closed_in_children(info["return_value"].get_extra_info("socket"))

    return trace
