"""An allowance for extra work that only work itself fills: never time, so it holds at any request rate. Pure."""

from __future__ import annotations

__all__ = ["Budget"]

_DEPTH = 10.0  # how many typical requests may be saved up


class Budget:
    """Each request deposits `share` of its cost; extra work is paid for from the balance, or is not done.

    So extra cost <= start + share x cost, after every event, in any order. The balance is capped at ten requests of
    the usual cost: a quiet hour buys no burst. Any unit will do, as long as it is always the same.
    """

    __slots__ = ("_requests", "_share", "_total", "balance")

    def __init__(self, share: float, *, start: float = 0.0) -> None:
        self._share = share
        self._requests = 0
        self._total = 0.0
        self.balance = start

    @property
    def mean(self) -> float:
        """The usual cost of a request."""
        return self._total / self._requests if self._requests else 1.0

    @property
    def level(self) -> float:
        """The balance in requests of the usual cost."""
        return self.balance / self.mean

    def deposit(self, cost: float = 1.0, *, weight: float = 1.0) -> None:
        """A request of this cost begins; `weight` up to 1 says how much of its due is paid in."""
        self._requests += 1
        self._total += cost
        most = _DEPTH * self._total / self._requests
        if self.balance < most:
            balance = self.balance + self._share * cost * weight
            self.balance = balance if balance < most else most

    def spend(self, cost: float = 1.0) -> bool:
        """Take this much, if it is there."""
        if self.balance < cost:
            return False
        self.balance -= cost
        return True

    def refund(self, cost: float = 1.0) -> None:
        """Give back what was taken for work that was not done after all."""
        self.balance += cost

    def drain(self) -> None:
        """Nothing extra until new requests have paid for it."""
        self.balance = 0.0
