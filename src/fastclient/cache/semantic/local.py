"""Questions of this machine: vectors in memory or in a file, words and answers in the exact cache's store.

An answer is kept once, under the exact key of its request; the question's words stand beside it. So an answer that
expires, is pushed out, is forgotten or damaged takes its question with it: a vector that leads nowhere is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import anyio.to_thread

from fastclient.cache.entry import Entry
from fastclient.cache.index.memory import VectorIndex
from fastclient.cache.index.stored import StoredIndex
from fastclient.cache.semantic.port import Known, Near
from fastclient.cache.store import Store

if TYPE_CHECKING:
    from fastclient.cache.embedders.vectors import Vectors

__all__ = ["LocalQuestions"]

_WORDS = 20_000  # questions whose words stay at hand
_MORE = 2  # times as many vectors are looked for as are wanted: some lead nowhere


class LocalQuestions:
    """Vectors of at most `most` questions, in a file in `folder` if there is one; everything else is the store's."""

    def __init__(self, store: Store, folder: Path | None = None, *, most: int = 100_000) -> None:
        self._store = store
        self._folder = folder
        self._most = most
        self._space, self._dim = "", 0
        self._index: VectorIndex | StoredIndex | None = None
        self._words: OrderedDict[bytes, str] = OrderedDict()
        self._opening = Lock()

    def bind(self, space: str, dim: int) -> None:
        self._space, self._dim = space, dim
        if self._index is None and self._folder is None:
            self._index = VectorIndex(dim, most=self._most)

    async def nearest(self, partition: bytes, vector: Vectors, most: int) -> Sequence[Near]:
        index = await self._opened()
        near: list[Near] = []
        for key, cosine in index.nearest(partition, vector, _MORE * most):
            question = self._question(key)
            if question is None:
                index.remove(key)
            elif len(near) < most:
                near.append(Near(key, cosine, question))
        return near

    async def answer(self, key: bytes) -> Entry | None:
        found = self._store.get(key)
        if found is None:
            await self.remove(key)
        return None if found is None else found.entry

    async def add(self, known: Known) -> None:
        index = await self._opened()
        words = Entry(stored=known.entry.stored, text=known.question)
        self._store.put(_beside(known.key), words, tag=known.tag, lifetime=known.lifetime)
        self._remember(known.key, known.question)
        if self._folder is None:
            index.add(known.key, known.partition, known.vector)
        else:
            await anyio.to_thread.run_sync(index.add, known.key, known.partition, known.vector)

    async def remove(self, key: bytes) -> None:
        self._words.pop(key, None)
        if self._index is not None:
            self._index.remove(key)

    async def forget(self, tag: bytes | None, labels: Sequence[str], before: float) -> int:  # noqa: ARG002
        """Nothing to do: answers are the store's, and a question goes with its answer."""
        return 0

    async def aclose(self) -> None:
        if isinstance(self._index, StoredIndex):
            await anyio.to_thread.run_sync(self._index.close)

    async def _opened(self) -> VectorIndex | StoredIndex:
        if self._index is not None:
            return self._index
        return await anyio.to_thread.run_sync(self._open)

    def _open(self) -> VectorIndex | StoredIndex:
        with self._opening:
            if self._index is None and self._folder is not None:
                name = blake2b(self._space.encode(), digest_size=8).hexdigest()
                file = self._folder / f"questions-{name}.vectors"
                self._index = StoredIndex(file, self._space, self._dim, most=self._most)
            if self._index is None:
                raise RuntimeError("nothing was bound")
            return self._index

    def _question(self, key: bytes) -> str | None:
        """The words of a question, as long as its answer is there."""
        words = self._words.get(key)
        if words is None:
            found = self._store.get(_beside(key))
            if found is None or self._store.get(key) is None:
                return None
            words = found.entry.text
            self._remember(key, words)
        return words

    def _remember(self, key: bytes, words: str) -> None:
        self._words[key] = words
        if len(self._words) > _WORDS:
            self._words.popitem(last=False)


def _beside(key: bytes) -> bytes:
    """The key under which the words of a question stand."""
    return blake2b(key, digest_size=32, person=b"fc question").digest()
