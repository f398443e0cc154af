"""What both clients share: the wire, the stack of layers, and reading an answer. Written once, as async code.

`AsyncClient` awaits it; `Client` drives it on the calling thread up to the seam.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

from fastclient.config import Policy, Secret, Target, as_target, instance, is_loopback, whole
from fastclient.engine.attempt import attempt
from fastclient.engine.clock import running_clock
from fastclient.engine.seam import seam
from fastclient.engine.stack import Layer, stack
from fastclient.errors import ConfigError
from fastclient.observe.events import StreamAbandoned, emit
from fastclient.observe.stats import Stats, StatsRecorder
from fastclient.observe.timed import TimedStream, timed
from fastclient.observe.timing import CallRecord
from fastclient.providers.dialect import find
from fastclient.request import checked
from fastclient.types import Call, Chunk, Messages, Reply, Request
from fastclient.warm import Warmed, warmed
from fastclient.wire.port import Wire

__all__ = ["Core", "Reading"]

logger = logging.getLogger("fastclient")


class Core:
    """A client without its door."""

    def __init__(
        self,
        target: Target | str,
        *,
        base_url: str | None,
        api_key: str | None,
        policy: Policy,
        wire: Wire | str,
        headers: Mapping[str, str] | None,
        allow_http: bool,
        blocking: bool,
    ) -> None:
        instance("policy", policy, Policy)
        target = as_target(target)
        if headers is not None and not isinstance(headers, Mapping):
            raise ConfigError.at("headers", f"must map names to values, not be a {type(headers).__name__}")
        target = replace(
            target,
            base_url=target.base_url if base_url is None else base_url,
            api_key=target.api_key if api_key is None else api_key,
            headers={**target.headers, **(headers or {})},
            allow_http=target.allow_http or allow_http,
        )
        self.target = _resolved(target, key_needed=isinstance(wire, str))
        self.policy = policy
        self.blocking = blocking
        self.closed = False
        self._stats = StatsRecorder()
        self._wire = _wire(wire, policy)
        self._pid = os.getpid()
        self._build()

    def _build(self) -> None:
        policy = instance("policy", self.policy, Policy)
        for lever in policy.pending():
            logger.warning("policy.%s has no layer in this version: calls go without it", lever)
        across: tuple[Layer, ...] = (seam,) if self.blocking else ()
        inner = stack(*across, around=attempt(self._wire, policy.timeouts))
        self._handler = timed(inner, policy.observers, self._stats)

    def with_policy(self, policy: Policy) -> Core:
        """A copy that shares the wire and the statistics."""
        copy = object.__new__(Core)
        copy.__dict__.update(self.__dict__)
        copy.policy = policy
        copy._build()
        return copy

    def ask(self, messages: Messages, options: Mapping[str, Any]) -> Request:
        """Check the caller's words."""
        self._check_usable()
        return checked(messages, options)

    def _check_usable(self) -> None:
        """Whether this client may be used here and now."""
        if self.closed:
            raise ConfigError.at("client", "closed")
        if not self.blocking and os.getpid() != self._pid:
            raise ConfigError.at("client", "an AsyncClient cannot be used after a fork: make one in the child process")

    async def open(self, request: Request, *, held: bool) -> tuple[Call, TimedStream]:
        """Start a call; return when its first content is there. `held` says whether the caller will see chunks."""
        clock = monotonic if self.blocking else running_clock()
        started = clock()
        record = CallRecord(clock, started, consumer=0.0 if held else None)
        deadline = started + (request.timeout or self.policy.timeouts.total)
        record.prepared = clock()
        call = Call(id=os.urandom(8).hex(), request=request, target=self.target, deadline=deadline, record=record)
        return call, await self._handler(call)

    async def chat(self, request: Request) -> Reply:
        """The whole answer."""
        _, stream = await self.open(request, held=False)
        try:
            while await stream.pull():
                pass
        finally:
            await stream.aclose()
        return stream.reply()

    def abandoned(self, call: Call) -> None:
        logger.debug("stream of call %s was dropped unread; closed by the garbage collector", call.id)
        emit(self.policy.observers, StreamAbandoned(call_id=call.id))

    async def warm(self, connections: int) -> Warmed:
        self._check_usable()
        whole("connections", connections)
        return await warmed(self._wire, self.target, self.policy.timeouts, connections)

    def stats(self) -> Stats:
        return self._stats.snapshot()

    async def aclose(self) -> None:
        await self._wire.aclose()


class Reading:
    """An answer being read by a user: opened on first use, buffered by batch, closed once."""

    def __init__(self, core: Core, request: Request) -> None:
        self.core = core
        self.buffer: deque[Chunk] = deque()
        self.call: Call | None = None
        self._request = request
        self._stream: TimedStream | None = None
        self.closed = False

    async def open(self) -> None:
        if self._stream is None and not self.closed:
            try:
                self.call, self._stream = await self.core.open(self._request, held=True)
            except BaseException:
                self.closed = True
                raise

    async def fill(self) -> bool:
        """Put the next batch into the buffer; False at the end of the answer."""
        await self.open()
        if self._stream is None or self.closed:
            return False
        try:
            batch = await self._stream.pull()
        except BaseException:
            await self.aclose()
            raise
        if not batch:
            await self.aclose()
        self.buffer.extend(batch)
        return bool(batch)

    async def reply(self) -> Reply:
        """Read what is left, and return the whole."""
        while await self.fill():
            self.buffer.clear()
        if self._stream is None:
            raise ConfigError.at("stream", "never opened, so there is no reply")
        return self._stream.reply()

    async def aclose(self) -> None:
        self.closed = True
        if self._stream is not None:
            await self._stream.aclose()

    def dropped(self) -> bool:
        """Whether this is being thrown away with the answer still open; says so to the observers if it is."""
        if self.closed or self._stream is None or self.call is None:
            return False
        self.core.abandoned(self.call)
        return True


def _resolved(target: Target, *, key_needed: bool) -> Target:
    """The target with its provider's defaults and environment variables filled in."""
    dialect = find(target.provider)
    url = target.base_url or os.environ.get(dialect.url_variable) or dialect.base_url
    target = replace(target, base_url=url)
    key = target.key or os.environ.get(dialect.key_variable, "")
    if not key and key_needed and not is_loopback(url):
        raise ConfigError.at("api_key", f"none was given, and {dialect.key_variable} is not set")
    return replace(target, api_key=Secret(key))


def _wire(wire: Wire | str, policy: Policy) -> Wire:
    if not isinstance(wire, str):
        if isinstance(wire, type) or not callable(getattr(wire, "send", None)) or not hasattr(wire, "aclose"):
            raise ConfigError.of("wire", wire, 'must be "httpx2", "httpx" or an object with send and aclose')
        return wire
    if wire not in ("httpx2", "httpx"):
        raise ConfigError.of("wire", wire, 'must be "httpx2", "httpx" or a Wire')
    from fastclient.wire.family import FamilyWire

    return FamilyWire(wire, concurrency=policy.limits.concurrency if policy.limits else None)
