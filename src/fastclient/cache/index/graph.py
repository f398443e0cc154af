"""A graph of neighbours (HNSW) for partitions too large to look at every row; by usearch, in 16 bits."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from fastclient.cache.embedders.vectors import Vectors, np
from fastclient.cache.index.rows import Near

__all__ = ["Graph", "graphs"]

_NEIGHBOURS = 16
_SEARCHED = 100  # candidates on the way, when adding
_LOOKED_AT = 64  # the same when searching; with fewer recall falls below 0.98


def graphs() -> bool:
    """Whether there can be graphs: usearch is optional."""
    with suppress(OSError):  # a machine that has none of its own keeps to the one within
        # usearch's wheels for Linux carry a C++ runtime and export it. Loaded first, it becomes everybody's: the next
        # exception in another C++ library, onnxruntime for one, ends the process. So the machine's own goes first.
        ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)
    try:
        import usearch.index  # noqa: F401
    except ImportError:
        return False
    return True


class Graph:
    """Vectors by number, the nearest of which are found almost always, in time that hardly grows with their count."""

    def __init__(self, dim: int) -> None:
        from usearch.index import Index

        self._index = Index(
            ndim=dim,
            metric="ip",
            dtype="f16",
            connectivity=_NEIGHBOURS,
            expansion_add=_SEARCHED,
            expansion_search=_LOOKED_AT,
        )

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, number: int) -> bool:
        return bool(number in self._index)

    def add(self, number: int, vector: Vectors) -> None:
        self._index.add(number, vector, threads=1)

    def remove(self, number: int) -> bool:
        """Take one out; its place is used again."""
        if number not in self._index:
            return False
        self._index.remove(number)
        return True

    def nearest(self, vector: Vectors, most: int) -> list[Near]:
        """The nearest, nearest first, as exact as 16 bits are."""
        if not len(self._index):
            return []
        found = self._index.search(vector, most, threads=1)
        return [Near(1.0 - float(far), int(number)) for number, far in zip(found.keys, found.distances, strict=True)]

    def numbers(self) -> set[int]:
        """All numbers there are."""
        return set(np.asarray(self._index.keys).tolist())

    def save(self, file: Path) -> None:
        """Write it down, so that it is there whole or not at all."""
        data = self._index.save() or b""
        passing = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(data)
                out.write(crc32(data).to_bytes(4, "little"))
                out.flush()
                os.fsync(out.fileno())
            passing.replace(file)
        finally:
            passing.unlink(missing_ok=True)

    def load(self, file: Path) -> bool:
        """Read what was written down. False if it is not there or damaged, which usearch itself would not notice."""
        try:
            data = file.read_bytes()
        except OSError:
            return False
        if len(data) < 8 or crc32(memoryview(data)[:-4]) != int.from_bytes(data[-4:], "little"):
            return False
        self._index.load(bytearray(memoryview(data)[:-4]))
        self._index.expansion_search = _LOOKED_AT  # type: ignore[misc]  # the setters stand apart from the properties
        return True
