"""The outermost layer: it sees the whole call, puts the answer together, and tells observers how it went."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from fastclient.config import Observer
from fastclient.engine.answer import Answer
from fastclient.engine.stack import Handler
from fastclient.engine.stream import Stream, Whole
from fastclient.errors import FastClientError, StreamCut
from fastclient.observe.events import CallFinished, emit
from fastclient.observe.stats import StatsRecorder
from fastclient.observe.timing import AttemptRecord
from fastclient.types import Attempt, Call, Chunk, Reply, Timings, Usage

__all__ = ["TimedHandler", "TimedStream", "timed"]


TimedHandler: TypeAlias = "Callable[[Call], Coroutine[Any, Any, TimedStream]]"
"""A handler whose streams know how long everything took."""


def timed(handler: Handler, observers: tuple[Observer, ...], stats: StatsRecorder) -> TimedHandler:
    """Time each call as its caller sees it. Costs about two clock readings per batch of chunks."""

    async def timing(call: Call) -> TimedStream:
        stats.started()
        stream = TimedStream(call, observers, stats)
        try:
            stream.opened(await handler(call))
        except BaseException as error:
            stream.finish(error)
            raise
        return stream

    return timing


class TimedStream(Stream):
    """A stream that knows how long its reader waited, how long the reader kept its chunks, and what has come so far."""

    __slots__ = (
        *("_attempts", "_call", "_observers", "_stats", "_timings", "_usage"),
        *("answer", "complete", "handed", "inner"),
    )

    def __init__(self, call: Call, observers: tuple[Observer, ...], stats: StatsRecorder) -> None:
        self._call = call
        self._observers = observers
        self._stats = stats
        self.handed: float | None = None  # since when the reader has what there is
        self.answer: Answer | Whole = _NOTHING
        self.inner: Stream | None = None
        self.complete = False
        self._timings: Timings | None = None  # these three once the call is over
        self._attempts: tuple[Attempt, ...] = ()
        self._usage = _NOTHING.usage

    def opened(self, inner: Stream) -> None:
        """The first content is in hand."""
        record = self._call.record
        self.inner = inner
        self.handed = record.returned = record.clock()
        whole = inner.whole if record.consumer is None else None
        if whole is not None:
            self.answer, self.complete = whole, True
            record.ended = record.returned
            self.finish(None)
        else:
            self.answer = Answer()

    async def pull(self) -> Sequence[Chunk]:
        if self.inner is None or self.complete:
            return ()
        record = self._call.record
        began = self._taken_back()
        try:
            batch = await self.inner.pull()
        except BaseException as error:
            record.decode += record.clock() - began
            self.finish(error)
            raise
        self.handed = record.clock()
        if batch:
            record.decode += self.handed - began
            self.answer.add(batch)  # type: ignore[union-attr]  # what is whole is complete
        else:
            self.complete = True
        return batch

    def _taken_back(self) -> float:
        """The reader is back: what it kept us waiting is its own time. Returns the time now."""
        record = self._call.record
        now = record.clock()
        if self.handed is not None and record.consumer is not None:
            record.consumer += now - self.handed
        self.handed = None
        return now

    async def aclose(self) -> None:
        if self._timings is None:
            self._taken_back()
        try:
            if self.inner is not None:
                await self.inner.aclose()
        finally:
            self.finish(None)

    def finish(self, error: BaseException | None) -> Timings:
        """The call is over: settle its timings, once, and let everybody know."""
        if self._timings is not None:
            return self._timings
        record = self._call.record
        if record.ended is None:
            record.ended = record.clock()
        record.output_tokens = self.answer.usage.output_tokens
        if record.settled:  # few callers look at these
            self._timings = timings = Timings.later(record.timings)
            self._attempts = tuple([Attempt.later(attempt.finished) for attempt in record.attempts])
        else:  # at once: what was asked may go on, for others
            self._timings = timings = record.timings()
            self._attempts = tuple([attempt.finished() for attempt in record.attempts])
        if error is not None:
            self._describe(error)
        winner = record.winner()
        usage = self._usage = self._spent(winner)
        answered = self.complete or (winner is not None and winner.outcome == "won")
        cancelled = not answered and not isinstance(error, Exception)
        failed = error is not None and not cancelled
        self._stats.finished(record, usage, failed=failed, cancelled=cancelled)
        if self._observers:
            self._tell(timings, usage, error)
        return timings

    def _tell(self, timings: Timings, usage: Usage, error: BaseException | None) -> None:
        """Let the observers know."""
        call = self._call
        event = CallFinished(
            call_id=call.id,
            target=call.target.name,
            timings=timings,
            usage=usage,
            cache=call.record.cache,
            attempts=self._attempts,
            finish_reason=self.answer.finish_reason,
            error=None if error is None else type(getattr(error, "original", error)).__name__,
            metadata=call.request.metadata,
        )
        emit(self._observers, event)

    def _spent(self, winner: AttemptRecord | None) -> Usage:
        """What the answer took, and what other attempts took in vain."""
        usage = self.answer.usage
        if winner is None:
            return usage
        if winner.price is not None:
            usage = usage.priced(winner.price)
        wasted = 0
        for attempt in self._call.record.attempts:
            wasted += attempt.wasted
        return replace(usage, wasted_tokens=wasted) if wasted else usage

    def _describe(self, error: BaseException | None) -> None:
        if isinstance(error, FastClientError):
            error.call_id, error.timings, error.attempts = self._call.id, self._timings, self._attempts

    def unfinished(self) -> StreamCut:
        """The error for an answer that its reader did not wait for."""
        self.finish(None)
        winner = self._call.record.winner()
        error = StreamCut(
            "the stream was closed before its end",
            partial_text=self.answer.text,
            tokens=winner.content_chunks if winner else 0,
        )
        self._describe(error)
        return error

    def reply(self) -> Reply:
        """The answer as it stands. Call it once the stream is closed."""
        timings = self.finish(None)
        call, answer = self._call, self.answer
        record = call.record
        winner = record.source()
        target = winner.target if winner else call.target.name
        return Reply(
            text=answer.text,
            tool_calls=answer.tool_calls,
            reasoning=answer.reasoning,
            finish_reason=answer.finish_reason,
            usage=self._usage,
            model=answer.model or call.target.model,
            timings=timings,
            cache=record.cache,
            attempts=self._attempts,
            call_id=call.id,
            request_id=winner.request_id if winner else None,
            malformed_events=winner.malformed_events if winner else 0,
            target=target,
            degraded=winner is not None and target.partition(":")[2] != call.target.model,
            recovered=record.recovered,
            blocks=answer.blocks,
            body=partial(getattr, answer, "raw"),  # no lambda: a reply can be sent to another process
        )


_NOTHING = Answer()  # what there is before the stream is open; nobody adds to it
