"""Single flight: calls that ask the same thing at the same time share one call upstream, and all get its answer.

The call upstream is a `Flight`, which has a task of its own. Each caller reads it through a `Shared` stream, from the
first chunk on, and leaves it as it likes: the flight goes on as long as anybody reads it. The caller who began it, its
leader, lends it its record and its deadline. What fails for the sake of these alone fails for nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

import anyio

from fastclient.engine.clock import running_loop
from fastclient.engine.detached import GivenUp, behind
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import (
    ConnectTimeout,
    DeadlineExceeded,
    FastClientError,
    FirstTokenTimeout,
    RateLimited,
    StreamCut,
    StreamStalled,
)
from fastclient.observe.timing import CallRecord
from fastclient.types import CacheInfo, Call, Chunk

__all__ = ["Flights", "shared"]

_GRACE = 0.05  # seconds the layers below have to notice a deadline by themselves
_CLOSE = 1.0  # seconds a flight that nobody reads any more may take to close
_RANKS = {"background": 0, "default": 1, "interactive": 2}
_UPSTREAM = (ConnectTimeout, FirstTokenTimeout, StreamStalled)  # timeouts that are about the upstream, not the call
_SHARED = CacheInfo(state="shared")

_Key: TypeAlias = tuple[bytes | None, bool, str | None]
_Table: TypeAlias = "WeakValueDictionary[_Key, Flight]"


def shared(flights: Flights) -> Layer:
    """The layer that lets a call join another with the same key, if one is under way. Without a key it does nothing."""

    def layer(handler: Handler) -> Handler:
        async def sharing(call: Call) -> Stream:
            if call.key is None:
                return await handler(call)
            reader = Shared(flights, handler, call)
            await reader.open()
            return reader

        return sharing

    return layer


class Flights:
    """The flights that may be joined, by event loop. Keeps neither loops nor flights alive."""

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[Any, _Table] = WeakKeyDictionary()

    def join(self, handler: Handler, call: Call) -> tuple[Flight, bool]:
        """A flight for this call, and whether the call leads it. Only what is begun already may be less urgent.

        Recovery changes what a broken answer turns into, so calls share it only with those who asked for the same.
        """
        loop, request = running_loop(), call.request
        table = self._loops.get(loop)
        if table is None:
            table = self._loops[loop] = WeakValueDictionary()
        key = (call.key, request.cache == "refresh", request.recover)
        flight = table.get(key)
        if flight is not None and (flight.opened or flight.rank >= _RANKS[request.priority]):
            flight.latest = max(flight.latest, call.deadline)
            flight.readers += 1
            return flight, False
        flight = table[key] = Flight(handler, call, table, key)
        flight.begin()
        return flight, True


class Flight:
    """One call upstream, read by a task of its own for all who joined. It keeps what came until the last has read it.

    The task goes on without a pause between two batches, also while its readers take their time.
    """

    __slots__ = (
        *("__weakref__", "_given_up", "_handler", "_key", "_scope", "_table", "_waiting", "batches", "call", "error"),
        *("latest", "opened", "over", "rank", "readers", "start"),
    )

    def __init__(self, handler: Handler, call: Call, table: _Table, key: _Key) -> None:
        self.call = call
        self.rank = _RANKS[call.request.priority]
        self.latest = call.deadline  # of all who joined
        self.readers = 1
        self.batches: list[Sequence[Chunk]] = []
        self.start = 0  # the batch in which the answer begins: another one after a restart
        self.opened = False
        self.over = False
        self.error: Exception | None = None
        self._given_up = False
        self._handler = handler
        self._table = table
        self._key = key
        self._waiting: list[anyio.Semaphore] = []
        self._scope: anyio.CancelScope | None = None  # once it has begun

    def begin(self) -> None:
        behind(self._run)

    async def stop(self) -> None:
        """Nobody reads it any more: close what is open upstream, and wait for that a moment."""
        self._leave_table()
        if self._scope is not None:
            self._scope.cancel()
            bell = anyio.Semaphore(0)
            with anyio.move_on_after(_CLOSE, shield=True):
                while not self.over:
                    await self.news(bell)

    async def news(self, bell: anyio.Semaphore) -> None:
        """Wait until there is something new. A bell is for one waiter, again and again."""
        self._waiting.append(bell)
        try:
            await bell.acquire()
        except BaseException:
            if bell in self._waiting:
                self._waiting.remove(bell)
            raise

    def _tell(self) -> None:
        """Wake those who wait."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for bell in waiting:
                bell.release()

    def partial(self, start: int, end: int | None = None) -> tuple[str, int]:
        """The text of some batches, and the number of content chunks it came in."""
        chunks = [chunk for batch in self.batches[start:end] for chunk in batch if chunk.is_content]
        return "".join(chunk.text for chunk in chunks), len(chunks)

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            if self.readers:  # else everybody left before the first step
                self._scope = anyio.CancelScope(deadline=self.call.deadline + _GRACE)
                with self._scope:
                    await self._read()
                if self._scope.cancelled_caught:
                    error = self._late()
        except Exception as failure:
            error = failure
        except BaseException:
            error = self._cancelled()
            raise
        finally:
            self.over, self.error = True, error
            self._leave_table()
            self._tell()

    async def _read(self) -> None:
        stream = await self._handler(self.call)
        self.opened = True
        self._tell()
        batches = self.batches
        try:
            while batch := await stream.pull():
                if batch[0].restarted:
                    self.start = len(batches)
                batches.append(batch)
                self._tell()
        except BaseException:
            with anyio.move_on_after(_CLOSE, shield=True):
                await stream.aclose()
            raise
        await stream.aclose()  # before anybody hears of the end, which so means that all is closed

    def _leave_table(self) -> None:
        if self._table.get(self._key) is self:
            del self._table[self._key]

    def _late(self) -> DeadlineExceeded:
        attempts = self.call.record.attempts
        phase = attempts[-1].marks.phase if attempts else "queue"
        return _late(phase, self.partial(self.start))

    def _cancelled(self) -> StreamCut:
        """What a cancellation that none of its readers asked for leaves behind."""
        self._given_up = True
        text, tokens = self.partial(self.start)
        return StreamCut("the call was cancelled while it was being read", partial_text=text, tokens=tokens)

    def spares(self, call: Call) -> bool:
        """Whether it failed for its leader's sake: another call with this one's deadline might not."""
        error = self.error
        if self._given_up or isinstance(error, GivenUp):
            return True
        if isinstance(error, DeadlineExceeded):
            late = not isinstance(error, _UPSTREAM)
        else:
            late = isinstance(error, RateLimited) and not error.sent  # the pause would have outlasted the leader
        # Calls of one moment have deadlines within milliseconds of each other: those stand and fall together.
        return late and call.deadline > max(self.call.deadline, call.record.clock()) + _GRACE


class Shared(Stream):
    """One caller's view of a flight: what has come, then what comes."""

    __slots__ = (
        *("_at", "_bell", "_bounded", "_call", "_flight", "_flights", "_handler", "_leads", "_left", "_opened"),
        *("_start", "_void", "_waits"),
    )

    def __init__(self, flights: Flights, handler: Handler, call: Call) -> None:
        self._flights = flights
        self._handler = handler
        self._call = call
        self._opened = False
        self._left = False
        self._bell = anyio.Semaphore(0)
        self._waits = False
        self._void = False  # what was handed out before is void, and whoever got it has not heard of that yet
        self._join(call)

    def _join(self, call: Call) -> None:
        flight, self._leads = self._flights.join(self._handler, call)
        self._flight = flight
        self._start = self._at = flight.start
        self._bounded = self._call.deadline < flight.call.deadline  # else the flight's own end comes first

    async def open(self) -> None:
        """Wait for the first content."""
        record = self._call.record
        try:
            while not self._flight.opened:
                leads, since = self._leads, record.clock()
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
        self._opened = True
        if not self._leads:
            record.cache = _SHARED

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
                    return self._marked(batch) if self._void else batch
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
        if not flight.readers:
            await flight.stop()
        elif self._waits:  # a pull, in another task
            self._bell.release()

    async def _news(self) -> None:
        flight = self._flight
        self._waits = True
        try:
            if not self._bounded:
                await flight.news(self._bell)
                return
            with anyio.CancelScope(deadline=self._call.deadline):
                await flight.news(self._bell)
                return
        finally:
            self._waits = False
        raise _late("decode" if flight.opened else "first_token", flight.partial(self._start, self._at))

    def _end(self) -> None:
        self._left = True
        self._call.record.recovered = self._flight.call.record.recovered

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
        return [batch[0]._replace(restarted=True), *batch[1:]]

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
        return replace(call, deadline=max(call.deadline, self._flight.latest), record=record)


def _late(phase: str, partial: tuple[str, int]) -> DeadlineExceeded:
    problem = f"the call's deadline passed while waiting for {phase}"
    return DeadlineExceeded(problem, phase=phase, partial_text=partial[0], tokens=partial[1])


def _twin(error: Exception) -> Exception:
    """The same failure for another caller, whose own times and attempts will be told in it."""
    try:
        twin = copy(error)
    except Exception:  # its class cannot be called with what it keeps as its arguments
        twin = type(error).__new__(type(error))
        twin.args = error.args
        twin.__dict__.update(error.__dict__)
    if isinstance(twin, FastClientError):
        for name in ("call_id", "timings", "attempts"):
            twin.__dict__.pop(name, None)
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin
