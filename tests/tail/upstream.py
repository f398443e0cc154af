"""A pretend upstream for the gate, without a clock: events in the order of their times, and a server with a quota."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from fastclient.errors import QueueTimeout, RateLimited
from fastclient.providers.rates import Rate
from fastclient.tail.limit import Gate, Place
from fastclient.types import Priority


class Quota:
    """A token bucket, or a window that gives everything back at its end. Tells its state with each answer."""

    def __init__(self, rate: float, burst: int, *, window: bool, offset: float = 0.0) -> None:
        self.rate, self.burst, self.window = rate, burst, window
        self.level, self.at, self.end = float(burst), 0.0, burst / rate * offset

    def take(self, now: float) -> tuple[bool, Rate]:
        if self.window:
            while now >= self.end:
                self.end += self.burst / self.rate
                self.level = float(self.burst)
        else:
            self.level, self.at = min(self.burst, self.level + (now - self.at) * self.rate), now
        served = self.level >= 1
        self.level -= served
        reset = self.end - now if self.window else (self.burst - self.level) / self.rate
        return served, Rate("requests", self.burst, math.floor(self.level), round(reset, 3))


class Upstream:
    """Requests through a gate to a quota: they overtake each other on the way, and are answered after a while."""

    def __init__(self, gate: Gate, quota: Quota | None, rng: Random, *, way: float = 0.0, first: float = 0.5) -> None:
        self.gate, self.quota, self.rng, self.way, self.first = gate, quota, rng, way, first
        self.now, self.known = 0.0, math.inf  # `known`: when the first header was heard
        self.sent: list[float] = []
        self.refused: list[float] = []  # when those were sent that were refused
        self.granted: list[Place] = []
        self.entered = self.shed = self.most = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count, self._wake = 0, math.inf

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._events, (when, self._count, event))

    def run(self, until: float = math.inf) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heappop(self._events)
            event()
            self.turn()

    def turn(self) -> None:
        for place in self.gate.ready(self.now):
            self._go(place)
        wake = self.gate.wake_at(self.now)
        if wake < self._wake:
            self._wake = wake
            self.at(wake, self._woken)

    def _woken(self) -> None:
        if self.now >= self._wake:
            self._wake = math.inf

    def enter(self, priority: Priority = "default", patience: float = math.inf, leaves: float = math.inf) -> None:
        """One caller; it gives up after `leaves` seconds if it still waits then."""
        self.entered += 1
        try:
            place = self.gate.enter(self.now, priority=priority, patience=patience)
        except (QueueTimeout, RateLimited):
            self.shed += 1
            return
        if place.granted:
            self._go(place)
        elif leaves < math.inf:
            self.at(self.now + leaves, lambda: self._give_up(place))

    def _give_up(self, place: Place) -> None:
        if not place.granted:
            self.shed += not place.over
            self.gate.leave(place, self.now)

    def _go(self, place: Place) -> None:
        self.most = max(self.most, self.gate.under_way)
        self.granted.append(place)
        self.sent.append(self.now)
        self.at(self.now + self.rng.uniform(0, self.way), lambda: self._arrive(place))

    def _arrive(self, place: Place) -> None:
        served, rate = self.quota.take(self.now) if self.quota else (True, None)
        after = self.first * self.rng.lognormvariate(0, 0.5) if served else 0.05
        self.at(self.now + after, lambda: self._heard(place, served, rate))

    def _heard(self, place: Place, served: bool, rate: Rate | None) -> None:
        self.known = min(self.known, self.now)
        if rate:
            self.gate.heard((rate,), self.now, place)
        if served:
            self.gate.answered(self.now, place)
            self.at(self.now + self.rng.expovariate(1.0), lambda: self.gate.done(place, self.now))
        else:
            self.refused.append(place.since)
            self.shed += len(self.gate.refused(self.now, 0.5, place))
            self.gate.leave(place, self.now)
