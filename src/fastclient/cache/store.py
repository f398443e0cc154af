"""What a store of answers offers to the layers above it, and what it counts.

A store may be slow, full, broken, or gone: it says so in its counts, never by an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from fastclient.cache.entry import Entry
from fastclient.engine.stack import Layer
from fastclient.engine.stream import Stream
from fastclient.types import Call

__all__ = ["Found", "Remote", "Replayer", "Source", "Store", "StoreStats"]

Source = Literal["memory", "disk", "redis"]


class Found(NamedTuple):
    """An entry, and where it was."""

    entry: Entry
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """Counts since the store was made; `entries` and `bytes` are what it holds now.

    `rejected` entries were not what had been written under their key, `dropped` ones were not written because the
    store could not keep up or had no room, `failures` are operations that the store's own side refused or was too slow
    for, `set_aside` are whole folders moved out of the way because they could not be read.
    """

    entries: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0
    stored: int = 0
    evicted: int = 0
    rejected: int = 0
    dropped: int = 0
    failures: int = 0
    set_aside: int = 0


Replayer: TypeAlias = Callable[[Call, Found], Stream | None]
"""Makes a stream of an entry, or None if that is too old; may raise the error the entry stands for."""


@runtime_checkable
class Store(Protocol):
    """Where answers are kept. All methods may be called from any thread, and none of them raises."""

    def open(self) -> None:
        """Get ready. May touch the disk; a store that was not opened opens itself on first use."""
        ...

    def get(self, key: bytes) -> Found | None:
        """The entry under this key, if it is at hand: no wait for a network, some 50 ms at most for a disk."""
        ...

    def put(self, key: bytes, entry: Entry, *, tag: bytes, lifetime: float) -> None:
        """Keep an entry for `lifetime` seconds, under the tag of its namespace. Returns at once."""
        ...

    def close(self) -> None:
        """Write what is waiting to be written, and let go of files and connections. It opens again when it is used."""
        ...

    def stats(self) -> StoreStats:
        """What was counted."""
        ...


@runtime_checkable
class Remote(Protocol):
    """A store with a far side, which has to be waited for: it brings the layer that does."""

    def layer(self, replay: Replayer, tag_of_call: Callable[[Call], bytes]) -> Layer:
        """A layer that stands below the single flight and above the one that keeps answers."""
        ...
