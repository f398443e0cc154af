"""The folder that a store on disk lives in: whose it is, its lock, and moving away what is broken."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from stat import S_IMODE, S_ISDIR, S_ISREG
from time import monotonic, sleep, strftime

from fastclient.cache.disk.values import PLACE, PLAIN, Values

__all__ = ["Broken", "Folder", "Identity"]

Identity = tuple[int, int]  # of a file: its device, and its number there

_ASIDE = re.compile(r"corrupt-[0-9]{8}T[0-9]{6}(-[0-9]+)?")
_OTHERS_WRITE = 0o022
_BLINK = 0.002  # seconds between two looks at a lock that is taken

if sys.platform == "win32":
    import msvcrt

    def _seize(lock: int, shared: bool) -> None:  # noqa: ARG001
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _seize(lock: int, shared: bool) -> None:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


class Broken(Exception):
    """What is in the folder is not a store, or no longer one."""


class Folder:
    """A folder, by its absolute path. Methods raise OSError for what the system refuses."""

    __slots__ = ("database", "path", "values")

    def __init__(self, path: str) -> None:
        self.path = path
        self.database = os.path.join(path, "cache.db")
        self.values = Values(path)

    def objection(self) -> str | None:
        """What speaks against keeping answers here, if the folder is there already."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"cannot be looked at ({type(error).__name__})"
        if not S_ISDIR(found.st_mode):
            return "is not a folder"
        if not _is_ours(found):
            return "belongs to another user"
        if os.name == "posix" and S_IMODE(found.st_mode) & _OTHERS_WRITE:
            return "can be written by other users"
        return None

    def allow(self) -> None:
        """Raise PermissionError if there is an objection."""
        if (objection := self.objection()) is not None:
            raise PermissionError(errno.EACCES, f"the cache folder {objection}")

    @property
    def writable(self) -> bool:
        """Whether this process may put something into it."""
        return os.access(self.path, os.W_OK)

    # --- the database ------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make an empty database if there is none. Under the lock only."""
        self.examine()
        try:
            # SQLite gives its other files the permissions of this one. It must not be opened here once it exists:
            # closing any descriptor of a file drops the locks that SQLite holds on it in this process.
            os.close(os.open(self.database, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o600))
        except FileExistsError:
            if S_IMODE(os.lstat(self.database).st_mode) & 0o077:
                os.chmod(self.database, 0o600)
        if self.has_journal:
            os.unlink(self.database + "-journal")

    def examine(self) -> None:
        """Raise Broken if a file of the database is anything but a plain file of this user's."""
        for ending in ("", "-wal", "-shm"):
            try:
                found = os.lstat(self.database + ending)
            except FileNotFoundError:
                continue
            if not S_ISREG(found.st_mode) or found.st_nlink > 1 or not _is_ours(found):
                raise Broken(f"cache.db{ending} is not a plain file of this user's")

    @property
    def has_journal(self) -> bool:
        """Whether there is a rollback journal, so that the database must not be opened.

        A journal can name another file, which SQLite then deletes. Our databases have one for an instant while they are
        made, under the lock; at any other time it is the rest of one, or a trap.
        """
        return os.path.lexists(self.database + "-journal")

    def identity(self) -> Identity | None:
        """Which file the database is, if there is one: another one after the old one was moved away."""
        try:
            found = os.stat(self.database)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    # --- one at a time -----------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, wait: float, *, shared: bool = False) -> Iterator[None]:
        """Make, open to write, or move the database alone; open it to read together with others (`shared`).

        Raises TimeoutError after `wait` seconds.
        """
        path = os.path.join(self.path, "cache.lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | PLAIN, 0o600)
        try:
            until = monotonic() + wait
            while True:
                try:
                    _seize(lock, shared)
                    break
                except OSError:
                    if monotonic() >= until:
                        raise TimeoutError(errno.ETIMEDOUT, "another process holds the cache folder's lock") from None
                    sleep(_BLINK)
            yield
        finally:
            os.close(lock)

    def set_aside(self) -> None:
        """Move database and values into a folder beside them, so that a new store can begin. Under the lock only.

        Only the latest such folder is kept, because they count towards no limit.
        """
        self.drop_asides()
        aside = os.path.join(self.path, strftime("corrupt-%Y%m%dT%H%M%S"))
        os.mkdir(aside, 0o700)
        # The database first: whoever comes between finds none, rather than one without its log.
        files = [f"cache.db{ending}" for ending in ("", "-wal", "-shm", "-journal")]
        for entry in (*files, *filter(PLACE.fullmatch, os.listdir(self.path))):
            try:
                os.rename(os.path.join(self.path, entry), os.path.join(aside, entry))
            except FileNotFoundError:
                pass

    def drop_asides(self) -> None:
        """Remove what was set aside."""
        for entry in filter(_ASIDE.fullmatch, os.listdir(self.path)):
            shutil.rmtree(os.path.join(self.path, entry), ignore_errors=True)  # follows no links


def _is_ours(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
