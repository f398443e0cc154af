"""How long one upstream takes to its first content, learned call by call. Pure: seconds and clock readings come in.

Times are divided by what the size of the prompt explains, so that a long prompt is not taken for a late one. Attempts
that were given up count as "at least this long" (a decayed Kaplan-Meier estimate), because dropping them, or taking the
winner's time for theirs, would hide the very tail that is to be known. Failures never come here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import exp, log
from operator import mul

from fastclient.tail.drift import Drift

__all__ = ["Latency", "SizeModel"]

_BINS = 160
_STEP = log(1.05)  # each bin is 5 % wider than the last
_FIRST = 0.05  # upper edge of the first bin, in multiples of the usual time; the last ends at 117
_EDGES = tuple(_FIRST * exp(_STEP * number) for number in range(_BINS))
_FADE = 0.5 ** (1 / 6000)  # a sample counts half after 6,000 more ...
_FADE_TIME = log(2) / 3600  # ... or after an hour,
_KEPT = 60.0  # but time alone never thins what is known below this many
_BORROWED = 40.0  # what another upstream's shape counts for at the start
_REFIT = 32  # samples between two looks at the whole
_FIRST_FIT = 20  # samples that make a usual time
_LONGEST = 1e6  # seconds; anything above is no time that anybody waited
_SMALL_STEPS = 27_777  # samples after which steps do not get smaller: 0.5 / sqrt(this) is 0.003
_HUGE = 1e200


class SizeModel:
    """The median time for a prompt of a given size: `fixed + slope * tokens`, by stochastic median regression."""

    __slots__ = ("_seen", "fixed", "slope")

    def __init__(self, fixed: float = 0.5, slope: float = 1e-4) -> None:
        self.fixed = fixed
        self.slope = slope
        self._seen = 0

    def at(self, tokens: float) -> float:
        return self.fixed + self.slope * tokens

    def learn(self, tokens: float, seconds: float) -> None:
        """One step towards an observation; far-off ones pull no harder than near ones, as befits a median."""
        self._seen += 1
        usual = self.fixed + self.slope * tokens
        pull = 4 * log(seconds / usual)
        pull = 1.0 if pull > 1.0 else -1.0 if pull < -1.0 else pull
        step = (0.003 if self._seen > _SMALL_STEPS else 0.5 / self._seen**0.5) * pull / usual
        self.fixed *= 1.0 + step * self.fixed
        self.slope *= 1.0 + step * self.slope * tokens

    def begin(self, seen: Sequence[tuple[float, float]]) -> None:
        """Fit the first (tokens, seconds) at once, as the steps would take long from a wrong start."""
        ratios = sorted([seconds / self.at(tokens) for tokens, seconds in seen])
        ratio = ratios[len(ratios) // 2]  # their median
        self.fixed, self.slope = self.fixed * ratio, self.slope * ratio
        self._seen = len(seen)


class Latency:
    """The distribution of first-content times at one upstream, in multiples of the usual time for the prompt's size.

    A refit, each 32 samples, costs about 30 us; `benchmarks/test_tail.py` measures it, and a request with its share.
    """

    __slots__ = (
        *("_censored", "_ends", "_first", "_now", "_survival", "_tokens", "_unit", "_until_refit"),
        *("drift", "far", "fits", "own", "samples", "sizes"),
    )

    def __init__(self, like: Latency | None = None) -> None:
        self.sizes: SizeModel = SizeModel(like.sizes.fixed, like.sizes.slope) if like else SizeModel()
        self.samples = 0.0  # effective number, in whole samples
        self.own = 0  # how many were really seen here
        self._first: list[tuple[float, float, float, bool]] = []  # held until the usual time is known
        self.far = _EDGES[-1]  # the multiple that one in a thousand exceeds
        self.fits = 0  # counts refits, for those who derive something from the shape
        self.drift = Drift()
        self._ends = [0.0] * _BINS  # weight of attempts that got their first content in this bin
        self._censored = [0.0] * _BINS  # weight of attempts given up in this bin
        self._tokens = 0.0  # a typical prompt
        self._unit = 1.0  # weight of a new sample: growing it fades all the older ones
        self._now = 0.0
        self._until_refit = 0
        self._survival: list[float] = []
        if like is not None and like.samples > 0:
            scale = _BORROWED / (like.samples * like._unit)
            self._ends = [weight * scale for weight in like._ends]
            self._censored = [weight * scale for weight in like._censored]
            self.samples = _BORROWED

    def size(self, tokens: float) -> float:
        """The usual time to the first content of a prompt with this many uncached tokens, in seconds."""
        return self.sizes.at(tokens)

    def expected(self, tokens: float) -> float | None:
        """The median time to the first content, in seconds; None while nothing is known."""
        if not self._survival or self._survival[-1] > 0.5:  # nearly all were given up
            return None
        return self.sizes.at(tokens) * self.quantile(0.5)

    def censor(self, tokens: float, seconds: float, now: float) -> None:
        """An attempt was given up after this long, without content and without failure."""
        self.observe(tokens, seconds, now, answered=False)

    def observe(self, tokens: float, seconds: float, now: float, *, answered: bool = True) -> None:
        """An attempt got its first content after this long."""
        if not 1e-6 < seconds < _LONGEST:
            seconds = min(max(1e-6, seconds), _LONGEST)  # in this order NaN is absorbed too
        self.own += 1
        if self.own > _FIRST_FIT:
            self._add(tokens, seconds, now, answered)
            return
        self._first.append((tokens, seconds, now, answered))
        if self.own == _FIRST_FIT:
            # Multiples of a guess would stand in the far tail, or before the beginning, for thousands of samples.
            seen = [(tokens, seconds) for tokens, seconds, _, answered in self._first if answered]
            if seen:
                self.sizes.begin(seen)
            for sample in self._first:
                self._add(*sample)
            self._first.clear()

    def _add(self, tokens: float, seconds: float, now: float, answered: bool) -> None:
        sizes, drift = self.sizes, self.drift
        scaled = seconds / (sizes.fixed + sizes.slope * tokens)
        fade = _FADE
        if self.samples > _KEPT:
            if now > self._now:
                fade /= 1.0 + _FADE_TIME * (now - self._now)
            if fade * self.samples < _KEPT:
                fade = min(_FADE, _KEPT / self.samples)
        self._now = now
        self._unit /= fade
        weight = drift.calm * drift.calm  # what a freeze did to hundreds of requests says little about the next one
        self.samples = self.samples * fade + weight
        place = 0 if scaled <= _FIRST else 1 + int(log(scaled / _FIRST) / _STEP)
        if place >= _BINS:
            place = _BINS - 1
        (self._ends if answered else self._censored)[place] += self._unit * weight
        if self._unit > _HUGE:
            self._rescale()
        if answered:
            self._tokens += (tokens - self._tokens) * (0.001 if self.own > 1000 else 1 / self.own)
            drift.add(scaled * (sizes.fixed + sizes.slope * self._tokens), now)
            sizes.learn(tokens, seconds)
        self._until_refit -= 1
        if self._until_refit <= 0:
            self._refit()

    def _rescale(self) -> None:
        self._ends = [weight / self._unit for weight in self._ends]
        self._censored = [weight / self._unit for weight in self._censored]
        self._unit = 1.0

    def _refit(self) -> None:
        """Survival at the upper edge of each bin: the product of the chances to get past each one before."""
        self._until_refit = min(_REFIT, self.own // 4)  # soon again while little is known
        ends = self._ends
        at_risk = list(accumulate(map(float.__add__, reversed(ends), reversed(self._censored))))
        at_risk.reverse()
        chances = [1.0 - ended / exposed if ended else 1.0 for ended, exposed in zip(ends, at_risk, strict=True)]
        self._survival = list(accumulate(chances, mul))
        self.fits += 1
        self.far = self.quantile(0.999)

    def survival(self, scaled: float) -> float:
        """The share of attempts that take longer than this multiple of the usual time."""
        place = bisect_right(_EDGES, scaled) - 1
        if place < 0 or not self._survival:
            return 1.0
        if place + 1 >= _BINS:
            return self._survival[-1]
        low, high = self._survival[place], self._survival[place + 1]
        return low + (high - low) * log(scaled / _EDGES[place]) / _STEP

    def quantile(self, share: float) -> float:
        """The multiple of the usual time within which this share of attempts gets its first content."""
        survival, left = self._survival, 1.0 - share
        # The list falls: look for the first bin that is low enough.
        low, high = 0, len(survival)
        while low < high:
            middle = (low + high) // 2
            if survival[middle] <= left:
                high = middle
            else:
                low = middle + 1
        if low >= len(survival):
            return _EDGES[-1]
        before = survival[low - 1] if low else 1.0
        part = (before - left) / (before - survival[low]) if before > survival[low] else 1.0
        return _EDGES[low] * exp(_STEP * (part - 1.0))
