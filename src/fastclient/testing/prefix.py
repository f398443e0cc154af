"""A provider's prompt cache: which leading blocks of 64 tokens were seen before."""

from __future__ import annotations

from itertools import takewhile

from fastclient.testing.answer import TOKEN, ServerRequest

__all__ = ["BLOCK", "PrefixCache"]

BLOCK = 64
"""Tokens per cached block."""


class PrefixCache:
    """Remembers prompt prefixes per model; forgets the oldest blocks beyond `limit`."""

    def __init__(self, limit: int = 200_000) -> None:
        self._known: dict[int, None] = {}
        self._limit = limit

    def blocks(self, request: ServerRequest) -> tuple[int, ...]:
        """One key per full block of the cacheable prompt; each stands for everything up to its end."""
        size, keys = BLOCK * TOKEN, []
        key = hash((request.dialect, request.model))
        for at in range(0, request.cacheable // size * size, size):
            key = hash((key, request.prompt[at : at + size]))
            keys.append(key)
        return tuple(keys)

    def cached_tokens(self, blocks: tuple[int, ...]) -> int:
        """Tokens of the longest known prefix."""
        return BLOCK * sum(1 for _ in takewhile(self._known.__contains__, blocks))

    def remember(self, blocks: tuple[int, ...]) -> None:
        """Make these blocks known, as the newest."""
        for key in blocks:
            self._known.pop(key, None)
            self._known[key] = None
        while len(self._known) > self._limit:
            del self._known[next(iter(self._known))]
