"""A race between a request and, if it is late, one copy of it.

The first with content in hand wins, the other is closed. The race is over before the winner is handed out: nothing of
it stays open between two chunks. Where no copy can come, the handler is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

import anyio

from fastclient.config import Hedge
from fastclient.engine.detached import Apart, GivenUp, alarm
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import (
    AuthenticationFailed,
    BadRequest,
    ConfigError,
    FastClientError,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
)
from fastclient.observe.timing import AttemptRecord
from fastclient.providers.repeat import repeatable, stops_billing
from fastclient.tail.hedge import Hedging, Ticket
from fastclient.tail.upstream import Upstream, Upstreams
from fastclient.target import Target
from fastclient.types import Call, Role

__all__ = ["hedged"]

_FINAL = (BadRequest, AuthenticationFailed, PermissionDenied, NotFound, ConfigError)  # about the request itself
_HAIR = 0.002  # seconds from the decision to send to the start of the attempt, if nothing was in the way
_CLOSE = 1.0  # seconds a loser may take to close


def hedged(hedge: Hedge, targets: Sequence[Target], upstreams: Upstreams) -> Layer:
    """The layer that races. `targets` may take copies, the call's own only where giving up a stream ends its cost."""

    def layer(handler: Handler) -> Handler:
        async def hedging(call: Call) -> Stream:
            upstream = upstreams.of(call.target)
            latency = upstream.latency(call.request)
            policy = upstream.hedging(latency, hedge.budget)
            places = _places(call, targets)
            clock = call.record.clock
            cost = float(call.tokens + 1)
            ticket = policy.start(clock(), tokens=call.tokens, cost=cost, hedgeable=bool(places))
            if ticket.wake == inf:
                return await _alone(handler, call, policy, ticket)
            return await Race(handler, call, policy, ticket, lambda: _choice(call, places, upstreams)).run()

        return hedging

    return layer


def _places(call: Call, targets: Sequence[Target]) -> list[Target]:
    """Where a copy of this call may go, the caller's order first; nowhere if it must not be repeated."""
    wish = call.request.hedge
    if wish is False or not (wish or repeatable(call.request)):
        return []
    places = [target for target in targets if target != call.target]
    if wish or stops_billing(call.target):
        places.append(call.target)
    return places


def _choice(call: Call, places: Sequence[Target], upstreams: Upstreams) -> Upstream | None:
    """The place where a copy would be answered first, of those that are well and have room."""
    now = call.record.clock()
    own = upstreams.of(call.target).latency(call.request).expected(call.tokens)
    best, shortest = None, call.deadline - now
    for target in places:
        upstream = upstreams.of(target)
        expected = upstream.latency(call.request).expected(call.tokens) or own or 0.0
        if expected < shortest and not upstream.breaker.is_open and upstream.gate.has_room(now, tokens=call.tokens):
            best, shortest = upstream, expected
    return best


async def _alone(handler: Handler, call: Call, policy: Hedging, ticket: Ticket) -> Stream:
    """A request that gets no copy, but tells the policy how it went."""
    try:
        stream = await handler(call)
    except BaseException as error:
        policy.dropped(ticket)
        _hear(policy, error)
        raise
    policy.first_content(ticket, call.record.clock())
    return stream


def _hear(policy: Hedging, error: BaseException) -> None:
    """Tell the policy if an upstream has no capacity."""
    if isinstance(error, (RateLimited, Overloaded)):
        policy.overloaded()


class Race:
    """One request, one copy at most.

    The request runs in the caller's own task, because hardly any is ever copied: an alarm costs it a few microseconds,
    a task group would cost many times that. The copy gets a task of its own, which is over before the winner is handed
    out.
    """

    def __init__(
        self, handler: Handler, call: Call, policy: Hedging, ticket: Ticket, choice: Callable[[], Upstream | None]
    ) -> None:
        self._handler = handler
        self._call = call
        self._policy = policy
        self._ticket = ticket
        self._choice = choice
        self._first = len(call.record.attempts)  # this race's attempts begin here
        self._own = anyio.CancelScope()
        self._copy: Apart[Stream] | None = None
        self._copied: Stream | None = None  # the copy's answer, if that came first
        self._winning: Role | None = None
        self._over = False
        self._call_off = alarm(ticket.wake, self._ring)

    async def run(self) -> Stream:
        """The winner, with its first content; or the request's own error if neither gets there."""
        winner: Stream | None = None
        try:
            try:
                winner = await self._first_content()
            finally:
                self._over = True
                self._call_off()
                await self._stop_copy()
            return winner
        except BaseException:
            for stream in (winner, self._copied):  # the caller left, maybe while a loser was being closed
                if stream is not None:
                    await _close(stream)
            raise
        finally:
            self._account()

    async def _first_content(self) -> Stream:
        own, failure = None, None
        try:
            with self._own:
                own = await self._handler(self._call)
        except Exception as error:
            failure = error
        if own is not None and not self._decided():
            self._winning = self._call.role
            return own
        if own is not None:  # the copy was first, by a hair
            await _close(own)
        if failure is not None and self._settles(failure) and not self._decided():
            raise failure
        try:
            return await self._copy.result()  # type: ignore[union-attr]  # it won, or is all that is left
        except Exception:
            if failure is None:
                raise
            raise failure from None  # the copy's own failure stands in the attempts

    def _settles(self, error: Exception) -> bool:
        """Whether a failure of the request itself is the end: there is no copy, or none will do better."""
        _hear(self._policy, error)
        if self._copy is None:
            return True
        return isinstance(error, _FINAL) and not (isinstance(error, FastClientError) and error.retryable)

    async def _ring(self) -> None:
        """The alarm: send a copy, or look again later."""
        if self._over or self._decided():
            return
        call, ticket = self._call, self._ticket
        if self._waited():
            self._call_off = alarm(ticket.wake, self._ring)
            return
        upstream = self._choice()
        cost = _price(call, upstream)
        sent = self._policy.send_copy(ticket, call.record.clock(), cost=cost, usable=upstream is not None)
        if sent and upstream is not None:
            ticket.paid = cost
            copy = replace(call, target=upstream.target, role="hedge")
            self._copy = Apart(lambda: self._run_copy(copy))
            self._copy.begin()
        elif ticket.wake < inf:
            self._call_off = alarm(ticket.wake, self._ring)

    def _waited(self) -> bool:
        """Whether the request was, or is, in line for a permit: that is no lateness, so the ticket starts anew."""
        call, ticket = self._call, self._ticket
        attempts = call.record.attempts[self._first :]
        own = next((attempt for attempt in attempts if attempt.role == call.role), None)
        shift = (call.record.clock() if own is None else own.marks.started) - ticket.started
        if shift < _HAIR:
            return False
        ticket.started += shift
        ticket.wake += shift
        return True

    async def _run_copy(self, call: Call) -> Stream:
        """The copy's answer, if it comes first; then the request is given up."""
        if not (self._over or self._decided()):  # an answer may have come between the decision and now
            try:
                stream = await self._handler(call)
            except Exception as error:
                _hear(self._policy, error)
                raise
            if not (self._over or self._decided()):
                self._winning, self._copied = "hedge", stream
                self._own.cancel()
                return stream
            await _close(stream)
        raise GivenUp("the request itself came first")

    def _decided(self) -> bool:
        return self._winning is not None

    async def _stop_copy(self) -> None:
        """End a copy that lost, or that nobody waits for any more."""
        if self._copy is not None and self._winning != "hedge":
            with anyio.move_on_after(_CLOSE, shield=True):
                await self._copy.cancel()

    def _account(self) -> None:
        """Tell the policy how it went, and the record who lost."""
        policy, ticket, call = self._policy, self._ticket, self._call
        attempts = call.record.attempts[self._first :]
        copy = next((attempt for attempt in attempts if attempt.role == "hedge"), None)
        if self._winning is None:
            policy.dropped(ticket)
        else:
            self._waited()
            policy.first_content(ticket, call.record.clock())
            for attempt in attempts:
                if attempt.role != self._winning and attempt.outcome in ("cancelled", "won"):
                    attempt.outcome = "lost"  # also if all of it had come
        if ticket.paid and (copy is None or _unsent(copy)):
            policy.budget.refund(ticket.paid)
        elif copy is not None and self._winning is not None:
            policy.judged(ticket, won=self._winning == "hedge")


async def _close(stream: Stream) -> None:
    with anyio.move_on_after(_CLOSE, shield=True):
        await stream.aclose()


def _unsent(copy: AttemptRecord) -> bool:
    """Whether a copy was given up while its connection was still being opened."""
    marks = copy.marks
    return marks.connect_started is not None and marks.send_started is None and not marks.unstoppable


def _price(call: Call, upstream: Upstream | None) -> float:
    """What a copy costs, in tokens at the price of the call's own target."""
    own, other = call.target.price, upstream.target.price if upstream else None
    factor = other.input / own.input if own and other and own.input else 1.0
    return float(call.tokens + 1) * factor
