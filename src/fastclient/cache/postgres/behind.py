"""What an index has in each process: its connections, its counts, and the writes that go behind."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import NamedTuple
from weakref import finalize

from fastclient.cache.postgres.link import Counts, Link, Server
from fastclient.cache.postgres.sql import Statements
from fastclient.cache.postgres.tidy import Tidy
from fastclient.cache.store import StoreStats
from fastclient.engine.hop import Away, start_on, the_engine
from fastclient.engine.seam import running_engine
from fastclient.errors import ConfigError
from fastclient.locks import Locked

__all__ = ["Behind"]

_WAITING, _WAITING_BYTES = 256, 32 * 2**20  # writes that may wait

logger = logging.getLogger("fastclient")


class Write(NamedTuple):
    """Something to be written. `adds` a row, or takes one away."""

    statement: str
    values: Mapping[str, object]
    size: int
    adds: bool


class Behind(Locked):
    """The part of an index that outlives no fork. Coroutines run on the engine's loop, the rest in any thread."""

    def __init__(self, url: str, name: str, *, table: str, most: int) -> None:
        super().__init__()
        self._url = url
        self._name = name
        self._table = table
        self._most = most
        self._space: tuple[str, int] | None = None
        self._counts = Counts()
        self._link: Link | None = None
        self._tidy: Tidy | None = None

    def link(self) -> Link:
        """This process's connections; a forked child makes its own."""
        with self.lock:
            link = self.opened()
            if link is None:
                statements = self.statements()
                self._tidy = Tidy(statements, self._most)
                link = self._link = Link(Server(self._url, self._name, statements), self._counts)
                finalize(self, _abandoned, link).atexit = False
            return link

    def opened(self) -> Link | None:
        """The same, if it has any."""
        return self._link if self._link is not None and self._link.process == os.getpid() else None

    def statements(self) -> Statements:
        """What is said about the table. Raises ConfigError as long as nobody knows how long the vectors are."""
        if self._space is None:
            raise ConfigError.at("postgres", "bind() comes first")
        return Statements(self._table, self._space[1])

    def send(self, statement: str, values: Mapping[str, object], *, size: int = 0, adds: bool = False) -> None:
        """Write soon, if not too much waits already. Returns at once."""
        link, write = self.link(), Write(statement, values, size, adds)
        with self.lock:
            if link.waiting >= _WAITING or link.waiting_bytes + size > _WAITING_BYTES:
                self._counts.dropped += adds
                return
            link.waiting += 1
            link.waiting_bytes += size

        def started(task: asyncio.Task[None]) -> None:
            link.writing.add(task)
            task.add_done_callback(link.writing.discard)

        try:
            start_on(the_engine(), lambda: self._write(link, write), started)
        except Away:
            self._written(link, write, done=False)

    async def _write(self, link: Link, write: Write) -> None:
        done = False
        try:
            await link.tell(lambda connection: connection.execute(write.statement, write.values))
            done = True
        except Exception as error:
            logger.debug("a question was not written to postgres: %s", type(error).__name__)
        finally:
            self._written(link, write, done=done)
        if done and write.adds and self._tidy is not None and self._tidy.added():
            await self._tidied(link, self._tidy)

    def _written(self, link: Link, write: Write, *, done: bool) -> None:
        with self.lock:
            link.waiting -= 1
            link.waiting_bytes -= write.size
            self._counts.stored += write.adds and done
            self._counts.dropped += write.adds and not done

    async def _tidied(self, link: Link, tidy: Tidy) -> None:
        more = True
        try:
            while more:
                evicted, more = await link.tell(tidy.some)
                self.count(evicted=evicted)
        except Exception as error:
            logger.debug("postgres was not tidied up: %s", type(error).__name__)
        finally:
            tidy.over()

    def count(self, **more: int) -> None:
        """Add to the counts."""
        with self.lock:
            for name, number in more.items():
                setattr(self._counts, name, getattr(self._counts, name) + number)

    def stats(self) -> StoreStats:
        """What this process counted: `hits` are answers given, `misses` lookups that found none."""
        with self.lock:
            counts = self._counts
            return StoreStats(
                hits=counts.hits,
                misses=counts.misses,
                stored=counts.stored,
                evicted=counts.evicted,
                rejected=counts.rejected,
                dropped=counts.dropped,
                failures=counts.failures,
            )


def _abandoned(link: Link) -> None:
    """An index was dropped without having been closed."""
    home = running_engine()
    if home is not None and link.process == os.getpid():
        home.call(lambda: home.start(link.aclose))
