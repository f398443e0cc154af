"""Questions with their answers in PostgreSQL with pgvector, shared by processes and machines.

All traffic is asyncio code on the process's one background event loop: the client library's connections belong to one
loop, and callers come from threads, asyncio and trio. Lookups have connections of their own, so that no write is in
their way; writes go behind, one after the other. A server that is away, slow or refuses costs a call some 40 ms, and
the next ones nothing.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from fastclient.cache.embedders.vectors import np
from fastclient.cache.entry import Entry
from fastclient.cache.postgres.address import checked, public, table_of
from fastclient.cache.postgres.behind import Behind
from fastclient.cache.postgres.driver import options_of
from fastclient.cache.postgres.row import Row, entry_of, given, packed, read, unpacked
from fastclient.cache.seal import secret_of
from fastclient.cache.semantic.port import Known, Near
from fastclient.engine.hop import Away, on_engine, start_on, the_engine
from fastclient.engine.seam import running_engine
from fastclient.errors import ConfigError

if TYPE_CHECKING:
    from fastclient.cache.embedders.vectors import Vectors

__all__ = ["PostgresIndex"]

_FORGOTTEN_AT_ONCE = 2000  # rows
_MOST = 1_000_000  # rows: more take too long to count
_LONGEST = 16_000  # numbers of a vector

logger = logging.getLogger("fastclient")
_indexes: WeakSet[PostgresIndex] = WeakSet()


class PostgresIndex(Behind):
    """Keeps questions and answers in a PostgreSQL that many processes share; it needs pgvector 0.7 or later.

    Tables are made when they are first needed, one for each length of vectors, with names that begin with `table`. Each
    keeps about `most` questions: beyond, the oldest go. With a `secret`, rows that were not written by somebody who
    knows it are not believed. Without one, whoever may write to the database may change answers. Each process
    has up to four connections. A pooler in between must leave them their sessions, where settings and plans live.
    """

    def __init__(
        self,
        url: str,
        *,
        table: str = "fastclient_questions",
        most: int = 100_000,
        secret: str | bytes | None = None,
    ) -> None:
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= _MOST:
            raise ConfigError.of("postgres.most", most, f"must be a whole number from 1 to {_MOST}")
        self._secret = secret_of("postgres.secret", secret)
        server = checked(url)
        super().__init__(server, public(options_of(server)), table=table_of(table), most=most)
        _indexes.add(self)

    def bind(self, space: str, dim: int) -> None:
        """Say whose vectors will be kept, and their length, before anything else. One index is for one embedder."""
        if not 1 <= dim <= _LONGEST:
            raise ConfigError.of("postgres", dim, f"is no length of vectors that a table can hold (1 to {_LONGEST})")
        with self.lock:
            if self._space not in (None, (space, dim)):
                raise ConfigError.at("postgres", "is used with two embedders: each needs an index of its own")
            self._space = (space, dim)

    def open(self) -> None:
        """Begin to connect, in the background."""
        try:
            start_on(the_engine(), self.link().open)
        except Away:
            return

    async def nearest(self, partition: bytes, vector: Vectors, most: int) -> Sequence[Near]:
        """The questions of a partition whose vectors are nearest, nearest first. Raises Away if the server is."""
        wish = {"partition": partition, "vector": self._sent(vector), "now": time.time(), "most": most}
        asked = np.asarray(vector, dtype=np.float32).reshape(-1)
        rows = [self._believed(columns) for columns in await self._looked(self.statements().nearest, wish)]
        near = [
            Near(row.key, min(1.0, float(unpacked(row.vector) @ asked)), row.question)
            for row in rows
            if row is not None and row.partition == partition
        ]
        self.count(misses=not near)
        return sorted(near, key=lambda one: -one.cosine)

    async def answer(self, key: bytes) -> Entry | None:
        """What is kept under a key; None if it is gone, expired, or not what was put there. Raises Away."""
        entry: Entry | None = None
        for columns in await self._looked(self.statements().answer, {"key": key}):
            row = self._believed(columns[:-1])
            if row is None or row.key != key or row.expires <= time.time():
                continue
            entry = entry_of(row, columns[-1], self._secret)
            if entry is None:
                self._reject(columns)
        self.count(hits=entry is not None, misses=entry is None)
        return entry

    async def add(self, known: Known) -> None:
        """Keep a question and its answer, in place of what this key had. Returns at once; it is written soon."""
        self._sent(known.vector)
        made = given(known, self._secret)
        if made is None:
            self.count(dropped=1)
            return
        row, answer = made
        values = {**row._asdict(), "labels": list(row.labels), "mark": row.mark(self._secret), "answer": answer}
        self.send(self.statements().add, values, size=len(answer) + len(row.vector) + 4 * len(row.question), adds=True)

    async def remove(self, key: bytes) -> None:
        """Forget a question. Raises Away if the server does not confirm it in time; it may do so later."""
        link, statement = self.link(), self.statements().remove
        wish = {"key": key, "mark": None}

        async def work() -> None:
            await link.tell(lambda connection: connection.execute(statement, wish), patience=link.patience, stays=True)

        await on_engine(work)

    async def forget(self, tag: bytes | None, labels: Sequence[str], before: float) -> int:
        """Forget what was stored before a moment, has the tag, and any of the labels. Returns their number.

        Takes its time, where much is forgotten. Raises Away if the server is, or goes away in the middle.
        """
        link, statement = self.link(), self.statements().forget
        wish = {"tag": tag, "labels": list(labels), "before": before, "some": _FORGOTTEN_AT_ONCE}

        async def work() -> int:
            await link.flush()
            gone, some = 0, _FORGOTTEN_AT_ONCE
            while some == _FORGOTTEN_AT_ONCE:
                some = await link.tell(lambda connection: connection.execute(statement, wish))
                gone += some
            return gone

        return await on_engine(work)

    async def aclose(self) -> None:
        """Write what waits to be written, and let go of idle connections. It opens again when it is used."""
        link = self.opened()
        if running_engine() is None or link is None:
            return
        try:
            await on_engine(link.rest)
        except Exception as error:
            logger.debug("closing postgres failed with %s", type(error).__name__)

    async def _looked(self, statement: str, wish: Mapping[str, object]) -> list[tuple[Any, ...]]:
        link = self.link()
        found: list[tuple[Any, ...]] = await on_engine(
            lambda: link.ask(lambda connection: connection.execute(statement, wish))
        )
        return found

    def _sent(self, vector: Vectors) -> bytes:
        """A vector in the server's form. Raises ValueError if it is not as long as the others."""
        data = packed(vector)
        if len(data) != 4 + 2 * self.statements().dim:
            raise ValueError("a vector of another length")
        return data

    def _believed(self, columns: tuple[Any, ...]) -> Row | None:
        """The row, if it is what was written. Any other is deleted."""
        row, good = read(columns, self._secret)
        if not good:
            self._reject(columns)
        return row if good else None

    def _reject(self, columns: tuple[Any, ...]) -> None:
        self.count(rejected=1)
        self.send(self.statements().remove, {"mark": columns[0], "key": columns[1]})

    def __repr__(self) -> str:
        return f"PostgresIndex({self._name!r}, table={self._table!r})"


def _at_exit() -> None:
    """What was added in the last moment is written still, if the server takes it at once."""
    home = running_engine()
    for link in [index.opened() for index in list(_indexes)]:
        if home is not None and link is not None and link.waiting:
            home.run(link.flush)


atexit.register(_at_exit)  # before the engine's own, which was registered before
