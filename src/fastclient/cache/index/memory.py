"""The nearest stored questions, in the memory of one process: partitions that never see each other, and a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import NamedTuple

from fastclient.cache.embedders.vectors import Vectors, np
from fastclient.cache.index.graph import graphs
from fastclient.cache.index.partition import Partition
from fastclient.checks import whole
from fastclient.errors import ConfigError
from fastclient.locks import Locked

__all__ = ["GRAPH_FROM", "Found", "VectorIndex"]

GRAPH_FROM = 4096
"""Vectors of a partition from which on a graph is the faster of the two, by ever more."""


class Found(NamedTuple):
    """A stored key, and the cosine of its vector with the one that was asked for."""

    key: bytes
    cosine: float


class VectorIndex(Locked):
    """Vectors by key and partition, `most` of them; the oldest go first. Safe to use from any thread.

    Vectors have length 1. One of zeros is like nothing: it is not kept, and finds nothing. A partition of `graph_from`
    vectors or more is searched by a graph, which needs usearch; without it, every search looks at all of them.
    """

    def __init__(self, dim: int, *, most: int = 100_000, graph_from: int = GRAPH_FROM) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("most", most), ("graph_from", graph_from)):
            whole(name, value)
        self.dim = dim
        self.most = most
        self._from = graph_from if graphs() else 0
        self._partitions: dict[bytes, Partition] = {}
        self._keys: dict[bytes, int] = {}
        self._owners: dict[int, tuple[bytes, bytes]] = {}  # number: key and partition
        self._order: deque[int] = deque()  # numbers as they came, also of those that are gone
        self._next = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes, partition: bytes, vector: Vectors) -> None:
        """Keep a vector. One that was kept under this key before is replaced, in whichever partition it was."""
        with self.lock:
            self._next += 1
            self.put(self._next, key, partition, self.checked(vector), replay=False)

    def put(self, number: int, key: bytes, partition: bytes, vector: Vectors, *, replay: bool) -> None:
        """Keep a vector under a number that none had before; `replay` leaves all work for later that can wait."""
        with self.lock:
            self.drop(key)
            if not vector.any():
                return
            home = self.home(partition)
            (home.put if replay else home.add)(number, vector)
            self._keys[key] = number
            self._owners[number] = key, partition
            self._order.append(number)
            while len(self._keys) > self.most:
                self._forget_oldest()

    def remove(self, key: bytes) -> bool:
        """Forget a key. Returns whether it was there."""
        with self.lock:
            return self.drop(key)

    def nearest(self, partition: bytes, vector: Vectors, most: int = 5) -> list[Found]:
        """The keys of a partition whose vectors are nearest, nearest first."""
        vector = self.checked(vector)
        with self.lock:
            home = self._partitions.get(partition)
            if home is None or not vector.any():
                return []
            return [Found(self._owners[number][0], cosine) for cosine, number in home.nearest(vector, most)]

    def home(self, partition: bytes) -> Partition:
        """A partition, made if it is not there. Under the lock only."""
        home = self._partitions.get(partition)
        if home is None:
            home = self._partitions[partition] = Partition(self.dim, self._from)
        return home

    def homes(self) -> list[tuple[bytes, Partition]]:
        """All partitions there are. Under the lock only."""
        return list(self._partitions.items())

    def purge(self) -> None:
        """Forget what graphs know of rows that are gone. Under the lock only."""
        for partition, home in self.homes():
            home.purge(self._owners)
            if not len(home):
                del self._partitions[partition]

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            for each in (self._partitions, self._keys, self._owners, self._order):
                each.clear()

    def numbers(self) -> Container[int]:
        """The numbers of what is kept. Under the lock only."""
        return self._owners

    @property
    def may_graph(self) -> bool:
        """Whether large partitions get a graph."""
        return self._from > 0

    def drop(self, key: bytes) -> bool:
        """Forget a key. Under the lock only."""
        number = self._keys.pop(key, None)
        if number is None:
            return False
        _, partition = self._owners.pop(number)
        home = self._partitions[partition]
        home.remove(number)
        if not len(home):
            del self._partitions[partition]
        if len(self._order) > 2 * len(self._owners) + 100:
            self._order = deque(each for each in self._order if each in self._owners)
        return True

    def _forget_oldest(self) -> None:
        while (number := self._order.popleft()) not in self._owners:
            pass
        self.drop(self._owners[number][0])

    def checked(self, vector: Vectors) -> Vectors:
        """A vector of the right length, or a ConfigError."""
        if vector.shape != (self.dim,):
            raise ConfigError.at("vector", f"must have {self.dim} numbers, not the shape {vector.shape}")
        return vector.astype(np.float32, copy=False)
