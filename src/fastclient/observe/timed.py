"""The outermost layer: it sees the whole call, puts the answer together, and tells observers how it went."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from fastclient.config import Observer
from fastclient.engine.answer import Answer
from fastclient.engine.stack import Handler
from fastclient.engine.stream import Stream
from fastclient.errors import FastClientError, StreamCut
from fastclient.observe.events import CallFinished, emit
from fastclient.observe.stats import StatsRecorder
from fastclient.types import Attempt, CacheInfo, Call, Chunk, Reply, Timings, Usage

__all__ = ["TimedStream", "timed"]


def timed(
    handler: Handler, observers: tuple[Observer, ...], stats: StatsRecorder
) -> Callable[[Call], Coroutine[Any, Any, TimedStream]]:
    """Time each call as its caller sees it. Costs about two clock readings per batch of chunks."""

    async def timing(call: Call) -> TimedStream:
        stats.started()
        stream = TimedStream(call, observers, stats)
        try:
            stream.inner = await handler(call)
        except BaseException as error:
            stream.finish(error)
            raise
        stream.handed = call.record.returned = call.record.clock()
        return stream

    return timing


class TimedStream(Stream):
    """A stream that knows how long its reader waited, how long the reader kept its chunks, and what has come so far."""

    __slots__ = ("_call", "_finished", "_observers", "_stats", "answer", "handed", "inner")

    def __init__(self, call: Call, observers: tuple[Observer, ...], stats: StatsRecorder) -> None:
        self._call = call
        self._observers = observers
        self._stats = stats
        self.handed: float | None = None  # since when the reader has what there is
        self.answer = Answer()
        self.inner: Stream | None = None
        self._finished: CallFinished | None = None

    async def pull(self) -> Sequence[Chunk]:
        record = self._call.record
        began = self._taken_back()
        try:
            batch = await self.inner.pull() if self.inner is not None else ()
        except BaseException as error:
            record.decode += record.clock() - began
            self.finish(error)
            raise
        self.handed = record.clock()
        if batch:
            record.decode += self.handed - began
            self.answer.add(batch)
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
        if self._finished is None:
            self._taken_back()
        try:
            if self.inner is not None:
                await self.inner.aclose()
        finally:
            self.finish(None)

    def finish(self, error: BaseException | None) -> CallFinished:
        """The call is over: settle its timings, once, and let everybody know."""
        if self._finished is not None:
            return self._finished
        call, record, answer = self._call, self._call.record, self.answer
        record.ended = record.clock()
        timings = record.timings(answer.usage.output_tokens)
        attempts = tuple(attempt.finished() for attempt in record.attempts)
        self._describe(error, timings, attempts)
        cancelled = not any(attempt.outcome == "won" for attempt in attempts) and not isinstance(error, Exception)
        self._finished = finished = CallFinished(
            call_id=call.id,
            target=call.target.name,
            timings=timings,
            usage=self._usage(attempts),
            cache=CacheInfo(),
            attempts=attempts,
            finish_reason=answer.finish_reason,
            error=type(error).__name__ if error is not None else None,
            metadata=call.request.metadata,
        )
        self._stats.finished(finished, cancelled=cancelled)
        emit(self._observers, finished)
        return finished

    def _usage(self, attempts: tuple[Attempt, ...]) -> Usage:
        """What the answer took, and what other attempts took in vain."""
        wasted = sum(attempt.wasted_tokens for attempt in attempts)
        winner = self._call.record.winner()
        return replace(self.answer.usage.priced(winner.price if winner else None), wasted_tokens=wasted)

    def _describe(self, error: BaseException | None, timings: Timings, attempts: tuple[Attempt, ...]) -> None:
        if isinstance(error, FastClientError):
            error.call_id, error.timings, error.attempts = self._call.id, timings, attempts

    def unfinished(self) -> StreamCut:
        """The error for an answer that its reader did not wait for."""
        finished = self.finish(None)
        winner = self._call.record.winner()
        error = StreamCut(
            "the stream was closed before its end",
            partial_text=self.answer.text,
            tokens=winner.content_chunks if winner else 0,
        )
        self._describe(error, finished.timings, finished.attempts)
        return error

    def reply(self) -> Reply:
        """The answer as it stands. Call it once the stream is closed."""
        finished = self.finish(None)
        record = self._call.record
        winner = record.winner()
        asked = self._call.target
        target = winner.target if winner else asked.name
        return Reply(
            text=self.answer.text,
            tool_calls=self.answer.tool_calls,
            reasoning=self.answer.reasoning,
            finish_reason=self.answer.finish_reason,
            usage=finished.usage,
            model=self.answer.model or self._call.target.model,
            timings=finished.timings,
            cache=finished.cache,
            attempts=finished.attempts,
            call_id=self._call.id,
            request_id=winner.request_id if winner else None,
            malformed_events=winner.malformed_events if winner else 0,
            target=target,
            degraded=target.partition(":")[2] != asked.model,
            recovered=record.recovered,
            blocks=self.answer.blocks,
            raw=self.answer.raw,
        )
