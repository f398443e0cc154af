"""Our own engine behind the port: HTTP/1.1 over plain sockets, on asyncio, uvloop and trio.

It does what a call to an LLM needs, and does it once: heads are written once per URL, nothing is normalised, and
nothing is closed in the background. What it does not do goes through httpx2: proxies, and URLs with anything unusual.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from fastclient.config import Timeouts
from fastclient.engine.clock import running_loop
from fastclient.errors import ConfigError
from fastclient.observe.timing import Marks
from fastclient.wire.direct.head import Route, route
from fastclient.wire.direct.pool import Pool
from fastclient.wire.home import by
from fastclient.wire.port import Wire, WireRequest, WireResponse
from fastclient.wire.sockets import proxy_for

__all__ = ["DirectWire"]

_ROUTES = 1000  # URLs that are kept ready


class DirectWire:
    """A wire of our own, with one connection pool per event loop that uses it."""

    def __init__(self, *, concurrency: int | None = None) -> None:
        self._concurrency = concurrency
        self._pools: dict[Any, Pool] = {}
        self._routes: dict[str, Route | None] = {}
        self._family: Wire | None = None

    def send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> Coroutine[Any, Any, WireResponse]:
        way = self._routes.get(request.url)
        pool = None if way is None else self._pools.get(running_loop())
        if way is None or pool is None or pool.bounded or pool.closed:
            return self._send(request, timeouts, marks)
        marks.dequeued = marks.clock()
        return pool.send(way, request, timeouts, marks)

    async def _send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> WireResponse:
        """The same where there may be something to be done or waited for before."""
        way = self._routes.get(request.url) or self._route(request.url)
        if way is None:
            return await self._others().send(request, timeouts, marks)
        pool = self._pools.get(running_loop()) or await self._opened()
        if pool.bounded:
            await by(marks.until, pool.enter(timeouts.queue))
        marks.dequeued = marks.clock()
        try:
            if pool.closed:
                raise ConfigError.at("client", "closed while this call was waiting")
            return await pool.send(way, request, timeouts, marks)
        except BaseException:
            pool.leave()
            raise

    async def _opened(self) -> Pool:
        """A pool for the event loop running now."""
        loop = running_loop()
        self._pools = {loop: pool for loop, pool in self._pools.items() if pool.usable}
        pool = self._pools[loop] = Pool(loop, self._concurrency)
        await pool.open()
        return pool

    def _others(self) -> Wire:
        """The wire for what we do not do ourselves."""
        if self._family is None:
            from fastclient.wire.family import FamilyWire

            self._family = FamilyWire("httpx2", concurrency=self._concurrency)
        return self._family

    def _route(self, url: str) -> Route | None:
        """The way to a URL; None if that is not for us."""
        if url not in self._routes:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            self._routes[url] = None if proxy_for(url) else route(url)
        return self._routes[url]

    async def aclose(self) -> None:
        pool = self._pools.pop(running_loop(), None)
        if pool is not None:
            await pool.aclose()
        if self._family is not None:
            await self._family.aclose()

    def __del__(self) -> None:
        for pool in getattr(self, "_pools", {}).values():
            if pool.usable:
                pool.spawn(pool.aclose)  # a client dropped without being closed must leave no socket behind
