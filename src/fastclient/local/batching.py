"""How many answers to write on with in one step, learned from what steps cost. Pure.

A step for several answers costs more than one for a single answer, and how much more depends on the machine and on how
the model is quantised: it may be the same, and it may be more than so many single steps. So each size is timed, and
the one that writes most tokens a second is taken; those left out have their turn in the next step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Batching", "turn"]

_T = TypeVar("_T")
_TRIES = 3  # timings of a size before it is judged
_KEPT = 5  # timings of a size that count: the shortest of them, because whatever disturbs makes it longer
_BETTER = 1.05  # fewer at once must be so much faster: writing all together is what nobody has to wait for
_REVIEW = 256  # steps after which a size that lost is timed once more: prompts grow, and other programs come and go


class Batching:
    """The rule for one engine with so many slots. With `always` nothing is timed, and all go together."""

    def __init__(self, slots: int, *, always: bool = False) -> None:
        self._always = always or slots == 1
        self._times: list[deque[float]] = [deque(maxlen=_KEPT) for _ in range(slots + 1)]
        self._steps = 0

    def size(self, ready: int) -> int:
        """How many of so many answers to write on with now."""
        if self._always or ready < 2:
            return ready
        self._steps += 1
        untried = [size for size in range(ready, 0, -1) if len(self._times[size]) < _TRIES]
        if untried:
            return untried[0]
        if self._steps % _REVIEW == 0:
            return 1 + self._steps // _REVIEW % ready
        return self.best(ready)

    def best(self, ready: int) -> int:
        """The size with the most tokens a second, as far as timed."""
        if not self._times[ready]:
            return ready
        together = self.rate(ready)
        best = max((size for size in range(1, ready + 1) if self._times[size]), key=self.rate)
        return best if self.rate(best) > together * _BETTER else ready

    def rate(self, size: int) -> float:
        """Tokens a second with so many at once; 0 where that was never timed."""
        times = self._times[size]
        return size / max(min(times), 1e-9) if times else 0.0

    def took(self, size: int, seconds: float) -> None:
        """A step for so many answers, and nothing else, took this long."""
        self._times[size].append(seconds)


def turn(waiting: Sequence[_T], size: int, steps: int) -> list[_T]:
    """So many of them, beginning one group further with each step, so that everybody has a turn."""
    if size >= len(waiting):
        return list(waiting)
    at = steps * size % len(waiting)
    return [*waiting[at : at + size], *waiting[: max(0, at + size - len(waiting))]]
