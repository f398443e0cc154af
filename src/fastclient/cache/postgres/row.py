"""A question as a row of a table, and the mark that proves that nobody has changed it. Pure.

The answer has a seal of its own, which holds for the row's key; the mark covers the rest. Without a secret that guards
against accidents and careless hands, with one against whoever does not know it.
"""

from __future__ import annotations

import struct
import time
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple

from fastclient.cache.embedders.vectors import Vectors, np
from fastclient.cache.entry import Entry
from fastclient.cache.seal import opened, sealed
from fastclient.cache.semantic.port import Known

__all__ = ["LARGEST", "Row", "entry_of", "given", "packed", "read", "unpacked"]

LARGEST = 4 * 2**20  # bytes of an answer: what a network brings within our patience
_FOREVER = 10 * 365 * 86400.0  # seconds
_MARK = 16  # bytes


class Row(NamedTuple):
    """What a table holds of a question, but for its answer. `vector` is in the server's own form, at 16 bits."""

    key: bytes
    partition: bytes
    tag: bytes
    question: str
    vector: bytes
    labels: tuple[str, ...]
    stored: float
    expires: float

    def mark(self, secret: bytes) -> bytes:
        """Sixteen bytes that hold for this row and for no other."""
        if len(secret) > 64:
            secret = blake2b(secret).digest()
        mark = blake2b(digest_size=_MARK, key=secret, person=b"fastclient asked")
        words = (self.question.encode(), *(label.encode() for label in self.labels))
        for part in (self.key, self.partition, self.tag, self.vector, *words):
            mark.update(len(part).to_bytes(4, "big"))
            mark.update(part)
        mark.update(struct.pack(">dd", self.stored, self.expires))
        return mark.digest()

    def good(self, mark: bytes, secret: bytes) -> bool:
        """Whether this is what was written."""
        return compare_digest(mark, self.mark(secret))


def given(known: Known, secret: bytes) -> tuple[Row, bytes] | None:
    """The row and the sealed answer to write; None for what a table cannot hold, or what would be too much."""
    labels = tuple(known.entry.labels)
    row = Row(
        known.key,
        known.partition,
        known.tag,
        known.question,
        packed(known.vector),
        labels,
        known.entry.stored,
        time.time() + min(known.lifetime, _FOREVER),
    )
    try:
        row.mark(secret)
    except UnicodeEncodeError:  # half of a surrogate pair: the server has no bytes for it
        return None
    if any("\0" in words for words in (row.question, *labels)):  # which its texts cannot hold
        return None
    answer = sealed(known.key, known.entry, secret)
    return (row, answer) if len(answer) <= LARGEST else None


def read(columns: tuple[object, ...], secret: bytes) -> tuple[Row, bool]:
    """The row that came back, and whether it is what was written. Raises ValueError if it is no row at all."""
    match columns:
        case (
            bytes() as mark,
            bytes() as key,
            bytes() as partition,
            bytes() as tag,
            str() as question,
            bytes() as vector,
            list() as labels,
            float() as stored,
            float() as expires,
        ):
            row = Row(key, partition, tag, question, vector, tuple(map(str, labels)), stored, expires)
            return row, row.good(mark, secret)
    raise ValueError("not a row")


def entry_of(row: Row, answer: object, secret: bytes) -> Entry | None:
    """The answer that came with a row."""
    return opened(row.key, answer, secret)


def packed(vector: Vectors) -> bytes:
    """A vector as the server takes it. Raises ValueError if it is none."""
    numbers = np.asarray(vector, dtype=">f2").reshape(-1)
    if not np.isfinite(numbers).all():
        raise ValueError("a number that is not finite")
    return struct.pack(">HH", len(numbers), 0) + numbers.tobytes()


def unpacked(data: bytes) -> Vectors:
    """The vector that the server holds, as exact as 16 bits are."""
    return np.frombuffer(data, dtype=">f2", offset=4).astype(np.float32)
