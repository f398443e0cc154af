"""Who may send to one upstream (provider, key and model), and when. Pure: clocks come in, decisions come out.

Three things stand in the way: quotas that the headers tell of, a limit on open requests, and a pause after a refusal,
which is one for all. Who cannot be served in time is told at once, before anything is sent. Latency plays no part:
limiters that go by it cut throughput wherever answers differ in length.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from fastclient.errors import FastClientError, QueueTimeout, RateLimited
from fastclient.providers.rates import Rate
from fastclient.tail.ceiling import Ceiling
from fastclient.tail.line import Line, Place
from fastclient.tail.pace import Pacer
from fastclient.tail.pause import Pause
from fastclient.types import Priority

__all__ = ["Gate", "Place"]

_HEADROOM = 0.2  # of every limit must be free for a request that is not needed


class Gate:
    """The line before one upstream.

    Whatever happened, call `ready` afterwards, and again at `wake_at`: it says whose turn it is. `place` arguments name
    the request that an answer belongs to; without one the careful reading is taken.
    """

    __slots__ = ("_ceiling", "_pace", "_pacers", "_pause", "hold", "line", "under_way")

    def __init__(self, *, concurrency: int | None = None, pace: bool = True) -> None:
        self.under_way = 0  # requests granted and not over
        self._ceiling = Ceiling(concurrency)
        self.hold = 0.0  # how long a request is usually under way
        self.line = Line()  # who waits
        self._pace = pace
        # Both are kept from the start, so that requests are counted which were sent before the first header.
        self._pacers: dict[str, Pacer] = {"requests": Pacer(), "tokens": Pacer()} if pace else {}
        self._pause = Pause()

    @property
    def paused_until(self) -> float:
        """When the pause ends or ended; then one request goes first, to see whether the upstream takes it."""
        return self._pause.until

    @property
    def paused(self) -> bool:
        """Whether a refusal came, and no good answer to a later request yet."""
        return self._pause.on

    @property
    def first(self) -> Place | None:
        """Whose turn is next."""
        return self.line.head()

    @property
    def limit(self) -> float:
        """How many requests may be under way; infinite while neither the user nor a refusal set a limit."""
        return self._ceiling.limit

    def enter(
        self,
        now: float,
        *,
        priority: Priority = "default",
        tokens: int = 0,
        deadline: float = inf,
        patience: float = inf,
        fresh: float = 0.0,
    ) -> Place:
        """Ask for a place; it is `granted` at once if nothing stands in the way.

        `deadline` is a moment, `patience` the longest wait and `fresh` the usual time from sending to the whole answer,
        both in seconds. Raises RateLimited if a pause leaves no time, QueueTimeout if the line does.
        """
        latest = deadline - fresh
        place = Place(priority, tokens, latest if latest < now + patience else now + patience)
        if not self.line.count and self._admits(now, place.tokens):
            self._grant(place, now)
            return place
        error = self._paused_too_long(place, now) or self._line_too_long(place, now)
        if error is not None:
            raise error
        self.line.add(place)
        return place

    def enter_now(self, now: float, *, tokens: int = 0) -> Place | None:
        """A place for a request that is not needed, such as a hedge: only at once, and only from plenty."""
        if not self.has_room(now, tokens=tokens):
            return None
        return self.enter_anyway(now, tokens=tokens)

    def has_room(self, now: float, *, tokens: int = 0) -> bool:
        """Whether `enter_now` would give a place."""
        if self.line.count or self._pause.on or not self._admits(now, max(1, tokens)):
            return False
        if self.under_way > (1 - _HEADROOM) * self.limit:
            return False
        return all(pacer.room(now) >= _HEADROOM for pacer in self._pacers.values())

    def enter_anyway(self, now: float, *, tokens: int = 0) -> Place:
        """A place for a request that is sent without asking; it counts like any other."""
        place = Place("default", tokens)
        self._grant(place, now)
        return place

    def ready(self, now: float) -> list[Place]:
        """Grant whoever's turn it is, and say who that was."""
        granted: list[Place] = []
        while (place := self.line.head()) is not None and self._admits(now, place.tokens):
            self.line.take(place)
            self._grant(place, now)
            granted.append(place)
        return granted

    def wake_at(self, now: float) -> float:
        """When `ready` may grant somebody because time passed; infinite if only an event can bring that."""
        place = self.line.head()
        if place is None or self.under_way >= self.limit:
            return inf
        quotas = (pacer.wake_at(now, place.tokens if kind == "tokens" else 1) for kind, pacer in self._pacers.items())
        return max([self._pause.wake_at(now), *quotas])

    def leave(self, place: Place, now: float) -> None:
        """A waiter gave up, or a granted request ended without a good answer. Twice does nothing."""
        if not place.over and not place.granted:
            place.over = True
            self.line.remove(place)
        elif not place.over:
            self._end(place, now, None)
            self._pause.left_by(place)

    def done(self, place: Place, now: float, *, tokens: int | None = None) -> None:
        """The answer is complete; `tokens` is what it took, input and output. Twice does nothing."""
        if place.over or place.refused or not place.granted:
            return self.leave(place, now)
        if self._pause.on:
            self._pause.answered(now, place)
        if self._ceiling.limit < inf:  # else there is none to be raised
            self._ceiling.succeeded(self.under_way)
        return self._end(place, now, tokens)

    def clear(self, now: float = 0.0) -> list[Place]:
        """Send everybody in line away, and say who that was."""
        waiting = self.line.places()
        for place in waiting:
            self.leave(place, now)
        return waiting

    def heard(self, rates: Iterable[Rate], now: float, place: Place | None = None) -> None:
        """The rate headers of an answer, good or bad."""
        if not self._pace:
            return
        for rate in rates:
            pacer = self._pacers.setdefault(rate.kind, Pacer())
            pacer.heard(rate, now, place.marks.get(rate.kind) if place else None)
            if place is not None:
                place.told += (rate.kind,)

    def refused(self, now: float, retry_after: float | None, place: Place | None = None) -> list[Place]:
        """The upstream has no capacity (429, 529, 503 overloaded): nobody sends for a while.

        Returns those in line for whom that is too long: they are out of it, with the `error` to raise.
        """
        if place is not None:
            place.refused = True
        used_up = any(not pacer.admits(now, 1) for pacer in self._pacers.values())
        began = self._pause.refused(now, retry_after, place)
        if began and not used_up:  # an empty quota is reason enough: nothing is learned about open requests
            self._ceiling.cut(self.under_way)
        return self._turn_away(now)

    def answered(self, now: float, place: Place | None = None) -> None:
        """A good answer has begun. If it is the probe's, the pause is over."""
        if self._pause.on:
            self._pause.answered(now, place)

    def _admits(self, now: float, tokens: int) -> bool:
        if self.under_way >= self._ceiling.limit or (self._pause.on and self._pause.blocks(now)):
            return False
        for kind in self._pacers:
            pacer = self._pacers[kind]
            if pacer.limit < inf and not pacer.admits(now, tokens if kind == "tokens" else 1):
                return False
        return True

    def _grant(self, place: Place, now: float) -> None:
        place.granted, place.since = True, now
        self.under_way += 1
        if self._pause.on:
            self._pause.probe = place
        for kind in self._pacers:
            place.marks[kind] = self._pacers[kind].reserve(now, place.tokens if kind == "tokens" else 1)

    def _end(self, place: Place, now: float, tokens: int | None) -> None:
        place.over = True
        self.under_way -= 1
        self.hold += (now - place.since - self.hold) / (16 if self.hold else 1)
        for kind in place.marks:
            cost = place.tokens if kind == "tokens" else 1
            used = cost if tokens is None or kind != "tokens" else tokens
            self._pacers[kind].settle(cost, used, told=kind in place.told)

    def _turn_away(self, now: float) -> list[Place]:
        away = []
        for place in self.line.places():
            place.error = self._paused_too_long(place, now)
            if place.error is not None:
                self.leave(place, now)
                away.append(place)
        return away

    def _paused_too_long(self, place: Place, now: float) -> FastClientError | None:
        left, time = self._pause.left(now), max(0.0, place.latest - now)
        if left <= time:
            return None
        text = f"a pause of another {left:.1f} s after a refusal, and the limit is {time:.1f} s: nothing was sent"
        error = RateLimited(text, retry_after=left)
        error.sent = False
        return error

    def _line_too_long(self, place: Place, now: float) -> FastClientError | None:
        wait, time = self._wait(place, now), place.latest - now
        if wait <= time:
            return None
        text = f"a predicted wait of {wait:.1f} s, and the limit is {max(0.0, time):.1f} s: nothing was sent"
        return QueueTimeout(text, phase="queue")

    def _wait(self, place: Place, now: float) -> float:
        """Seconds until a newcomer's turn, as far as rates are known: the pause, then what is ahead of it."""
        pause = self._pause.left(now)
        ahead, tokens = self.line.ahead(place.rank)
        needs = {"tokens": tokens + place.tokens}
        quotas = [pacer.wait(now + pause, needs.get(kind, ahead + 1)) for kind, pacer in self._pacers.items()]
        freed = self.under_way * min(1.0, pause / self.hold) if self.hold else 0.0
        behind = ahead + 1 - (self.limit - self.under_way) - freed  # minus infinity without a limit
        held = max(0.0, behind) * self.hold / self.limit
        return pause + max([held, *quotas])
