"""One process's connections to a server, which may be away, slow, or none at all.

Callers never wait for a connection: commands stand in a lane, and whoever waits for an answer leaves when the server
has been silent for some 40 ms. That costs one call that much; then the server is left alone, and tried again in
nobody's way. Everything here runs on the engine's loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextvars import Context
from dataclasses import dataclass
from time import monotonic
from typing import Any

from fastclient.cache.circuit import Circuit
from fastclient.cache.doubt import Doubt
from fastclient.cache.redis.lane import Lane, Order
from fastclient.engine.hop import Away

__all__ = ["EXCHANGE", "WRITE", "Counts", "Link", "Writes"]

_LONGEST_WAIT = 0.2  # seconds where many ask at once, and answers keep coming
_GRACE, _LONGEST_GRACE = 0.005, 0.1  # seconds more; the longer, the later our own loop is
EXCHANGE = 1.0  # seconds a batch of commands may take, a new connection included
WRITE = 2.0  # seconds for a batch of writes, which nobody waits for
_ELSEWHERE = ("ReadOnlyError", "MasterDownError")  # another server is the one to ask: a new connection may lead there

logger = logging.getLogger("fastclient")
_links: set[Link] = set()  # connections are closed, never collected: an open one complains about it


@dataclass(slots=True)
class Counts:
    """What a store counts."""

    hits: int = 0
    misses: int = 0
    stored: int = 0
    rejected: int = 0
    dropped: int = 0
    failures: int = 0


class Writes:
    """What became of the writes under one key since somebody began to look."""

    __slots__ = ("tasks", "written")

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.written = False

    async def settled(self) -> bool:
        """Whether anything was written, once what is under way is over."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=WRITE + _GRACE)
        return self.written


class Link:
    """A store in one process: its connections, and what waits for them. Its coroutines run on the engine's loop."""

    patience = 0.04  # seconds a call waits for a server that says nothing

    def __init__(self, pool: Any, client: Any, name: str, counts: Counts) -> None:
        self.process = os.getpid()
        self.circuit = Circuit()
        self.writing: set[asyncio.Task[None]] = set()
        self.waiting = self.waiting_bytes = 0  # of writes
        self.watched: dict[bytes, Writes] = {}
        self.lookups = Lane(client, EXCHANGE, self._heard)
        self.writes = Lane(client, WRITE, self._heard)
        self._pool = pool
        self._name = name
        self._counts = counts
        self._doubt = Doubt(self.circuit, self._failed)
        self._told: set[str] = set()
        self._trial: asyncio.Task[None] | None = None
        self._life: AsyncGenerator[None, None] | None = None

    async def ask(
        self,
        *command: Any,
        lane: Lane | None = None,
        patience: float | None = None,
        late: Callable[[Any], object] | None = None,
    ) -> Any:
        """The server's answer. Raises Away if there is none in time; `late` gets one that comes later all the same."""
        await self.begin()
        self.check()
        order = (lane or self.lookups).send(*command)
        return await self._asked(order, self.patience if patience is None else patience, late)

    async def _asked(self, order: Order, patience: float, late: Callable[[Any], object] | None = None) -> Any:
        try:
            silent = await self._waited(order.answer, patience)
        except BaseException:
            order.leave(late)
            raise
        if not order.answer.done():
            order.leave(late)
            self._counts.failures += 1
            if silent:
                self._doubt.suspect()
            raise Away("no answer in time")
        answer = order.answer.result()
        if isinstance(answer, Exception):
            self._counts.failures += 1
            kind = type(answer).__name__
            self._refused(kind)
            if kind in _ELSEWHERE:
                await self._disconnect()
            raise Away(kind)
        return answer

    async def _waited(self, answer: asyncio.Future[Any], patience: float) -> bool:
        """Wait for an answer: as long as the server is not silent, but not for ever. Returns whether it was silent."""
        now = asyncio.get_running_loop().time
        began = end = now()
        while not answer.done():
            quiet = max(began, self._doubt.heard) + patience
            end = min(quiet, began + max(patience, _LONGEST_WAIT))
            if now() >= end:
                break
            await asyncio.wait((answer,), timeout=end - now())
        if not answer.done():  # a loop that was late hears its alarms before the answers that came meanwhile
            await asyncio.wait((answer,), timeout=min(max(_GRACE, now() - end), _LONGEST_GRACE))
        return max(began, self._doubt.heard) + max(patience, self.patience) <= now()

    def check(self) -> None:
        """Raise Away if the server is left alone for the moment; when that has been long enough, try it."""
        if not (self.circuit.is_open or self._doubt.open):
            return
        if self.circuit.due(monotonic()) and self._trial is None:
            self._trial = asyncio.get_running_loop().create_task(self._try(), context=Context())
        raise Away("the server is left alone")

    async def warm(self) -> None:
        """Open the connections."""
        await self.begin()
        if self._trial is None:
            self._trial = asyncio.get_running_loop().create_task(self._try(), context=Context())

    async def _try(self) -> None:
        """See whether the server is well: it may take its time for the connections, but not for an answer."""
        try:
            for patience in (EXCHANGE + WRITE, self.patience):
                orders = [lane.send("PING") for lane in (self.lookups, self.writes)]
                if not all([await self._asked(order, patience) is True for order in orders]):
                    self.nonsense()
                    return
            if self.circuit.worked(tried=True):
                logger.warning("redis at %s answers again", self._name)
        except Away as error:
            self._failed(str(error))
        finally:
            self._trial = None

    def nonsense(self) -> None:
        """The server answered what it cannot mean."""
        self._counts.failures += 1
        self._failed("answers nonsense")

    def _heard(self, took: float, failure: Exception | None) -> None:
        """A batch is through."""
        if failure is not None:
            self._failed(type(failure).__name__)
            return
        self._doubt.hear()
        if took < self.patience and self._trial is None and self.circuit.worked():
            logger.warning("redis at %s answers again", self._name)

    def _failed(self, why: str) -> None:
        if self.circuit.failed(monotonic()):
            logger.warning("redis at %s fails (%s): calls go on without it", self._name, why)

    def _refused(self, kind: str) -> None:
        """A command was refused, which is said once of each kind, because it will be refused again."""
        if not self.circuit.is_open and kind not in self._told:
            self._told.add(kind)
            logger.warning("redis at %s refuses a command (%s)", self._name, kind)

    async def begin(self) -> None:
        """From now on the connections are closed when the loop ends: it finishes the generators it knows."""
        if self._life is None:
            _links.add(self)
            self._life = self._lived()
            await anext(self._life)

    async def _lived(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            tasks = [task for task in (self._trial, self.lookups.task, self.writes.task) if task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=EXCHANGE)
            await self._disconnect()
            _links.discard(self)

    async def _disconnect(self) -> None:
        """Drop the idle connections in one step: the pool's own way takes several, in which a lane may take one up."""
        for connection in list(self._pool._available_connections):
            await connection.disconnect()
        await asyncio.sleep(0)  # their sockets are closed a step later

    async def flush(self) -> None:
        """Wait for the writes that wait."""
        if self.writing:
            await asyncio.wait(self.writing, timeout=EXCHANGE)

    async def rest(self) -> None:
        """Write what waits, and let go of the connections that nobody uses."""
        await self.flush()
        await self._disconnect()

    async def aclose(self) -> None:
        """Let go of everything."""
        if self._life is not None:
            await self._life.aclose()
