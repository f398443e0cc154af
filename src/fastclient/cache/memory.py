"""Answers in this process's memory: the least recently used go first when there are too many, or too large ones."""

from __future__ import annotations

from collections import OrderedDict
from sys import getsizeof
from typing import Literal, TypeAlias

from fastclient.cache.entry import Entry
from fastclient.cache.store import Found, StoreStats
from fastclient.checks import instance, whole
from fastclient.locks import Locked

__all__ = ["MemoryStore", "Tier", "tier"]

Tier: TypeAlias = "MemoryStore | Literal['own'] | None"
"""The memory in front of another store: a given one, one of its own, or none."""

_OWN = 16 * 2**20  # bytes
_PLACE = getsizeof(bytes(32)) + 130  # bytes: the key, and its place in an OrderedDict
_MANY = 16  # loose entries there must be room for; a larger one is packed at once


def tier(field: str, memory: Tier) -> MemoryStore | None:
    """The memory a store asked for. Raises ConfigError for anything else."""
    if memory is None:
        return None
    return MemoryStore(max_bytes=_OWN) if memory == "own" else instance(field, memory, MemoryStore)


class MemoryStore(Locked):
    """Keeps at most `max_entries` answers in at most `max_bytes` of memory; both bounds always hold.

    Answers stay as they came until room gets scarce; then they are packed, and only what still does not fit has to go.
    One store may serve any number of clients and threads.
    """

    __slots__ = (
        *("_bytes", "_entries", "_evicted", "_hits", "_loose", "_max_bytes", "_max_entries", "_misses", "_stored"),
    )

    def __init__(self, *, max_bytes: int = 64 * 2**20, max_entries: int = 100_000) -> None:
        whole("memory.max_bytes", max_bytes)
        whole("memory.max_entries", max_entries)
        super().__init__()
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, Found] = OrderedDict()
        self._loose: OrderedDict[bytes, None] = OrderedDict()  # keys of what is not packed, the oldest first
        self._bytes = 0
        self._hits = self._misses = self._stored = self._evicted = 0

    def open(self) -> None:
        """Nothing to do: it is ready."""

    def get(self, key: bytes) -> Found | None:
        """The entry under this key; it is now the one that was used last."""
        with self.lock:
            found = self._entries.get(key)
            if found is None:
                self._misses += 1
                return None
            self._entries.move_to_end(key)
            self._hits += 1
        return found

    def put(self, key: bytes, entry: Entry, *, tag: bytes = b"", lifetime: float = 0.0) -> None:  # noqa: ARG002
        """Keep an entry until others need its place; whoever finds it looks at its age himself."""
        if entry.loose and entry.size > self._max_bytes // _MANY:
            entry = entry.tight()
        cost = _cost(entry)
        with self.lock:
            if key in self._entries:
                self._drop(key)
            if cost > self._max_bytes:
                return
            self._entries[key] = Found(entry, "memory")
            self._bytes += cost
            self._stored += 1
            if entry.loose:
                self._loose[key] = None
            while self._bytes > self._max_bytes and self._loose:
                self._pack(self._loose.popitem(last=False)[0])
            while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
                self._drop(next(iter(self._entries)))
                self._evicted += 1

    def _pack(self, key: bytes) -> None:
        """Have an entry take less room, where it stands."""
        entry = self._entries[key].entry
        packed = entry.tight()
        self._entries[key] = Found(packed, "memory")
        self._bytes += _cost(packed) - _cost(entry)

    def _drop(self, key: bytes) -> None:
        self._bytes -= _cost(self._entries.pop(key).entry)
        self._loose.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self._entries.clear()
            self._loose.clear()
            self._bytes = 0

    def purge(self, namespace: str | None = None) -> int:  # noqa: ARG002
        """Forget everything: it does not know which namespace an answer is of. Returns how many there were."""
        with self.lock:
            count = len(self._entries)
            self.clear()
            return count

    def close(self) -> None:
        """Nothing to do: memory needs no good-bye, and other clients may use it."""

    def stats(self) -> StoreStats:
        """What was counted, and what is held now."""
        with self.lock:
            return StoreStats(
                entries=len(self._entries),
                bytes=self._bytes,
                hits=self._hits,
                misses=self._misses,
                stored=self._stored,
                evicted=self._evicted,
            )

    def __repr__(self) -> str:
        return f"MemoryStore(max_bytes={self._max_bytes}, max_entries={self._max_entries})"


def _cost(entry: Entry) -> int:
    return entry.size + (2 * _PLACE if entry.loose else _PLACE)
