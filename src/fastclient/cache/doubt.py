"""Whose fault a missing answer is: a server's, or our own loop's, which had no time to hear it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from fastclient.cache.circuit import Circuit

__all__ = ["Doubt"]

_WAIT = 0.02  # seconds in which a server that is well answers what it was asked
_LATE = 0.005  # seconds after its time that a call of the loop is late
_TIMES = 5  # that a late loop is believed to be the reason


class Doubt:
    """Suspects a server when somebody left without an answer, and finds it guilty if it is not heard soon.

    `heard` is when it was heard last, by the loop's clock. While it is `open`, nobody is to ask.
    """

    __slots__ = ("_circuit", "_guilty", "heard", "open")

    def __init__(self, circuit: Circuit, guilty: Callable[[str], None]) -> None:
        self._circuit = circuit
        self._guilty = guilty
        self.heard = -inf
        self.open = False

    def hear(self) -> None:
        """The server answered."""
        self.heard = asyncio.get_running_loop().time()

    def suspect(self) -> None:
        """Somebody left without an answer."""
        if not (self.open or self._circuit.is_open):
            self.open = True
            self._wait(self.heard, _TIMES)

    def _wait(self, last: float, times: int) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + _WAIT

        def judge() -> None:
            if self.heard == last and times and loop.time() > due + _LATE:
                self._wait(last, times - 1)  # the loop is late again
                return
            self.open = False
            if self.heard == last:
                self._guilty("no answer in time")

        loop.call_at(due, judge)
