"""The pace of one quota, learned from headers: what is left of it, and when there will be more. Pure.

It keeps a ledger of its own: what is let go is subtracted at once, what trickles back is added. An answer corrects the
ledger by the difference between what its headers say and what the ledger held when that answer's request was let go;
so what was sent since stays subtracted. Until the first header everything may go.
"""

from __future__ import annotations

from math import inf

from fastclient.providers.rates import Rate
from fastclient.tail.refill import INSTANT, Refill, rounding

__all__ = ["Mark", "Pacer"]

_PACE = 0.98  # of the learned rate: a client that uses all of it is refused whenever a request is early by a hair
_SWAP = 0.1  # seconds by which requests may overtake each other on their way; so much of the quota is kept back
_HAIR = 0.01  # seconds after a reset: even milliseconds are rounded, and a whole window's worth may wait for it
_SILENCE = 60.0  # quotas are per minute nearly everywhere: a minute after the reset all is there again


class Mark:
    """The ledger when requests were let go, all within a tenth of a second: which of them came first nobody knows.

    `level` and `spent` are from before the first of them, the level without the corrections made by then. `cost` is
    theirs, `earlier` that of the ones just before, which they may have overtaken.
    """

    __slots__ = ("at", "cost", "earlier", "level", "spent")

    def __init__(self, at: float, level: float, spent: float, before: Mark | None) -> None:
        self.at = at
        self.level = level
        self.spent = spent
        self.cost = 0.0
        self.earlier = before.cost if before is not None and at < before.at + 2 * _SWAP else 0.0


class Pacer:
    """One kind of quota of one upstream. `limit` is infinite until a header told; `rate` is per second, 0: unknown."""

    __slots__ = (
        "_at", "_full", "_known", "_level", "_likely", "_mark", "_open", "_promise", "_refill", "_reset", "_sent",
        "_shift", "_spare", "_spent", "limit", "rate",
    )  # fmt: skip

    def __init__(self) -> None:
        self.limit = inf
        self.rate = 0.0
        self._at = -inf  # when the level was last computed
        self._level = 0.0
        self._spent = 0.0  # in all
        self._open = 0.0  # of it, by requests that are not over
        self._shift = 0.0  # sum of the corrections
        self._full = -inf  # when all was there for the last time
        self._reset = inf  # when the server promised that all would be there
        self._promise = 0.0  # the level then, but for what is spent from now on: minus `_spent`
        self._known = -inf  # what was spent by then as far as the server knew that promised
        self._mark = Mark(-inf, 0.0, 0.0, None)  # of the latest requests
        self._likely = 0.0  # what may trickle in per second, while it is open whether it does
        self._spare = 0.0  # kept back
        self._sent = -inf  # when the request was sent whose answer told last
        self._refill = Refill()

    def room(self, now: float) -> float:
        """What is left, as a share of the limit; 1 while nothing is known."""
        self._advance(now)
        return self._level / self.limit if self.limit < inf else 1.0

    def admits(self, now: float, cost: float) -> bool:
        """Whether a request of this cost may go now. One above the whole limit may go when all is there."""
        if self.limit == inf:
            return True
        if now > self._at:
            self._advance(now)
        need = cost + self._spare
        return self._level + 1e-6 * self.limit >= (need if need < self.limit else self.limit)

    def reserve(self, now: float, cost: float) -> Mark:
        """Let a request go; the result is for `heard`."""
        if now > self._at and self.limit < inf:
            self._advance(now)
        mark = self._mark
        if now >= mark.at + _SWAP:
            mark = self._mark = Mark(now, self._level - self._shift, self._spent, mark)
        mark.cost += cost
        self._level -= cost
        self._spent += cost
        self._open += cost
        return mark

    def settle(self, cost: float, used: float, *, told: bool) -> None:
        """A request is over that reserved `cost` and took `used`.

        Once its own headers have told, the server's way of counting is in the level: a rest comes back, if at all, with
        the next header.
        """
        self._open -= cost
        back = cost - used
        if back < 0 or (back > 0 and not told):
            self._level += back
            self._shift += back
            if back < 0:
                self._spent -= back

    def wake_at(self, now: float, cost: float) -> float:
        """When `admits` will say yes if nothing else happens; never infinite."""
        if self.admits(now, cost):
            return now
        need = min(cost + self._spare, self.limit)
        trickled = now + (need - self._level) / (_PACE * self.rate) if self.rate else inf
        promised = self._reset if self._promise - self._spent >= need else inf
        return max(now, min(trickled, promised, self._reset + _SILENCE))

    def wait(self, now: float, cost: float) -> float:
        """Seconds from `now`, which may lie ahead, until this much can have gone; 0 where nothing is known."""
        rate = _PACE * self.rate or self._likely
        missing = cost + self._spare - self._level - rate * (now - self._at)
        if self.limit == inf or missing <= 0:
            return 0.0
        return missing / rate if rate else max(0.0, self._reset - now)

    def heard(self, told: Rate, now: float, mark: Mark | None = None) -> None:
        """The headers of an answer; `mark` is what `reserve` gave for its request.

        Without it, everything under way counts as unknown to the server: safe, and slower than need be.
        """
        self._advance(now)
        sent = now if mark is None else mark.at
        new = told.limit != self.limit
        if new:
            self._refill = Refill()
        self.rate = self._refill.learn(told, now, sent)
        if sent < self._sent:
            return  # an answer that took its time: a later request has told more
        remaining = min(told.remaining, told.limit)
        error, known = self._compare(remaining, now, mark, new=new)
        self.limit = told.limit
        self._sent = sent
        self._shift += error
        self._level = min(self.limit, self._level + error)
        self._spare = min(_SWAP * self.rate, 0.1 * self.limit)
        open_question = told.reset > INSTANT and self._refill.trickles is None
        self._likely = (told.limit - remaining) / told.reset if open_question else 0.0
        if known >= self._known or new:
            self._reset, self._known = now + told.reset + max(rounding(told), _HAIR), known
            self._promise = self.limit + known
            if self._reset <= now:
                self._keep_promise(now)

    def _compare(self, remaining: float, now: float, mark: Mark | None, *, new: bool) -> tuple[float, float]:
        """By how much the ledger is wrong, and how much of all that was spent the server knew of."""
        if mark is None:
            return remaining - self._level - self._open, self._spent - self._open
        high = mark.level + mark.earlier + self._shift
        low = mark.level - mark.cost + self._shift
        known = mark.spent - mark.earlier + min(max(0.0, high - remaining), mark.earlier + mark.cost)
        if remaining < low or new:
            return remaining - low, mark.spent - mark.earlier if new else known
        # More than expected. A little may have trickled in on the way, and what ran over the brim since then is gone.
        brim = self.limit - high - _PACE * self.rate * (now - mark.at)
        more = min(remaining - high - self._spare, brim) if self._full <= mark.at else 0.0
        return max(0.0, more), known

    def _advance(self, now: float) -> None:
        before, self._at = self._at, max(now, self._at)
        if self.limit == inf:
            return
        self._level += (self._at - before) * self.rate * _PACE
        if now >= self._reset:
            self._keep_promise(now)
        if self._level >= self.limit:
            self._level, self._full = self.limit, now

    def _keep_promise(self, now: float) -> None:
        """The reset has passed, so what was promised is there, whatever we thought of the rate."""
        silent = now >= self._reset + _SILENCE
        promised = self.limit if silent else self._promise - self._spent
        if promised > self._level:
            self._level, self._full = promised, now
        self._reset = (now if silent else self._reset) + _SILENCE
        self._promise, self._known = self.limit + self._spent, -inf
