"""Answers on disk: they outlive the process, and other processes find them.

    store = DiskStore("~/.cache/my-app")

Reading and writing go different ways: any thread reads, at once and through one connection (`reader`); writing is left
to a thread in the background (`writer`), which uses diskcache (`table`) in a folder that is trusted with nothing
(`folder`).
"""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from time import time

from fastclient.cache.disk import upkeep
from fastclient.cache.disk.folder import Broken, Folder
from fastclient.cache.disk.reader import Reader, Rejected
from fastclient.cache.disk.table import Table, open_table, schema
from fastclient.cache.disk.upkeep import Cleaned, Verified
from fastclient.cache.disk.waiting import Job, Tally
from fastclient.cache.disk.writer import Writer
from fastclient.cache.entry import Entry
from fastclient.cache.key import tag_of
from fastclient.cache.memory import Tier, tier
from fastclient.cache.seal import SEALED_MAX, opened, secret_of
from fastclient.cache.store import Found, StoreStats
from fastclient.checks import is_number, whole
from fastclient.errors import ConfigError

__all__ = ["DiskStore"]

_CLOSE = 2.0  # seconds that what waits to be written may take


class DiskStore:
    """Keeps at most `max_bytes` of answers in a folder, the latest in memory too (`memory`; None for none).

    Any number of stores, threads and processes may share a folder, also across forks; it must be on a local disk, and
    this user's alone to write. Files can be read by nobody else. With a `secret`, entries made without knowing it are
    not believed. What goes wrong with the disk costs entries, never a call: it is counted in `stats()`.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        memory: Tier = "own",
        max_bytes: int = 2**30,
        secret: str | bytes | None = None,
    ) -> None:
        whole("disk.max_bytes", max_bytes)
        self._memory = tier("disk.memory", memory)
        self._secret = secret_of("disk.secret", secret)
        self._folder = Folder(_path(directory))
        if (objection := self._folder.objection()) is not None:
            raise ConfigError.of("disk.directory", directory, objection)
        self._tally = Tally()
        make = partial(open_table, self._folder, max_bytes)
        self._writer: Writer[Table] = Writer(self._folder, make, self._tally, self._secret)
        self._reader = Reader(self._folder, schema, self._writer.suspect)
        self._writer.written = self._reader.resume

    @property
    def directory(self) -> str:
        """The folder."""
        return self._folder.path

    def open(self) -> None:
        """Open the database, if there is one already. Takes some milliseconds, and 50 at most."""
        self._value(bytes(32))

    def get(self, key: bytes) -> Found | None:
        """The entry under this key: from memory, from what waits to be written, or from disk. Takes 50 ms at most."""
        try:
            found = self._found(key)
        except Exception:  # nothing that goes wrong here is worth a call
            self._tally.add("failures")
            found = None
        self._tally.add("misses" if found is None else "hits")
        return found

    def _found(self, key: bytes) -> Found | None:
        if self._memory is not None and (found := self._memory.get(key)) is not None:
            return found
        waiting = self._writer.queue.get(key)
        if waiting is not None:
            return Found(waiting.entry, "disk") if waiting.entry is not None and waiting.until > time() else None
        value = self._value(key)
        if value is None:
            return None
        entry = opened(key, value, self._secret)
        if entry is None:
            self._reject(key)
            return None
        if self._memory is not None:
            self._memory.put(key, entry)
            newer = self._writer.queue.get(key)  # put by somebody else since the row was read
            if newer is not None and newer.entry is not None:
                self._memory.put(key, newer.entry)
        return Found(entry, "disk")

    def _value(self, key: bytes) -> bytes | None:
        try:
            return self._reader.value(key)
        except Rejected:
            self._reject(key)
        except (sqlite3.Error, OSError, Broken):
            self._tally.add("failures")
        return None

    def _reject(self, key: bytes) -> None:
        self._tally.add("rejected")
        self._writer.forget(key)

    def put(self, key: bytes, entry: Entry, *, tag: bytes = b"", lifetime: float = 86_400.0) -> None:
        """Keep an entry: in memory at once, on disk soon. Whoever calls `get` finds it from now on."""
        try:
            if self._memory is not None:
                self._memory.put(key, entry)
            usable = type(key) is bytes and len(key) == 32 and isinstance(tag, bytes) and entry.size <= SEALED_MAX
            if usable and is_number(lifetime):
                self._writer.add(key, Job(entry, tag, time() + lifetime))
            else:
                self._tally.add("dropped")
        except Exception:
            self._tally.add("failures")

    def flush(self) -> None:
        """Write what waits, for two seconds at most: then other processes find it too."""
        self._writer.close(_CLOSE)

    def close(self) -> None:
        """Write what waits, for two seconds at most, and close files and connections. Opens again when it is used."""
        try:
            self._writer.close(_CLOSE)
            with self._reader.lock:
                self._reader.let_go()
        except Exception:
            self._tally.add("failures")

    def stats(self) -> StoreStats:
        """Counts of the store as a whole: a hit is one in memory or on disk, `entries` and `bytes` are the disk's."""
        try:
            entries, size = upkeep.totals(self._reader)
        except Exception:
            entries, size = 0, 0
        return StoreStats(entries=entries, bytes=size, **self._tally.counts())

    # --- for the command line: these take their time, and raise OSError when the folder cannot be worked on ----------

    def verify(self, *, fix: bool = False) -> Verified:
        """Read every entry, and look for files that belong to none. With `fix`, remove what is not as it should be."""
        return upkeep.verify(self._folder, self._writer, self._secret, fix)

    def gc(self, *, older_than: float = upkeep.YOUNG) -> Cleaned:
        """Remove expired entries, files that belong to no entry and are older than so many seconds, empty folders."""
        return upkeep.gc(self._folder, self._writer, older_than)

    def purge(self, namespace: str | None = None) -> int:
        """Remove all answers of a namespace, or everything, also what was set aside. Returns how many there were."""
        if self._memory is not None:
            self._memory.clear()
        return upkeep.purge(self._folder, self._writer, None if namespace is None else tag_of(namespace))

    def __repr__(self) -> str:
        return f"DiskStore({self._folder.path!r})"


def _path(directory: object) -> str:
    try:
        path = os.fspath(directory)  # type: ignore[call-overload]
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigError.of("disk.directory", directory, "must be the path of a folder")
    return os.path.abspath(os.path.expanduser(path))
