"""The innermost handler: send one request to one target, and read its answer under two watchdogs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

import anyio

from fastclient.config import Timeouts
from fastclient.engine.complete import Complete
from fastclient.engine.stack import Handler
from fastclient.engine.stream import Stream
from fastclient.engine.watchdog import Watchdog
from fastclient.errors import DeadlineExceeded, FastClientError, ProviderError, StreamCut
from fastclient.observe.timing import AttemptRecord
from fastclient.providers.decoder import Decoder
from fastclient.providers.dialect import find
from fastclient.providers.native.original import Original, outgoing
from fastclient.providers.rates import rates
from fastclient.providers.refusal import refusal, request_id, scrubber
from fastclient.types import Call, Chunk
from fastclient.wire.inflate import Inflated, coding_of
from fastclient.wire.port import Late, Wire, WireResponse

__all__ = ["attempt"]

logger = logging.getLogger("fastclient")

_MAX_TEXT = 64 * 2**10  # bytes of an error body that are looked into, and shown
_MAX_RESPONSE = 64 * 2**20  # bytes of one answer
_MAX_ERROR = 2**19  # bytes read of an error body, or some more
_ERROR_PATIENCE = 1.5  # seconds an error body may take
_USUAL = "text/event-stream"
_DRAIN_PATIENCE = 0.05  # seconds the end of the body may take behind the terminal event


def attempt(wire: Wire, timeouts: Timeouts) -> Handler:
    """A handler that tries the call's target once. It returns when the first content is in hand."""

    async def attempting(call: Call) -> Stream:
        target, request = call.target, call.request
        record = call.attempt or call.record.attempt(call.role, target.name)
        record.price, record.destination = target.price, target
        marks = record.marks
        try:
            layout = call.layout  # made for one target: another one's cache has not seen this prompt
            sent = outgoing(request, target, layout if layout and layout.target == target else None)
            reader = find(target.provider).reader(request, target)
        except BaseException as error:
            _note_failure(record, error)
            raise
        limits = request.timeouts or timeouts
        watchdog = Watchdog(
            limits, start=marks.started, deadline=call.deadline, thinking=reader.thinking, first_token=call.patience
        )
        response: WireResponse | None = None
        try:
            marks.until, cause = watchdog.limit(marks.started)
            try:
                response = await wire.send(sent, limits, marks)
            except Late:
                raise watchdog.error(cause, marks.phase) from None
            if marks.headers is None:
                marks.note("headers")
            marks.rtt = response.rtt
            headers = record.headers = response.headers
            record.status = response.status
            record.request_id = request_id(headers)
            record.rates = rates(headers)
            watchdog.answered()
            coding = coding_of(headers)
            if coding in Inflated.known:
                response, coding = Inflated(response, coding), ""
            kind = headers.get("content-type", "")
            problem = _problem(response.status, kind, coding)
            if problem is not None:
                record.body, record.cut = await _error_body(response, call)
                raise refusal(
                    target.provider,
                    response.status,
                    headers,
                    record.body[:_MAX_TEXT],
                    scrubber(target, request),
                    hint=problem or None,
                )
            document = "json" in kind or (request.original is not None and _whole(request.original))
            stream = AttemptStream(response, Decoder(reader, document=document), watchdog, record)
            await stream.open()
            return await stream.completed() if stream.complete else stream
        except BaseException as error:
            _note_failure(record, error)
            if response is not None:
                await _let_go(response)
            raise

    return attempting


class AttemptStream(Stream):
    """The answer of one attempt, straight from the wire."""

    def __init__(self, response: WireResponse, decoder: Decoder, watchdog: Watchdog, record: AttemptRecord) -> None:
        self._response = response
        self._decoder = decoder
        self._watchdog = watchdog
        self._record = record
        self._ahead: list[Chunk] = []  # chunks up to and with the first content
        self._texts: list[str] = []
        self._size = 0
        self._failure: FastClientError | None = None  # to raise once the chunks before it are delivered
        self._ended = False
        self._closed = False

    async def open(self) -> None:
        """Read until the first content, or to the end of an answer that has none."""
        while self._record.marks.first_content is None and not self._ended:
            if self._failure is not None:
                break
            self._ahead += await self._read()
        if self._failure is not None and self._record.marks.first_content is None:
            self._record.body = b"".join(chunk.raw for chunk in self._ahead)
            raise self._failure

    @property
    def complete(self) -> bool:
        """Whether all of it is here, and nothing went wrong."""
        return self._ended and self._failure is None and self._response.complete

    async def completed(self) -> Complete:
        """The same once it is complete, with its connection given back."""
        await self._close()
        return Complete(self._ahead)

    async def pull(self) -> Sequence[Chunk]:
        try:
            if self._ahead:
                ahead, self._ahead = self._ahead, []
                return ahead
            while not self._closed:
                if self._failure is not None:
                    raise self._failure
                if self._ended:
                    break
                batch = await self._read()
                if batch:
                    return batch
        except BaseException as error:
            if not (self._closed and isinstance(error, StreamCut)):
                _note_failure(self._record, error)
                await self._close()
                raise
        await self.aclose()
        return ()

    async def aclose(self) -> None:
        if not self._closed:
            if self._ended and not self._response.complete:
                await self._drain()
            await self._close()

    async def _close(self) -> None:
        if not self._closed:
            self._closed = True
            marks = self._record.marks
            if marks.ended is None:
                marks.note("ended")
            await _let_go(self._response)

    async def _read(self) -> list[Chunk]:
        """One read of the network: the chunks it brought, maybe none."""
        marks, watchdog, decoder = self._record.marks, self._watchdog, self._decoder
        began = marks.clock()
        when, cause = watchdog.limit(began)
        chunks: list[Chunk] = []
        try:
            piece = await self._response.read(when)
        except Late:
            self._failure = watchdog.error(cause, marks.phase)
        except StreamCut as error:
            self._failure = error
        else:
            self._size += len(piece)
            chunks = decoder.feed(piece) if piece else decoder.finish()
            if self._size > _MAX_RESPONSE:
                self._failure = StreamCut(f"the answer exceeds {_MAX_RESPONSE >> 20} MiB")
        self._account(chunks, began)
        if decoder.done:
            self._ended = True
        if self._ended:
            marks.ended = marks.clock()
        if decoder.error is not None:
            self._failure = decoder.error
        elif self._ended and self._failure is None:
            self._record.outcome = "won"
        if self._failure is not None:
            self._failure = self._completed(self._failure)
        return chunks

    def _account(self, chunks: list[Chunk], began: float) -> None:
        """Note what these chunks were and when they came; keep the text for an error that may follow."""
        record, marks, decoder = self._record, self._record.marks, self._decoder
        now = marks.clock()
        waited = now - began
        marks.waiting += waited
        # By their places, which are those of `Chunk`: a text, or another kind of content; usage, or what is reported.
        texts = [chunk[0] for chunk in chunks if chunk[0] or chunk[1] or chunk[2]]
        for chunk in [chunk for chunk in chunks if chunk[4] is not None or chunk[7]]:
            if chunk.usage is not None and chunk.usage.input_tokens is not None:
                record.input_tokens = chunk.usage.input_tokens
            if chunk.reported:
                record.reported.update(chunk.reported)
        if texts:
            self._texts += texts
            record.content_chunks += len(texts)
            if marks.first_content is None:
                marks.first_content = now
            else:
                marks.gaps.append(marks.waiting)
            if len(texts) > 1:
                marks.gaps += [0.0] * (len(texts) - 1)  # those that came with another one kept nobody waiting
            marks.last_content, marks.waiting = now, 0.0
        record.malformed_events = decoder.malformed
        self._watchdog.heard(now, waited, content=bool(texts), pings=decoder.pings, thinking=decoder.thinking)

    def _completed(self, error: FastClientError) -> FastClientError:
        """The failure as the caller should see it: after content, with what had arrived."""
        record = self._record
        begun = record.marks.first_content is not None
        if isinstance(error, ProviderError):
            error.provider = error.provider or record.target.partition(":")[0]
            error.request_id = error.request_id or record.request_id
            if begun:
                cut = StreamCut(f"the provider broke the answer off: {error}")
                cut.__cause__ = error
                error = cut
        if isinstance(error, (StreamCut, DeadlineExceeded)):
            error.partial_text, error.tokens = "".join(self._texts), record.content_chunks
        if isinstance(error, StreamCut) and not begun:
            error.retryable = True  # nothing has reached anybody
        return error

    async def _drain(self) -> None:
        """Read the last bytes behind the terminal event, so that the connection can be used again."""
        clock = self._record.marks.clock
        until = clock() + _DRAIN_PATIENCE
        with anyio.CancelScope(shield=True):
            try:
                while not self._response.complete and await self._response.read(until):
                    pass
            except Exception:
                return  # the answer is whole: how its connection ends is no matter


def _whole(original: Original) -> bool:
    """Whether a document was asked for, and not a stream: then an empty body is a document too, if a broken one."""
    return not (original.asked.streamed or original.turned)


async def _let_go(response: WireResponse) -> None:
    try:
        await response.aclose()
    except Exception as error:
        logger.debug("closing a connection failed with %s", type(error).__name__)


def _problem(status: int, kind: str, coding: str) -> str | None:
    """Why a response is no answer; an empty string where its status says it all."""
    if 300 <= status < 400:
        return "a redirect, which is never followed: check base_url"
    if not 200 <= status < 300:
        return ""
    if not kind.startswith(_USUAL) and kind.lstrip().lower().startswith("text/html"):
        return "an HTML page instead of an answer"
    return f"content-encoding {coding[:20]}, though identity was asked for" if coding else None


async def _error_body(response: WireResponse, call: Call) -> tuple[bytes, bool]:
    """The body of an error, and whether there is more. It may be endless or never come: some is read, for a while."""
    body, whole = bytearray(), False
    patience = min(call.deadline, call.record.clock() + _ERROR_PATIENCE)
    with suppress(StreamCut, Late):  # what came will do
        while len(body) < _MAX_ERROR and not whole:
            piece = await response.read(patience)
            body += piece
            whole = not piece
    return bytes(body), not whole


def _note_failure(record: AttemptRecord, error: BaseException) -> None:
    """How the attempt ended, unless that is settled. Cancellation is no Exception on either event loop."""
    if record.marks.ended is None:
        record.marks.note("ended")
    if record.outcome != "won":
        record.outcome = "failed" if isinstance(error, Exception) else "cancelled"
        record.error = error if isinstance(error, Exception) else None
