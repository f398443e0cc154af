"""One call upstream that several callers read: it has a task of its own, and ends when nobody reads it any more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary, ref

import anyio

from fastclient.engine.clock import running_loop
from fastclient.engine.complete import Complete
from fastclient.engine.detached import Bell, GivenUp, behind
from fastclient.engine.stack import Handler
from fastclient.errors import (
    ConnectTimeout,
    DeadlineExceeded,
    FirstTokenTimeout,
    RateLimited,
    StreamCut,
    StreamStalled,
)
from fastclient.observe.timing import AttemptRecord
from fastclient.tail.alarms import alarms_on
from fastclient.types import Attempt, Call, Chunk, Usage

if TYPE_CHECKING:
    from fastclient.config import Timeouts
    from fastclient.tail.alarms import Alarms

__all__ = ["Flight", "Flights", "late"]

logger = logging.getLogger("fastclient")

_GRACE = 0.05  # seconds the layers below have to notice a deadline by themselves
_CLOSE = 1.0  # seconds a flight that nobody reads any more may take to close
_AGAIN = 2.0  # seconds until one that goes on beyond its end is told again
_RANKS = {"background": 0, "default": 1, "interactive": 2}
_UPSTREAM = (ConnectTimeout, FirstTokenTimeout, StreamStalled)  # timeouts that are about the upstream, not the call

Settle: TypeAlias = Callable[[Sequence[Attempt], Usage, int], None]
"""Told of attempts, of the tokens of an answer, and of how many were wasted."""

_Key: TypeAlias = "tuple[bytes | None, bool, str | None, Timeouts | None]"
_Table: TypeAlias = "dict[_Key, ref[Flight]]"


class Flights:
    """The flights that may be joined, by event loop. Keeps neither loops nor flights alive.

    `settle` is told what a flight has spent after its leader left, which stands in no call's own books.
    """

    def __init__(self, settle: Settle | None = None) -> None:
        self._settle = settle
        self._loops: WeakKeyDictionary[Any, _Table] = WeakKeyDictionary()
        self._last: tuple[ref[Any], _Table] | None = None  # most programs have one loop

    def join(self, handler: Handler, call: Call) -> tuple[Flight, bool]:
        """A flight for this call, and whether the call leads it. Only what is begun already may be less urgent.

        Recovery changes what a broken answer turns into, so calls share it only with those who asked for the same.
        """
        loop, request = call.loop or running_loop(), call.request
        last = self._last
        table = last[1] if last is not None and last[0]() is loop else self._table(loop)
        key = (call.key, request.cache == "refresh", request.recover, request.timeouts)
        known = table.get(key)
        flight = None if known is None else known()
        if flight is not None and (flight.opened or flight.rank >= _RANKS[request.priority]):
            flight.latest = max(flight.latest, call.deadline)
            flight.readers += 1
            return flight, False
        flight = Flight(handler, call, table, key, self._settle)
        table[key] = ref(flight)
        flight.begin(loop)
        return flight, True

    def _table(self, loop: Any) -> _Table:
        table = self._loops.get(loop)
        if table is None:
            table = self._loops[loop] = {}
        self._last = ref(loop), table
        return table


class Flight:
    """One call upstream, read by a task of its own for all who joined. It keeps what came until the last has read it.

    The task goes on without a pause between two batches, also while its readers take their time.
    """

    __slots__ = (
        *("__weakref__", "_alarms", "_begun", "_cancel", "_expired", "_given_up", "_handler", "_held", "_key"),
        *("_leaderless", "_lent", "_settle", "_table", "_wish", "batches", "call", "complete", "error", "latest"),
        *("opened", "over", "rank", "readers", "start", "waiting", "when"),
    )

    def __init__(self, handler: Handler, call: Call, table: _Table, key: _Key, settle: Settle | None) -> None:
        self._settle = settle
        self._leaderless: int | None = None  # since its leader left, who has so many attempts in his books
        self._lent: list[AttemptRecord] = []  # those of them that went on
        self.call = call
        self.when = call.deadline + _GRACE  # to be ended, if the layers below did not notice
        self.rank = _RANKS[call.request.priority]
        self.latest = call.deadline  # of all who joined
        self.readers = 1
        self.batches: list[Sequence[Chunk]] = []
        self.start = 0  # the batch in which the answer begins: another one after a restart
        self.waiting: list[Bell] = []  # one for each who waits for something new
        self.opened = False
        self.over = False
        self.complete: Complete | None = None  # if all of the answer came at once
        self.error: Exception | None = None
        self._given_up = False
        self._handler = handler
        self._table = table
        self._key = key
        self._alarms: Alarms | None = None  # once it has begun
        self._held: object = None  # its task
        self._begun = False  # its task has taken its first step
        self._expired = False
        self._cancel: Callable[[], object] | None = None  # while that may be done to the task
        self._wish: anyio.Event | None = None  # set when somebody waits again

    def begin(self, loop: object) -> None:
        """Start the task, on the running loop."""
        self._alarms = alarms_on(loop)
        self._alarms.add(self)  # which hold it until it has ended, and so its task
        self._held = self._cancel = behind(self._run, loop)

    def left_by_leader(self) -> None:
        """The call it was begun for is over. What is under way is not in vain, for others go on."""
        if self._leaderless is None:
            attempts = self.call.record.attempts
            self._leaderless = len(attempts)
            self._lent = [attempt for attempt in attempts if attempt.outcome == "cancelled" and not attempt.kept]
            for attempt in self._lent:
                attempt.kept = True

    def _account(self) -> None:
        """Tell what was spent since the leader left."""
        if self._settle is None:
            return
        for attempt in self._lent:
            attempt.kept = False
        later = self.call.record.attempts[self._leaderless :]
        usage = Usage()
        if self.error is None and self.readers:
            for batch in self.batches[self.start :]:
                for chunk in batch:
                    usage = usage if chunk.usage is None else usage.updated(chunk.usage)
        wasted = sum(attempt.wasted for attempt in (*self._lent, *later))
        self._settle([attempt.finished() for attempt in later], usage, wasted)

    def ring(self) -> None:
        """Its time is over: end it."""
        self.when += _AGAIN
        self._expired = True
        self._end_task()

    async def stop(self) -> None:
        """Nobody reads it any more: close what is open upstream, and wait for that a moment."""
        self._leave_table()
        self._end_task()
        if self._begun:
            with anyio.move_on_after(_CLOSE, shield=True):
                while not self.over:
                    bell = Bell()
                    self.waiting.append(bell)
                    await bell.rung()

    def _end_task(self) -> None:
        """Cancel the task. One that has not begun looks for itself whether it should, and one that closes goes on."""
        if self._begun and self._cancel is not None:
            self._cancel()

    def _tell(self) -> None:
        """Wake those who wait."""
        waiting, self.waiting = self.waiting, []
        for bell in waiting:
            bell.ring()

    def partial(self, start: int, end: int | None = None) -> tuple[str, int]:
        """The text of some batches, and the number of content chunks it came in."""
        chunks = [chunk for batch in self.batches[start:end] for chunk in batch if chunk.is_content]
        return "".join(chunk.text for chunk in chunks), len(chunks)

    async def _run(self) -> None:
        error: Exception | None = None
        self._begun = True
        try:
            if self._expired:
                raise self._late()
            if self.readers:  # else everybody left before the first step
                await self._read()
        except Exception as failure:
            error = failure
        except BaseException:
            error = self._late() if self._expired else self._cancelled()
            raise
        finally:
            self._ended(error)

    async def _read(self) -> None:
        call, batches = self.call, self.batches
        stream = await self._handler(call)
        self.opened = True
        if isinstance(stream, Complete):  # and so it ends, which is all there is to be told
            batches.append(stream.chunks)
            self.complete = stream
            return
        self._tell()
        try:
            while True:
                if call.request.work is not None:
                    await self._wanted()
                batch = await stream.pull()
                if not batch:
                    break
                if batch[0].restarted:
                    self.start = len(batches)
                batches.append(batch)
                if self.waiting:
                    self._tell()
        except BaseException:
            self._cancel = None  # asyncio's own cancellation would go through the shield
            with anyio.move_on_after(_CLOSE, shield=True):
                await stream.aclose()
            raise
        await stream.aclose()  # before anybody hears of the end, which so means that all is closed

    async def _wanted(self) -> None:
        """Wait for a wish: a user's generator is not advanced before somebody has read all that came so far."""
        while not self.waiting:
            self._wish = anyio.Event()
            await self._wish.wait()

    def _ended(self, error: Exception | None) -> None:
        self.over, self.error, self._cancel, self._held = True, error, None, None
        self._leave_table()
        if self._alarms is not None:
            self._alarms.remove(self)
        if self._leaderless is not None:
            try:
                self._account()
            except Exception as failure:  # books are not worth an answer
                logger.warning("accounting for a shared call failed with %s", type(failure).__name__)
        if self.waiting:
            self._tell()

    def wait(self, bell: Bell) -> None:
        """Ring this bell when there is something new."""
        self.waiting.append(bell)
        if self._wish is not None:
            self._wish.set()

    def _leave_table(self) -> None:
        known = self._table.get(self._key)
        if known is not None and known() is self:
            del self._table[self._key]

    def _late(self) -> DeadlineExceeded:
        attempts = self.call.record.attempts
        phase = attempts[-1].marks.phase if attempts else "queue"
        return late(phase, self.partial(self.start))

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


def late(phase: str, partial: tuple[str, int]) -> DeadlineExceeded:
    """The error of a caller whose time was up after this much of the answer."""
    problem = f"the call's deadline passed while waiting for {phase}"
    return DeadlineExceeded(problem, phase=phase, partial_text=partial[0], tokens=partial[1])
