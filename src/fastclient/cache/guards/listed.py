"""Lists of words written as running text, as all tables of this package are."""

from __future__ import annotations

__all__ = ["listed"]


def listed(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())
