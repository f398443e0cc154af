"""What waits to be written, bounded in bytes; and counts, from any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from fastclient.cache.disk.folder import Identity
from fastclient.cache.entry import Entry
from fastclient.locks import Locked

__all__ = ["Job", "Queue", "Tally"]

_WAITING = 32 * 2**20  # bytes
_BATCH, _BATCH_BYTES = 100, 2**20  # in one transaction, so that other processes get their turn


class Tally(Locked):
    """Counts, from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        with self.lock:
            self._counts[name] += number

    def counts(self) -> Mapping[str, int]:
        with self.lock:
            return dict(self._counts)


class Job(NamedTuple):
    """An entry to be written, or None for a key to be forgotten. `until` is when it expires, in seconds since 1970."""

    entry: Entry | None
    tag: bytes = b""
    until: float = 0.0

    @property
    def size(self) -> int:
        """Bytes it takes while it waits."""
        return 300 + (self.entry.size if self.entry is not None else 0)


class Queue(Locked):
    """What waits to be written, by key; the latest for a key counts. It stays until it is written, and can be read."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[bytes, Job] = {}
        self._bytes = 0
        self.suspect: Identity | None = None

    def __bool__(self) -> bool:
        return bool(self._jobs) or self.suspect is not None

    def get(self, key: bytes) -> Job | None:
        return self._jobs.get(key)

    def add(self, key: bytes, job: Job) -> bool:
        """Append a job; False if there is no room."""
        with self.lock:
            old = self._jobs.get(key)
            if self._bytes + job.size - (old.size if old else 0) > _WAITING:
                return False
            self._remove(key, old)
            self._jobs[key] = job
            self._bytes += job.size
            return True

    def batch(self, most: int = _BATCH) -> dict[bytes, Job]:
        """The first jobs, which stay; no more than `most`."""
        batch: dict[bytes, Job] = {}
        size = 0
        with self.lock:
            for key, job in islice(self._jobs.items(), most):
                batch[key] = job
                size += job.size
                if size > _BATCH_BYTES:
                    break
        return batch

    def done(self, batch: Mapping[bytes, Job]) -> None:
        """Remove these jobs, unless later ones have taken their place."""
        with self.lock:
            for key, job in batch.items():
                if self._jobs.get(key) is job:
                    self._remove(key, job)

    def postpone(self, batch: Mapping[bytes, Job]) -> None:
        """Let the others go before these jobs."""
        with self.lock:
            for key, job in batch.items():
                if self._jobs.get(key) is job:
                    self._jobs[key] = self._jobs.pop(key)

    def clear(self, tag: bytes | None = None) -> int:
        """Remove what waits, or what waits under a tag; return how many entries that were."""
        with self.lock:
            found = {key: job for key, job in self._jobs.items() if tag in (None, job.tag)}
            for key, job in found.items():
                self._remove(key, job)
        return sum(job.entry is not None for job in found.values())

    def _remove(self, key: bytes, job: Job | None) -> None:
        if job is not None:
            del self._jobs[key]
            self._bytes -= job.size
