"""A circuit breaker: whether an upstream is so broken that calls should go elsewhere. Pure.

It steers routing, hedging and fallback, and never blocks the only place there is. Rate limits are not its business:
they say that an upstream works.
"""

from __future__ import annotations

from collections import deque
from math import inf

__all__ = ["Breaker"]

_WINDOW = 20.0  # seconds looked back
_LEAST = 10  # calls in them before anything is said
_SHARE = 0.5  # of them failed: broken
_FIRST, _LONGEST = 5.0, 60.0  # seconds it stays open, doubling each time it is found broken again


class Breaker:
    """Closed: all is well. Open: go elsewhere. After a while one call may try whether the upstream is back."""

    __slots__ = ("_failed", "_hold", "_outcomes", "_probed", "_until")

    def __init__(self) -> None:
        self._outcomes: deque[tuple[float, bool]] = deque()  # when, and whether it failed
        self._failed = 0
        self._hold = _FIRST
        self._until = -inf  # open until then
        self._probed = False

    @property
    def is_open(self) -> bool:
        """Whether calls that have a choice should go elsewhere."""
        return self._until > -inf

    def admits(self, now: float) -> bool:
        """Whether a call with a choice may go here; once the time is over, one may, to see whether all is well."""
        if self._until == -inf:
            return True
        if now < self._until or (self._probed and now <= self._until + self._hold):
            return False  # a probe that never reports is forgotten after a while
        self._probed, self._until = True, now
        return True

    def succeeded(self, now: float) -> None:
        """A call got its first content."""
        if self._probed or now < self._until:
            self._outcomes.clear()
            self._failed, self._hold = 0, _FIRST
        self._until, self._probed = -inf, False
        outcomes = self._outcomes
        outcomes.append((now, False))
        if outcomes[0][0] < now - _WINDOW:
            self._forget(now)

    def failed(self, now: float) -> None:
        """A call failed by the upstream's fault: a server error, no connection, no first token."""
        if self._probed:
            self._hold = min(_LONGEST, self._hold * 2)
            self._until, self._probed = now + self._hold, False
        self._outcomes.append((now, True))
        self._failed += 1
        self._forget(now)
        if self._until == -inf and len(self._outcomes) >= _LEAST and self._failed >= _SHARE * len(self._outcomes):
            self._until = now + self._hold

    def _forget(self, now: float) -> None:
        """What is too long ago to count."""
        outcomes = self._outcomes
        while outcomes[0][0] < now - _WINDOW:
            self._failed -= outcomes.popleft()[1]
