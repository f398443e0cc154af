"""The innermost handler: send one request to one target, and read its answer under two watchdogs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio

from fastclient.config import Timeouts
from fastclient.engine.stack import Handler
from fastclient.engine.stream import Stream
from fastclient.engine.watchdog import Watchdog
from fastclient.errors import DeadlineExceeded, FastClientError, ProviderError, StreamCut
from fastclient.observe.timing import AttemptRecord
from fastclient.providers.decoder import Decoder
from fastclient.providers.dialect import find
from fastclient.providers.native.original import outgoing
from fastclient.providers.rates import rates
from fastclient.providers.refusal import refusal, request_id, scrubber
from fastclient.types import Call, Chunk, Request
from fastclient.wire.inflate import Inflated, coding_of
from fastclient.wire.port import Wire, WireResponse

__all__ = ["attempt"]

logger = logging.getLogger("fastclient")

_MAX_TEXT = 64 * 2**10  # bytes of an error body that are looked into, and shown
_MAX_RESPONSE = 64 * 2**20  # bytes of one answer
_MAX_ERROR = 2**19  # bytes read of an error body, or some more
_ERROR_PATIENCE = 1.5  # seconds an error body may take
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
            when, cause = watchdog.limit(marks.started)
            marks.until = when
            with anyio.CancelScope(deadline=when):
                response = await wire.send(sent, limits, marks)
            if response is None:
                raise watchdog.error(cause, marks.phase)
            if marks.headers is None:
                marks.note("headers")
            marks.rtt = response.rtt
            record.status, record.headers = response.status, response.headers
            record.request_id = request_id(response.headers)
            record.rates = rates(response.headers)
            watchdog.answered()
            coding = coding_of(response.headers)
            if coding in Inflated.known:
                response, coding = Inflated(response, coding), ""
            problem = _problem(response, coding)
            if problem is not None:
                record.body, record.cut = await _error_body(response, call)
                raise refusal(
                    target.provider,
                    response.status,
                    response.headers,
                    record.body[:_MAX_TEXT],
                    scrubber(target, request),
                    hint=problem or None,
                )
            document = "json" in response.headers.get("content-type", "") or _whole(request)
            stream = AttemptStream(response, Decoder(reader, document=document), watchdog, record)
            await stream.open()
            return stream
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
        self._exhausted = False  # nothing follows in the body
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
        if self._ended and not self._exhausted and not self._closed:
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
        piece: bytes | None = None
        try:
            with anyio.CancelScope(deadline=when):
                piece = await self._response.read()
        except StreamCut as error:
            self._failure = error
        if piece is None and self._failure is None:
            self._failure = watchdog.error(cause, marks.phase)
        chunks: list[Chunk] = []
        if piece:
            self._size += len(piece)
            chunks = decoder.feed(piece)
            if self._size > _MAX_RESPONSE:
                self._failure = StreamCut(f"the answer exceeds {_MAX_RESPONSE >> 20} MiB")
        elif piece is not None:
            self._exhausted = True
            chunks = decoder.finish()
        self._account(chunks, began)
        self._ended = self._ended or decoder.done
        if self._ended:
            marks.note("ended")
        if decoder.error is not None:
            self._failure = decoder.error
        elif self._ended and self._failure is None:
            self._record.outcome = "won"
        if self._failure is not None:
            self._failure = self._completed(self._failure)
        return chunks

    def _account(self, chunks: list[Chunk], began: float) -> None:
        """Note what these chunks were and when they came; keep the text for an error that may follow."""
        record, marks = self._record, self._record.marks
        now = marks.clock()
        marks.waiting += now - began
        content = False
        for chunk in chunks:
            if chunk.text or chunk.reasoning or chunk.tool_calls:
                self._texts.append(chunk.text)
                record.content_chunks += 1
                if marks.first_content is None:
                    marks.first_content = now
                else:
                    marks.gaps.append(marks.waiting)
                marks.waiting = 0.0
                content = True
            if chunk.usage is not None and chunk.usage.input_tokens is not None:
                record.input_tokens = chunk.usage.input_tokens
            if chunk.reported:
                record.reported.update(chunk.reported)
        if content:
            marks.last_content = now
        record.malformed_events = self._decoder.malformed
        self._watchdog.heard(
            now, now - began, content=content, pings=self._decoder.pings, thinking=self._decoder.thinking
        )

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
        with anyio.move_on_after(_DRAIN_PATIENCE, shield=True):
            try:
                while await self._response.read():
                    pass
            except Exception:
                return  # the answer is whole: how its connection ends is no matter


def _whole(request: Request) -> bool:
    """Whether a document was asked for, and not a stream: then an empty body is a document too, if a broken one."""
    original = request.original
    return original is not None and not (original.asked.streamed or original.turned)


async def _let_go(response: WireResponse) -> None:
    try:
        await response.aclose()
    except Exception as error:
        logger.debug("closing a connection failed with %s", type(error).__name__)


def _problem(response: WireResponse, coding: str) -> str | None:
    """Why a response is no answer; an empty string where its status says it all."""
    if 300 <= response.status < 400:
        return "a redirect, which is never followed: check base_url"
    if not 200 <= response.status < 300:
        return ""
    if response.headers.get("content-type", "").lstrip().lower().startswith("text/html"):
        return "an HTML page instead of an answer"
    return f"content-encoding {coding[:20]}, though identity was asked for" if coding else None


async def _error_body(response: WireResponse, call: Call) -> tuple[bytes, bool]:
    """The body of an error, and whether there is more. It may be endless or never come: some is read, for a while."""
    body, whole = bytearray(), False
    patience = min(call.deadline, call.record.clock() + _ERROR_PATIENCE)
    with anyio.CancelScope(deadline=patience):
        try:
            while len(body) < _MAX_ERROR and not whole:
                piece = await response.read()
                body += piece
                whole = not piece
        except StreamCut:
            pass  # what came will do
    return bytes(body), not whole


def _note_failure(record: AttemptRecord, error: BaseException) -> None:
    """How the attempt ended, unless that is settled. Cancellation is no Exception on either event loop."""
    if record.marks.ended is None:
        record.marks.note("ended")
    if record.outcome != "won":
        record.outcome = "failed" if isinstance(error, Exception) else "cancelled"
        record.error = error if isinstance(error, Exception) else None
