"""Commands on their way to a server: sent in batches, and not sent at all while it is in trouble."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from fastclient.engine.hop import Away

__all__ = ["Lane", "Order"]

_BATCH, _BATCH_BYTES = 64, 2**20  # commands sent at once


class Order:
    """A command, and the answer that it will get: a value, or an error as a value."""

    __slots__ = ("answer", "command", "left", "size")

    def __init__(self, command: tuple[Any, ...]) -> None:
        self.command = command
        self.size = sum(len(part) for part in command if isinstance(part, bytes))
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.left = False  # nobody waits any more: it need not be sent

    def leave(self, late: Callable[[Any], object] | None) -> None:
        """Wait no more; `late` gets an answer that comes all the same."""
        self.left = True
        if late is not None:
            self.answer.add_done_callback(lambda answer: late(answer.result()))


class Lane:
    """Commands in line for one connection, sent in batches: what comes while one is under way goes with the next.

    So a thousand callers at once cost a few round trips, and no more than one connection.
    """

    def __init__(self, client: Any, limit: float, heard: Callable[[float, Exception | None], object]) -> None:
        self._client = client
        self._limit = limit
        self._heard = heard
        self._line: deque[Order] = deque()
        self.task: asyncio.Task[None] | None = None

    def send(self, *command: Any) -> Order:
        """Put a command into the line."""
        order = Order(command)
        self._line.append(order)
        if self.task is None:  # of nobody's context: callers come and go
            self.task = asyncio.get_running_loop().create_task(self._work(), context=Context())
        return order

    async def _work(self) -> None:
        try:
            while batch := self._batch():
                await self._exchange(batch)
        finally:
            self.task = None
            self._fail(Away("the interpreter is exiting"))

    def _batch(self) -> list[Order]:
        batch: list[Order] = []
        size = 0
        while self._line and len(batch) < _BATCH and size < _BATCH_BYTES:
            order = self._line.popleft()
            if not order.left:
                batch.append(order)
                size += order.size
        return batch

    async def _exchange(self, batch: list[Order]) -> None:
        loop = asyncio.get_running_loop()
        began, failure = loop.time(), None
        try:
            pipeline = self._client.pipeline(transaction=False)
            for order in batch:
                pipeline.execute_command(*order.command)
            async with asyncio.timeout(self._limit):
                answers = await pipeline.execute(raise_on_error=False)
            for order, answer in zip(batch, answers, strict=True):
                order.answer.set_result(answer)
        except Exception as error:
            failure = error
        finally:
            if any(not order.answer.done() for order in batch):
                self._line.extendleft(batch)
                self._fail(failure or Away("the interpreter is exiting"))
        self._heard(loop.time() - began, failure)

    def _fail(self, error: Exception) -> None:
        """An error for all that have no answer."""
        while self._line:
            order = self._line.popleft()
            if not order.answer.done():
                order.answer.set_result(error)
