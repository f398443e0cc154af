"""The httpx family behind the port: httpx2 by default, httpx for those who need it.

Uses the family's transport, not its client: one call is one POST, with no redirects, cookies, or header merging. TLS is
verified always. HTTP/1.1 only, because neither library resets an HTTP/2 stream on cancel: the provider would go on
generating and the connection would run out of streams.

httpx 0.28 loses a pool slot for good when it is cancelled at the wrong moment: before the headers are in, or twice
while it closes. There each step runs in a task of its own, which holds its place in line and closes what it opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from anyio.lowlevel import current_token

from fastclient.config import Timeouts
from fastclient.engine.detached import Apart
from fastclient.errors import ConfigError
from fastclient.observe.timing import Marks
from fastclient.wire.home import by
from fastclient.wire.pool import Pool
from fastclient.wire.port import WireRequest, WireResponse
from fastclient.wire.response import FamilyResponse
from fastclient.wire.sockets import ssl_context

__all__ = ["FamilyWire"]

_HTTPX_CONNECTIONS = 1000


class FamilyWire:
    """A wire on `httpx2` or `httpx`, with one connection pool per event loop that uses it."""

    def __init__(self, family: str, *, concurrency: int | None = None) -> None:
        # What would otherwise be imported and read in the first call, where it holds up an event loop:
        self._module = import_module(family)
        for late in (family.replace("httpx", "httpcore"), "anyio._backends._asyncio"):
            import_module(late)
        ssl_context(family)
        self._fragile = family == "httpx"  # must not be cancelled
        self._concurrency = _HTTPX_CONNECTIONS if concurrency is None and self._fragile else concurrency
        self._pools: dict[Any, Pool] = {}

    async def send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> WireResponse:
        return await by(marks.until, self._send(request, timeouts, marks))

    async def _send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> FamilyResponse:
        loop: Any = current_token().native_token
        pool = self._pools.get(loop)
        if pool is None:
            self._pools = {loop: pool for loop, pool in self._pools.items() if pool.usable}
            pool = self._pools[loop] = Pool(self._module, loop, self._concurrency, fragile=self._fragile)
            await pool.open()
        await pool.enter(timeouts.queue)
        marks.note("dequeued")
        if pool.closed:
            pool.leave()
            raise ConfigError.at("client", "closed while this call was waiting")
        if not self._fragile:
            return await pool.send(request, timeouts, marks)
        begun = False

        async def send() -> FamilyResponse:
            nonlocal begun
            begun = marks.unstoppable = True
            return await pool.send(request, timeouts, marks)

        try:
            return await Apart(send, FamilyResponse.aclose).result()
        except BaseException:
            if not begun:
                pool.leave()
            raise

    async def aclose(self) -> None:
        pool = self._pools.pop(current_token().native_token, None)
        if pool is not None:
            await pool.aclose()

    def __del__(self) -> None:
        for pool in getattr(self, "_pools", {}).values():
            if pool.usable:
                pool.spawn(pool.aclose)  # a client dropped without being closed must leave no socket behind
