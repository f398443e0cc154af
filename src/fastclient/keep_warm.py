"""Keeping what is warm from going cold while nobody calls: connections, and a prompt in the provider's cache.

What traffic has kept warm is left alone, everything that is sent is bounded, and a keeper holds its client weakly: it
ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random
from typing import TYPE_CHECKING, Literal, TypeAlias
from weakref import ref

import anyio

from fastclient.checks import seconds, whole
from fastclient.engine.clock import running_clock, running_loop
from fastclient.engine.detached import Work, behind, quiet, spawner
from fastclient.engine.seam import engine
from fastclient.errors import ConfigError
from fastclient.types import Request

if TYPE_CHECKING:
    from fastclient.core import Core

__all__ = ["Allowance", "Ended", "Keeper", "Rhythm", "Terms"]

Ended: TypeAlias = Literal["stopped", "closed", "most", "time"]

_JITTER = 0.2  # of the interval, to either side: clients that were started together do not ping together
_LOOKS = 4  # looks at the traffic within one interval
_SLOWEST = 32  # intervals between two tries where they go on failing
_SHORTEST = 1.0  # seconds
_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is kept warm, how often, and where that ends."""

    every: float
    connections: int
    prompt: Request | None
    prompt_every: float
    daily_tokens: int
    most: int | None
    for_: float

    def __post_init__(self) -> None:
        for name in ("every", "prompt_every", "for_"):
            seconds(name, getattr(self, name))
        if self.every < _SHORTEST:
            raise ConfigError.of("every", self.every, f"must be at least {_SHORTEST:g} second")
        for name in ("connections", "daily_tokens"):
            whole(name, getattr(self, name))
        if self.most is not None:
            whole("most", self.most)


class Rhythm:
    """When something that goes cold is due to be used again. Pure."""

    __slots__ = ("_every", "_failures", "_rng", "due")

    def __init__(self, every: float, now: float, rng: Callable[[], float] = random) -> None:
        self.due = now
        self._every = every
        self._failures = 0
        self._rng = rng

    def used(self, now: float) -> None:
        """It is warm: nothing to do for an interval."""
        self._failures = 0
        self.due = now + self._wait()

    def failed(self, now: float) -> None:
        """It could not be used: each time in a row doubles the wait."""
        self._failures += 1
        self.due = now + min(2**self._failures, _SLOWEST) * self._wait()

    def _wait(self) -> float:
        return self._every * (1 + _JITTER * (2 * self._rng() - 1))


class Allowance:
    """Tokens that may be spent on each day, which begins with the first. Pure."""

    __slots__ = ("_began", "_daily", "_day", "_spent")

    def __init__(self, daily: int, began: float) -> None:
        self._daily = daily
        self._began = began
        self._day = self._spent = 0

    def allows(self, tokens: int, now: float) -> bool:
        """Whether so many more may be spent."""
        day = int((now - self._began) // _DAY)
        if day != self._day:
            self._day, self._spent = day, 0
        return self._spent + tokens <= self._daily

    def spend(self, tokens: int) -> None:
        """They were spent."""
        self._spent += tokens


class Keeper:
    """Keeps a client warm in the background, until `stop()` or the end of a `with` or `async with` block.

    `pings` requests were sent for connections and `prompts` for a prompt, which the provider counted as `tokens`;
    `errors` of them failed. `ended` says why no more come: "stopped", "closed" (the client is closed or gone), "most"
    (so many were sent) or "time" (so long has it been); None while it goes on.
    """

    def __init__(self, core: Core, terms: Terms) -> None:
        core.check()
        self.pings = 0
        self.prompts = 0
        self.tokens = 0
        self.errors = 0
        self.ended: Ended | None = None
        self._core = ref(core)
        self._terms = terms
        self._sent = core.traffic()[0]
        self._spawn: Callable[[Work], None] | None = None
        if core.blocking:
            engine().start(lambda: quiet(self._run))
        else:
            running_loop()  # raises where there is none
            behind(self._run)

    def stop(self) -> None:
        """Send no more, and give up what is under way. Any thread may do this."""
        self.ended = self.ended or "stopped"
        if self._spawn is not None:
            self._spawn(self._cancel)

    async def _cancel(self) -> None:
        self._scope.cancel()

    async def _run(self) -> None:
        self._scope = anyio.CancelScope()
        self._spawn = spawner()  # from here on a stop finds its way; one that came before is seen below
        ended: Ended = "closed"
        try:
            with self._scope:
                ended = await self._keep() if self.ended is None else self.ended
        finally:
            self.ended = self.ended or ended

    async def _keep(self) -> Ended:
        """Look up now and then, until it is over."""
        terms, clock = self._terms, running_clock()
        began = clock()
        connections, prompt = Rhythm(terms.every, began), Rhythm(terms.prompt_every, began)
        allowance = Allowance(terms.daily_tokens, began)
        while clock() < began + terms.for_:
            core = self._core()
            if core is None or core.closed:
                return "closed"
            self._heed(core, connections, clock())
            if connections.due <= clock():
                await self._ping(core, connections)
            if terms.prompt is not None and prompt.due <= clock() and self._left():
                await self._prefill(core, terms.prompt, prompt, allowance)
            if not self._left():
                return "most"
            del core  # nothing of it is held while nothing is done
            due = connections.due if terms.prompt is None else min(connections.due, prompt.due)
            await anyio.sleep(max(0.0, min(due - clock(), terms.every / _LOOKS)))
        return "time"

    def _left(self) -> int:
        """How many requests may still be sent."""
        most = self._terms.most
        return self._terms.connections if most is None else max(0, most - self.pings - self.prompts)

    def _heed(self, core: Core, connections: Rhythm, now: float) -> None:
        """Leave alone what calls have kept warm: one connection, as each takes the one that was used last."""
        sent, _ = core.traffic()
        if self._terms.connections == 1 and sent != self._sent:
            connections.used(now)
        self._sent = sent

    async def _ping(self, core: Core, connections: Rhythm) -> None:
        """Use all connections that no call uses, at the same time: so each ping takes another one."""
        _, under_way = core.traffic()
        number = min(self._terms.connections - under_way, self._left())
        failed = self.errors
        async with anyio.create_task_group() as tasks:
            for _ in range(number):
                tasks.start_soon(self._ping_once, core)
        (connections.used if self.errors == failed else connections.failed)(running_clock()())

    async def _ping_once(self, core: Core) -> None:
        try:
            await core.ping()
        except Exception:  # of whatever wire: it is tried again later
            self.errors += 1
        finally:
            self.pings += 1  # only now: who sees it counted may stop the keeper, and the connection stays

    async def _prefill(self, core: Core, request: Request, prompt: Rhythm, allowance: Allowance) -> None:
        """Have the provider read the prompt again, if the day's tokens allow for it."""
        clock = running_clock()
        expected = core.count(request).n
        if not allowance.allows(expected, clock()):
            prompt.used(clock())  # as it were: the next look at it is an interval away
            return
        self.prompts += 1
        tokens: int | None = None
        try:
            tokens = await core.prefill(request)
            prompt.used(clock())
        except Exception:
            self.errors += 1
            prompt.failed(clock())
        allowance.spend(expected if tokens is None else tokens)  # one that failed may have been read too
        self.tokens += tokens or 0

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Keeper:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Keeper(pings={self.pings}, errors={self.errors}, ended={self.ended!r})"
