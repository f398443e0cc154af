"""How a quota comes back, told from headers alone: bit by bit, or all at once when its window ends. Pure.

Both kinds of server write the same headers. A window's end stays where it is until it has passed, and nothing comes
back before; a bucket's moves on with every request. Until one of the two was seen, nothing counts as coming back early.
"""

from __future__ import annotations

from typing import NamedTuple

from fastclient.providers.rates import Rate

__all__ = ["INSTANT", "Refill", "rounding"]

INSTANT = 1e-3  # seconds: resets are told no finer, and no rate can be told from a shorter one

_JITTER = 0.25  # seconds: how differently two requests may travel
_KEEP = 60.0  # seconds that an estimate counts at least, and half of what it counts at most


class _Seen(NamedTuple):
    """One header, heard for a request that was sent at `sent`.

    All is back at `first` if the server looked when the request came in, at `last` if when it answered.
    """

    sent: float
    first: float
    last: float
    used: float
    grain: float
    blur: float  # seconds by which all this may be wrong


class Refill:
    """What the headers of one quota have shown. `trickles` is None until they showed it."""

    __slots__ = ("_before", "_best", "_renewed", "_seen", "trickles")

    def __init__(self) -> None:
        self.trickles: bool | None = None
        self._seen: _Seen | None = None
        self._best = self._before = 0.0
        self._renewed = 0.0

    def learn(self, told: Rate, now: float, sent: float) -> float:
        """The quota's rate per second after one more header, heard now; 0 while it is not known to trickle back."""
        start = now if told.dated else sent
        used = max(0.0, told.limit - told.remaining)
        grain = 1000.0 if told.kind != "requests" and told.limit % 1000 == told.remaining % 1000 == 0 else 1.0
        coarse = rounding(told)
        self._judge(_Seen(sent, start + told.reset, now + told.reset, used, grain, _JITTER + coarse))
        span = start + told.reset + coarse - sent
        if self.trickles:
            self._note((used - grain) / span, now)
        return max(self._best, self._before)

    def _judge(self, seen: _Seen) -> None:
        ref = self._seen
        if ref is None or seen.sent >= ref.first - ref.blur:  # that reset has passed, or may have: it proves nothing
            self._seen = seen
        elif max(seen.sent, ref.sent) < seen.first - seen.blur:
            later, more = seen.sent - ref.sent, seen.used - ref.used
            if abs(seen.first - ref.first) > seen.blur and abs(seen.last - ref.last) > seen.blur:
                self.trickles = True  # a window's end would have stayed
            elif later > _JITTER and more < -2 * seen.grain:
                self.trickles = True  # in a window nothing comes back
            elif more >= 0 and seen.first - ref.first < later - seen.blur:
                self.trickles = False  # a bucket with more to refill would be full that much later
                self._best = self._before = 0.0

    def _note(self, rate: float, now: float) -> None:
        """Each estimate is a lower bound: times and counts were rounded to our disadvantage. So the highest is best."""
        if now >= self._renewed + _KEEP:
            self._best, self._before, self._renewed = 0.0, self._best, now
        self._best = max(self._best, rate)


def rounding(told: Rate) -> float:
    """Seconds by which a reset may be off: whole seconds were probably rounded, and nobody says in which direction."""
    return 1.0 if told.dated or told.reset % 1 == 0 else INSTANT
