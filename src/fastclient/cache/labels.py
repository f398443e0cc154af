"""What an answer depends on, and what is forgotten with it: documents and tags, named when the answer is asked for.

Nobody searches a store for the answers to a label. Forgetting one leaves a mark in the store, and an answer with the
label that is older than the mark is a miss. So it costs the same however many answers there are, works in every store
and for all who share it, and answers without labels never hear of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b

from fastclient.cache.entry import Entry
from fastclient.cache.store import Store

__all__ = ["Marks"]

_LASTS = 90 * 86_400.0  # seconds, if answers are not kept for longer


class Marks:
    """The marks in one store. A mark for a namespace holds for that one only, one without for all."""

    def __init__(self, store: Store, now: Callable[[], float], lifetime: float) -> None:
        self._store = store
        self._now = now
        self._lifetime = max(_LASTS, lifetime)

    def forget(self, labels: Iterable[str], tag: bytes | None) -> None:
        """From now on every answer with one of these labels that was stored before is forgotten. May block."""
        mark = Entry(stored=self._now())
        for label in labels:
            self._store.put(_key(label, tag), mark, tag=tag or b"", lifetime=self._lifetime)
        flush: Callable[[], None] | None = getattr(self._store, "flush", None)
        if flush is not None:
            flush()

    def cover(self, entry: Entry, tag: bytes) -> bool:
        """Whether an answer is forgotten. Two looks into the store for each of its labels."""
        for label in entry.labels:
            for scope in (None, tag):
                mark = self._store.get(_key(label, scope))
                if mark is not None and entry.stored <= mark.entry.stored:
                    return True
        return False


def _key(label: str, tag: bytes | None) -> bytes:
    return blake2b(label.encode() + b"\0" + (tag or b""), digest_size=32, person=b"fc forgotten").digest()
