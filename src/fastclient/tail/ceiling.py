"""A limit on open requests that is learned from refusals: cut at once, raised one by one, and dropped in time. Pure."""

from __future__ import annotations

from math import inf

__all__ = ["Ceiling"]

_CUT = 0.7
_PROVED = 2  # times the level that was refused


class Ceiling:
    """`limit` is the user's, or none, until the first refusal; never above the user's."""

    __slots__ = ("_cap", "_refused_at", "_successes", "limit")

    def __init__(self, cap: int | None) -> None:
        self._cap: float = inf if cap is None else cap
        self._refused_at = 0
        self._successes = 0
        self.limit = self._cap

    def cut(self, under_way: int) -> None:
        """So many were open, and the upstream refused."""
        self._refused_at = max(1, under_way)
        self._successes = 0
        self.limit = min(self.limit, max(1, int(_CUT * under_way)))

    def succeeded(self, under_way: int) -> None:
        """One of so many got its answer: each round of them raises a limit that was used at least by half."""
        if self.limit == self._cap or under_way < self.limit / 2:
            return
        self._successes += 1
        if self._successes < self.limit:
            return
        self._successes = 0
        self.limit = min(self.limit + 1, self._cap)
        # Twice as many as were open at the refusal, and no new one: it was not about open requests (most are about
        # quotas). A server that does have a fixed limit refuses long before, so it never loses its ceiling.
        if self.limit > _PROVED * self._refused_at:
            self.limit = self._cap
