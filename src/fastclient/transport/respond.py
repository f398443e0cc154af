"""From an answer or a failure to what an HTTP library hands to its SDK: the provider's own bytes where there are any.

A failure of the provider is its own response again. One that happened on the way is the class that the asking HTTP
library would have raised itself, so that the `except` clauses and retries written for it go on working.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fastclient.errors import (
    AuthenticationFailed,
    BadRequest,
    ConfigError,
    ConnectFailed,
    ConnectTimeout,
    DeadlineExceeded,
    FastClientError,
    LocalUnavailable,
    NotFound,
    Overloaded,
    PermissionDenied,
    PromptTooLong,
    ProviderError,
    QueueTimeout,
    RateLimited,
    StreamCut,
)
from fastclient.observe.timed import TimedStream
from fastclient.observe.timing import AttemptRecord, CallRecord
from fastclient.providers.native.original import Form, Original
from fastclient.providers.sse import SSEParser
from fastclient.transport.translated import Translated
from fastclient.types import Call

__all__ = ["Answered", "Raised", "Readable", "ends", "open_answer", "raised"]

_JSON, _EVENTS = (b"content-type", b"application/json"), (b"content-type", b"text/event-stream; charset=utf-8")
# Of the connection the answer came on, or of bytes that are not the ones handed on.
_OF_CONNECTION = frozenset(
    (
        b"content-length",
        b"content-encoding",
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"proxy-connection",
        b"upgrade",
    )
)
_OF_BODY = frozenset((b"content-length", b"content-type", b"content-encoding"))
# A redirect is not followed: the HTTP library would take the prompt, and keys it does not know, to another host.
_NOT_OF_REFUSALS = _OF_CONNECTION | {b"location"}
_NO_MORE = (b"x-should-retry", b"false")  # both SDKs obey
_STATUS: Mapping[type[ProviderError], int] = {
    BadRequest: 400,
    AuthenticationFailed: 401,
    PermissionDenied: 403,
    NotFound: 404,
    RateLimited: 429,
    Overloaded: 529,
}

# What each failure is in the words of the httpx family; the first that fits.
_RAISED: tuple[tuple[type[FastClientError], str], ...] = (
    (ConnectTimeout, "ConnectTimeout"),
    (QueueTimeout, "PoolTimeout"),
    (DeadlineExceeded, "ReadTimeout"),
    (LocalUnavailable, "ConnectError"),
    (ConfigError, "ConnectError"),  # closed meanwhile
    (StreamCut, "RemoteProtocolError"),
)


Readable: TypeAlias = TimedStream | Translated
Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Headers as an HTTP library keeps them."""


class Raised(Exception):
    """The call failed on the way: to be raised as the family's class of this name."""

    def __init__(self, name: str, error: FastClientError) -> None:
        super().__init__(str(error))
        self.name = name
        self.error = error


@dataclass(slots=True)
class Answered:
    """A response: its body is there, or is still to be read from the stream."""

    status: int
    headers: Fields = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    stream: Readable | None = None


async def open_answer(
    handler: Callable[[Call], Coroutine[Any, Any, TimedStream]], call: Call, original: Original, *, retried: bool
) -> Answered:
    """Make the call. Returns when its first content is there, or all of it if it is asked for whole.

    `retried` says that failures were tried again already as often as makes sense. Raises Raised.
    """
    try:
        stream = await handler(call)
        if _is_foreign(call.record.source(), original):
            return await _translated(Translated(stream, call, original), call.record, original)
        if original.asked.streamed:
            return _streaming(stream, call.record)
        await _read(stream)
        return _whole(stream.answer.raw, call.record, original)
    except FastClientError as error:
        return _failed(error, call.record, original, retried=retried)


async def _read(stream: Readable) -> bytes:
    """All that is left, as it came."""
    pieces: list[bytes] = []
    try:
        while not stream.complete and (batch := await stream.pull()):
            pieces += [chunk.raw for chunk in batch]
    except StreamCut as error:
        if not ends(error, stream):
            raise
    finally:
        await stream.aclose()
    return b"".join(pieces)


def _streaming(stream: TimedStream, record: CallRecord) -> Answered:
    source = record.source()
    headers = [_EVENTS] if source is None else _passed_on(source, _OF_CONNECTION)
    return Answered(_status(source), headers + _told(record), stream=stream)


def _whole(raw: bytes, record: CallRecord, original: Original) -> Answered:
    source = record.source()
    turned = original.turned and not raw.lstrip().startswith(b"{")
    headers = [] if source is None else _passed_on(source, _OF_CONNECTION | _OF_BODY if turned else _OF_CONNECTION)
    if source is None or turned:
        headers.append(_JSON)
    return Answered(_status(source), headers + _told(record), original.form.gathered(raw) if turned else raw)


def _is_foreign(source: AttemptRecord | None, original: Original) -> bool:
    """Whether the answer is in another format than the SDK's."""
    target = None if source is None else source.destination
    return target is not None and target.provider != original.form.provider


async def _translated(stream: Translated, record: CallRecord, original: Original) -> Answered:
    if original.asked.streamed:
        return Answered(200, [_EVENTS, *_told(record)], stream=stream)
    return Answered(200, [_JSON, *_told(record)], original.form.gathered(await _read(stream)))


def _failed(error: FastClientError, record: CallRecord, original: Original, *, retried: bool) -> Answered:
    """The response that a failure is, or the exception to raise for it."""
    form = original.form
    headers: Fields = []
    if retried and (len(record.attempts) > 1 or error.retry_budget_exhausted or not record.attempts):
        headers.append(_NO_MORE)
    if isinstance(error, PromptTooLong):
        return _made(form, 400, "context_length_exceeded", str(error), headers, record)
    if isinstance(error, ConfigError) and error.field != "client":
        return _made(form, 400, "invalid_request_error", str(error), headers, record)
    if isinstance(error, ProviderError):
        refusing = next((attempt for attempt in reversed(record.attempts) if attempt.error is error), None)
        if refusing is not None and refusing.status is not None:
            return _refused(error, refusing, original, headers, record)
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%g" % error.retry_after))
        status = _refusing(error)
        if error.body:
            headers.append(_JSON)
            return Answered(status, headers + _told(record), error.body.encode())
        return _made(
            form, status, "rate_limit_exceeded" if status == 429 else "server_error", str(error), headers, record
        )
    raise raised(error) from error


def _refused(
    error: ProviderError, attempt: AttemptRecord, original: Original, headers: Fields, record: CallRecord
) -> Answered:
    """The provider's own refusal. One that came as an event is a response of its own for who asked for no events."""
    status, body = attempt.status or 500, attempt.body
    if status < 300 and attempt.cut:
        raise Raised("RemoteProtocolError", error) from error  # a piece is no answer
    if status < 300 and original.turned:
        status = _refusing(error)
        events = SSEParser().feed(body)
        body = events[-1].data if events else body
        headers = [*_passed_on(attempt, _OF_CONNECTION | _OF_BODY), _JSON, *headers]
    else:
        left_out = _NOT_OF_REFUSALS | {_NO_MORE[0]} if _NO_MORE in headers else _NOT_OF_REFUSALS
        headers = [*_passed_on(attempt, left_out), *headers]
    return Answered(status, headers + _told(record), body)


def _refusing(error: ProviderError) -> int:
    """The status a refusal would have had. One that came as an event has that of the response it came in."""
    status = error.status_code or 0
    return status if status >= 400 else _STATUS.get(type(error), 500)


def _made(form: Form, status: int, kind: str, message: str, headers: Fields, record: CallRecord) -> Answered:
    """A refusal of our own, in the provider's form."""
    body = form.refused(status, message, kind)
    return Answered(status, [_JSON, *headers, *_told(record)], body)


def raised(error: FastClientError) -> Raised:
    """What to raise for a failure that is no response: what the library itself had raised, if it was on the wire."""
    if isinstance(error.__cause__, OSError) and not isinstance(error, DeadlineExceeded):  # of our own wire
        return Raised("ReadError" if error.sent else "ConnectError", error)
    cause = type(error.__cause__)
    if cause.__module__.partition(".")[0] in ("httpx", "httpx2") and isinstance(error, (ConnectFailed, StreamCut)):
        return Raised(cause.__name__, error)
    if isinstance(error, ConnectFailed):
        return Raised("RemoteProtocolError" if error.sent else "ConnectError", error)
    return Raised(next((name for kind, name in _RAISED if isinstance(error, kind)), "TransportError"), error)


def ends(error: StreamCut, stream: Readable) -> bool:
    """Whether an answer is whole but for the provider's last word, which some servers never say."""
    return error.truncated and stream.answer.finish_reason is not None


def _status(source: AttemptRecord | None) -> int:
    return 200 if source is None or source.status is None else source.status


def _passed_on(attempt: AttemptRecord, left_out: Container[bytes]) -> Fields:
    """The provider's own headers, repeated ones apart."""
    raw: Fields | None = getattr(attempt.headers, "raw", None)
    fields = raw or [(name.encode(), value.encode()) for name, value in attempt.headers.items()]
    return [field for field in fields if field[0].lower() not in left_out]


def _told(record: CallRecord) -> Fields:
    """What the levers did, for whoever looks at the response's headers."""
    told = [
        (b"x-fastclient-state", record.cache.state.encode()),
        (b"x-fastclient-attempts", b"%d" % len(record.attempts)),
    ]
    ttft = record.ttft
    return told if ttft is None else [*told, (b"x-fastclient-ttft", b"%.6f" % ttft)]
