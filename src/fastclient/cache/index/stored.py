"""The index with a file behind it: there again after a restart, and shared by the processes that open the same file.

Each process has an index of its own in memory, and one way to fill it: what is added goes to the file, and what the
file has is read. So all processes see the same rows in the same order, their own too. A search looks at the file's
size first, and reads what others have added since.
"""

from __future__ import annotations

from pathlib import Path

from fastclient.cache.embedders.vectors import Vectors
from fastclient.cache.index.log import VectorLog
from fastclient.cache.index.memory import GRAPH_FROM, Found, VectorIndex

__all__ = ["StoredIndex"]

_WORTH = 1000  # dead records before the file is written anew


class StoredIndex:
    """A `VectorIndex` that survives. `file` is made with mode 0600, `space` is the embedder's id.

    A file of another space is begun anew: what it holds can be made again. Raises OSError where the system refuses.
    Keys and partitions have at most 32 bytes. In the file vectors have 16 bits a number, which moves a cosine by 0.001
    at most. Graphs are written down by `close`, beside the file; without them a restart is as quick, but a large
    partition is searched row by row until its rows have moved into a graph again.
    """

    def __init__(
        self, file: str | Path, space: str, dim: int, *, most: int = 100_000, graph_from: int = GRAPH_FROM
    ) -> None:
        self._index = VectorIndex(dim, most=most, graph_from=graph_from)
        self._log = VectorLog(Path(file), space, dim)
        self.refresh()
        if self._log.records > 2 * len(self._index) + _WORTH:
            self.tidy()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: bytes) -> bool:
        return key in self._index

    def add(self, key: bytes, partition: bytes, vector: Vectors) -> None:
        """Keep a vector, in place of the one this key had. A process that dies afterwards has kept it all the same."""
        with self._index.lock:
            self._log.append(key, partition, self._index.checked(vector))
            self.refresh()

    def remove(self, key: bytes) -> bool:
        """Forget a key, for all processes. Returns whether it was there."""
        with self._index.lock:
            self.refresh()
            if key not in self._index:
                return False
            self._log.append(key, b"", None)
            self.refresh()
            return True

    def nearest(self, partition: bytes, vector: Vectors, most: int = 5) -> list[Found]:
        """The keys of a partition whose vectors are nearest, nearest first; other processes' too."""
        self.refresh()
        return self._index.nearest(partition, vector, most)

    def refresh(self) -> None:
        """Read what was added since, by whomever."""
        with self._index.lock:
            anew, records = self._log.news()
            if anew:
                self._index.clear()
                self._load_graphs()
            for number, key, partition, vector in records:
                if vector is None:
                    self._index.drop(key)
                else:
                    self._index.put(number, key, partition, vector, replay=anew)
            if anew:
                self._index.purge()

    def sync(self) -> None:
        """Have all of it survive the machine's crash as well, not only this process's."""
        with self._index.lock:
            self._log.sync()

    def tidy(self) -> None:
        """Write the file anew without what is gone; done by itself when the file is opened and most of it is."""
        with self._index.lock:
            self.refresh()
            self._log.keep(self._index.numbers())
            self.refresh()

    def close(self) -> None:
        """Write the graphs down, and let go of the file. The index can be used again, and opens it then."""
        with self._index.lock:
            try:
                self.refresh()
                self._save_graphs()
            finally:
                self._log.close()

    # --- graphs -----------------------------------------------------------------------------------------------------

    def _graph_name(self) -> str:
        """How the names of this file's graphs begin. They outlive its being written anew: numbers stay."""
        return f"{self._log.path.name}.graph-{self._log.lineage.hex()}-"

    def _save_graphs(self) -> None:
        for partition, home in self._index.homes():
            home.save(self._log.path.with_name(self._graph_name() + partition.hex()))

    def _load_graphs(self) -> None:
        name, folder = self._graph_name(), self._log.path.parent
        for file in folder.glob(f"{self._log.path.name}.graph-*"):
            if not file.name.startswith(name):
                file.unlink(missing_ok=True)  # of a file that is no more
            elif self._index.may_graph and _is_hex(partition := file.name.removeprefix(name)):
                self._index.home(bytes.fromhex(partition)).load(file)


def _is_hex(text: str) -> bool:
    return all(each in "0123456789abcdef" for each in text) and len(text) % 2 == 0
