"""Whether everybody is slow together: running means of the logarithm of latencies. Pure."""

from __future__ import annotations

from math import exp, log

__all__ = ["Drift"]

_SETTLED = 50  # samples before the running means mean something
_GROWN = log(1.5)
_RARE = 1800.0  # seconds: where calls are rare, the slow mean follows time instead of calls


class Drift:
    """Running means over about 25, 400 and 4,000 samples; times are those of a prompt of typical size.

    `calm` is 1 while times are as usual and falls towards 0 as the recent ones grow beyond half as much again. A model
    of the usual time that learns alone would soon take a slow minute for the new usual.
    """

    __slots__ = ("_fast", "_medium", "_now", "_seen", "_slow", "_spread", "_swing", "calm")

    def __init__(self) -> None:
        self.calm = 1.0
        self._seen = 0
        self._now = 0.0
        self._fast = self._medium = self._slow = 0.0
        self._swing = self._spread = 0.0  # how far the fast mean, and single samples, are from the medium one, squared

    def add(self, seconds: float, now: float) -> None:
        """An answer took this long."""
        self._seen = seen = self._seen + 1
        value = log(seconds) if seconds > 1e-9 else -20.0
        slowly = (now - self._now) / _RARE
        if slowly > 0.03:
            slowly = 0.03
        self._now = now
        off, swing = value - self._medium, self._fast - self._medium
        self._fast += (value - self._fast) / (seen if seen < 25 else 25)
        self._medium += off / (seen if seen < 400 else 400)
        step = 1 / (seen if seen < 4000 else 4000)
        self._slow += (value - self._slow) * (slowly if slowly > step else step)
        if seen > _SETTLED:
            step = 0.0005 if seen > 2000 + _SETTLED else 1 / (seen - _SETTLED)
            square = off * off  # a straggler is no reason to expect swings
            self._spread += ((4.0 if square > 4.0 else square) - self._spread) * step
            self._swing += (swing * swing - self._swing) * step
        growth = self._fast - self._slow
        self.calm = 1.0 if growth < _GROWN else 2.25 * exp(-2.0 * growth)

    @property
    def togetherness(self) -> float:
        """How much neighbours share their fate: about 1 if not at all, above 10 in the line of a full server.

        The swings of the fast mean, over those that independent samples would give it (1/49 of their spread).
        """
        return 49 * self._swing / self._spread if self._seen > 6 * _SETTLED and self._spread else 1.0
