"""Writing answers in diskcache's format and by its code, which here unpickles nothing and trusts nothing it finds."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from time import time
from typing import Any, Literal

import diskcache
from diskcache.core import ENOVAL, MODE_BINARY, MODE_RAW

from fastclient.cache.disk.folder import Broken, Folder
from fastclient.cache.disk.reader import INLINE, Rejected, value_of
from fastclient.cache.disk.sqlite import BUSY, Guarded, Schema, connect, examine
from fastclient.cache.disk.writer import Change

__all__ = ["Answers", "Table", "open_table", "schema"]

_STEPS = 5_000_000  # of SQLite's machine: none of diskcache's transactions takes as many
_MOST = 2**60  # bytes or entries: what a store cannot have
_SETTINGS = {
    "statistics": 0,
    "tag_index": 1,
    "eviction_policy": "least-recently-stored",  # any other would make each hit a write
    "size_limit": 2**30,
    "cull_limit": 0,  # not with each entry, but after each batch
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**13,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,  # what is lost with the power was only a copy
    "disk_min_file_size": INLINE,
    "disk_pickle_protocol": 0,
}
_COUNTS = ("count", "size", "hits", "misses")


class Answers(diskcache.Disk):  # type: ignore[misc]
    """What diskcache asks how to write and read: keys of 32 bytes, values of bytes, nothing else."""

    folder: Folder

    def __init__(self, directory: str, min_file_size: int = INLINE, pickle_protocol: int = 0) -> None:
        super().__init__(directory, min_file_size, pickle_protocol)
        self.written: list[str] = []  # since the last transaction began

    def put(self, key: object) -> tuple[memoryview, Literal[True]]:
        if type(key) is not bytes or len(key) != 32:
            raise ValueError("a key has 32 bytes")
        return sqlite3.Binary(key), True

    def get(self, key: object, raw: object) -> bytes:
        if raw != 1 or not isinstance(key, bytes) or len(key) != 32:
            raise Rejected("not a key of ours")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[Any, ...]:  # noqa: ARG002
        if read or type(value) is not bytes:
            raise ValueError("a value is bytes")
        if len(value) < INLINE:
            return 0, MODE_RAW, None, sqlite3.Binary(value)
        name = self.folder.values.write(value)
        self.written.append(name)
        return len(value), MODE_BINARY, name, None

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        if read:
            raise ValueError("values are not handed out as files")
        return value_of(self.folder, mode, filename, value)

    def remove(self, file_path: object) -> None:
        self.folder.values.remove(file_path)


class Table(diskcache.Cache):  # type: ignore[misc]
    """diskcache on a connection of ours, in transactions of ours, with settings of ours.

    Left to itself it sets as an attribute, and as a PRAGMA, whatever it finds in the database; it waits a minute for
    locks; it removes files before it is certain that nothing refers to them, and leaves those of a failed write.
    """

    _disk: Answers

    def __init__(self, folder: Folder, connection: Guarded, max_bytes: int) -> None:
        self._connection = connection
        self._doomed: list[object] = []
        self.identity = folder.identity()
        settings = _SETTINGS | {"size_limit": max_bytes}
        super().__init__(os.sep, disk=Answers, **settings)  # it would expand variables in a path
        self._directory = folder.path
        self._disk.folder = folder

    @property
    def _con(self) -> Guarded:
        return self._connection

    @property
    def _sql_retry(self) -> Any:
        return self._connection.execute

    def reset(self, key: str, value: Any = ENOVAL, update: bool = True) -> Any:  # noqa: ARG002
        """Take a value as it is given; read nothing but counts."""
        if value is ENOVAL:
            ((value,),) = self.query("SELECT value FROM Settings WHERE key = ?", (key,))
            if key not in _COUNTS or not isinstance(value, int) or not 0 <= value < _MOST:
                raise Broken("the database's counts are none")
        elif key not in _SETTINGS:
            raise Broken("a setting that we do not have")
        setattr(self, key, value)
        return value

    @contextmanager
    def _transact(self, retry: bool = False, filename: str | None = None) -> Iterator[Any]:  # noqa: ARG002
        if self._connection.in_transaction:
            yield self._connection.execute, self._doomed.append  # the outer transaction ends it
            return
        gone: list[Any] = self._disk.written
        try:
            self._connection.begun = True
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection.execute, self._doomed.append
            self._connection.execute("COMMIT")
            gone = self._doomed
        except BaseException:
            self._connection.rollback()  # if SQLite has not done so
            raise
        finally:
            self._disk.written, self._doomed = [], []
            for name in gone:
                self._disk.remove(name)

    def write(self, changes: Iterable[Change]) -> int:
        with self.transact():
            for key, value, tag, until in changes:
                if value is None:
                    self.delete(key)
                else:
                    self.set(key, value, expire=until - time(), tag=tag)
        return int(self.cull())

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of a question."""
        self._connection.begun = True
        return self._connection.execute(sql, values).fetchall()

    def drop(self, rows: Iterable[int]) -> None:
        """Remove rows by their numbers."""
        with self._transact() as (sql, _):
            for row in rows:
                sql("DELETE FROM Cache WHERE rowid = ?", (row,))

    def recount(self) -> None:
        """Set the counts to what there is."""
        self._connection.set_progress_handler(None, 0)  # however many there are
        self.query("UPDATE Settings SET value = (SELECT COUNT(*) FROM Cache) WHERE key = 'count'")
        self.query("UPDATE Settings SET value = (SELECT COALESCE(SUM(size), 0) FROM Cache) WHERE key = 'size'")

    def release(self) -> None:
        self._connection.close()


@cache
def schema() -> Schema:
    """The parts of a store's database, as diskcache makes them."""
    with closing(sqlite3.connect(":memory:", isolation_level=None, factory=Guarded)) as connection:
        Table(Folder(os.sep), connection, 1)
        return frozenset(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def open_table(folder: Folder, max_bytes: int, patience: float = BUSY) -> Table:
    """The folder's database for writing, made if it is empty. Raises Broken if it is not as we would have made it."""
    connection = connect(folder, steps=_STEPS, patience=patience)
    try:
        ((journal,),) = connection.execute("PRAGMA journal_mode")
        for name, value in _SETTINGS.items():
            if name.startswith("sqlite_"):
                connection.execute(f"PRAGMA {name.removeprefix('sqlite_')} = {value}").fetchall()
        if connection.execute("PRAGMA journal_mode").fetchall() != [("wal",)]:
            raise OSError(errno.ENOTSUP, "the file system has no shared memory, which SQLite's log needs")
        connection.execute("BEGIN IMMEDIATE")  # so that there is all of a store or nothing, and nobody can come between
        if examine(connection, schema()):
            _check(connection, journal)
        table = Table(folder, connection, max_bytes)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return table


def _check(connection: Guarded, journal: object) -> None:
    """Look at what diskcache would believe, and at what it can set in an empty database only."""
    if journal != _SETTINGS["sqlite_journal_mode"]:
        raise Broken("the database keeps no log")
    names = {name for (name,) in connection.execute("SELECT key FROM Settings LIMIT 100")}
    if names != {*_SETTINGS, *_COUNTS}:
        raise Broken("the database has other settings than a store")
    ((vacuum,),) = connection.execute("PRAGMA auto_vacuum")
    if vacuum != _SETTINGS["sqlite_auto_vacuum"]:
        raise Broken("the database never gets smaller")  # diskcache would remove entry after entry, to no avail
