"""Looking after a store on disk, from the command line: counting, verifying, clearing up. May take its time."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from fastclient.cache.disk.folder import Broken, Folder
from fastclient.cache.disk.reader import Reader, Rejected, value_of
from fastclient.cache.disk.sqlite import is_busy
from fastclient.cache.seal import opened

if TYPE_CHECKING:
    from fastclient.cache.disk.table import Table
    from fastclient.cache.disk.writer import Writer

__all__ = ["YOUNG", "Cleaned", "Verified", "gc", "purge", "totals", "verify"]

_PATIENCE = 10.0  # seconds to wait for locks
_PAGE = 500  # rows
YOUNG = 60.0  # seconds: a file that belongs to no entry may yet get one
_ROWS = "SELECT rowid, 0 FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT ?"
_ROW = "SELECT filename, key, raw, mode, value, tag, size, store_time, expire_time FROM Cache WHERE rowid = ?"
_FILES = "SELECT rowid, filename FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What there was: `checked` entries, of which some are `good`, some `rejected`, and the files of some `missing`.

    `orphans` are files that belong to no entry.
    """

    checked: int = 0
    good: int = 0
    rejected: int = 0
    missing: int = 0
    orphans: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What was removed."""

    expired: int = 0
    orphans: int = 0
    folders: int = 0


def totals(reader: Reader) -> tuple[int, int]:
    """How many entries there are, and how many bytes they take, as far as the database knows."""
    counts = reader.query("SELECT value FROM Settings WHERE key IN ('count', 'size') ORDER BY key")
    if not counts:
        return 0, 0
    (entries,), (size,), (pages,), (page,) = (
        *counts,
        *reader.query("PRAGMA page_count"),
        *reader.query("PRAGMA page_size"),
    )
    if not (isinstance(entries, int) and isinstance(size, int) and min(entries, size) >= 0):
        return 0, 0
    return entries, size + int(pages) * int(page)


def verify(folder: Folder, writer: Writer[Table], secret: bytes, fix: bool) -> Verified:
    """Try to open every entry with its key; remove those that do not open, and orphans, if `fix`."""
    with _at_work(folder, writer) as table:
        if table is None:
            return Verified()
        files = dict(folder.values.all())  # before the entries: whoever writes one has its file first
        states = {"good": 0, "rejected": 0, "missing": 0}
        kept: set[object] = set()
        named: set[object] = set()
        for page in _pages(table, _ROWS):
            bad = []
            for row, _ in page:
                state, name = _state(folder, table, row, secret)
                states[state] += 1
                if state == "good":
                    kept.add(name)
                else:
                    named.add(name)
                    bad.append(row)
            if fix:
                table.drop(bad)
        orphans = files.keys() - kept - named
        if fix:
            table.recount()
            old = time() - YOUNG
            for name in (*(named - kept), *(name for name in orphans if files[name] <= old)):
                folder.values.remove(name)
    return Verified(checked=sum(states.values()), orphans=len(orphans), **states)


def _state(folder: Folder, table: Table, row: int, secret: bytes) -> tuple[str, object]:
    """What one entry is like, and which file it names."""
    name: object = None
    try:
        ((name, key, raw, mode, value, tag, size, stored, expires),) = table.query(_ROW, (row,))
        value = value_of(folder, mode, name, value)
        ours = isinstance(key, bytes) and len(key) == 32 and raw == 1 and size == (len(value) if name else 0)
        ours = ours and isinstance(tag, bytes) and isinstance(stored, float) and isinstance(expires, float)
        return "good" if ours and opened(key, value, secret) is not None else "rejected", name
    except FileNotFoundError:
        return "missing", name
    except (Rejected, sqlite3.DataError, ValueError):  # too long, or removed meanwhile
        return "rejected", name


def gc(folder: Folder, writer: Writer[Table], older_than: float) -> Cleaned:
    """Remove what nobody will ask for."""
    with _at_work(folder, writer) as table:
        if table is None:
            return Cleaned()
        expired = int(table.expire())
        before = time() - older_than
        found = [name for name, written in folder.values.all() if written <= before]  # before the entries
        used = {name for page in _pages(table, _FILES) for _, name in page} if found else set()
        orphans = sum(folder.values.remove(name) for name in found if name not in used)
        return Cleaned(expired=expired, orphans=orphans, folders=folder.values.prune())


def purge(folder: Folder, writer: Writer[Table], tag: bytes | None) -> int:
    """Remove all entries, or all under a tag, also from what waits to be written."""
    with _at_work(folder, writer) as table:
        count = writer.queue.clear(tag)
        if table is not None:
            count += int(table.clear() if tag is None else table.evict(tag))
            table.query("PRAGMA wal_checkpoint(TRUNCATE)")  # the log holds what was written lately
            if tag is None:
                folder.drop_asides()
    return count


@contextmanager
def _at_work(folder: Folder, writer: Writer[Table]) -> Iterator[Table | None]:
    """The database, if there is one, with all errors as OSError."""
    try:
        with writer.lock:  # so that the database is not just being made
            if folder.identity() is None:
                yield None
            else:
                with writer.table(_PATIENCE) as table:
                    yield table
    except (sqlite3.Error, Broken) as error:
        raise OSError(errno.EBUSY if is_busy(error) else errno.EIO, str(error)) from error


def _pages(table: Table, sql: str) -> Iterator[list[tuple[int, object]]]:
    """All rows in pieces; `sql` takes the last row's number and a limit, and returns the number first."""
    last = -(2**63)
    while page := table.query(sql, (last, _PAGE)):
        yield page
        last = page[-1][0]
