"""One timer of the event loop for all who may have to act at some moment: one for each would hardly ever ring."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

from fastclient.engine.clock import running_clock
from fastclient.engine.detached import alarm

__all__ = ["Alarms", "Moments", "Waiter", "alarms_on"]

logger = logging.getLogger("fastclient")


class Waiter(Protocol):
    """Something with a moment; it may choose a later one when it is rung for."""

    when: float

    def ring(self) -> None:
        """The moment is there."""
        ...


class Alarms:
    """The moments of one kind on one event loop. Only who waits, and the loop itself, by its timer, hold this."""

    __slots__ = ("__weakref__", "_armed", "_call_off", "_clock", "_context", "_loop", "_waiting")

    def __init__(self, loop: object) -> None:
        self._loop = loop if isinstance(loop, asyncio.AbstractEventLoop) else None
        self._clock = running_clock()
        self._context = Context()  # nobody's: a timer outlives who had it set
        self._waiting: dict[Waiter, None] = {}
        self._armed = inf
        self._call_off: Callable[[], object] | None = None

    def add(self, waiter: Waiter) -> None:
        """Ring for this one from its moment on, until it is removed."""
        self._waiting[waiter] = None
        if waiter.when < self._armed:
            self._arm(waiter.when)

    def remove(self, waiter: Waiter) -> None:
        """It waits no longer. The timer stays: the next one may need it."""
        if waiter in self._waiting:
            del self._waiting[waiter]

    def _arm(self, when: float) -> None:
        if self._call_off is not None:
            self._call_off()
        self._armed = when
        if self._loop is None:
            self._call_off = alarm(when, self._looking)
        else:
            self._call_off = self._loop.call_at(when, self._look, context=self._context).cancel

    async def _looking(self) -> None:
        self._look()

    def _look(self) -> None:
        """Ring for those whose moment is there, and look again at the next one's."""
        self._armed, self._call_off = inf, None
        now, nearest = self._clock(), inf
        for waiter in [*self._waiting]:
            if waiter.when <= now:
                self._ring(waiter)
            if waiter.when < nearest and waiter in self._waiting:
                nearest = waiter.when
        if nearest < self._armed:
            self._arm(nearest)

    def _ring(self, waiter: Waiter) -> None:
        try:
            waiter.ring()
        except Exception as error:
            self.remove(waiter)
            logger.debug("ringing for a call failed with %s", type(error).__name__)


class Moments:
    """The alarms of one kind, by event loop. Keeps no loop alive, and none of its alarms."""

    __slots__ = ("_last", "_loops")

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[Any, ref[Alarms]] = WeakKeyDictionary()
        self._last: tuple[ref[Any], ref[Alarms]] | None = None  # most programs have one loop

    def on(self, loop: object) -> Alarms:
        """Those of the event loop running now, which is this one."""
        last = self._last
        if last is not None and last[0]() is loop and (alarms := last[1]()) is not None:
            return alarms
        known = self._loops.get(loop)
        alarms = None if known is None else known()
        if alarms is None:
            alarms = Alarms(loop)
            self._loops[loop] = ref(alarms)
        self._last = (ref(loop), ref(alarms))
        return alarms


alarms_on = Moments().on
"""The alarms for the ends of calls on the event loop running now, which is the one given."""
