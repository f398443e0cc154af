"""A function as a handler: the innermost one, in a provider's place, with the same layers around it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from weakref import WeakValueDictionary

from fastclient.engine.errand import Hands, Work
from fastclient.engine.lane import Strays
from fastclient.engine.seam import running_engine
from fastclient.engine.stream import Stream
from fastclient.functions.job import Bound, Job
from fastclient.functions.parcel import END, UNKEPT
from fastclient.functions.place import ByCallers, Here, OnLane, OnSpot, Place
from fastclient.observe.timing import AttemptRecord
from fastclient.types import Call, Chunk, Outcome

__all__ = ["Asked", "Lifted"]

logger = logging.getLogger("fastclient")

_LARGEST = 48 * 2**20  # bytes of an answer that may be kept
_LEAST = 16  # bytes that an item takes beside its own

_Group = tuple[bytes, bool]


class Lifted:
    """The handler for one function and what may stand in for it. `jobs` are found by the name of the call's target."""

    def __init__(self, jobs: Mapping[str, Job], *, races: bool) -> None:
        self.strays = Strays()
        self._jobs = jobs
        self._races = races
        self._groups: WeakValueDictionary[_Group, Hands] = WeakValueDictionary()

    async def handler(self, call: Call) -> Stream:
        """One run of the function; returns with its first item in hand."""
        asked = call.request.work
        if not isinstance(asked, Asked):
            raise TypeError("a request that asks no function")
        job = self._jobs[call.target.name]
        record = call.attempt or call.record.attempt(call.role, call.target.name)
        record.destination, record.input_tokens = call.target, 0
        marks = record.marks
        marks.dequeued = marks.headers = marks.started  # it begins at once, and all its time is its own
        bound = Bound(job, asked.args, asked.kwargs, asked.marks, kept=call.key is not None)
        stream = Values(self._place(bound, asked, call), record, single=job.kind in ("plain", "coroutine"))
        try:
            await stream.open()
        except BaseException:
            await stream.aclose()
            raise
        return stream

    def _place(self, bound: Bound, asked: Asked, call: Call) -> Place:
        if bound.job.kind in ("coroutine", "async generator"):
            return OnSpot(bound)
        home = running_engine()
        if home is None or not home.is_current:
            return Here(bound)
        hands = asked.hands(call)
        return OnLane(bound, hands, self.strays) if self._races or not hands else ByCallers(bound, hands, self.strays)

    def group(self, key: bytes, *, refresh: bool) -> Hands:
        """Those who wait for the answer with this key."""
        hands = self._groups.get((key, refresh))
        if hands is None:
            hands = self._groups[key, refresh] = Hands()
        return hands


class Asked(Work):
    """What a request asks of a function: its arguments. Shows none of them."""

    __slots__ = ("_hands", "_lifted", "args", "kwargs", "marks")

    def __init__(
        self, lifted: Lifted, args: tuple[object, ...], kwargs: dict[str, object], marks: frozenset[object]
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self.marks = marks
        self._lifted = lifted
        self._hands: Hands | None = None

    def hands(self, call: Call) -> Hands:
        if call.key is not None:
            return self._lifted.group(call.key, refresh=call.request.cache == "refresh")
        if self._hands is None:
            self._hands = Hands()
        return self._hands


class Values(Stream):
    """What one run brings, item by item."""

    __slots__ = ("_ahead", "_closed", "_ended", "_items", "_place", "_record", "_single", "_size")

    def __init__(self, place: Place, record: AttemptRecord, *, single: bool) -> None:
        self._place = place
        self._record = record
        self._single = single
        self._ahead: Sequence[Chunk] = ()
        self._items = self._size = 0
        self._closed = self._ended = False

    async def open(self) -> None:
        self._ahead = await self._next()

    async def pull(self) -> Sequence[Chunk]:
        if self._ahead:
            ahead, self._ahead = self._ahead, ()
            return ahead
        return () if self._ended else await self._next()

    async def _next(self) -> Sequence[Chunk]:
        marks = self._record.marks
        try:
            parcel = await self._place.step(self._items)
        except BaseException as error:
            self._over("failed" if isinstance(error, Exception) else "cancelled")
            self._record.error = error if isinstance(error, Exception) else None
            raise
        marks.last_content = marks.clock()
        if marks.first_content is None:
            marks.first_content = marks.last_content
        if parcel is not None:
            self._items += 1
            self._size += len(parcel.raw) + _LEAST
            if not self._single:
                return (parcel,)
        self._over("won")
        await self.aclose()
        end = END if self._size < _LARGEST else UNKEPT
        return (end,) if parcel is None else (parcel, end)

    def _over(self, outcome: Outcome) -> None:
        self._ended = True
        self._record.outcome = outcome
        if self._record.marks.ended is None:
            self._record.marks.note("ended")

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._ended:
            self._over("cancelled")
        try:
            await self._place.close()
        except Exception as error:
            logger.warning("closing a generator failed with %s", type(error).__name__)
