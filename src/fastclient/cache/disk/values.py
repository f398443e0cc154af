"""The files of large values: under names that we give, in plain folders, readable by nobody else.

What lies there may have been put there by somebody else. No link is followed, nothing but a plain file is read, and
nothing is removed that has another name.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from stat import S_ISDIR, S_ISREG

__all__ = ["PLACE", "PLAIN", "Values"]

PLACE = re.compile(r"[0-9a-f]{2}")  # the name of a folder that holds values, or other such folders
PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
_TRIES = 10  # to make a file while other processes remove the folder, because it is empty


class Values:
    """The values below a folder. Methods raise OSError for what the system refuses, ValueError for what is not ours."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, name: object, limit: int) -> bytes:
        """The bytes of a value, unless there are more than `limit`."""
        # Not blocking, because opening a pipe would wait for its other end.
        file = os.open(self._place(name), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | PLAIN)
        try:
            found = os.fstat(file)
            if not S_ISREG(found.st_mode) or found.st_size > limit:
                raise ValueError("not a file that we wrote")
            pieces, left = [], found.st_size
            while left and (piece := os.read(file, left)):
                pieces.append(piece)
                left -= len(piece)
            return b"".join(pieces)
        finally:
            os.close(file)

    def write(self, data: bytes) -> str:
        """Write a value into a new file, and return its name."""
        digits = secrets.token_hex(16)
        name = f"{digits[:2]}/{digits[2:4]}/{digits[4:]}.val"
        file = self._create(name)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
        except BaseException:
            os.close(file)
            self.remove(name)
            raise
        os.close(file)
        return name

    def _create(self, name: str) -> int:
        first, second, _ = name.split("/")
        for _ in range(_TRIES):
            try:
                for folder in (first, f"{first}/{second}"):
                    if not os.path.lexists(os.path.join(self._path, folder)):
                        os.mkdir(os.path.join(self._path, folder), 0o700)
                return os.open(self._place(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o600)
            except (FileNotFoundError, FileExistsError):
                continue
        raise FileNotFoundError("a folder for a value that comes and goes")

    def remove(self, name: object) -> bool:
        """Remove a value, and the folders that are empty then. False if there is none of this name."""
        try:
            place = self._place(name)
            os.unlink(place)
        except (OSError, ValueError):
            return False
        try:
            os.rmdir(os.path.dirname(place))
            os.rmdir(os.path.dirname(os.path.dirname(place)))
        except OSError:
            pass
        return True

    def all(self) -> Iterator[tuple[str, float]]:
        """The names of all values, and when each was written, in seconds since 1970."""
        for first in _folders(self._path):
            for second in _folders(first.path):
                with os.scandir(second.path) as entries:
                    for entry in entries:
                        name = f"{first.name}/{second.name}/{entry.name}"
                        if _NAME.fullmatch(name):
                            yield name, entry.stat(follow_symlinks=False).st_mtime

    def prune(self) -> int:
        """Remove empty folders, and return how many there were."""
        count = 0
        for first in _folders(self._path):
            for folder in (*_folders(first.path), first):
                try:
                    os.rmdir(folder.path)
                    count += 1
                except OSError:
                    pass
        return count

    def _place(self, name: object) -> str:
        """Where a value is."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError("not the name of a value")
        path = self._path
        first, second, last = name.split("/")
        for part in (first, second):
            path = os.path.join(path, part)
            if not S_ISDIR(os.lstat(path).st_mode):
                raise ValueError("something else where a folder belongs")
        return os.path.join(path, last)


def _folders(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return [entry for entry in entries if PLACE.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
