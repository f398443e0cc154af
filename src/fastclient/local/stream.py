"""The answer of a local model as a stream like any other: timed, watched, and stopped when it is left."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from fastclient.config import Timeouts
from fastclient.engine.complete import Complete
from fastclient.engine.stream import Stream
from fastclient.engine.watchdog import Watchdog
from fastclient.errors import DeadlineExceeded, StreamCut
from fastclient.local.events import Events
from fastclient.local.line import Line
from fastclient.local.port import Begun, Ended, Job, Piece
from fastclient.observe.timing import AttemptRecord
from fastclient.types import Call, Chunk, Usage

__all__ = ["LocalStream"]


class LocalStream(Stream):
    """Reads a line. `confidence` is the smallest log probability of a token so far, if probabilities were asked for."""

    __slots__ = (
        *("_ahead", "_begun", "_closed", "_ended", "_events", "_failure", "_job", "_line", "_model", "_pieces"),
        *("_record", "_texts", "_watchdog", "confidence"),
    )

    def __init__(self, line: Line, job: Job, call: Call, record: AttemptRecord, model: str) -> None:
        limits = call.request.timeouts or Timeouts()
        self._ended = self._closed = False
        self._line = line
        self._job = job
        self._record = record
        self._model = model
        self._events = Events(call.id, model, time())
        self._watchdog = Watchdog(limits, start=record.marks.started, deadline=call.deadline, first_token=call.patience)
        self._ahead: list[Chunk] = []
        self._texts: list[str] = []
        self._pieces: list[Piece] = []
        self._begun = Begun(0.0, 0, 0)
        self._failure: Exception | None = None
        self.confidence: float | None = None

    async def open(self) -> Stream:
        """Wait for the first content, or for the end of an answer that has none."""
        try:
            while not self._ended and self._failure is None and self._record.marks.first_content is None:
                self._ahead += await self._read()
            if self._failure is not None and self._record.marks.first_content is None:
                raise self._failure
        except BaseException as error:
            self._over("failed" if isinstance(error, Exception) else "cancelled", error)
            await self.aclose()
            raise
        if self._ended and self._failure is None and self.confidence is None:
            await self.aclose()
            return Complete(self._ahead)
        return self

    async def pull(self) -> Sequence[Chunk]:
        if self._ahead:
            ahead, self._ahead = self._ahead, []
            return ahead
        try:
            while not (self._closed or self._ended):
                if self._failure is not None:
                    raise self._failure
                batch = await self._read()
                if batch:
                    return batch
        except BaseException as error:
            if not self._closed:
                self._over("failed" if isinstance(error, Exception) else "cancelled", error)
                await self.aclose()
                raise
        await self.aclose()
        return ()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._line.close()
        if not self._ended:
            self._job.cancel()
            if self._record.marks.ended is None:
                self._record.marks.note("ended")

    def __del__(self) -> None:
        if not (self._closed or self._ended):  # dropped with its loop: nobody will read on
            self._job.cancel()

    async def _read(self) -> list[Chunk]:
        """What has come since the last time, as chunks; waits if that is nothing."""
        line, marks, watchdog = self._line, self._record.marks, self._watchdog
        items = line.take()
        began = now = marks.clock()
        if not items:
            when, cause = watchdog.limit(began)
            while not items:
                await line.wait(when)
                items, now = line.take(), marks.clock()
                if not items and now >= when:
                    self._failure = self._complete(watchdog.error(cause, self._phase))
                    return []
        marks.waiting += now - began
        chunks: list[Chunk] = []
        texts: list[str] = []
        for item in items:
            if isinstance(item, str):
                texts.append(item)
            elif isinstance(item, Piece):
                texts.append(item.text)
                self._told(item)
            else:
                if texts:
                    self._text(texts, chunks)
                    texts = []
                self._other(item, chunks)
        if texts:
            self._text(texts, chunks)
        if chunks:
            self._note(chunks, now)
        watchdog.heard(now, now - began, content=bool(chunks), pings=0, thinking=False)
        return chunks

    def _text(self, texts: list[str], chunks: list[Chunk]) -> None:
        text = texts[0] if len(texts) == 1 else "".join(texts)
        if text:
            self._texts.append(text)
            pieces, self._pieces = self._pieces, []
            chunks.append(Chunk(text=text, model=self._model, raw=self._events.text(text, pieces)))

    def _told(self, piece: Piece) -> None:
        self._pieces.append(piece)
        if piece.logprob is not None and (self.confidence is None or piece.logprob < self.confidence):
            self.confidence = piece.logprob

    def _other(self, item: object, chunks: list[Chunk]) -> None:
        record, marks = self._record, self._record.marks
        if isinstance(item, Begun):
            self._begun = item
            record.input_tokens = item.prompt
            marks.dequeued = marks.sent = marks.started + item.waited
        elif isinstance(item, Ended):
            self._ended = True
            record.outcome = "won"
            record.reported |= {"prefill": item.prefill, "server_queue": 0.0}
            marks.note("ended")
            events, begun = self._events, self._begun
            usage = Usage(input_tokens=begun.prompt, output_tokens=item.written, cache_read_tokens=begun.cached)
            counted = events.usage(begun.prompt, begun.cached, item.written)
            chunks += [
                Chunk(finish_reason=item.reason, model=self._model, raw=events.finish(item.reason)),
                Chunk(usage=usage, model=self._model, raw=counted, reported=dict(record.reported)),
                Chunk(raw=events.done()),
            ]
        elif isinstance(item, Exception):
            self._failure = self._complete(item)

    def _note(self, chunks: list[Chunk], now: float) -> None:
        """When content came."""
        marks = self._record.marks
        contents = sum(bool(chunk.text) for chunk in chunks)
        if contents:
            self._record.content_chunks += contents
            if marks.first_content is None:
                marks.first_content = now
            else:
                marks.gaps.append(marks.waiting)
            marks.last_content, marks.waiting = now, 0.0

    @property
    def _phase(self) -> str:
        marks = self._record.marks
        if marks.first_content is not None:
            return "decode"
        return "queue" if marks.dequeued is None else "first_token"

    def _complete(self, error: Exception) -> Exception:
        """The failure with what had come before it."""
        if isinstance(error, (StreamCut, DeadlineExceeded)):
            error.partial_text, error.tokens = "".join(self._texts), self._record.content_chunks
        return error

    def _over(self, outcome: str, error: BaseException) -> None:
        record = self._record
        if record.marks.ended is None:
            record.marks.note("ended")
        if record.outcome != "won":
            record.outcome = "failed" if outcome == "failed" else "cancelled"
            record.error = error if isinstance(error, Exception) else None
