"""Vectors in a file that is only ever appended to: what was written before a crash is there after it.

All records have one size and a checksum of their own, over their place too. Whoever is killed while writing leaves a
piece of one, which the next writer cuts off; a damaged one is skipped. Several processes may write: a lock lets them do
so one after the other, and whatever one of them adds the others read. A file that is replaced as a whole is noticed by
its number in the folder.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from fastclient.cache.embedders.vectors import Vectors, np
from fastclient.errors import ConfigError

try:
    import fcntl
except ImportError:
    raise ConfigError.at("file", "an index in a file needs a POSIX system; keep it in memory") from None

__all__ = ["Record", "VectorLog"]

_MAGIC = b"fcvector"
_HEAD = 64
_SPACE = 16  # bytes that name the vectors' space
_NAME = 8  # bytes that name a file, and those it was written anew from
_KEY = 32
_ADDED, _REMOVED = 1, 2
_AT_ONCE = 4096  # records read in one piece


class Record(NamedTuple):
    """What one record says. The vector is None where the key was removed; no two additions have the same number."""

    number: int
    key: bytes
    partition: bytes
    vector: Vectors | None


class VectorLog:
    """One file of vectors of one space. Keys and partitions have at most 32 bytes. Raises OSError.

    Not safe for threads: whoever owns it has a lock.
    """

    def __init__(self, path: Path, space: str, dim: int) -> None:
        self.path = path
        self._space = blake2b(f"{space} {dim}".encode(), digest_size=_SPACE).digest()
        self._form = np.dtype(
            [
                *(("sum", "<u4"), ("kind", "u1"), ("sizes", "u1", (2,)), ("free", "u1"), ("number", "<u8")),
                *(("key", f"V{_KEY}"), ("partition", f"V{_KEY}"), ("vector", "<f2", (dim,))),
            ]
        )
        self._file = -1
        self._process = 0
        self._seen = 0  # records
        self._another = False  # than the one whose records were read
        self.birth = self.lineage = b""

    def append(self, key: bytes, partition: bytes, vector: Vectors | None) -> None:
        """Write a record. The death of this process cannot take it back then; `sync` is for the machine's."""
        if len(key) > _KEY or len(partition) > _KEY:
            raise ValueError(f"keys and partitions have at most {_KEY} bytes")
        with self._locked(shared=False):
            place, size = self._whole()
            if size != os.fstat(self._file).st_size:
                os.ftruncate(self._file, size)  # somebody died while writing
            number = int.from_bytes(os.urandom(8)) >> 1
            data = self._written(place, self.birth, Record(number, key, partition, vector))
            if os.write(self._file, data) < len(data):
                os.ftruncate(self._file, size)
                raise OSError("no space left for a vector")

    def news(self) -> tuple[bool, Iterator[Record]]:
        """Whether the file is another one than before, and what stands in it that was not read yet."""
        if self._unchanged():
            return False, iter(())
        with self._locked(shared=True):
            last, _ = self._whole()
            if last < self._seen:  # somebody cut it
                self._seen, self._another = 0, True
        another, self._another = self._another, False
        return another, self._records(last)

    def sync(self) -> None:
        """Have what was written survive the machine's crash as well."""
        with self._locked(shared=True):
            os.fsync(self._file)

    def keep(self, known: Container[int]) -> bool:
        """Write the file anew with the records of these numbers alone, unless others have written since the last news.

        Returns whether it was done.
        """
        with self._locked(shared=False):
            last, _ = self._whole()
            if last > self._seen:
                return False
            birth = os.urandom(_NAME)
            passing, place = self._fresh("anew", birth, self.lineage), 0
            with passing.open("ab") as out:
                for first in range(0, last, _AT_ONCE):
                    for record in self._good(first, self._read(first, min(_AT_ONCE, last - first))):
                        if record.number in known and record.vector is not None:
                            out.write(self._written(place, birth, record))
                            place += 1
                out.flush()
                os.fsync(out.fileno())
            passing.replace(self.path)
        return True

    @property
    def records(self) -> int:
        """How many were read."""
        return self._seen

    def close(self) -> None:
        if self._file >= 0 and self._process == os.getpid():
            os.close(self._file)
        self._file = -1

    # --- the file ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self, *, shared: bool) -> Iterator[None]:
        """The file that stands there now, open and locked."""
        while True:
            if self._file < 0 or self._process != os.getpid():  # a fork shares what its parent has open, locks too
                self._open()
            fcntl.flock(self._file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            try:
                found = os.stat(self.path)
            except FileNotFoundError:
                found = None
            if found is not None and _same(found, os.fstat(self._file)):
                break
            self.close()  # closing unlocks
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _open(self) -> None:
        """Open the file, which is replaced by an empty one if it is not of this space."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            try:
                file = os.open(self.path, flags)
            except FileNotFoundError:
                self._begin()
                continue
            head = os.pread(file, _HEAD, 0)
            if self._valid(head):
                break
            self._replace(file)
        self._file, self._process = file, os.getpid()
        if (birth := head[32:40]) != self.birth:
            self.lineage, self.birth, self._seen, self._another = head[24:32], birth, 0, True

    def _valid(self, head: bytes) -> bool:
        sound = len(head) == _HEAD and crc32(head[:60]) == int.from_bytes(head[60:], "little")
        return sound and head[:8] == _MAGIC and head[8:24] == self._space

    def _begin(self) -> None:
        """Put an empty file there, unless somebody else was quicker."""
        passing = self._empty()
        try:
            os.link(passing, self.path)
        except FileExistsError:
            return
        finally:
            passing.unlink()

    def _replace(self, file: int) -> None:
        """Put an empty file in the place of this open one, which is closed, unless somebody else was quicker."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _same(os.fstat(file), os.stat(self.path)):
                self._empty().replace(self.path)
        except FileNotFoundError:
            return
        finally:
            os.close(file)

    def _empty(self) -> Path:
        """An empty file beside the one there is, that is related to none."""
        return self._fresh(os.urandom(_NAME).hex(), os.urandom(_NAME), os.urandom(_NAME))

    def _fresh(self, name: str, birth: bytes, lineage: bytes) -> Path:
        passing = self.path.with_name(f"{self.path.name}.{name}")
        head = (_MAGIC + self._space + lineage + birth).ljust(60, b"\0")
        passing.unlink(missing_ok=True)
        with os.fdopen(os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(head + crc32(head).to_bytes(4, "little"))
        return passing

    def _unchanged(self) -> bool:
        """Whether nothing can have been added, as one look at the file says."""
        if self._file < 0 or self._process != os.getpid():
            return False
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        more = found.st_size - _HEAD - self._seen * self._form.itemsize
        return 0 <= more < self._form.itemsize and _same(found, os.fstat(self._file))

    def _whole(self) -> tuple[int, int]:
        """How many whole records there are, and where they end."""
        count = max(0, os.fstat(self._file).st_size - _HEAD) // self._form.itemsize
        return count, _HEAD + count * self._form.itemsize

    # --- records ----------------------------------------------------------------------------------------------------

    def _written(self, place: int, birth: bytes, said: Record) -> bytes:
        number, key, partition, vector = said
        record = np.zeros(1, self._form)
        record["kind"] = _REMOVED if vector is None else _ADDED
        record["number"] = number
        record["sizes"] = len(key), len(partition)
        record["key"] = np.void(key.ljust(_KEY, b"\0"))
        record["partition"] = np.void(partition.ljust(_KEY, b"\0"))
        if vector is not None:
            record["vector"] = vector
        body = record.tobytes()[4:]
        return _sum(place, birth, body).to_bytes(4, "little") + body

    def _read(self, first: int, count: int) -> bytes:
        data = os.pread(self._file, count * self._form.itemsize, _HEAD + first * self._form.itemsize)
        return data[: len(data) // self._form.itemsize * self._form.itemsize]

    def _records(self, last: int) -> Iterator[Record]:
        while self._seen < last:
            first, data = self._seen, self._read(self._seen, min(_AT_ONCE, last - self._seen))
            if not data:
                return
            self._seen += len(data) // self._form.itemsize
            yield from self._good(first, data)

    def _good(self, first: int, data: bytes) -> Iterator[Record]:
        """The records that are as they were written."""
        size, view, rows = self._form.itemsize, memoryview(data), np.frombuffer(data, self._form)
        keys, partitions = rows["key"].tobytes(), rows["partition"].tobytes()
        vectors = rows["vector"].astype(np.float32)
        heads = zip(*(rows[name].tolist() for name in ("sum", "kind", "sizes", "number")), strict=True)
        for at, (total, kind, (key, partition), number) in enumerate(heads):
            if _sum(first + at, self.birth, view[at * size + 4 : (at + 1) * size]) == total:
                start = at * _KEY
                names = keys[start : start + key], partitions[start : start + partition]
                yield Record(number, *names, vectors[at] if kind == _ADDED else None)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _sum(place: int, birth: bytes, body: bytes | memoryview) -> int:
    return crc32(body, crc32(place.to_bytes(8, "little") + birth))
