"""The vectors that may be compared with each other: rows while they are few, a graph with a waiting room when many."""

from __future__ import annotations

from collections.abc import Container
from heapq import merge
from itertools import islice
from operator import neg
from pathlib import Path

from fastclient.cache.embedders.vectors import Vectors
from fastclient.cache.index.graph import Graph
from fastclient.cache.index.rows import Near, Rows

__all__ = ["Partition"]

_WAITING = 256  # rows that stay out of the graph: those added last, which are often removed soon
_MOVED = 2  # rows that go into the graph with each one that comes, so that no single one pays for all


class Partition:
    """Searched row by row below `graph_from` vectors; 0 means always.

    From then on each addition moves two rows into the graph, and a search asks both. So there is no moment at which
    everything is built anew, and no thread that does it.
    """

    __slots__ = ("_dim", "_from", "_graph", "_loaded", "_rows")

    def __init__(self, dim: int, graph_from: int) -> None:
        self._dim = dim
        self._from = graph_from
        self._rows = Rows(dim)
        self._graph: Graph | None = None
        self._loaded: set[int] = set()  # what the graph knew when it was read, until the file is read too

    def __len__(self) -> int:
        return len(self._rows) + (0 if self._graph is None else len(self._graph))

    def add(self, number: int, vector: Vectors) -> None:
        """One more vector."""
        self._rows.add(number, vector)
        if self._from and self._graph is None and len(self._rows) >= self._from:
            self._graph = Graph(self._dim)
        if self._graph is not None:
            for _ in range(min(_MOVED, len(self._rows) - _WAITING)):
                self._graph.add(*self._rows.take())

    def put(self, number: int, vector: Vectors) -> None:
        """The same while reading from a file: nothing is moved, and what the graph knows is not put in again."""
        if number not in self._loaded:
            self._rows.add(number, vector)

    def remove(self, number: int) -> None:
        if not self._rows.remove(number) and self._graph is not None:
            self._graph.remove(number)

    def nearest(self, vector: Vectors, most: int) -> list[Near]:
        """The nearest ones, nearest first."""
        found = self._rows.nearest(vector, most)
        if self._graph is None:
            return found
        both = merge(found, self._graph.nearest(vector, most), key=lambda near: neg(near.cosine))
        return list(islice(both, most))

    def purge(self, known: Container[int]) -> None:
        """Take out of the graph what is not known."""
        for number in self._loaded:
            if number not in known and self._graph is not None:
                self._graph.remove(number)
        self._loaded = set()

    def save(self, file: Path) -> bool:
        """Write the graph down, if there is one."""
        if self._graph is None:
            return False
        self._graph.save(file)
        return True

    def load(self, file: Path) -> bool:
        """Begin with a graph that was written down."""
        graph = Graph(self._dim)
        if not graph.load(file):
            return False
        self._graph, self._loaded = graph, graph.numbers()
        return True
