"""Work on its way to a server: a few connections take it from one line, and each does one thing at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, TypeAlias

from fastclient.cache.postgres.driver import Connection, Lost, Refused
from fastclient.engine.hop import Away

__all__ = ["Lane", "Order", "Work"]

_READ_ONLY = "25006"  # code: another server takes writes, and a new connection may lead there

Work: TypeAlias = Callable[[Connection], Awaitable[Any]]


class Order:
    """Something to be done on a connection, and what comes of it: a value, or an error as a value."""

    __slots__ = ("answer", "left", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.left = False  # nobody waits any more: it need not be done

    def settle(self, answer: object) -> None:
        """Say what came of it, unless that is known."""
        if not self.answer.done():
            self.answer.set_result(answer)


class Lane:
    """Orders in line for at most `width` connections, which are made when they are needed.

    `heard` is told of each how long it took, and what was lost, if that happened. A connection that was idle may have
    been dead for long, so what is lost with it is tried once more on a new one.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        width: int,
        limit: float,
        heard: Callable[[float, Lost | None], object],
    ) -> None:
        self._connect = connect
        self._width = width
        self._limit = limit
        self._heard = heard
        self._line: deque[Order] = deque()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, work: Work) -> Order:
        """Put an order into the line."""
        order = Order(work)
        self._line.append(order)
        if len(self._tasks) < self._width:  # of nobody's context: callers come and go
            task = asyncio.get_running_loop().create_task(self._work(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return order

    async def _work(self) -> None:
        while self._line:
            order = self._line.popleft()
            if order.left:
                continue
            try:
                await self._do(order)
            finally:
                order.settle(Away("the interpreter is exiting"))

    async def _do(self, order: Order) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            connection = self._idle.pop() if self._idle else None
            fresh = connection is None
            try:
                answer = await self._done(connection or await self._connect(), order)
            except Lost as lost:
                if not fresh and not order.left and loop.time() - began < self._limit / 2:
                    await self.rest()  # the others are not younger
                    continue
                order.settle(lost)
                self._heard(loop.time() - began, lost)
            except Refused as refused:
                order.settle(refused)
                self._heard(loop.time() - began, None)
            except Exception as error:  # of what was sent: it cannot be written so
                order.settle(error)
            else:
                order.settle(answer)
                self._heard(loop.time() - began, None)
            return

    async def _done(self, connection: Connection, order: Order) -> object:
        """What comes of an order on this connection, which is idle afterwards, or closed."""
        alarm = asyncio.get_running_loop().call_later(self._limit, connection.abort)
        self._busy.add(connection)
        well = False
        try:
            answer = await order.work(connection)
            well = True
            return answer
        except Lost:
            raise
        except Refused as refused:
            well = refused.code != _READ_ONLY
            raise
        except Exception:
            well = True
            raise
        finally:
            alarm.cancel()
            self._busy.discard(connection)
            if well and connection.is_open:
                self._idle.append(connection)
            else:
                await connection.close()

    def abort(self) -> None:
        """Drop the connections that are at work."""
        for connection in self._busy:
            connection.abort()

    async def rest(self) -> None:
        """Close the idle connections."""
        while self._idle:
            await self._idle.pop().close()

    async def aclose(self, within: float) -> None:
        """Drop everything."""
        for order in self._line:
            order.settle(Away("closed"))
        self._line.clear()
        self.abort()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within)
            for task in late:
                task.cancel()
        await self.rest()
