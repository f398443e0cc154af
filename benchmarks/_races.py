"""Races between requests and their copies, event by event, under any hedging policy: the shipped one or a rival.

A policy is told what happens and answers yes or no, as in the client. Nothing here knows the future.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Any, Protocol

import numpy as np

from benchmarks._worlds import Floats, World
from fastclient.tail.hedge import Hedging
from fastclient.tail.latency import Latency

__all__ = ["Outcome", "Policy", "Race", "Servers", "Shipped", "Watched", "play"]

_PRIMARY, _COPY, _WAKE = 0, 1, 2


class Watched(Protocol):
    """What a policy hands out for a request: when to ask it about a copy, inf for never."""

    wake: float


@dataclass(slots=True)
class Race:
    """One request, with or without a copy."""

    ticket: Any
    started: float
    tokens: float
    cost: float
    copied: float = inf  # when the copy was sent
    won: bool = False  # by the copy
    done: bool = False


class Policy(Protocol):
    """A hedging policy as the races see it."""

    def start(self, now: float, tokens: float, cost: float) -> Watched: ...

    def send_copy(self, ticket: Any, now: float, cost: float) -> bool: ...

    def ended(self, ticket: Any, now: float, race: Race) -> None: ...

    def failed(self, ticket: Any, now: float) -> None: ...


class Shipped:
    """The policy of this package, fed as its client feeds it: a loser's time is only known to be longer."""

    def __init__(self, budget: float, *, stops: bool = True) -> None:
        self.latency = Latency()
        self.hedging = Hedging(budget, self.latency, stops=stops)

    def start(self, now: float, tokens: float, cost: float) -> Watched:
        return self.hedging.start(now, tokens=tokens, cost=cost)

    def send_copy(self, ticket: Any, now: float, cost: float) -> bool:
        return self.hedging.send_copy(ticket, now, cost=cost)

    def ended(self, ticket: Any, now: float, race: Race) -> None:
        self.hedging.first_content(ticket, now)
        if race.copied == inf:
            self.latency.observe(race.tokens, now - race.started, now)
            return
        winner, loser = (race.copied, race.started) if race.won else (race.started, race.copied)
        self.latency.observe(race.tokens, now - winner, now)
        self.latency.censor(race.tokens, now - loser, now)
        self.hedging.judged(ticket, won=race.won)

    def failed(self, ticket: Any, now: float) -> None:
        self.hedging.dropped(ticket)


@dataclass(slots=True)
class Outcome:
    """What came of it: latencies in the order of arrival, and the copies in the order of their sending."""

    latency: Floats = field(default_factory=lambda: np.zeros(0))
    copied: list[int] = field(default_factory=list)  # whose copies
    sent: list[float] = field(default_factory=list)  # when
    wins: list[bool] = field(default_factory=list)  # in the order of their ends

    @property
    def extra(self) -> float:
        """Copies, in percent of the requests."""
        return 100 * len(self.copied) / len(self.latency)


class Servers:
    """Who does the work: without a number, there is room for everybody; with one, requests wait in `queues` lines.

    A loser that is not killed runs to its end, as at servers that do not notice when a client leaves.
    """

    def __init__(self, world: World, number: float = inf, *, queues: int = 1, kill: bool = True, seed: int = 1) -> None:
        self.events: list[tuple[float, int, int, int]] = []
        self._world = world
        self._kill = kill
        self._works = world.first.tolist(), world.second.tolist()
        self._free = [number / queues] * queues
        self._lines: list[deque[tuple[int, int]]] = [deque() for _ in range(queues)]
        self._lanes = np.random.default_rng(seed).integers(0, queues, (2, len(world.at))).tolist()
        self._running: set[tuple[int, int]] = set()
        self._order = 0

    def push(self, when: float, kind: int, number: int) -> None:
        self._order += 1
        heappush(self.events, (when, self._order, kind, number))

    def send(self, now: float, kind: int, number: int) -> None:
        lane = self._lanes[kind][number]
        if self._free[lane] > 0:
            self._free[lane] -= 1
            self._begin(now, kind, number)
        else:
            self._lines[lane].append((kind, number))

    def _begin(self, now: float, kind: int, number: int) -> None:
        self._running.add((kind, number))
        self.push(self._world.end(now, self._works[kind][number]), kind, number)

    def left(self, now: float, kind: int, number: int) -> bool:
        """A server is done with this; False if it had been told to stop before."""
        if (kind, number) not in self._running:
            return False
        self._running.discard((kind, number))
        lane = self._lanes[kind][number]
        if self._lines[lane]:
            self._begin(now, *self._lines[lane].popleft())
        else:
            self._free[lane] += 1
        return True

    def stop(self, now: float, kind: int, number: int) -> None:
        """A loser leaves its server, or its place in the line."""
        if self._kill and not self.left(now, kind, number):
            self._lines[self._lanes[kind][number]].remove((kind, number))


def play(world: World, policy: Policy | None, servers: Servers | None = None) -> Outcome:
    """All requests of a world, to the end."""
    servers = servers or Servers(world)
    stage = _Stage(world, policy or _Nobody(), servers)
    at, events, arriving = world.at.tolist(), servers.events, 0
    while arriving < len(at) or events:
        if arriving < len(at) and (not events or at[arriving] <= events[0][0]):
            stage.arrive(at[arriving], arriving)
            arriving += 1
            continue
        now, _, kind, number = heappop(events)
        if kind == _WAKE:
            stage.wake(now, number)
        elif servers.left(now, kind, number):
            stage.end(now, kind, number)
    stage.outcome.latency = np.array(stage.latency)
    return stage.outcome


class _Stage:
    """The races under way, and what each event does to them."""

    def __init__(self, world: World, policy: Policy, servers: Servers) -> None:
        count = len(world.at)
        self.outcome = Outcome()
        self.latency = [0.0] * count
        self._policy = policy
        self._servers = servers
        self._sizes = [0.0] * count if world.size is None else world.size.tolist()
        self._costs = [1.0] * count if world.cost is None else world.cost.tolist()
        self._fails = [False] * count if world.fails is None else world.fails.tolist()
        self._races: list[Race] = []

    def arrive(self, now: float, number: int) -> None:
        tokens, cost = self._sizes[number], self._costs[number]
        ticket = self._policy.start(now, tokens, cost)
        self._races.append(Race(ticket, now, tokens, cost))
        self._servers.send(now, _PRIMARY, number)
        self._wait(number)

    def _wait(self, number: int) -> None:
        wake = self._races[number].ticket.wake
        if wake < inf:
            self._servers.push(wake, _WAKE, number)

    def wake(self, now: float, number: int) -> None:
        race = self._races[number]
        if race.done:
            return
        if not self._policy.send_copy(race.ticket, now, race.cost):
            self._wait(number)
            return
        race.copied = now
        self.outcome.copied.append(number)
        self.outcome.sent.append(now)
        self._servers.send(now, _COPY, number)

    def end(self, now: float, kind: int, number: int) -> None:
        race = self._races[number]
        if race.done:
            return
        race.done, race.won = True, kind == _COPY
        self.latency[number] = now - race.started
        if self._fails[number]:
            self._policy.failed(race.ticket, now)
            return
        if race.copied < inf:
            self.outcome.wins.append(race.won)
            self._servers.stop(now, _PRIMARY if race.won else _COPY, number)
        self._policy.ended(race.ticket, now, race)


class _Nobody:
    """No hedging."""

    wake = inf

    def start(self, now: float, tokens: float, cost: float) -> Watched:
        return self

    def send_copy(self, ticket: Any, now: float, cost: float) -> bool:
        return False

    def ended(self, ticket: Any, now: float, race: Race) -> None:
        pass

    def failed(self, ticket: Any, now: float) -> None:
        pass
