"""How many wrong answers a route can have been served, at most, and whether one more would be too many. Pure.

Of the answers served from the cache, each is checked with the same probability, by a coin that knows nothing of the
answer. Let W be the number of wrong ones served so far, and C how many of them a check found. For every s > 0

    exp(-s C) / (1 - q (1 - exp(-s))) ** W        (q: the probability of a check)

is a martingale that starts at 1, whatever the questions, the answers and their order, also if somebody chooses them who
has seen all that happened before: the coin alone is random. By Ville's inequality an average of such processes exceeds
1/delta at any time with a probability of at most delta. Solved for W, that is an upper bound that holds all the time,
however often it is looked at (Howard, Ramdas, McAuliffe, Sekhon 2021 on such bounds). Nothing is assumed about
traffic: it may drift, or be hostile. What is assumed is that a check tells right from wrong.

So the rule is: serve one more only if the bound, plus one for it, stays within `max_error` of the requests so far. Then
the share of wrong answers exceeds `max_error` at no time, with a probability of 1 - delta.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log1p

__all__ = ["Account", "most_wrong"]

_RATES = tuple(
    2.0**power for power in range(-5, 4)
)  # the s of the average: small ones suit many errors, large ones few
_PRECISION = 1e-6


@lru_cache(maxsize=4096)
def most_wrong(found: int, rate: float, delta: float) -> float:
    """At most so many wrong answers were served if checks at this rate found so many; wrong with probability delta.

    About log(1/delta) / rate if none was found. Raises nothing; infinite if nothing is ever checked.
    """
    if rate <= 0.0:
        return float("inf")
    if rate >= 1.0:
        return float(found)
    least, most = float(found), (found + 1.0) / rate
    while _surprise(most, found, rate) <= -log(delta):
        most *= 2.0
    while most - least > _PRECISION * most:
        middle = (least + most) / 2
        if _surprise(middle, found, rate) <= -log(delta):
            least = middle
        else:
            most = middle
    return most


def _surprise(wrong: float, found: int, rate: float) -> float:
    """The logarithm of the average martingale, if so many were wrong. Grows with `wrong`."""
    exponents = [-s * found - wrong * log1p(-rate * (1 - exp(-s))) for s in _RATES]
    largest = max(exponents)
    return largest + log(sum(exp(each - largest) for each in exponents) / len(exponents))


@dataclass(slots=True, kw_only=True)
class Account:
    """What a route was asked, served and found wrong. `max_error` is a share of its requests, `rate` that of checks.

    All numbers are whole counts, so that the account can be written down and read again.
    """

    max_error: float
    rate: float
    delta: float = 0.05
    requests: int = 0
    served: int = 0  # from the semantic cache
    pending: int = 0  # checks under way: until they are known they count as found wrong
    right: int = 0  # checks that found the answer right
    wrong: int = 0  # checks that found it wrong

    def asked(self) -> None:
        """A request came, whatever became of it."""
        self.requests += 1

    def may_serve(self) -> bool:
        """Whether one more answer can be served although it may be wrong."""
        return self.bound() + 1 <= self.max_error * self.requests

    def bound(self) -> float:
        """At most so many of the answers served were wrong, with a probability of 1 - delta."""
        unproven = self.served - self.right  # needs no chance: what was not found right
        if unproven + 1 <= self.max_error * self.requests:
            return float(unproven)
        return min(float(unproven), most_wrong(self.wrong + self.pending, self.rate, self.delta))

    def serve(self, *, checked: bool) -> None:
        """An answer is served; `checked` is what the coin said."""
        self.served += 1
        self.pending += checked

    def found(self, *, right: bool) -> None:
        """A check is over."""
        self.pending -= 1
        if right:
            self.right += 1
        else:
            self.wrong += 1
