"""A provider's rate limit in a storm of demand: our gate next to the ways callers usually retry. Seeded, no I/O.

The provider is a token bucket of 10 requests/s with a burst of 20. Demand is 0.6 of that, with a pulse of 2 or 1.2
times it from 60 to 120 s; 30 % of the calls are interactive. An answer takes a lognormal time with median 2 s and its
headers come after a quarter of that; a refusal comes after 50 ms. In one variant refused requests use up the limit too.

    python benchmarks/storm_sim.py

`ok` is answered at all, `in time` within the call's deadline (5 s interactive, 25 s others). The gate sheds by those
deadlines, the others give up after 30 s. The gate learns the rate from the simulated headers only.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from random import Random
from statistics import mean
from typing import NamedTuple

from fastclient.errors import QueueTimeout, RateLimited
from fastclient.providers.rates import rates
from fastclient.providers.refusal import retry_after
from fastclient.tail.budget import Budget
from fastclient.tail.limit import Gate, Place
from fastclient.types import Priority

RATE, BURST, LAST = 10.0, 20.0, 240.0
INTERACTIVE, DEADLINES = 0.3, {"interactive": 5.0, "default": 25.0}
PATIENCE = 30.0  # seconds after which the other callers give up
REFUSAL, WAY = 0.05, 0.04  # seconds until a refusal is back; longest way to the provider
USUAL = 2.0  # seconds an answer usually takes
FIRST = USUAL / 4  # seconds until it usually begins

Headers = Mapping[str, str]


@dataclass
class Result:
    """What became of the calls of one run. `attempts` counts requests sent; waits are seconds from call to answer."""

    calls: int = 0
    ok: int = 0
    interactive: int = 0
    interactive_ok: int = 0
    attempts: int = 0
    refusals: list[float] = field(default_factory=list)
    limited: list[tuple[float, float, float]] = field(default_factory=list)
    shed: int = 0
    expired: int = 0
    in_time: int = 0
    waits: list[float] = field(default_factory=list)

    @property
    def ok_share(self) -> float:
        return self.ok / self.calls

    @property
    def interactive_share(self) -> float:
        return self.interactive_ok / self.interactive

    @property
    def attempts_per_call(self) -> float:
        return self.attempts / self.calls

    @property
    def p99(self) -> float:
        return sorted(self.waits)[math.ceil(0.99 * len(self.waits)) - 1] if self.waits else math.nan


class Loop:
    """Events in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._events, (max(when, self.now), self._count, event))

    def run(self) -> None:
        while self._events:
            self.now, _, event = heappop(self._events)
            event()


class Answer(NamedTuple):
    """What comes back: at `headers` seconds the status, at `end` the whole of it."""

    ok: bool
    headers: Headers
    begins: float
    ends: float


class Provider:
    """The token bucket. `refuses_until`: every request is refused until then, with Retry-After: 5."""

    def __init__(
        self,
        loop: Loop,
        rng: Random,
        *,
        rate: float = RATE,
        burst: float = BURST,
        count_rejections: bool = False,
        refuses_until: float = 0.0,
    ) -> None:
        self._loop, self._rng, self._rate, self._burst = loop, rng, rate, burst
        self._count_rejections, self._refuses_until = count_rejections, refuses_until
        self._level, self._at = burst, 0.0

    def send(self, heard: Callable[[Answer], None]) -> None:
        """Send a request; `heard` is called when the status is back."""
        sent, way, duration = self._loop.now, self._rng.uniform(0, WAY), USUAL * self._rng.lognormvariate(0, 0.4)

        def arrive() -> None:
            answer = self._answer(sent, duration)
            self._loop.at(answer.begins, lambda: heard(answer))

        self._loop.at(sent + way, arrive)

    def _answer(self, sent: float, duration: float) -> Answer:
        now = self._loop.now
        if now < self._refuses_until:
            return Answer(False, {"retry-after": "5"}, sent + REFUSAL, sent + REFUSAL)
        self._level, self._at = min(self._burst, self._level + (now - self._at) * self._rate), now
        ok = self._level >= 1
        if ok:
            self._level -= 1
        elif self._count_rejections:
            self._level = max(-self._burst, self._level - 1)
        headers = {
            "x-ratelimit-limit-requests": f"{self._burst:.0f}",
            "x-ratelimit-remaining-requests": f"{max(0.0, math.floor(self._level)):.0f}",
            "x-ratelimit-reset-requests": f"{(self._burst - self._level) / self._rate:.3f}s",
        }
        if ok:
            return Answer(True, headers, sent + max(REFUSAL, duration * FIRST / USUAL), sent + max(REFUSAL, duration))
        wait = (1 - self._level) / self._rate
        headers |= {"retry-after": str(math.ceil(wait)), "retry-after-ms": f"{wait * 1000:.0f}"}
        return Answer(False, headers, sent + REFUSAL, sent + REFUSAL)


@dataclass
class Call:
    """One caller's wish, and until when it is any use to it."""

    begun: float
    priority: Priority
    deadline: float
    attempts: int = 0


class Callers(ABC):
    """What all ways of calling have in common: the counting."""

    def __init__(self, loop: Loop, provider: Provider, rng: Random, result: Result) -> None:
        self.loop, self.provider, self.rng, self.result = loop, provider, rng, result

    @abstractmethod
    def call(self, call: Call) -> None:
        """See one wish through."""

    def send(self, call: Call, heard: Callable[[Answer], None]) -> None:
        call.attempts += 1
        self.result.attempts += 1
        self.provider.send(heard)

    def answered(self, call: Call) -> None:
        self.result.waits.append(self.loop.now - call.begun)
        self.result.ok += 1
        self.result.interactive_ok += call.priority == "interactive"
        self.result.in_time += self.loop.now <= call.begun + DEADLINES[call.priority]


class Retrying(Callers):
    """Each caller for itself: send, and on a refusal wait as `delay` says, `attempts` times in all."""

    def __init__(
        self,
        loop: Loop,
        provider: Provider,
        rng: Random,
        result: Result,
        *,
        attempts: int,
        delay: Callable[[Random, int, Headers], float],
    ) -> None:
        super().__init__(loop, provider, rng, result)
        self._attempts, self._delay = attempts, delay

    def call(self, call: Call) -> None:
        call.deadline = call.begun + PATIENCE

        def heard(answer: Answer) -> None:
            if answer.ok:
                self.loop.at(answer.ends, lambda: self.answered(call))
                return
            self.result.refusals.append(self.loop.now)
            delay = self._delay(self.rng, call.attempts, answer.headers)
            if call.attempts < self._attempts and self.loop.now + delay < call.deadline:
                self.loop.at(self.loop.now + delay, lambda: self.send(call, heard))

        self.send(call, heard)


class Paced(Callers):
    """All callers through one gate, with an allowance of 10 retries plus one in ten calls."""

    def __init__(self, loop: Loop, provider: Provider, rng: Random, result: Result) -> None:
        super().__init__(loop, provider, rng, result)
        self.gate, self._retries = Gate(), Budget(0.1, start=10.0)
        self._waiting: dict[Place, Callable[[], None]] = {}
        self._wake = math.inf

    def call(self, call: Call) -> None:
        self._retries.deposit()
        self._try(call)

    def _try(self, call: Call) -> None:
        now = self.loop.now
        try:
            place = self.gate.enter(now, priority=call.priority, deadline=call.deadline, fresh=FIRST)
        except RateLimited as error:
            self.result.limited.append((now, call.deadline - now, error.retry_after or 0.0))
            return
        except QueueTimeout:
            self.result.shed += 1
            return
        if place.granted:
            self._go(call, place)
        else:
            self._waiting[place] = lambda: self._go(call, place)
            self.loop.at(place.latest, lambda: self._give_up(place))
        self._turn()

    def _give_up(self, place: Place) -> None:
        if self._waiting.pop(place, None):
            self.result.expired += 1
            self.gate.leave(place, self.loop.now)
            self._turn()

    def _turn(self) -> None:
        """Whoever's turn it is goes; called after every event, and when time alone may have changed something."""
        now = self.loop.now
        for place in self.gate.ready(now):
            self._waiting.pop(place)()
        wake = self.gate.wake_at(now)
        if wake < self._wake:
            self._wake = wake
            self.loop.at(wake, self._woken)

    def _woken(self) -> None:
        if self.loop.now >= self._wake:  # else an earlier one took over
            self._wake = math.inf
            self._turn()

    def _go(self, call: Call, place: Place) -> None:
        def heard(answer: Answer) -> None:
            now = self.loop.now
            self.gate.heard(rates(answer.headers), now, place)
            if answer.ok:
                self.gate.answered(now, place)
                self.loop.at(answer.ends, ended)
            else:
                self._refused(call, place, answer)
            self._turn()

        def ended() -> None:
            self.gate.done(place, self.loop.now)
            self.answered(call)
            self._turn()

        self.send(call, heard)

    def _refused(self, call: Call, place: Place, answer: Answer) -> None:
        now = self.loop.now
        self.result.refusals.append(now)
        for away in self.gate.refused(now, retry_after(answer.headers), place):
            del self._waiting[away]
            self.result.limited.append((now, away.latest + FIRST - now, self.gate.paused_until - now))
        self.gate.leave(place, now)
        if call.attempts < 3 and self._retries.spend():
            self._try(call)


def obeying(rng: Random, attempt: int, headers: Headers) -> float:
    """What SDKs do: Retry-After, in whole seconds."""
    return float(headers["retry-after"])


def exponential(rng: Random, attempt: int, headers: Headers) -> float:
    """tenacity's random exponential wait."""
    return rng.uniform(0, min(60.0, 2.0 ** (attempt - 1)))


POLICIES: Mapping[str, Callable[[Loop, Provider, Random, Result], Callers]] = {
    "SDK, 2 retries": partial(Retrying, attempts=3, delay=obeying),
    "SDK, 6 retries": partial(Retrying, attempts=7, delay=obeying),
    "tenacity, 6 attempts": partial(Retrying, attempts=6, delay=exponential),
    "paced": Paced,
}


def run(policy: str, *, pulse: float, count_rejections: bool, seed: int) -> Result:
    """One storm: demand of 0.6 of the limit, and `pulse` times the limit from 60 to 120 s."""

    def demand(now: float) -> float:
        return RATE * (pulse if 60 <= now < 120 else 0.6)

    return _run(policy, demand, LAST, seed, lambda loop, rng: Provider(loop, rng, count_rejections=count_rejections))


def refused(policy: str, *, seed: int) -> Result:
    """Another storm: 20 calls/s for two minutes on a provider that takes 40/s, but nothing in the first minute."""

    def provider(loop: Loop, rng: Random) -> Provider:
        return Provider(loop, rng, rate=4 * RATE, burst=4 * BURST, refuses_until=60.0)

    return _run(policy, lambda now: 2 * RATE, 120.0, seed, provider)


def _run(
    policy: str,
    demand: Callable[[float], float],
    last: float,
    seed: int,
    provider: Callable[[Loop, Random], Provider],
) -> Result:
    arrivals, rng, loop, result = Random(seed), Random(seed + 1000), Loop(), Result()
    callers = POLICIES[policy](loop, provider(loop, rng), rng, result)
    now = 0.0
    while (now := now + arrivals.expovariate(demand(now))) < last:
        priority: Priority = "interactive" if arrivals.random() < INTERACTIVE else "default"
        result.calls += 1
        result.interactive += priority == "interactive"
        loop.at(now, partial(callers.call, Call(now, priority, now + DEADLINES[priority])))
    loop.run()
    return result


def main() -> None:
    """All policies, means of five seeds."""
    for pulse, counted in ((2.0, False), (1.2, True)):
        print(f"\n{pulse:g}R pulse, refused requests {'count too' if counted else 'are free'}")
        _table(partial(run, pulse=pulse, count_rejections=counted))
    print("\n20 calls/s; 429 to everything for the first of two minutes, with Retry-After: 5")
    _table(refused)


def _table(play: Callable[..., Result]) -> None:
    print(f"{'':22}{'ok':>8}{'in time':>9}{'interactive ok':>16}{'attempts/call':>15}{'429s':>7}{'p99':>8}")
    for policy in POLICIES:
        results = [play(policy, seed=seed) for seed in range(5)]
        ok, in_time = mean(one.ok_share for one in results), mean(one.in_time / one.calls for one in results)
        interactive, sent = (
            mean(one.interactive_share for one in results),
            mean(one.attempts_per_call for one in results),
        )
        refusals, p99 = mean(len(one.refusals) for one in results), mean(one.p99 for one in results)
        print(f"{policy:22}{ok:>8.1%}{in_time:>9.1%}{interactive:>16.1%}{sent:>15.2f}{refusals:>7.0f}{p99:>7.1f}s")


if __name__ == "__main__":
    main()
