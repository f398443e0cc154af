"""Other people's hedging policies, as far as their documentation and source tell: when to ask, and who gets a copy.

All learn from the latency the caller saw, and ask once. Names that are products stand for the rule, not for the code.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass
from math import inf

from benchmarks._races import Race, Watched

__all__ = ["Deposits", "Finagle", "FixedDelay", "HedgePython", "TwiceTheMedian"]

_WINDOW = 30.0


class Windows:
    """The latencies of the last two windows of 30 s, the second one still filling."""

    def __init__(self) -> None:
        self._began = 0.0
        self._young: list[float] = []
        self._all: list[float] = []

    def add(self, now: float, seconds: float) -> None:
        if now >= self._began + _WINDOW:
            self._all = sorted(self._young) if now < self._began + 2 * _WINDOW else []
            self._began, self._young = now, []
        self._young.append(seconds)
        insort(self._all, seconds)

    def quantile(self, share: float) -> float:
        return self._all[min(len(self._all) - 1, int(share * len(self._all)))] if self._all else inf


@dataclass(slots=True)
class Asked:
    """A request that is asked about once."""

    wake: float


class Rival:
    """Ask after a delay, grant or not, learn."""

    def __init__(self) -> None:
        self.times = Windows()

    def start(self, now: float, tokens: float, cost: float) -> Watched:
        return Asked(now + self.delay(now))

    def send_copy(self, ticket: Watched, now: float, cost: float) -> bool:
        ticket.wake = inf
        return self.granted(now)

    def ended(self, ticket: Watched, now: float, race: Race) -> None:
        self.times.add(now, now - race.started)

    def failed(self, ticket: Watched, now: float) -> None:
        pass

    def delay(self, now: float) -> float:
        """Seconds until a copy; never, unless a policy says otherwise."""
        return inf

    def granted(self, now: float) -> bool:
        return True


class FixedDelay(Rival):
    """A copy after so many seconds, whatever happens: a p95 taken once, for example."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def delay(self, now: float) -> float:
        return self._seconds


class TwiceTheMedian(Rival):
    """A copy after twice the recent median, without a cap."""

    def delay(self, now: float) -> float:
        return 2 * self.times.quantile(0.5)


class HedgePython(Rival):
    """hedge-python 0.3: p90, after 20 calls at 10 ms; an allowance that time fills, at a guessed rate of calls."""

    def __init__(self, rate: float = 100.0, budget: float = 0.10) -> None:
        super().__init__()
        self._fill = rate * budget
        self._most = max(1.0, 2 * self._fill)
        self._allowance, self._since = self._most, 0.0
        self._calls = 0

    def delay(self, now: float) -> float:
        self._calls += 1
        return 0.01 if self._calls <= 20 else self.times.quantile(0.9)

    def granted(self, now: float) -> bool:
        self._allowance = min(self._most, self._allowance + (now - self._since) * self._fill)
        self._since = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


class Finagle(Rival):
    """Backup requests: the quantile that leaves the budget, renewed each 3 s, and the balance of the last 10 s."""

    def __init__(self, budget: float) -> None:
        super().__init__()
        self._budget = budget
        self._delay, self._renewed = inf, -inf
        self._entries: deque[tuple[float, float]] = deque()
        self._balance = 0.0

    def delay(self, now: float) -> float:
        self._enter(now, self._budget)
        if now - self._renewed >= 3:
            self._delay, self._renewed = self.times.quantile(1 - self._budget), now
        return self._delay

    def granted(self, now: float) -> bool:
        self._enter(now, 0.0)
        if self._balance < 1:
            return False
        self._enter(now, -1.0)
        return True

    def _enter(self, now: float, amount: float) -> None:
        self._entries.append((now, amount))
        self._balance += amount
        while self._entries[0][0] < now - 10:
            self._balance -= self._entries.popleft()[1]


class Deposits(Rival):
    """The quantile that leaves the budget, and an allowance that requests fill."""

    def __init__(self, budget: float) -> None:
        super().__init__()
        self._budget = budget
        self._balance = 0.0

    def delay(self, now: float) -> float:
        self._balance = min(10.0, self._balance + self._budget)
        return self.times.quantile(1 - self._budget)

    def granted(self, now: float) -> bool:
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
