"""Other places to go when the first one fails, in the order the user named them.

A call goes on to the next target when one has no capacity, is broken, cannot be reached, or shows no first token; not
when it refuses the request itself, and never once content was shown. A target found broken again and again is passed
over for a while, unless it is the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastclient.config import Retry, Route
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import (
    ConfigError,
    ConnectTimeout,
    FastClientError,
    FirstTokenTimeout,
    LocalUnavailable,
    Overloaded,
    QueueTimeout,
    RateLimited,
    ServerFailed,
    TransportError,
)
from fastclient.providers.dialect import find
from fastclient.providers.repeat import left_no_trace, repeatable
from fastclient.tail.recover import RecoveringStream
from fastclient.tail.upstream import Upstreams
from fastclient.target import Target
from fastclient.types import Call, Recovery, Request, Role

__all__ = ["routed"]

_ELSEWHERE = (
    *(ServerFailed, Overloaded, RateLimited, TransportError),
    *(ConnectTimeout, FirstTokenTimeout, QueueTimeout, LocalUnavailable),
)


def routed(route: Route, targets: Sequence[Target], upstreams: Upstreams, retry: Retry | None) -> Layer:
    """The layer that finds a target that answers. `targets` are those of the route, ready for use.

    Recoveries are paid for like retries, also where there are none.
    """
    share = (retry or Retry()).budget

    def layer(handler: Handler) -> Handler:
        async def routing(call: Call) -> Stream:
            stream, sent = await _somewhere(handler, call, targets, upstreams)
            mode: Recovery | None = call.request.recover or route.recover
            if mode is None or not repeatable(call.request):
                return stream
            budget = upstreams.of(sent.target).retry_budget(share)
            if retry is None:
                budget.deposit()

            async def reopen(request: Request | None) -> Stream:
                if not budget.spend():
                    error = TransportError("no retry budget is left")
                    error.retry_budget_exhausted = True
                    raise error
                if request is not None:
                    # A copy would go to a place that does not know how to go on.
                    return await handler(replace(sent, role="retry", request=replace(request, hedge=False)))
                again, _ = await _somewhere(handler, replace(call, role="retry"), targets, upstreams)
                return again

            def rest(text: str) -> Request | None:
                broken = call.record.broken()
                if broken is None or broken.target != sent.target.name:
                    return None  # a copy elsewhere had won: another model cannot go on with its words
                return find(sent.target.provider).continued(call.request, sent.target, text)

            return RecoveringStream(stream, call, mode, rest, reopen)

        return routing

    return layer


async def _somewhere(
    handler: Handler, call: Call, targets: Sequence[Target], upstreams: Upstreams
) -> tuple[Stream, Call]:
    """The answer of the first target that gives one, and the call as sent there; the error of the last otherwise."""
    *others, last = [call.target, *(target for target in targets if target != call.target)]
    failure: FastClientError | None = None
    for target in others:
        if upstreams.of(target).breaker.admits(call.record.clock()):
            sent = _sent_to(target, call, alternative=True)
            try:
                return await handler(sent), sent
            except FastClientError as error:
                if not _goes_on(error, sent):
                    raise
                failure = failure if isinstance(error, ConfigError) else error
    sent = _sent_to(last, call, alternative=False)
    try:
        return await handler(sent), sent
    except ConfigError:  # the last one has no words for this request: what happened before says more
        if failure is None:
            raise
        raise failure from None


def _sent_to(target: Target, call: Call, *, alternative: bool) -> Call:
    role: Role = call.role if target == call.target else "fallback"
    return replace(call, target=target, role=role, alternative=alternative)


def _goes_on(error: FastClientError, call: Call) -> bool:
    """Whether another target may do better, in the time that is left."""
    in_time = call.record.clock() < call.deadline
    if isinstance(error, ConfigError):  # a fallback whose format cannot express this request
        return call.role == "fallback" and in_time
    return isinstance(error, _ELSEWHERE) and in_time and (repeatable(call.request) or left_no_trace(error))
