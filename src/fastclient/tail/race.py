"""A race between a request and, if it is late, one copy of it.

The first with content in hand wins, the other is closed. The race is over before the winner is handed out: nothing of
it stays open between two chunks. Where no copy can come, the handler is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from math import inf
from typing import Any

import anyio

from fastclient.config import Hedge
from fastclient.engine.clock import running_loop
from fastclient.engine.detached import Apart, GivenUp, behind
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
from fastclient.providers.repeat import repeatable
from fastclient.tail.alarms import Moments
from fastclient.tail.hedge import Hedging, Ticket
from fastclient.tail.stop import Stop, stoppable
from fastclient.tail.upstream import Upstream, Upstreams
from fastclient.target import Target
from fastclient.types import Call, Role

__all__ = ["hedged"]

_FINAL = (BadRequest, AuthenticationFailed, PermissionDenied, NotFound, ConfigError)  # about the request itself
_HAIR = 0.002  # seconds from the decision to send to the start of the attempt, if nothing was in the way
_CLOSE = 1.0  # seconds a loser may take to close

_late = Moments()  # at which requests may be late


def hedged(hedge: Hedge, targets: Sequence[Target], upstreams: Upstreams) -> Layer:
    """The layer that races. `targets` may take copies, the call's own only where giving up a stream ends its cost."""

    def layer(handler: Handler) -> Handler:
        def hedging(call: Call) -> Coroutine[Any, Any, Stream]:
            upstream = upstreams.of(call.target, call.loop)
            policy = upstream.hedging(upstream.latency(call.request), hedge.budget)
            places = _places(call, targets, upstream)
            now, cost = call.record.clock(), float(call.tokens + 1)
            ticket = policy.start(now, tokens=call.tokens, cost=cost, hedgeable=bool(places))
            if ticket.wake == inf:
                return _alone(handler, call, policy, ticket)
            return Race(handler, call, policy, ticket, lambda: _choice(call, places, upstreams)).run()

        return hedging

    return layer


def _places(call: Call, targets: Sequence[Target], own: Upstream) -> Sequence[Target]:
    """Where a copy of this call may go, the caller's order first; nowhere if it must not be repeated."""
    request = call.request
    wish = request.hedge
    if wish is False or (request.params and not wish and not repeatable(request)):
        return ()
    others = [target for target in targets if target != call.target] if targets else ()
    return (*others, call.target) if wish or own.stops_billing else others


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

    The request runs in the caller's own task, because hardly any is ever copied: standing among those who wait for the
    alarm costs it next to nothing, a task group would cost many times that. The copy gets a task of its own, which is
    over before the winner is handed out.
    """

    __slots__ = (
        *("_alarms", "_call", "_choice", "_context", "_copied", "_copy", "_first", "_handler", "_over", "_own"),
        *("_policy", "_ticket", "_winning", "when"),
    )

    def __init__(
        self, handler: Handler, call: Call, policy: Hedging, ticket: Ticket, choice: Callable[[], Upstream | None]
    ) -> None:
        self._handler = handler
        self._call = call
        self._policy = policy
        self._ticket = ticket
        self._choice = choice
        self._first = len(call.record.attempts)  # this race's attempts begin here
        self._own: Stop | anyio.CancelScope | None = None  # around the request
        self._copy: Apart[Stream] | None = None
        self._copied: Stream | None = None  # the copy's answer, if that came first
        self._winning: Role | None = None
        self._over = False
        self._context = copy_context()  # a copy is sent in it, whoever's alarm rings
        self.when = ticket.wake

    async def run(self) -> Stream:
        """The winner, with its first content; or the request's own error if neither gets there."""
        own: Stream | None = None
        winner: Stream | None = None
        failure: Exception | None = None
        loop = self._call.loop or running_loop()
        self._alarms = _late.on(loop)
        self._alarms.add(self)
        try:
            try:
                try:
                    self._own = stoppable(loop)
                    with self._own:
                        own = await self._handler(self._call)
                except Exception as error:
                    failure = error
                if own is not None and self._winning is None:
                    winner, self._winning = own, self._call.role
                else:
                    winner = await self._other(own, failure)
            finally:
                self._over = True
                self._alarms.remove(self)
                if self._copy is not None:
                    await self._stop_copy()
            return winner
        except BaseException:
            for stream in (winner, self._copied):  # the caller left, maybe while a loser was being closed
                if stream is not None:
                    await _close(stream)
            raise
        finally:
            self._account()

    async def _other(self, own: Stream | None, failure: Exception | None) -> Stream:
        """The copy's answer, or an error: the request itself failed, or did not come first."""
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

    def ring(self) -> None:
        """The alarm. What follows is done in a task: nothing of anyio's can be made in a timer's callback."""
        self.when = inf
        if not (self._over or self._decided()):
            self._context.run(behind, self._decide)

    async def _decide(self) -> None:
        """Send a copy, or look again later."""
        if self._over or self._decided():
            return
        self._look()
        if self._copy is None:  # one is enough
            self.when = self._ticket.wake
            self._alarms.add(self)

    def _look(self) -> None:
        call, ticket = self._call, self._ticket
        if self._waited():
            return
        upstream = self._choice()
        cost = _price(call, upstream)
        sent = self._policy.send_copy(ticket, call.record.clock(), cost=cost, usable=upstream is not None)
        if sent and upstream is not None:
            ticket.paid = cost
            copy = call.copy()
            copy.target, copy.role = upstream.target, "hedge"
            self._copy = Apart(lambda: self._run_copy(copy))
            self._copy.begin()

    def _waited(self) -> bool:
        """Whether the request was, or is, in line for a permit: that is no lateness, so the ticket starts anew."""
        call, ticket = self._call, self._ticket
        began: float | None = None
        for attempt in call.record.attempts[self._first :]:
            if attempt.role == call.role:
                began = attempt.marks.started
                break
        shift = (call.record.clock() if began is None else began) - ticket.started
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
                if self._own is not None:
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
        if self._winning is None:
            policy.dropped(ticket)
        else:
            self._waited()
            policy.first_content(ticket, call.record.clock())
        if self._copy is None:
            return
        attempts = call.record.attempts[self._first :]
        copy = next((attempt for attempt in attempts if attempt.role == "hedge"), None)
        for attempt in attempts:
            if self._winning not in (None, attempt.role) and attempt.outcome in ("cancelled", "won"):
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
