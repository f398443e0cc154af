"""Vectors from the letters of a text alone: no model, no files, some microseconds. Knows wordings, not meanings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from struct import pack
from zlib import crc32

from fastclient.cache.embedders.scripts import words
from fastclient.cache.embedders.vectors import Vectors, np

__all__ = ["Lexical"]

_DIM = 512
_CELLS = 2 * _DIM  # each number of a vector is the difference of two cells
_WEIGHTS = np.array([2.0, 0.6, 1.0], np.float32)  # of words, of three characters in a row, of two words in a row
_KINDS = len(_WEIGHTS)
_REMEMBERED = 2**14  # words whose cells are kept, some 2 MiB


class Lexical:
    """Counts words, parts of words and pairs of words, hashed into 512 numbers. Any language; nothing to load."""

    id = "lexical-512-1"
    dim = _DIM
    quick = True

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text; a text without a letter or digit is all zeros."""
        rows = np.zeros((len(texts), _DIM), np.float32)
        for row, text in zip(rows, texts, strict=True):
            cells = np.frombuffer(_cells(text), np.uint16)
            counts = np.bincount(cells, minlength=_KINDS * _CELLS).astype(np.float32)
            weighed = _WEIGHTS @ counts.reshape(_KINDS, _CELLS)
            np.subtract(weighed[1::2], weighed[::2], out=row)
            length = np.dot(row, row) ** 0.5
            if length > 0.0:
                row /= length
        return rows

    def __repr__(self) -> str:
        return "Lexical()"


def _cells(text: str) -> bytes:
    """Where the words of a text are counted, as 16-bit numbers: kind, place in the vector, sign."""
    spaced, runs = words(text)
    cells = [_of_word(word) for word in spaced]
    cells += [_of_run(run) for run in runs]
    pairs = [2 * _CELLS + (crc32(f"{first} {second}".encode()) % _CELLS) for first, second in pairwise(spaced)]
    cells.append(pack(f"={len(pairs)}H", *pairs))
    return b"".join(cells)


@lru_cache(_REMEMBERED)
def _of_word(word: str) -> bytes:
    """A word, and each three characters of it in a row; its ends count as characters."""
    parts = f"<{word}>"
    cells = [crc32(word.encode()) % _CELLS]
    cells += [_CELLS + crc32(f"#{parts[at : at + 3]}".encode()) % _CELLS for at in range(len(parts) - 2)]
    return pack(f"={len(cells)}H", *cells)


def _of_run(run: str) -> bytes:
    """A run without spaces: each two characters in a row count as a word, and each single one a little."""
    pairs = [crc32((first + second).encode()) % _CELLS for first, second in pairwise(run)]
    cells = (pairs or [crc32(run.encode()) % _CELLS]) + [_CELLS + crc32(char.encode()) % _CELLS for char in run]
    return pack(f"={len(cells)}H", *cells)
