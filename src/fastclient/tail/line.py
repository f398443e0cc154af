"""Who waits, and whose turn it is: three classes, first come first served within one, and nobody starves. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Protocol

from fastclient.types import Priority

if TYPE_CHECKING:
    from fastclient.errors import FastClientError
    from fastclient.tail.pace import Mark

__all__ = ["Event", "Line", "Place"]


class Event(Protocol):
    """What `anyio.Event` is to this file."""

    def set(self) -> None: ...

    async def wait(self) -> None: ...


_RANKS: Mapping[str, int] = {"interactive": 0, "default": 1, "background": 2}
_PASSED = 9  # grants that may go past a waiting class: every tenth is its own


class Place:
    """A request's place before an upstream: in line until `granted`, then under way until it is done or left.

    Who waits gives up at `latest` (then it is too late for an answer in time), or when `error` is set: the place was
    taken out of line, and this is what to raise.
    """

    __slots__ = ("error", "event", "granted", "latest", "marks", "over", "rank", "refused", "since", "tokens", "told")

    def __init__(self, priority: Priority = "default", tokens: int = 0, latest: float = inf) -> None:
        self.rank = _RANKS[priority]
        self.tokens = tokens if tokens > 1 else 1  # without an estimate: one, so that an empty quota stops it too
        self.latest = latest
        self.granted = False
        self.error: FastClientError | None = None
        self.event: Event | None = None  # to wake who waits here
        self.since = inf  # when it was granted
        self.marks: dict[str, Mark] = {}  # what each quota held then
        self.told: tuple[str, ...] = ()  # the quotas its headers told of
        self.refused = False
        self.over = False

    @property
    def settled(self) -> bool:
        """Whether waiting is over: it was granted, or it is known that it will not be."""
        return self.granted or self.error is not None


class Line:
    """The places that wait; `count` of them."""

    __slots__ = ("_passed", "_queues", "_tokens", "count")

    def __init__(self) -> None:
        self.count = 0
        # Not plain dicts: they get slow when the first entry is removed over and over.
        self._queues: tuple[OrderedDict[Place, None], ...] = tuple(OrderedDict() for _ in _RANKS)
        self._tokens = [0] * len(_RANKS)
        self._passed = [0] * len(_RANKS)

    def places(self) -> list[Place]:
        """Everybody, the first class first."""
        return [place for queue in self._queues for place in queue]

    def add(self, place: Place) -> None:
        """To the end of its class."""
        self._queues[place.rank][place] = None
        self._tokens[place.rank] += place.tokens
        self.count += 1

    def remove(self, place: Place) -> None:
        """Out of the line, wherever it stands."""
        del self._queues[place.rank][place]
        self._tokens[place.rank] -= place.tokens
        self.count -= 1

    def head(self) -> Place | None:
        """Whose turn it is: the first of the best class, or of the lowest that was passed too often."""
        if not self.count:
            return None
        waiting = [rank for rank in (2, 1, 0) if self._queues[rank]]
        rank = next((rank for rank in waiting if self._passed[rank] >= _PASSED), waiting[-1])
        return next(iter(self._queues[rank]))

    def take(self, place: Place) -> None:
        """The head of the line goes; classes below it were passed once more."""
        self.remove(place)
        self._passed[place.rank] = 0
        for rank in range(place.rank + 1, len(self._queues)):
            if self._queues[rank]:
                self._passed[rank] += 1

    def ahead(self, rank: int) -> tuple[float, float]:
        """How many requests, and how many tokens, a newcomer of this class has before it."""
        better = sum(len(queue) for queue in self._queues[: rank + 1])
        below = sum(bool(queue) for queue in self._queues[rank + 1 :])
        count = better / (1 - below / (_PASSED + 1))
        own = len(self._queues[rank])
        if own < better:  # classes above: they can make it wait for nine of theirs each time, not for all
            count = min(count, float(own + _PASSED * (own + 1)))
        return count, sum(self._tokens[: rank + 1]) * count / (better or 1)
