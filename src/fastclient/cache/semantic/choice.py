"""Which rule serves a route, and from which score on: the one that would have found the most right answers. Pure.

Each request with a candidate scores it under every rule. Whether the candidate was right is known for nothing where
the provider was asked anyway, and by checks where it was served. What is learned here only proposes; that no more is
served than is safe is the business of `account`, which trusts nothing learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

__all__ = ["Choice", "Chosen"]

_BINS = 200  # of a score between 0 and 1
_HALF_LIFE = 4000.0  # requests after which an observation counts half
_DOUBT = 1.0  # wrong answers that are taken for granted above any score: few observations prove little
_LEAST = 5.0  # right answers above a score before it is worth serving


class Chosen(NamedTuple):
    """Serve what scores at least `score` under the rule of this number. `gain` is the share of requests it answers."""

    rule: int
    score: float
    gain: float


class Choice:
    """Observations of a route under several rules, by score, fading with time."""

    __slots__ = ("_requests", "_right", "_scale", "_wrong")

    def __init__(self, rules: int) -> None:
        self._right = [[0.0] * (_BINS + 1) for _ in range(rules)]
        self._wrong = [[0.0] * (_BINS + 1) for _ in range(rules)]
        self._requests = 0.0
        self._scale = 1.0  # what one request counts now: rather than all fading, the newest grow

    def asked(self) -> None:
        """A request came, with or without a candidate."""
        self._requests += self._scale
        self._scale *= 2.0 ** (1 / _HALF_LIFE)
        if self._scale > 2.0**40:
            self._rescale()

    def note(self, scores: Sequence[float], *, right: bool, weight: float = 1.0) -> None:
        """Whether a candidate with these scores was right. `weight` is how many such candidates it stands for."""
        counts = self._right if right else self._wrong
        for rule, score in enumerate(scores):
            if score > 0:
                counts[rule][_bin(score)] += weight * self._scale

    def best(self, error: float) -> Chosen | None:
        """What serves the most at a share of wrong answers of at most `error` per request; None if nothing does."""
        best: Chosen | None = None
        allowed = error * self._requests
        for rule, (rights, wrongs) in enumerate(zip(self._right, self._wrong, strict=True)):
            right, wrong = 0.0, _DOUBT * self._scale
            for at in range(_BINS, -1, -1):
                right += rights[at]
                wrong += wrongs[at]
                if wrong > allowed:
                    break
                gain = right / self._requests
                if right >= _LEAST * self._scale and rights[at] and (best is None or gain > best.gain):
                    best = Chosen(rule, at / _BINS, gain)
        return best

    def written(self) -> dict[str, Any]:
        """The observations as JSON data."""
        self._rescale()
        kept = [
            [[at, round(count, 3)] for at, count in enumerate(counts) if count > 0.01]
            for counts in (*self._right, *self._wrong)
        ]
        return {"requests": round(self._requests, 3), "counts": kept}

    def read(self, written: Mapping[str, Any]) -> None:
        """Take over what was written down. Raises ValueError, TypeError or KeyError if it is something else."""
        requests, kept = float(written["requests"]), list(written["counts"])
        every = [[0.0] * (_BINS + 1) for _ in kept]
        for counts, pairs in zip(every, kept, strict=True):
            for at, count in pairs:
                if not (0 <= int(at) <= _BINS and 0 <= float(count) < inf):
                    raise ValueError("not a count")
                counts[int(at)] = float(count)
        if len(every) != 2 * len(self._right) or not 0 <= requests < inf:
            raise ValueError("observations under other rules")
        half = len(self._right)
        self._right, self._wrong, self._requests, self._scale = every[:half], every[half:], requests, 1.0

    def _rescale(self) -> None:
        for counts in (*self._right, *self._wrong):
            counts[:] = [count / self._scale for count in counts]
        self._requests /= self._scale
        self._scale = 1.0


def _bin(score: float) -> int:
    return min(_BINS, int(score * _BINS))
