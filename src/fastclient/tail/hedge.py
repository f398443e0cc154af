"""When to send a second copy of a late request. Pure: it is told what happened when, and answers yes or no.

The allowance decides between two moments. Copies for extremely late requests are always worth their price, so those
have the first claim on it; what they leave over buys copies for moderately late ones, earlier. The two moments are
quantiles of the learned distribution that follow the budget. And when everybody is slow, nobody gets a copy: then the
upstream is in trouble, and more requests would add to it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

from fastclient.tail.budget import Budget
from fastclient.tail.drift import Drift
from fastclient.tail.latency import Latency

__all__ = ["Hedging", "Ticket"]

_LEAST = 40  # samples below which nobody knows what late means
_PATIENCE = 60.0  # seconds after which a copy would come too late to matter
_RESERVE = 2.0  # requests' worth kept for the extremely late
_PEERS = 96  # recent requests to compare with
_SPREAD = 0.004  # early is when this much more than the budget's share of requests are still waiting
_DEEP = 0.68  # deep is when this many budgets' shares are
_ALARM, _CALM = 0.20, 0.10  # share of late requests that stops hedging, and that allows it again
_STORM = 0.3  # calm below which nobody gets a copy: times have grown to 2.7 times the usual
_CROWDED = 15.0  # togetherness above which requests mostly wait for each other
_WORTH = 0.3  # wins, as a share of those predicted, below which copies are a waste
_TRIALS = 8.0  # wins to be expected before that is judged
_PROBE = 600  # requests per copy while copies are a waste


@dataclass(slots=True, eq=False)
class Ticket:
    """One request under way, as the policy sees it. `wake` is when to ask about a copy; inf for never."""

    started: float
    usual: float  # seconds to first content that are normal for its size
    wake: float = inf
    late: bool = False
    done: bool = False
    hope: float = 0.0  # how likely its copy was to win, when it was sent
    paid: float = 0.0  # what its copy cost


class Hedging:
    """The hedging policy of one upstream: at most `budget` extra cost per unit of cost, where it helps most."""

    def __init__(self, budget: float, latency: Latency, *, stops: bool = False) -> None:
        self.budget = Budget(budget)
        self.latency = latency
        self._share = budget
        self._stops = stops  # a loser costs the upstream nothing more once it is closed
        self._fits = -1  # which refit the moments below come from
        self._early = self._deep = self._late = self._behind = inf  # multiples of the usual time
        self._peers: deque[Ticket] = deque(maxlen=_PEERS)
        self._late_rate = 0.05
        self._alarm = False
        self._won = self._hoped = 0.0  # copies that won, and how many were to be expected, lately
        self._requests = 0
        self._probed = 0

    def start(self, now: float, *, tokens: float = 0.0, cost: float = 1.0, hedgeable: bool = True) -> Ticket:
        """A request of this size and cost is sent now."""
        self._requests += 1
        latency = self.latency
        drift = latency.drift
        self.budget.deposit(cost, weight=drift.calm if self._stops else self._weight(drift))
        sizes = latency.sizes
        ticket = Ticket(now, sizes.fixed + sizes.slope * tokens)
        self._peers.append(ticket)
        if hedgeable and latency.own >= _LEAST <= latency.samples:
            if latency.fits != self._fits:
                self._retune()
            ticket.wake = now + (self._late if self._late < self._early else self._early) * ticket.usual
        return ticket

    def _weight(self, drift: Drift) -> float:
        """How much of its due a request pays in: less while times rise, and where losers add to a line."""
        shared = drift.togetherness
        return drift.calm if shared <= _CROWDED else drift.calm * (_CROWDED / shared) ** 4

    def _retune(self) -> None:
        """New moments after a refit. A small budget gains by spreading its two moments wider."""
        self._fits = self.latency.fits
        quantile = self.latency.quantile
        self._late, self._behind = quantile(0.95), quantile(0.80)
        self._early = quantile(1 - min(self._share + _SPREAD, 1.5 * self._share))
        self._deep = quantile(1 - _DEEP * self._share)

    def send_copy(self, ticket: Ticket, now: float, *, cost: float = 1.0, usable: bool = True) -> bool:
        """Whether to send a copy of this request now. Yes spends its cost; no sets the next time to ask."""
        age = now - ticket.started
        scaled = age / ticket.usual
        if scaled >= self._late and not ticket.late:
            ticket.late = True
            self._count(late=True)
        if age >= _PATIENCE:
            ticket.wake = inf
            return False
        spare = self.budget.balance - cost
        if spare < 0:
            ticket.wake = max(ticket.started + self._deep * ticket.usual, now + 0.15 * age)
            return False
        need = self._early if spare >= _RESERVE * self.budget.mean else self._deep
        if scaled < need * 0.999999:
            ticket.wake = ticket.started + need * ticket.usual
            return False
        if not usable or not self._sensible(ticket, now):
            ticket.wake = now + max(0.1 * ticket.usual, 0.25 * age)
            return False
        self.budget.spend(cost)
        ticket.wake = inf
        survival, median = self.latency.survival, self.latency.quantile(0.5)
        ticket.hope = survival(scaled + median) / max(survival(scaled), 1e-9)
        return True

    def _sensible(self, ticket: Ticket, now: float) -> bool:
        """Whether this request is late alone, and copies are worth their price."""
        if self._alarm or self.latency.drift.calm < _STORM:
            return False
        due = done = 0
        for peer in reversed(self._peers):
            if peer is ticket:
                break
            if peer.done or now - peer.started > self._behind * peer.usual:
                due += 1
                done += peer.done
        if due >= 3 and done < 0.5 * due:
            return False
        return self._worthwhile()

    def _worthwhile(self) -> bool:
        """Whether copies win about as often as they should; where they do not, only a probe goes now and then."""
        if self._hoped < _TRIALS or self._won >= _WORTH * self._hoped:
            return True
        if self._requests - self._probed < _PROBE:
            return False
        self._probed = self._requests
        return True

    def first_content(self, ticket: Ticket, now: float) -> None:
        """Any copy of the request got its first content, or it ended without."""
        if ticket.done:
            return
        ticket.done = True
        if not ticket.late and now - ticket.started < self._late * ticket.usual:
            self._count(late=False)

    def dropped(self, ticket: Ticket) -> None:
        """The request failed or was given up: it says nothing about how fast the others should be."""
        ticket.done = True
        if ticket in self._peers:
            self._peers.remove(ticket)

    def judged(self, ticket: Ticket, *, won: bool) -> None:
        """The copy of this request won or lost."""
        self._won += won
        self._hoped += ticket.hope
        if self._hoped > 2 * _TRIALS:
            self._won, self._hoped = self._won / 2, self._hoped / 2

    def _count(self, *, late: bool) -> None:
        self._late_rate += (late - self._late_rate) / 25
        self._alarm = self._late_rate > (_CALM if self._alarm else _ALARM)

    def overloaded(self) -> None:
        """The upstream said it has too much to do: nothing extra until the balance has grown again."""
        self.budget.drain()
