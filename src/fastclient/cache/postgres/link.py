"""One process's connections to a server, which may be away, slow, or none at all.

Callers never wait for a connection: what they want done stands in a lane, and they leave after some 40 ms. If the
server was silent all that time it is left alone, and tried again in nobody's way. Everything runs on the engine's loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextvars import Context
from dataclasses import dataclass
from time import monotonic
from typing import Any

from fastclient.cache.circuit import Circuit
from fastclient.cache.doubt import Doubt
from fastclient.cache.postgres.driver import Connection, Lost, Refused, connect
from fastclient.cache.postgres.lane import Lane, Order, Work
from fastclient.cache.postgres.schema import Unfit, ready
from fastclient.cache.postgres.sql import SESSION, Statements
from fastclient.engine.hop import Away

__all__ = ["LIMIT", "Counts", "Link", "Server"]

LIMIT = 2.0  # seconds that anything may take on the server, a new connection included
_READERS = 3  # connections at most; servers do not have many
_SLOW = 0.12  # seconds: an answer after which nobody can wait for is no sign of health
_GRACE, _LONGEST_GRACE = 0.005, 0.1  # seconds more; the longer, the later our own loop is

logger = logging.getLogger("fastclient")
_links: set[Link] = set()  # connections are closed, never collected


@dataclass(frozen=True, slots=True)
class Server:
    """Where questions are kept. The URL holds a password, the name does not."""

    url: str
    name: str
    statements: Statements

    def __repr__(self) -> str:
        return f"Server({self.name!r})"


@dataclass(slots=True)
class Counts:
    """What an index counts."""

    hits: int = 0
    misses: int = 0
    stored: int = 0
    evicted: int = 0
    rejected: int = 0
    dropped: int = 0
    failures: int = 0


class Link:
    """An index in one process: its connections, and what waits for them."""

    patience = 0.04  # seconds a call waits for a server that says nothing

    def __init__(self, server: Server, counts: Counts) -> None:
        self.process = os.getpid()
        self.circuit = Circuit()
        self.writing: set[asyncio.Task[None]] = set()
        self.waiting = self.waiting_bytes = 0  # of writes
        self.lookups = Lane(self._connect, _READERS, LIMIT, self._heard)
        self.writes = Lane(self._connect, 1, LIMIT, self._wrote)
        self._server = server
        self._counts = counts
        self._doubt = Doubt(self.circuit, self._failed)
        self._ready = False  # it has been reached, and has the table
        self._late = False  # somebody has waited for that in vain
        self._told: set[str] = set()
        self._trial: asyncio.Task[None] | None = None
        self._life: AsyncGenerator[None, None] | None = None

    async def _connect(self) -> Connection:
        return await connect(self._server.url, LIMIT, SESSION.format(limit=int(LIMIT)))

    async def ask(self, work: Work, *, patience: float | None = None) -> Any:
        """What comes of a lookup. Raises Away if nothing does in time, and then it need not be done any more."""
        now = asyncio.get_running_loop().time
        end = now() + (self.patience if patience is None else patience)
        await self._reached(end - now(), waits=False)
        return await self._asked(self.lookups.send(work), end - now(), lookup=True)

    async def tell(self, work: Work, *, patience: float = LIMIT, stays: bool = False) -> Any:
        """What comes of a write, all of which are done one after the other. One that `stays` is done all the same."""
        await self._reached(patience, waits=not stays)
        return await self._asked(self.writes.send(work), patience, stays=stays)

    async def _asked(self, order: Order, patience: float, *, lookup: bool = False, stays: bool = False) -> Any:
        try:
            silent = await self._waited(order.answer, patience)
        finally:
            order.left = not stays
        if not order.answer.done():
            self._counts.failures += 1
            if silent and lookup:
                self._doubt.suspect()
            raise Away("no answer in time")
        answer = order.answer.result()
        if isinstance(answer, Exception):
            self._counts.failures += not isinstance(answer, Away)
            self._failing(answer, lookup)
            raise Away(_kind(answer))
        return answer

    def _failing(self, error: Exception, lookup: bool) -> None:
        """What an error means: a lookup is always the same, so what is refused once is refused again."""
        kind = _kind(error)
        if lookup and isinstance(error, Refused):
            self._failed(kind)
        elif not (lookup or self.circuit.is_open or isinstance(error, Away) or kind in self._told):
            self._told.add(kind)
            logger.warning("postgres at %s refuses a write (%s)", self._server.name, kind)

    async def _waited(self, answer: asyncio.Future[Any], patience: float) -> bool:
        """Wait for an answer. Returns whether the server was silent all the time."""
        now = asyncio.get_running_loop().time
        began = now()
        end = began + patience
        if not answer.done() and patience > 0:
            await asyncio.wait((answer,), timeout=patience)
        if not answer.done():  # a loop that was late hears its alarms before the answers that came meanwhile
            await asyncio.wait((answer,), timeout=min(max(_GRACE, now() - end), _LONGEST_GRACE))
        return self._doubt.heard < began

    async def _reached(self, patience: float, *, waits: bool) -> None:
        """Return if the server is to be asked. Raise Away if it is left alone, or cannot be reached in time.

        The first connection may take longer than anybody waits. It is made in the background; who `waits` waits for it.
        """
        await self._begin()
        if self.circuit.is_open or self._doubt.open:
            if self.circuit.due(monotonic()):
                self.try_it()
            raise Away("the server is left alone")
        if self._ready:
            return
        trial = self.try_it()
        if waits or not self._late:
            await asyncio.wait((trial,), timeout=patience)
        self._late = not trial.done()
        if not self._ready:
            self._counts.failures += 1
            raise Away("not connected yet")

    def try_it(self) -> asyncio.Task[None]:
        """See whether the server is well, in the background."""
        if self._trial is None:
            self._trial = asyncio.get_running_loop().create_task(self._try(), context=Context())
        return self._trial

    async def open(self) -> None:
        """Make the first connection."""
        await self._begin()
        if not (self._ready or self.circuit.is_open):
            self.try_it()

    async def _try(self) -> None:
        """It may take its time for the connection, but not for an answer."""

        async def see(connection: Connection) -> None:
            await ready(connection, self._server.statements)

        async def ping(connection: Connection) -> None:
            await connection.execute("SELECT 1", once=True)

        try:
            for work, patience in ((see, 2 * LIMIT), (ping, self.patience)):
                order = self.lookups.send(work)
                await self._waited(order.answer, patience)
                answer = order.answer.result() if order.answer.done() else Lost("no answer in time")
                order.left = True
                if isinstance(answer, Exception):
                    self._counts.failures += 1
                    self._failed(_kind(answer))
                    return
            self._ready = True
            if self.circuit.worked(tried=True):
                logger.warning("postgres at %s answers again", self._server.name)
        finally:
            self._trial, self._late = None, False

    def _heard(self, took: float, lost: Lost | None) -> None:
        """Something was done, or a connection lost."""
        if lost is not None:
            self._failed(str(lost))
            return
        if took < _SLOW:
            self._doubt.hear()
        if took < self.patience and self._ready and self._trial is None and self.circuit.worked():
            logger.warning("postgres at %s answers again", self._server.name)

    def _wrote(self, took: float, lost: Lost | None) -> None:
        """A write was done, or lost: then lookups may go well all the same, and if not they say so."""
        if lost is None:
            self._heard(took, None)

    def _failed(self, why: str) -> None:
        self.lookups.abort()
        if self.circuit.failed(monotonic()):
            logger.warning("postgres at %s fails (%s): calls go on without it", self._server.name, why)

    async def _begin(self) -> None:
        """From now on the connections are closed when the loop ends: it finishes the generators it knows."""
        if self._life is None:
            _links.add(self)
            self._life = self._lived()
            await anext(self._life)

    async def _lived(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self._trial is not None:
                self._trial.cancel()
            for lane in (self.lookups, self.writes):
                await lane.aclose(LIMIT / 4)
            _links.discard(self)

    async def flush(self) -> None:
        """Wait for the writes that wait."""
        await asyncio.sleep(0)  # those that were sent from this very loop begin a step later
        if self.writing:
            await asyncio.wait(self.writing, timeout=LIMIT / 2)

    async def rest(self) -> None:
        """Write what waits, and let go of the connections that nobody uses."""
        await self.flush()
        await self.lookups.rest()
        await self.writes.rest()

    async def aclose(self) -> None:
        """Let go of everything."""
        if self._life is not None:
            await self._life.aclose()


def _kind(error: Exception) -> str:
    """What went wrong, without anybody's words: only our own errors are known to have none in them."""
    return str(error) if isinstance(error, Lost | Refused | Unfit | Away) else type(error).__name__
