"""Errands: what a call on the engine's loop needs done by a plain thread, above all by the one that waits for it.

A blocking caller waits on a queue for batches of chunks. An errand goes through the same queue: the thread takes it
when it has had all that came before and asks for more, does it, and tells the loop. So a plain function runs on its
caller's thread, and a generator advances only when somebody asks. Several callers may wait for one answer: then it is
whoever asks first.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

import anyio

from fastclient.engine.detached import GivenUp
from fastclient.types import Call

__all__ = ["CLOSING", "Desk", "Errand", "Hands", "Work"]

CLOSING = -1
"""The number of an errand that has to be done also by a thread that leaves."""

_CLOSE = 1.0  # seconds after which nobody will come for a closing errand
_T = TypeVar("_T")


class Errand:
    """Something to be done once, by the thread that claims it. Raises what its work raises, on the loop that asked.

    `number` says how many items of the answer came before it.
    """

    __slots__ = ("_claims", "_error", "_loop", "_settled", "_value", "_work", "number")

    def __init__(self, work: Callable[[], object], number: int = 0) -> None:
        self.number = number
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._settled: asyncio.Future[None] | None = self._loop.create_future()
        self._claims = [None]  # popping is one step, whatever other threads do
        self._value: object = None
        self._error: BaseException | None = None

    def claim(self) -> bool:
        """Whether it is the caller's to do; only one hears yes."""
        try:
            self._claims.pop()
        except IndexError:
            return False
        return True

    def run(self) -> None:
        """Do it. An interrupt comes out, and the loop hears that the work was given up."""
        try:
            self._value = self._work()
        except Exception as error:
            self._error = error
        except BaseException:
            self._error = GivenUp("the thread that did the work was interrupted")
            raise
        finally:
            try:
                self._loop.call_soon_threadsafe(self._settle)
            except RuntimeError:
                pass  # the loop has ended with the interpreter

    def _settle(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
        self._settled = None

    @property
    def settled(self) -> bool:
        """Whether it was done, and the loop knows."""
        return self._settled is None

    async def result(self) -> Any:
        """What the work returned. Cancelled before it began, it is never done."""
        if self._settled is not None:
            await self._settled
        if self._error is not None:
            raise self._error
        return self._value

    async def over(self) -> None:
        """Wait until what cannot be stopped is done."""
        if self._settled is not None:
            self._settled = self._loop.create_future()  # a cancellation took the first one with it
            with anyio.CancelScope(shield=True):
                await self._settled


class Hands:
    """The callers who wait for one answer, each by its queue. Everything here happens on the engine's thread."""

    __slots__ = ("__weakref__", "_pending", "_queues")

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[Any]] = []
        self._pending: list[Errand] = []

    def __bool__(self) -> bool:
        return bool(self._queues)

    def join(self, queue: SimpleQueue[Any]) -> None:
        """Another caller waits."""
        self._queues.append(queue)
        for errand in self._pending:
            queue.put(errand)

    def leave(self, queue: SimpleQueue[Any]) -> None:
        """A caller waits no longer."""
        self._queues.remove(queue)

    async def do(self, work: Callable[[], _T], number: int, *, again: bool = False) -> _T:
        """Have it done by one of them. `again` if another may begin anew when the one who did it is interrupted."""
        errand = self._post(Errand(work, number))
        try:
            value: _T = await errand.result()
        except GivenUp:
            if not (again and self._queues):
                raise
        except BaseException:
            if not errand.claim():
                await errand.over()
            raise
        else:
            return value
        finally:
            self._pending.remove(errand)
        return await self.do(work, number, again=again)

    async def close(self, work: Callable[[], object]) -> Errand | None:
        """Have it done by one of them, also one that leaves. If nobody comes, it is handed back."""
        errand = Errand(work, CLOSING)
        if not self._queues:
            return errand
        self._post(errand)
        try:
            with anyio.move_on_after(_CLOSE, shield=True):
                await errand.result()
        finally:
            self._pending.remove(errand)
        return errand if errand.claim() else None

    def _post(self, errand: Errand) -> Errand:
        self._pending.append(errand)
        for queue in self._queues:
            queue.put(errand)
        return errand


class Desk:
    """One caller's side: the errands that wait there, and how many items it has had. Used by its thread only."""

    __slots__ = ("_errands", "_had")

    def __init__(self) -> None:
        self._errands: list[Errand] = []
        self._had = 0

    def add(self, errand: Errand) -> None:
        self._errands.append(errand)

    def had(self, items: int) -> None:
        """So many items came."""
        self._had += items

    def due(self) -> Errand | None:
        """An errand to be done now; it is claimed already. Others belong to items that this caller has not had."""
        for errand in self._errands:
            if errand.number <= self._had:
                self._errands.remove(errand)
                return errand if errand.claim() else self.due()
        return None


class Work(ABC):
    """The call of a function, as it travels on a request."""

    @abstractmethod
    def hands(self, call: Call) -> Hands:
        """Those who wait for the same answer. Asked on the engine's thread."""
