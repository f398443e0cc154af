"""Waiting for permission to send. The decisions are the gate's; here is only the waiting."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from fastclient.config import Timeouts
from fastclient.engine.complete import Complete
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import QueueTimeout
from fastclient.tail.limit import Gate, Place
from fastclient.tail.upstream import Upstreams
from fastclient.types import Call, Chunk, Usage

__all__ = ["limited"]

_TICK = 0.001  # seconds between two looks at the clock, at least
_ELSEWHERE = 1.0  # seconds to wait in line at most if there is another place to go to


def limited(upstreams: Upstreams, timeouts: Timeouts) -> Layer:
    """The layer that lets a call through when its upstream takes more. A hedge is let through at once or never."""

    def layer(handler: Handler) -> Handler:
        async def limiting(call: Call) -> Stream:
            gate, clock = upstreams.of(call.target, call.loop).gate, call.record.clock
            now = clock()
            if call.role == "hedge":
                place = _extra(gate, call, now)
            else:
                queue = (call.request.timeouts or timeouts).queue
                place = gate.enter(
                    now,
                    priority=call.request.priority,
                    tokens=call.tokens,
                    deadline=call.deadline,
                    patience=min(queue, _ELSEWHERE) if call.alternative else queue,
                    fresh=gate.hold,
                )
                if not place.granted:
                    await _admitted(gate, place, call, now)
            sent = call.copy()
            sent.place = place
            try:
                stream = await handler(sent)
            except BaseException:
                gate.leave(place, clock())
                raise
            finally:
                if gate.line.count:
                    _wake(gate, clock())
            if isinstance(stream, Complete):
                _done(gate, place, clock(), stream.whole.usage)
                return stream
            return LimitedStream(stream, gate, place, call)

        return limiting

    return layer


def _extra(gate: Gate, call: Call, now: float) -> Place:
    """A place for a copy, which nobody waits for."""
    place = gate.enter_now(now, tokens=call.tokens)
    if place is None:
        raise QueueTimeout("no room for a copy", phase="queue")
    return place


async def _admitted(gate: Gate, place: Place, call: Call, entered: float) -> None:
    """Wait until the place is granted. Raises when the wait was too long."""
    clock = call.record.clock
    try:
        await _turn(gate, place, call, entered)
    except BaseException:
        gate.leave(place, clock())
        _wake(gate, clock())
        raise
    finally:
        if not call.record.attempts:
            call.record.waited += clock() - entered


async def _turn(gate: Gate, place: Place, call: Call, entered: float) -> None:
    """Wait in line until the place is granted. Only the first in line watches the clock."""
    clock = call.record.clock
    while not place.settled:
        now = clock()
        if now >= place.latest:
            raise QueueTimeout(f"no permit within {now - entered:.3g} s", phase="queue")
        place.event = anyio.Event()
        until = place.latest
        if gate.first is place:
            until = min(until, max(gate.wake_at(now), now + _TICK))
        with anyio.CancelScope(deadline=until):
            await place.event.wait()
        _wake(gate, clock())
    if place.error is not None:
        raise place.error


def _wake(gate: Gate, now: float) -> None:
    """Let those go on whose turn it is, and the new first in line look at the clock."""
    for place in (*gate.ready(now), gate.first):
        if place is not None and place.event is not None:
            place.event.set()


class LimitedStream(Stream):
    """A stream that gives its place back when it ends."""

    __slots__ = ("_call", "_complete", "_gate", "_inner", "_place", "_usage")

    def __init__(self, inner: Stream, gate: Gate, place: Place, call: Call) -> None:
        self._inner = inner
        self._gate = gate
        self._place = place
        self._call = call
        self._usage: Usage | None = None
        self._complete = False

    async def pull(self) -> Sequence[Chunk]:
        try:
            batch = await self._inner.pull()
        except BaseException:
            self._give_back()
            raise
        if not batch:
            self._complete = True
            self._give_back()
        elif batch[-1].usage is not None:
            self._usage = batch[-1].usage
        return batch

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            if not self._place.over:
                self._give_back()

    def _give_back(self) -> None:
        gate, place = self._gate, self._place
        if place.over:
            return
        now = self._call.record.clock()
        if self._complete:
            _done(gate, place, now, self._usage)
            return
        gate.leave(place, now)
        if gate.line.count:
            _wake(gate, now)


def _done(gate: Gate, place: Place, now: float, usage: Usage | None) -> None:
    """An answer came to its end: its place is free."""
    gate.done(place, now, tokens=_total(usage))
    if gate.line.count:
        _wake(gate, now)


def _total(usage: Usage | None) -> int | None:
    if usage is None or usage.input_tokens is None:
        return None
    return usage.input_tokens + (usage.output_tokens or 0)
