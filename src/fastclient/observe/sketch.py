"""Percentiles of a stream of durations in constant memory, within one percent.

A histogram with logarithmic buckets (ratio 1.02, so a bucket's middle is within 1 % of anything in it), as in DDSketch
(Masson, Rim, Lee 2019). Two sketches merge by adding their counts.
"""

from __future__ import annotations

from math import ceil, floor, log

__all__ = ["Sketch"]

_RATIO = 1.02
_LOG_RATIO = log(_RATIO)
_MIDDLE = 2 * _RATIO / (1 + _RATIO)  # the point of a bucket with the least relative error at both its ends


class Sketch:
    """Counts of values in logarithmic buckets. Values of zero and below count as a microsecond."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        self.count = 0
        self._buckets: dict[int, int] = {}

    def add(self, value: float) -> None:
        """Count a value."""
        bucket = floor(log(value if value > 1e-6 else 1e-6) / _LOG_RATIO)
        self.count += 1
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def merge(self, other: Sketch) -> None:
        self.count += other.count
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    def percentile(self, share: float) -> float | None:
        """The nearest-rank percentile for a share between 0 and 1, within 1 %; None while empty."""
        rank = max(1, ceil(share * self.count))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return float(_RATIO**bucket * _MIDDLE)
        return None
