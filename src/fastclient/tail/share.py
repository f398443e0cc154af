"""Single flight: calls that ask the same thing at the same time share one call upstream, and all get its answer.

The call upstream is a `Flight`, which has a task of its own. Each caller reads it through a `Shared` stream, from the
first chunk on, and leaves it as it likes: the flight goes on as long as anybody reads it. The caller who began it, its
leader, lends it its record and its deadline. What fails for the sake of these alone fails for nobody else.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from copy import copy
from typing import Any

import anyio

from fastclient.engine.complete import Complete
from fastclient.engine.detached import Bell
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream, unshared
from fastclient.errors import StreamCut
from fastclient.observe.timing import CallRecord
from fastclient.tail.flight import Flights, late
from fastclient.types import CacheInfo, Call, Chunk

__all__ = ["Flights", "shared"]

_SHARED = CacheInfo(state="shared")


def shared(flights: Flights) -> Layer:
    """The layer that lets a call join another with the same key, if one is under way. Without a key it does nothing."""

    def layer(handler: Handler) -> Handler:
        def sharing(call: Call) -> Coroutine[Any, Any, Stream]:
            return handler(call) if call.key is None else Shared(flights, handler, call).open()

        return sharing

    return layer


class Shared(Stream):
    """One caller's view of a flight: what has come, then what comes."""

    __slots__ = (
        *("_at", "_bell", "_bounded", "_call", "_flight", "_flights", "_handler", "_leads", "_left", "_opened"),
        *("_start", "_void"),
    )

    def __init__(self, flights: Flights, handler: Handler, call: Call) -> None:
        self._flights = flights
        self._handler = handler
        self._call = call
        self._opened = False
        self._left = False
        self._bell: Bell | None = None  # while a pull waits for it
        self._void = False  # what was handed out before is void, and whoever got it has not heard of that yet

    def _join(self, call: Call) -> None:
        flight, self._leads = self._flights.join(self._handler, call)
        self._flight = flight
        self._start = self._at = 0
        if self._leads and self._opened:
            flight.left_by_leader()  # the call that leads it is in nobody's books
        self._bounded = self._call.deadline < flight.call.deadline  # else the flight's own end comes first

    async def open(self) -> Stream:
        """Join a flight, and wait for its first content. An answer that came whole needs no more reading."""
        self._join(self._call)
        record = self._call.record
        try:
            while not self._flight.opened:
                leads = self._leads
                since = 0.0 if leads else record.clock()
                try:
                    error = self._flight.error
                    if error is None:
                        await self._news()
                    elif not self._goes_on():
                        raise self._failure(error)
                finally:
                    if not leads:
                        record.waited += record.clock() - since
        except BaseException:
            await self.aclose()
            raise
        finally:
            if not self._leads:
                record.cache = _SHARED
        self._opened = True
        flight = self._flight
        if flight.over and flight.complete is not None and not self._void:
            self._end()
            return flight.complete if self._leads else Complete(unshared(flight.complete.chunks))
        return self

    async def pull(self) -> Sequence[Chunk]:
        try:
            while not self._left:
                flight = self._flight
                if self._start != flight.start:
                    self._restart()
                if flight.error is not None and self._goes_on():
                    continue
                if self._at < len(flight.batches):
                    batch = flight.batches[self._at]
                    self._at += 1
                    return self._marked(batch) if self._void else unshared(batch)
                if flight.error is not None:
                    raise self._failure(flight.error)
                if flight.over:
                    self._end()
                else:
                    await self._news()
        except BaseException:
            await self.aclose()
            raise
        return ()

    async def aclose(self) -> None:
        """Leave the flight. The last one to leave ends it."""
        if self._left:
            return
        self._left = True
        flight = self._flight
        flight.readers -= 1
        if flight.over:
            return
        if self._leads and flight.readers:
            flight.left_by_leader()
        if not flight.readers:
            await flight.stop()
        elif self._bell is not None:  # of a pull in another task
            self._bell.ring()

    async def _news(self) -> None:
        """Wait until there is something new, or until the call's deadline."""
        flight = self._flight
        bell = self._bell = Bell(self._call.loop)
        flight.wait(bell)
        try:
            if not self._bounded:
                await bell.rung()
                return
            with anyio.CancelScope(deadline=self._call.deadline):
                await bell.rung()
                return
        finally:
            self._bell = None
        raise late("decode" if flight.opened else "first_token", flight.partial(self._start, self._at))

    def _end(self) -> None:
        self._left = True
        own, lender = self._call.record, self._flight.call.record
        if own is not lender:
            own.lender, own.recovered = lender, lender.recovered

    def _restart(self) -> None:
        """The answer broke off and begins anew: fine for those who have shown nothing of it to anybody."""
        flight = self._flight
        text, tokens = flight.partial(self._start, self._at)
        if tokens and self._call.record.shown:
            problem = "the answer broke off, and a second one is read by others who share it"
            raise StreamCut(problem, partial_text=text, tokens=tokens)
        self._start = self._at = flight.start

    def _marked(self, batch: Sequence[Chunk]) -> Sequence[Chunk]:
        self._void = False
        first, *others = unshared(batch)
        return [first._replace(restarted=True), *others]

    def _goes_on(self) -> bool:
        """Whether what failed was the leader's own affair, and this reader is in another flight now."""
        flight = self._flight
        if self._leads or not flight.spares(self._call):
            return False
        if self._call.record.shown and flight.partial(self._start, self._at)[1]:
            return False  # another answer would differ from what was shown
        self._void = self._void or self._at > self._start
        self._join(self._successor())
        return True

    def _failure(self, error: Exception) -> Exception:
        """The flight's failure as this reader's."""
        flight, call = self._flight, self._call
        if self._leads:
            return error
        call.record.cache = _SHARED
        if not flight.spares(call):
            return _twin(error)
        text, tokens = flight.partial(self._start, self._at)
        cut = StreamCut("the caller who asked first could not wait for the end", partial_text=text, tokens=tokens)
        cut.__cause__ = error
        return cut

    def _successor(self) -> Call:
        """The call to lead the next flight with, if none is under way. It lasts for all who read the failed one.

        After the first content it has a record of its own: what goes on then is part of this caller's decoding.
        """
        call, record = self._call, self._call.record
        if self._opened:
            record = CallRecord(record.clock, record.clock(), consumer=record.consumer)
        successor = call.copy()
        successor.deadline, successor.record = max(call.deadline, self._flight.latest), record
        return successor


def _twin(error: Exception) -> Exception:
    """The same failure for another caller: its call's id, times and attempts will be told in it."""
    try:
        twin = copy(error)
    except Exception:  # its class cannot be called with what it keeps as its arguments
        twin = type(error).__new__(type(error))
        twin.args = error.args
        twin.__dict__.update(error.__dict__)
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin
