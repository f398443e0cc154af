"""Whether a server that answers are kept on is asked at all, after it failed. Pure."""

from __future__ import annotations

from random import uniform

__all__ = ["Circuit"]

_HOLD, _LONGEST_HOLD = 0.5, 30.0  # seconds a server in trouble is left alone, doubling


class Circuit:
    """Whether the server is asked at all: not for a while after a failure, each time longer."""

    __slots__ = ("_hold", "_until")

    def __init__(self) -> None:
        self._hold = _HOLD
        self._until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody asks."""
        return self._until is not None

    def due(self, now: float) -> bool:
        """Whether it is time to try."""
        return self._until is not None and now >= self._until

    def failed(self, now: float) -> bool:
        """The server failed. True if it was well before. What fails together with others counts once."""
        if self._until is not None and now < self._until:
            return False
        before, self._until = self._until, now + self._hold * uniform(0.75, 1.25)
        self._hold = min(_LONGEST_HOLD, 2 * self._hold)
        return before is None

    def worked(self, *, tried: bool = False) -> bool:
        """The server answered as it should; `tried` by a mere try, after which it may still fail at real work.

        True if it was left alone before.
        """
        before, self._until = self._until, None
        if not tried:
            self._hold = _HOLD
        return before is not None
