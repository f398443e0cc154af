"""Reading a store on disk: one connection per process, for all threads, that trusts nothing it finds."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Sequence
from time import monotonic, time
from typing import Any

from fastclient.cache.disk.folder import Broken, Folder, Identity
from fastclient.cache.disk.sqlite import BUSY, Connected, Guarded, Schema, connect, examine, is_broken, is_busy, park
from fastclient.cache.seal import SEALED_MAX

__all__ = ["INLINE", "Reader", "Rejected", "value_of"]

INLINE = 2**17  # bytes: smaller values are in the database itself
_TURN = 0.02  # seconds to wait for other threads that read
_STEPS = 50_000  # reading one entry takes some 20
_LOOK = 1.0  # seconds between two looks whether the database is still the same file
_SHORTLY, _LATER = 0.2, 1.0  # seconds without another try when it was busy or broken, so that not every call pays
_RAW, _FILE = 1, 2  # diskcache's modes that we use: 3 is text, 4 would be unpickled
_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV)
_SELECT = "SELECT mode, filename, value, expire_time FROM Cache WHERE key = ? AND raw = 1"


class Rejected(Exception):
    """An entry that is not what we write."""


def value_of(folder: Folder, mode: object, name: object, value: object) -> bytes:
    """The bytes that a row of the database holds or points to. Raises Rejected for a row that we do not write."""
    if mode == _RAW and name is None and isinstance(value, bytes):
        return value
    if mode == _FILE and value is None:
        try:
            return folder.values.read(name, SEALED_MAX)
        except ValueError as error:
            raise Rejected(str(error)) from None
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise Rejected("something else where a file belongs") from None
    raise Rejected("a row that we do not write")


class Reader(Connected):
    """Finds values by their keys. `suspect` is told which database turned out to be broken."""

    def __init__(
        self, folder: Folder, schema: Callable[[], Schema], suspect: Callable[[Identity | None], object]
    ) -> None:
        self._connection: Guarded | None = None
        super().__init__()
        self._folder = folder
        self._schema = schema
        self._suspect = suspect
        self._identity: Identity | None = None
        self._look = self._again = 0.0  # when to look whether it was moved away, and when to try again

    def value(self, key: bytes) -> bytes | None:
        """The bytes under this key. Raises Rejected, or sqlite3.Error, OSError or Broken for what is in the way."""
        gone = None
        while True:
            try:
                rows = self.query(_SELECT, (key,))
            except sqlite3.DataError:
                raise Rejected("longer than anything we write") from None
            if not rows:
                return None
            mode, name, value, expires = rows[0]
            if not isinstance(expires, float):
                raise Rejected("an entry without a time")
            if expires <= time():
                return None
            try:
                return value_of(self._folder, mode, name, value)
            except FileNotFoundError:
                if name == gone:
                    raise Rejected("its file is missing") from None
                gone = name  # another value may have taken its place since the row was read: once more

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows; none if there is no database, or it did not work a moment ago. Raises what is in the way."""
        if not self.lock.acquire(timeout=_TURN):
            raise TimeoutError("too many other threads wait for the database")
        try:
            connection = self._usable()
            if connection is None:
                return []
            connection.begun = True
            return connection.execute(sql, values).fetchall()
        except sqlite3.DataError:  # one row's fault
            raise
        except (sqlite3.Error, OSError, Broken) as error:
            self._failed(error)
            raise
        finally:
            self.lock.release()

    def resume(self) -> None:
        """Try again at once: there is something to read."""
        self._again = self._look = 0.0

    def let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forked(self) -> None:
        park(self._connection)
        self._connection = None

    def _usable(self) -> Guarded | None:
        now = monotonic()
        if now < self._again:
            return None
        if self._connection is not None:
            if now < self._look:
                return self._connection
            if self._folder.identity() == self._identity:
                self._look = now + _LOOK
                return self._connection
            self.let_go()
        self._connection = self._opened()
        self._look = now + _LOOK
        if self._connection is None:
            self._again = now + _SHORTLY
        return self._connection

    def _opened(self) -> Guarded | None:
        self._identity = self._folder.identity()
        if self._identity is None:
            return None
        self._folder.allow()
        if not self._folder.writable:  # then nobody moves anything
            return self._connected()
        with self._folder.locked(BUSY, shared=True):
            self._identity = self._folder.identity()
            return self._connected() if self._identity is not None else None

    def _connected(self) -> Guarded | None:
        self._folder.examine()
        if self._folder.has_journal:
            return None
        connection = connect(self._folder, steps=_STEPS)
        try:
            ready = examine(connection, self._schema())
            ((journal,),) = connection.execute("PRAGMA journal_mode")
            if ready and journal != "wal":  # then it would look for a journal each time
                raise Broken("the database keeps no log")
        except BaseException:
            connection.close()
            raise
        if ready:
            return connection
        connection.close()
        return None

    def _failed(self, error: Exception) -> None:
        busy = is_busy(error)
        self._again = monotonic() + (_SHORTLY if busy else _LATER)
        if not busy:
            self.let_go()
        if is_broken(error):
            self._suspect(self._identity)
