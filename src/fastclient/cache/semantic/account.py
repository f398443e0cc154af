"""How many wrong answers a route can have been served, at most, and whether one more would be too many. Pure.

Each answer served from the cache is checked with a probability q, by a coin that knows nothing of the answer. Let W be
the number of wrong ones served so far at one q, and C how many of them a check found. For every s > 0

    exp(-s C) / (1 - q (1 - exp(-s))) ** W

is a martingale that starts at 1, whatever the questions, the answers and their order, also if somebody chooses them who
has seen all that happened before: the coin alone is random. So is the product over several q, whoever chooses between
them. By Ville's inequality an average of such processes over some s exceeds 1/delta at any time with a probability of
at most delta (Howard, Ramdas, McAuliffe, Sekhon 2021 on such bounds): numbers of wrong answers for which it does are
excluded, all the time, however often they are looked at. Nothing is assumed about traffic: it may drift, or be hostile.
What is assumed is that a check tells right from wrong.

So the rule is: serve one more only if it is excluded that there are already as many as `max_error` of the requests
allow. Then the share of wrong answers exceeds `max_error` at no time, with a probability of 1 - delta. With q = 1 it is
known what was wrong, and next to nothing has to be proved first; the lower q, the more calls are saved, later.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, log1p, sqrt
from typing import Final

__all__ = ["Account"]

_EXPONENTS: Final = tuple(2.0**power for power in range(-5, 4))  # the s: small ones suit many errors, large ones few
_KNOWN: Final = 0.6  # of the wrong answers allowed, for those whose check is certain: the rest pays for lower rates


class _Level:
    """What was served at one rate of checks."""

    __slots__ = ("checked", "costs", "rate", "right", "served", "wrong")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.costs = [s if rate >= 1.0 else -log1p(-rate * (1 - exp(-s))) for s in _EXPONENTS]  # of a wrong answer
        self.served = self.checked = self.right = self.wrong = 0

    @property
    def failed(self) -> int:
        """Checks that found an answer wrong; those under way count as such."""
        return self.checked - self.right


class Account:
    """What a route was asked, served and found wrong. `max_error` is a share of its requests.

    `rate` is the share of answers that is checked in the end: at first nearly each is, then the root of that share, as
    the bound allows. A rate of 0 stays one. Not safe for threads.
    """

    __slots__ = ("_levels", "_most", "_next", "max_error", "rate", "requests")

    def __init__(self, *, max_error: float, rate: float, delta: float = 0.05) -> None:
        self.max_error = max_error
        self.rate = rate
        self.requests = 0
        self._levels = [_Level(each) for each in sorted({rate, sqrt(rate), 1.0} if rate else {0.0})]
        self._most = log(len(_EXPONENTS) / delta)
        self._next: tuple[int, float] | None = None  # for how many that are allowed, and the answer

    @property
    def served(self) -> int:
        """Answers from the semantic cache."""
        return sum(level.served for level in self._levels)

    @property
    def right(self) -> int:
        """Checks that found the answer right."""
        return sum(level.right for level in self._levels)

    @property
    def wrong(self) -> int:
        """Checks that found it wrong."""
        return sum(level.wrong for level in self._levels)

    def asked(self) -> None:
        """A request came, whatever became of it."""
        self.requests += 1

    def serve(self, rate: float, *, checked: bool) -> None:
        """An answer is served that was to be checked with this probability; `checked` is what the coin said."""
        level = self._at(rate)
        level.served += 1
        level.checked += checked
        self._next = None

    def found(self, rate: float, *, right: bool) -> None:
        """A check is over, of an answer that was served at this rate."""
        level = self._at(rate)
        level.right += right
        level.wrong += not right
        self._next = None

    def next_rate(self) -> float | None:
        """With which probability one more answer has to be checked that is served now; None: it must not be served."""
        allowed = int(self.max_error * self.requests)
        if self._next is None or self._next[0] != allowed:
            self._next = allowed, self._rate(allowed)
        rate = self._next[1]
        return None if rate < 0.0 else rate

    def _rate(self, allowed: int) -> float:
        """The lowest rate that can be kept up and leaves room for one more; negative if there is none."""
        if not self.excludes(allowed):
            return -1.0
        *lower, last = self._levels
        for level in lower:
            if self.excludes(allowed - 1, endless=level):
                return level.rate
        if lower and self.excludes(allowed - 1):
            return lower[-1].rate
        return last.rate if not lower or last.failed + 1 <= max(1.0, _KNOWN * allowed) else -1.0

    def excludes(self, wrong: int, *, endless: _Level | None = None) -> bool:
        """Whether so many wrong answers or more are excluded; with `endless`, however many are served at that level.

        The least surprising way in which they can be that many is that most were served at the lowest rates.
        """
        found = sum(level.failed for level in self._levels)
        left = wrong - found
        if left <= 0:
            return False
        surprise = [-found * s for s in _EXPONENTS]
        for level in self._levels:
            more = left if level is endless else min(left, level.served - level.checked)
            left -= more
            if level.failed + more:
                surprise = _added(surprise, level.failed + more, level.costs)
        return left > 0 or _mean(surprise) > self._most

    def bound(self) -> int:
        """At most so many of the answers served were wrong, with a probability of 1 - delta."""
        least = sum(level.failed for level in self._levels)
        most = self.served - self.right + 1
        while most - least > 1:
            middle = (least + most) // 2
            if self.excludes(middle):
                most = middle
            else:
                least = middle
        return least

    def estimate(self) -> float:
        """How many of the answers served were wrong, going by the checks."""
        return sum(level.wrong / level.rate for level in self._levels if level.wrong)

    def _at(self, rate: float) -> _Level:
        return next(level for level in self._levels if level.rate == rate)


def _added(surprise: Sequence[float], wrong: int, costs: Sequence[float]) -> list[float]:
    return [one + wrong * cost for one, cost in zip(surprise, costs, strict=True)]


def _mean(exponents: Sequence[float]) -> float:
    """The logarithm of the sum of the processes, whose number is already in what it is compared with."""
    largest = max(exponents)
    return largest + log(sum([exp(each - largest) for each in exponents]))
