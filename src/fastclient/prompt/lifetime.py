"""How long a provider should keep what is written, where it offers a choice: by how soon conversations go on. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fastclient.prompt.rules import Lifetime

__all__ = ["Gaps"]

_EASE = ((1.0, 2.0), (1.0, 1.2))  # the odds before anything is seen, for the shorter and the longer lifetime
_MOST = 10_000


class Gaps:
    """The pauses between successive requests of conversations of one family, and which lifetime pays for them.

    With the chance p that a conversation goes on within a lifetime that costs w per token written, a prompt of H tokens
    of which D are new costs (1-p) w H + p (r (H-D) + w D).
    """

    def __init__(self, lifetimes: Sequence[Lifetime], read: float) -> None:
        self._lifetimes = lifetimes
        self._read = read
        self._gaps = 0.0
        self._within = [0.0] * len(lifetimes)

    def add(self, gap: float) -> None:
        """One more pause, in seconds."""
        if self._gaps >= _MOST:  # the older half counts half
            self._gaps /= 2
            self._within = [count / 2 for count in self._within]
        self._gaps += 1
        for number, lifetime in enumerate(self._lifetimes):
            self._within[number] += gap <= lifetime.seconds

    def best(self, tokens: float, new: float) -> Lifetime:
        """The lifetime that costs least for a prompt of so many tokens, so many of them new."""
        if len(self._lifetimes) == 1:
            return self._lifetimes[0]
        new = min(max(1.0, new), tokens)
        costs = [self._cost(number, tokens, new) for number in range(len(self._lifetimes))]
        return self._lifetimes[costs.index(min(costs))]

    def _cost(self, number: int, tokens: float, new: float) -> float:
        more, least = _EASE[min(number, 1)]
        chance = min(1.0, (self._within[number] + more) / (self._gaps + least))
        write = self._lifetimes[number].write
        return (1 - chance) * write * tokens + chance * (self._read * (tokens - new) + write * new)
