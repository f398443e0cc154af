"""Connections to databases that somebody else may have written, and that no fork may find open."""

from __future__ import annotations

import atexit
import os
import sqlite3
from pathlib import Path
from threading import get_ident
from weakref import WeakSet

from fastclient.cache.disk.folder import Broken, Folder
from fastclient.locks import Locked

__all__ = ["BUSY", "Connected", "Guarded", "Schema", "connect", "examine", "is_broken", "is_busy", "park"]

Schema = frozenset[tuple[str, str, str, str | None]]  # of each part of a database: type, name, table, and its SQL

BUSY = 0.02  # seconds to wait for a lock of SQLite's
_LONGEST = 2**20  # bytes of anything in the database; ours is shorter
_FORK = 1.0  # seconds that a fork waits for others to let go
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_OUTSIDE = {
    *(*_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_MISUSE),
}
"""What SQLite says of the world around a database, or of us, rather than of the database."""


def is_broken(error: BaseException) -> bool:
    """Whether this tells of a database that is damaged, or not ours."""
    code = _code(error)
    return isinstance(error, Broken) or (code is not None and code not in _OUTSIDE)


def is_busy(error: BaseException) -> bool:
    """Whether somebody else is at it."""
    return isinstance(error, TimeoutError) or _code(error) in _BUSY


def _code(error: BaseException) -> int | None:
    """SQLite's own number for it; None where Python complains."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


class Guarded(sqlite3.Connection):
    """A connection that breaks off what takes too many steps since `begun` was set: it runs into a trap."""

    begun = True

    def _is_trapped(self) -> bool:
        """Called each time a statement has taken so many steps, those of its earlier runs included."""
        begun, self.begun = self.begun, False
        return not begun

    def limit(self, steps: int) -> None:
        """Break off after as many steps of SQLite's machine, or twice as many."""
        self.set_progress_handler(self._is_trapped, steps)


def connect(folder: Folder, *, steps: int, patience: float = BUSY) -> Guarded:
    """A connection to a database that exists, with a limit to the steps of one statement."""
    uri = Path(folder.database).as_uri() + "?mode=rw"  # never makes one
    connection = sqlite3.connect(
        uri, uri=True, timeout=patience, isolation_level=None, check_same_thread=False, factory=Guarded
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.limit(steps)
    connection.text_factory = _text
    try:
        # mmap_size: a file that is mapped into memory kills the process when somebody shortens it.
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "cache_size = 2000"):
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def examine(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Whether the tables of a store are there; False if there are none. Raises Broken if there is anything else."""
    found = set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT 100"))
    if found and found != schema:
        raise Broken("the database has other tables than a store")
    return bool(found)


class Connected(Locked):
    """Something with a connection, used under its lock. A fork closes it first.

    SQLite remembers which locks its process holds on a file. A child inherits the memory without the locks; it would
    read and write unprotected, through a connection of its own too, and lose what it writes.
    """

    def __init__(self) -> None:
        super().__init__()
        _all.add(self)

    def let_go(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        raise NotImplementedError

    def forked(self) -> None:
        """Start afresh in a child. A connection that the fork could not wait for is parked."""
        raise NotImplementedError

    def __del__(self) -> None:
        self.let_go()


_all: WeakSet[Connected] = WeakSet()
_held: dict[int, list[Connected]] = {}  # by the thread that forks
_parked: list[object] = []


def park(connection: object) -> None:
    """Keep a connection that belongs to the parent from being used, and from being closed."""
    if connection is not None:
        _parked.append(connection)


def _before_fork() -> None:
    held = _held[get_ident()] = []
    for each in list(_all):
        if each.lock.acquire(timeout=_FORK):
            held.append(each)
            each.let_go()


def _after_in_parent() -> None:
    for each in _held.pop(get_ident(), ()):
        each.lock.release()


def _after_in_child() -> None:
    _held.clear()
    for each in list(_all):
        each.forked()


def _at_exit() -> None:
    for each in list(_all):
        if each.lock.acquire(timeout=BUSY):
            each.let_go()
            each.lock.release()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
