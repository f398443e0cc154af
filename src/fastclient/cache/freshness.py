"""What an entry is worth at its age, after RFC 9111 and RFC 5861 (stale-while-revalidate). Pure."""

from __future__ import annotations

from typing import Literal

from fastclient.cache.entry import Entry
from fastclient.config import Cache

__all__ = ["Freshness", "freshness", "lifetime"]

Freshness = Literal["hit", "stale", "miss"]


def freshness(entry: Entry, age: float, cache: Cache) -> Freshness:
    """Whether an entry of this age in seconds may be served, may be served while a new one is fetched, or neither.

    The policy that reads decides, so that a shorter `ttl` counts at once. A refusal is never served stale.
    """
    if entry.problem is not None:
        return "hit" if age < cache.negative else "miss"
    if age < cache.ttl:
        return "hit"
    return "stale" if age < cache.ttl + cache.stale else "miss"


def lifetime(entry: Entry, cache: Cache) -> float:
    """Seconds for which a store should keep a new entry."""
    return cache.negative if entry.problem is not None else cache.ttl + cache.stale
