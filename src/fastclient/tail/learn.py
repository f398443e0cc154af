"""The layer right around the attempt: what each one teaches about its upstream is written down here."""

from __future__ import annotations

import logging

from fastclient.config import Timeouts
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import (
    ConnectFailed,
    ConnectTimeout,
    DeadlineExceeded,
    FirstTokenTimeout,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFailed,
    StreamCut,
)
from fastclient.observe.timing import AttemptRecord
from fastclient.tail.latency import Latency
from fastclient.tail.upstream import Upstream, Upstreams
from fastclient.types import Call, Request

__all__ = ["learned"]

logger = logging.getLogger("fastclient")

_BROKEN = (ServerFailed, ConnectFailed, ConnectTimeout, FirstTokenTimeout, StreamCut)


def learned(upstreams: Upstreams, timeouts: Timeouts, *, strict: bool) -> Layer:
    """The layer that learns. With `strict`, what it knows also shortens the wait for the first content."""

    def layer(handler: Handler) -> Handler:
        async def learning(call: Call) -> Stream:
            upstream = upstreams.of(call.target, call.loop)
            latency = upstream.latency(call.request)
            record = call.record.attempt(call.role, call.target.name)
            record.input_tokens = call.tokens
            lesson = Lesson(upstream, latency, call, record)
            sent = call.copy() if call.place is None else call  # with a place it is a copy that nobody else has
            sent.attempt, sent.patience = record, None
            if strict and _plain(call.request):
                limit = (call.request.timeouts or timeouts).first_token
                sent.patience = upstream.patience(latency, call.tokens, limit)
            try:
                stream = await handler(sent)
            except BaseException as error:
                lesson.learn(error)
                raise
            lesson.learn(None)
            return stream

        return learning

    return layer


def _plain(request: Request) -> bool:
    """Whether the length of its texts says how long a request takes: no images or files, no tools, no schema."""
    if "tools" in request.params or "response_format" in request.params:
        return False
    for message in request.messages:
        if type(content := message.get("content")) is not str and content is not None:
            return False
    return True


class Lesson:
    """What one attempt teaches about its upstream."""

    __slots__ = ("_call", "_latency", "_place", "_record", "_unasked", "_upstream")

    def __init__(self, upstream: Upstream, latency: Latency, call: Call, record: AttemptRecord) -> None:
        self._upstream = upstream
        self._latency = latency
        self._call = call
        self._record = record
        # Without a layer that asks the gate, the gate is at least told, so that it knows of refusals and quotas.
        self._unasked = call.place is None
        self._place = call.place or upstream.gate.enter_anyway(record.marks.started, tokens=call.tokens)

    def learn(self, error: BaseException | None) -> None:
        """The first content is in hand, or it failed. What goes wrong in here costs knowledge, never a call."""
        try:
            if error is None:
                self._answered()
            else:
                self._failed(error)
        except Exception as wrong:
            logger.warning("learning from an attempt failed with %s", type(wrong).__name__)

    def _answered(self) -> None:
        marks, upstream = self._record.marks, self._upstream
        now = marks.clock()
        first = now if marks.first_content is None else marks.first_content
        self._latency.observe(self._call.tokens, first - marks.started, now)
        upstream.breaker.succeeded(now)
        if self._record.rates:
            upstream.gate.heard(self._record.rates, now, self._place)
        upstream.gate.answered(now, self._place)
        if self._unasked:
            upstream.gate.done(self._place, now)

    def _failed(self, error: BaseException) -> None:
        """If it was given up, it would have taken longer than this."""
        marks, upstream = self._record.marks, self._upstream
        now = marks.clock()
        upstream.gate.heard(self._record.rates, now, self._place)
        late = type(error) is DeadlineExceeded and marks.first_content is None
        if late or isinstance(error, FirstTokenTimeout) or not isinstance(error, Exception):
            self._latency.censor(self._call.tokens, now - marks.started, now)
        if isinstance(error, (RateLimited, Overloaded)):
            if error.retryable:  # an empty account is none of the gate's business
                upstream.refused(now, error.retry_after, self._place)
        elif isinstance(error, _BROKEN):
            upstream.breaker.failed(now)
        elif isinstance(error, ProviderError):
            upstream.breaker.succeeded(now)  # it works, and does not like this request
        if self._unasked:
            upstream.gate.leave(self._place, now)
