"""Vectors of one partition, searched one and all: exact, and faster than anything clever up to some thousands. Pure."""

from __future__ import annotations

from typing import NamedTuple

from fastclient.cache.embedders.vectors import NDArray, Vectors, np

__all__ = ["Near", "Rows", "best"]

_BLOCK = 4096  # rows; a block that is full is never copied again


class Near(NamedTuple):
    """A row by its number, and the cosine of its vector with the one that was asked for."""

    cosine: float
    number: int


class Rows:
    """A matrix that grows and shrinks, with a number for each row."""

    __slots__ = ("_blocks", "_dim", "_numbers", "_places")

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._blocks: list[Vectors] = []
        self._numbers: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int, vector: Vectors) -> None:
        """A new row at the end."""
        at = len(self._numbers)
        if at >= _BLOCK * len(self._blocks) or (at < _BLOCK and at >= len(self._blocks[0])):
            self._grow(at)
        self._blocks[at // _BLOCK][at % _BLOCK] = vector
        self._numbers.append(number)
        self._places[number] = at

    def remove(self, number: int) -> bool:
        """Take a row out; the last one takes its place. Returns whether it was there."""
        at = self._places.pop(number, None)
        if at is None:
            return False
        last = self._numbers.pop()
        if last != number:
            self._row(at)[:] = self._row(len(self._numbers))
            self._numbers[at] = last
            self._places[last] = at
        if len(self._numbers) <= _BLOCK * (len(self._blocks) - 1):
            self._blocks.pop()
        return True

    def take(self) -> tuple[int, Vectors]:
        """Take the last row out, and return it."""
        number = self._numbers[-1]
        vector = self._row(len(self._numbers) - 1).copy()
        self.remove(number)
        return number, vector

    def nearest(self, vector: Vectors, most: int) -> list[Near]:
        """The rows nearest to a vector, nearest first."""
        left, found = len(self._numbers), []
        for block in self._blocks:
            found.append(block[:left] @ vector)
            left -= _BLOCK
        if not found:
            return []
        cosines = found[0] if len(found) == 1 else np.concatenate(found)
        return [Near(float(cosines[at]), self._numbers[at]) for at in best(cosines, most)]

    def _row(self, at: int) -> Vectors:
        row: Vectors = self._blocks[at // _BLOCK][at % _BLOCK]
        return row

    def _grow(self, at: int) -> None:
        """Room for one more: most partitions stay tiny, so the first block doubles until it is a whole one."""
        room = np.empty((min(_BLOCK, max(1, 2 * at)) if at < _BLOCK else _BLOCK, self._dim), np.float32)
        if 0 < at < _BLOCK:
            room[:at] = self._blocks.pop()[:at]
        self._blocks.append(room)


def best(cosines: NDArray[np.float32], most: int) -> list[int]:
    """Where the largest values are, the largest first; of equal ones the earlier."""
    if len(cosines) > 4 * most:
        places = np.argpartition(cosines, len(cosines) - most)[-most:]
        places.sort()
    else:
        places = np.arange(len(cosines))
    chosen: list[int] = places[np.argsort(-cosines[places], kind="stable")[:most]].tolist()
    return chosen
