"""The pause after a refusal: one for all who send to an upstream, and one request goes first when it ends. Pure."""

from __future__ import annotations

from math import inf

from fastclient.checks import is_number
from fastclient.tail.line import Place

__all__ = ["Pause"]

_FIRST = 1.0  # seconds, when the provider does not say; doubles with each refused probe
_LONGEST = 60.0
_LONGEST_WISH = 365 * 86400.0  # anything above is not a wish but a bug


class Pause:
    """`on` from a refusal until the `probe`, a request sent afterwards, gets a good answer; time alone ends nothing."""

    __slots__ = ("_began", "_streak", "on", "probe", "until")

    def __init__(self) -> None:
        self.on = False
        self.until = -inf
        self._began = -inf
        self.probe: Place | None = None
        self._streak = 0  # probes refused in a row

    def blocks(self, now: float) -> bool:
        """Whether nobody may send: the time is not over, or the probe is under way."""
        return self.on and (now < self.until or self.probe is not None)

    def left(self, now: float) -> float:
        """Seconds until the probe may go; 0 if it may, or is under way."""
        return max(0.0, self.until - now) if self.on else 0.0

    def wake_at(self, now: float) -> float:
        """When this stops being in the way; infinite if only the probe's end can bring that."""
        if self.on and self.probe is not None:
            return inf
        return max(now, self.until) if self.on else now

    def refused(self, now: float, retry_after: float | None, place: Place | None) -> bool:
        """Begin, repeat or lengthen the pause; says whether it began. Without a place the probe is meant, if any."""
        wish = retry_after if is_number(retry_after) and 0 < retry_after <= _LONGEST_WISH else None
        if not self.on:
            if place is not None and place.since <= self._began:
                return False  # sent before a pause that is over: a later request got through
            self.on, self._began, self._streak = True, now, 0
            self.until = now + (wish or _FIRST)
            return True
        if self.probe is not None and place in (None, self.probe):
            self.probe = None
            self._streak += 1
            self.until = now + (wish or min(_LONGEST, _FIRST * 2.0 ** min(self._streak, 10)))
        elif wish is not None:
            self.until = max(self.until, now + wish)
        return False

    def answered(self, now: float, place: Place | None) -> None:
        """A good answer has begun: ends the pause if its request was sent since. Without a place it is the probe's."""
        probed = self.probe is not None and place in (None, self.probe)
        if self.on and (probed or (place is not None and place.since > self._began)):
            self.on, self.probe = False, None
            self.until = min(self.until, now)

    def left_by(self, place: Place) -> None:
        """A request ended without an answer; if it was the probe, the next one is."""
        if place is self.probe:
            self.probe = None
