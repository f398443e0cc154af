"""What is known of each place calls go to: how fast it is, how healthy, how much it still takes. Learned call by call.

One `Upstream` stands for a target (provider, server, key and model). Every layer that steers calls looks here; the
layer `learned` writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, ref

import anyio

from fastclient.config import Limits
from fastclient.engine.clock import running_loop
from fastclient.errors import ConfigError
from fastclient.providers.dialect import find
from fastclient.providers.repeat import stops_billing
from fastclient.tail.breaker import Breaker
from fastclient.tail.budget import Budget
from fastclient.tail.hedge import Hedging
from fastclient.tail.latency import Latency
from fastclient.tail.limit import Gate, Place
from fastclient.target import Target
from fastclient.types import Request

__all__ = ["Upstream", "Upstreams"]

logger = logging.getLogger("fastclient")

_TIERS = ("auto", "default", "flex", "priority", "scale", "standard_only", "batch")  # others are taken together
_USUAL = (False, None)  # the kind of a request that asks neither for thinking nor for a tier
_LEAST_LIMIT = 10.0  # seconds to first content that are never too long
_ENOUGH = 500.0  # samples from which the far end of the distribution means something
_TARGETS = 1000  # that are known at a time, on one loop
_RETRIES = 10.0  # retries that may be spent before any request has paid for them


class Upstream:
    """One target, as its calls have found it."""

    def __init__(self, target: Target, gate: Gate, like: Callable[[], Latency | None]) -> None:
        self.target = target
        self.gate = gate
        self.stops_billing = stops_billing(target)
        self.breaker = Breaker()
        self._retries: dict[float, Budget] = {}
        self._sleeping: set[anyio.Event] = set()
        self._like = like
        self._latencies: dict[tuple[bool, object], Latency] = {}
        self._hedgings: dict[tuple[Latency, float], Hedging] = {}

    def latency(self, request: Request) -> Latency:
        """How long requests of this kind take here; thinking and service tiers are kinds of their own."""
        kind: tuple[bool, object] = _USUAL
        if request.params:  # without any, it asks for nothing of the kind
            tier = request.params.get("service_tier")
            kind = (find(self.target.provider).thinks(request), tier if tier in _TIERS else None)
        if kind not in self._latencies:
            self._latencies[kind] = Latency(self._like())
        return self._latencies[kind]

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
        if (latency, share) not in self._hedgings:
            self._hedgings[latency, share] = Hedging(share, latency, stops=self.stops_billing)
        return self._hedgings[latency, share]

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

    def of(self, target: Target, loop: object | None = None) -> Upstream:
        """What is known of this target on the running loop, which a call that has come this far knows."""
        if loop is None:
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
            while len(known) >= _TARGETS:
                known.pop(next(iter(known)))  # the oldest; calls that go there now keep theirs
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
