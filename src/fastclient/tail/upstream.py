"""What is known of each place calls go to: how fast it is, how healthy, how much it still takes. Learned call by call.

One `Upstream` stands for a target (provider, server, key and model). Every layer that steers calls looks here, and one
layer, `learned`, right around the attempt, writes down what happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary, ref

import anyio

from fastclient.config import Limits, Timeouts
from fastclient.engine.clock import running_loop
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import (
    ConfigError,
    ConnectFailed,
    ConnectTimeout,
    DeadlineExceeded,
    FirstTokenTimeout,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from fastclient.observe.timing import AttemptRecord
from fastclient.providers.dialect import find
from fastclient.providers.repeat import stops_billing
from fastclient.tail.breaker import Breaker
from fastclient.tail.budget import Budget
from fastclient.tail.hedge import Hedging
from fastclient.tail.latency import Latency
from fastclient.tail.limit import Gate, Place
from fastclient.target import Target
from fastclient.types import Call, Request

__all__ = ["Upstream", "Upstreams", "learned"]

logger = logging.getLogger("fastclient")

_BROKEN = (ServerFailed, ConnectFailed, ConnectTimeout, FirstTokenTimeout, StreamCut)
_TIERS = ("auto", "default", "flex", "priority", "scale", "standard_only", "batch")  # others are taken together
_LEAST_LIMIT = 10.0  # seconds to first content that are never too long
_ENOUGH = 500.0  # samples from which the far end of the distribution means something
_RETRIES = 10.0  # retries that may be spent before any request has paid for them


class Upstream:
    """One target, as its calls have found it."""

    def __init__(self, target: Target, gate: Gate, like: Callable[[], Latency | None]) -> None:
        self.target = target
        self.gate = gate
        self.breaker = Breaker()
        self._retries: dict[float, Budget] = {}
        self._sleeping: set[anyio.Event] = set()
        self._like = like
        self._latencies: dict[tuple[bool, object], Latency] = {}
        self._hedgings: dict[tuple[Latency, float], Hedging] = {}

    def latency(self, request: Request) -> Latency:
        """How long requests of this kind take here; thinking and service tiers are kinds of their own."""
        tier = request.params.get("service_tier")
        kind = (find(self.target.provider).thinks(request), tier if tier in _TIERS else None)
        latency = self._latencies.get(kind)
        if latency is None:
            latency = self._latencies[kind] = Latency(self._like())
        return latency

    def refused(self, now: float, retry_after: float | None, place: Place) -> None:
        """It has no capacity: nobody sends for a while, and who cannot wait that long is told now."""
        for waiter in self.gate.refused(now, retry_after, place):
            if waiter.event is not None:
                waiter.event.set()

    async def sleep(self, seconds: float) -> None:
        """Wait before the next try here, unless the client is closed meanwhile."""
        closed = anyio.Event()
        self._sleeping.add(closed)
        try:
            with anyio.move_on_after(seconds):
                await closed.wait()
        finally:
            self._sleeping.discard(closed)

    def turn_away(self) -> None:
        """The client is closed: nobody waits here any longer."""
        waiters = self.gate.clear()
        for waiter in waiters:
            waiter.error = ConfigError.at("client", "closed while this call was waiting")
        for event in (*(waiter.event for waiter in waiters), *self._sleeping):
            if event is not None:
                try:
                    event.set()
                except RuntimeError:  # on a loop that ended and left its tasks standing
                    logger.debug("a call was left waiting on a closed event loop")

    def latencies(self) -> list[Latency]:
        return list(self._latencies.values())

    def hedging(self, latency: Latency, share: float) -> Hedging:
        """The hedging policy for requests of one kind."""
        hedging = self._hedgings.get((latency, share))
        if hedging is None:
            hedging = self._hedgings[latency, share] = Hedging(share, latency, stops=stops_billing(self.target))
        return hedging

    def retry_budget(self, share: float) -> Budget:
        """What may be spent on retries: this share of the calls, and ten for the start."""
        if share not in self._retries:
            self._retries[share] = Budget(share, start=_RETRIES if share > 0 else 0.0)
        return self._retries[share]

    def patience(self, latency: Latency, tokens: int, limit: float) -> float:
        """Seconds to the first content beyond which an attempt is taken for lost, `limit` at most."""
        if latency.samples < _ENOUGH:
            return limit
        return min(limit, max(_LEAST_LIMIT, 4 * latency.far * latency.size(tokens)))


class Upstreams:
    """All of them, by event loop: clocks and waiting lines belong to one. Shared by a client and its copies."""

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits
        self._last: tuple[ref[Any], Upstream] | None = None  # most clients have one target
        self._loops: WeakKeyDictionary[Any, dict[Target, Upstream]] = WeakKeyDictionary()

    def of(self, target: Target) -> Upstream:
        """What is known of this target."""
        loop = running_loop()
        last = self._last
        if last is not None and last[0]() is loop and last[1].target is target:
            return last[1]
        known = self._loops.get(loop)
        if known is None:
            known = self._loops[loop] = {}
        upstream = known.get(target)
        if upstream is None:
            limits = self._limits
            gate = Gate(concurrency=limits.concurrency if limits else None, pace=limits is None or limits.pace)
            upstream = known[target] = Upstream(target, gate, lambda: _relative(target, known))
        self._last = (ref(loop), upstream)
        return upstream

    def close(self) -> None:
        """The client is closed: nobody waits any longer."""
        for known in self._loops.values():
            for upstream in known.values():
                upstream.turn_away()


def _relative(target: Target, known: dict[Target, Upstream]) -> Latency | None:
    """The best known distribution of the same provider, or of any."""
    shapes = [
        (other.provider == target.provider, latency.samples, latency)
        for other, upstream in known.items()
        for latency in upstream.latencies()
    ]
    return max(shapes, key=lambda shape: shape[:2])[2] if shapes else None


def learned(upstreams: Upstreams, timeouts: Timeouts, *, strict: bool) -> Layer:
    """The layer right around the attempt: it learns from how each one goes.

    With `strict`, what was learned also shortens the wait for the first content.
    """

    def layer(handler: Handler) -> Handler:
        async def learning(call: Call) -> Stream:
            upstream = upstreams.of(call.target)
            latency = upstream.latency(call.request)
            record = call.record.attempt(call.role, call.target.name)
            record.input_tokens = call.tokens
            lesson = Lesson(upstream, latency, call, record)
            patience = (
                upstream.patience(latency, call.tokens, timeouts.first_token)
                if strict and _plain(call.request)
                else None
            )
            try:
                stream = await handler(replace(call, attempt=record, patience=patience))
            except BaseException as error:
                _learn(lesson.failed, error)
                raise
            _learn(lesson.answered)
            return stream

        return learning

    return layer


def _learn(lesson: Callable[..., None], *what: BaseException) -> None:
    """What goes wrong in learning costs knowledge, never a call."""
    try:
        lesson(*what)
    except Exception as error:
        logger.warning("learning from an attempt failed with %s", type(error).__name__)


def _plain(request: Request) -> bool:
    """Whether the length of its texts says how long a request takes: no images or files, no tools, no schema."""
    if "tools" in request.params or "response_format" in request.params:
        return False
    contents = (message.get("content") for message in request.messages)
    return all(content is None or isinstance(content, str) for content in contents)


class Lesson:
    """What one attempt teaches about its upstream."""

    __slots__ = ("_call", "_latency", "_place", "_record", "_unasked", "_upstream")

    def __init__(self, upstream: Upstream, latency: Latency, call: Call, record: AttemptRecord) -> None:
        self._upstream = upstream
        self._latency = latency
        self._call = call
        self._record = record
        # Without a layer that asks the gate, the gate is at least told, so that it knows of refusals and quotas.
        self._unasked = call.place is None
        self._place = call.place or upstream.gate.enter_anyway(record.marks.started, tokens=call.tokens)

    def answered(self) -> None:
        """The first content is in hand."""
        marks, upstream = self._record.marks, self._upstream
        now = marks.clock()
        first = now if marks.first_content is None else marks.first_content
        self._latency.observe(self._call.tokens, first - marks.started, now)
        upstream.breaker.succeeded(now)
        upstream.gate.heard(self._record.rates, now, self._place)
        upstream.gate.answered(now, self._place)
        if self._unasked:
            upstream.gate.done(self._place, now)

    def failed(self, error: BaseException) -> None:
        """It failed, or was given up: then it would have taken longer than this."""
        marks, upstream = self._record.marks, self._upstream
        now = marks.clock()
        upstream.gate.heard(self._record.rates, now, self._place)
        late = type(error) is DeadlineExceeded and marks.first_content is None
        if late or isinstance(error, FirstTokenTimeout) or not isinstance(error, Exception):
            self._latency.censor(self._call.tokens, now - marks.started, now)
        if isinstance(error, (RateLimited, Overloaded)):
            if error.retryable:  # an empty account is none of the gate's business
                upstream.refused(now, error.retry_after, self._place)
        elif isinstance(error, _BROKEN):
            upstream.breaker.failed(now)
        elif isinstance(error, ProviderError):
            upstream.breaker.succeeded(now)  # it works, and does not like this request
        if self._unasked:
            upstream.gate.leave(self._place, now)
