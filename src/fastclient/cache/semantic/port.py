"""What the semantic cache asks of the place where questions are kept with their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fastclient.cache.entry import Entry

if TYPE_CHECKING:
    from fastclient.cache.embedders.vectors import Vectors

__all__ = ["Known", "Near", "Questions"]


class Near(NamedTuple):
    """A question that was asked before, and the cosine of its vector with that of the one asked now."""

    key: bytes
    cosine: float
    question: str


class Known(NamedTuple):
    """A question and its answer, to be kept.

    `key` has 32 bytes: the exact cache's key of the whole request, so that the same question is kept once. `partition`
    has 32 bytes and stands for everything else in the request and for the embedder; `tag` has 8 bytes and stands for
    the namespace; `lifetime` is in seconds.
    """

    key: bytes
    partition: bytes
    tag: bytes
    question: str
    vector: Vectors
    entry: Entry
    lifetime: float


class Questions(Protocol):
    """Where questions are kept with their answers, and found by their vectors.

    Everything is awaited on any event loop, asyncio's or trio's, and may raise any Exception: a place that fails is one
    that knows nothing. What is far away must say so within 50 ms, and at once while it is known to be away.
    """

    def bind(self, space: str, dim: int) -> None:
        """What the vectors are: the embedder's id, and how long they are. Called before anything else; does no work."""
        ...

    async def nearest(self, partition: bytes, vector: Vectors, most: int) -> Sequence[Near]:
        """The `most` questions of a partition whose vectors are nearest, nearest first. No other partition's."""
        ...

    async def answer(self, key: bytes) -> Entry | None:
        """What is kept under a key; None if it is gone, expired, or not what was put there."""
        ...

    async def add(self, known: Known) -> None:
        """Keep a question and its answer, in place of what this key had."""
        ...

    async def remove(self, key: bytes) -> None:
        """Forget a question."""
        ...

    async def forget(self, tag: bytes | None, labels: Sequence[str], before: float) -> int:
        """Forget what was stored before a moment (seconds since 1970) and has the tag, and any of the labels.

        No tag means every namespace, no labels mean all. Returns how many were forgotten, as far as that is known.
        """
        ...

    async def aclose(self) -> None:
        """Let go of files and connections. They open again when they are needed."""
        ...
