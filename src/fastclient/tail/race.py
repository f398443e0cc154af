"""A race between a request and, if it is late, one copy of it. The first with content in hand wins; the other is closed.

The race is one coroutine with one task group, which ends before the winner is handed out: nothing stays open between two
chunks. Where no copy can come, the handler is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

import anyio

from fastclient.config import Hedge
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import FastClientError, Overloaded, RateLimited
from fastclient.observe.timing import AttemptRecord
from fastclient.providers.repeat import repeatable, stops_billing
from fastclient.tail.hedge import Hedging, Ticket
from fastclient.tail.upstream import Upstream, Upstreams
from fastclient.target import Target
from fastclient.types import Call, Role

__all__ = ["hedged"]


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
                stream = await _alone(handler, call, policy, ticket)
            else:
                stream = await Race(handler, call, policy, ticket, lambda: _choice(call, places, upstreams)).run()
            return stream

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
        _tell_failure(policy, ticket, error)
        raise
    policy.first_content(ticket, call.record.clock())
    return stream


def _tell_failure(policy: Hedging, ticket: Ticket, error: BaseException) -> None:
    policy.dropped(ticket)
    if isinstance(error, (RateLimited, Overloaded)):
        policy.overloaded()


class Race:
    """One request, one copy at most."""

    def __init__(
        self, handler: Handler, call: Call, policy: Hedging, ticket: Ticket, choice: Callable[[], Upstream | None]
    ) -> None:
        self._handler = handler
        self._call = call
        self._policy = policy
        self._ticket = ticket
        self._choice = choice
        self._first = len(call.record.attempts)  # this race's attempts begin here
        self._running = 0
        self._winner: Stream | None = None
        self._winning: Role | None = None
        self._error: BaseException | None = None
        self._final = False  # the request itself was refused: no copy will do better
        self._changed = anyio.Event()

    async def run(self) -> Stream:
        """The winner, with its first content; or the error of the last to fail."""
        try:
            async with anyio.create_task_group() as lanes:
                self._enter(lanes.start_soon, self._call)
                await self._settled(lanes.start_soon)
                lanes.cancel_scope.cancel()
        except BaseException:
            if self._winner is not None:  # found, but nobody is there to take it
                with anyio.CancelScope(shield=True):
                    await self._winner.aclose()
            raise
        finally:
            self._account()
        if self._winner is None:
            raise self._error or RuntimeError("a race ended without a result")
        return self._winner

    def _enter(self, start: Callable[..., object], call: Call) -> None:
        self._running += 1
        start(self._lane, call)

    async def _lane(self, call: Call) -> None:
        """One attempt. Errors are kept, not raised: the other lane may still answer."""
        try:
            if not self._decided():  # it may have come between the decision and now
                stream = await self._handler(call)
                if not self._decided():
                    self._winner, self._winning = stream, call.role
                else:
                    with anyio.CancelScope(shield=True):
                        await stream.aclose()
        except Exception as error:
            self._failed(call, error)
        finally:
            self._running -= 1
            self._changed.set()

    def _decided(self) -> bool:
        return self._winner is not None

    def _failed(self, call: Call, error: Exception) -> None:
        """The error to raise if nobody wins. A copy's says less than the request's own."""
        if isinstance(error, (RateLimited, Overloaded)):
            self._policy.overloaded()
        if self._error is None or call.role != "hedge":
            self._error = error
        if call.role != "hedge" and not (isinstance(error, FastClientError) and error.retryable):
            self._final = True

    async def _settled(self, start: Callable[..., object]) -> None:
        """Wait until there is a winner or nobody left to wait for; send the copy when it is time."""
        ticket, clock = self._ticket, self._call.record.clock
        while not self._decided() and self._running and not self._final:
            with anyio.CancelScope(deadline=ticket.wake):
                await self._changed.wait()
            if self._changed.is_set():
                self._changed = anyio.Event()
            elif clock() >= ticket.wake:
                self._maybe_copy(start)

    def _maybe_copy(self, start: Callable[..., object]) -> None:
        call, ticket = self._call, self._ticket
        upstream = self._choice()
        cost = _price(call, upstream)
        sent = self._policy.send_copy(ticket, call.record.clock(), cost=cost, usable=upstream is not None)
        if sent and upstream is not None:
            ticket.paid = cost
            self._enter(start, replace(call, target=upstream.target, role="hedge"))

    def _account(self) -> None:
        """Tell the policy how it went, and the record who lost."""
        policy, ticket, call = self._policy, self._ticket, self._call
        attempts = call.record.attempts[self._first :]
        copy = next((attempt for attempt in attempts if attempt.role == "hedge"), None)
        if self._winner is None:
            policy.dropped(ticket)
        else:
            policy.first_content(ticket, call.record.clock())
            for attempt in attempts:
                if attempt.role != self._winning and attempt.outcome == "cancelled":
                    attempt.outcome = "lost"
        if ticket.paid and (copy is None or _unsent(copy)):
            policy.budget.refund(ticket.paid)
        elif copy is not None and self._winner is not None:
            policy.judged(ticket, won=self._winning == "hedge")


def _unsent(copy: AttemptRecord) -> bool:
    """Whether a copy was given up while its connection was still being opened."""
    return copy.marks.connect_started is not None and copy.marks.send_started is None


def _price(call: Call, upstream: Upstream | None) -> float:
    """What a copy costs, in tokens at the price of the call's own target."""
    own, other = call.target.price, upstream.target.price if upstream else None
    factor = other.input / own.input if own and other and own.input else 1.0
    return float(call.tokens + 1) * factor
