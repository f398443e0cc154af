"""Whether one word is another with a slip of the finger. Pure, and linear in the length of the words."""

from __future__ import annotations

__all__ = ["slipped"]


def slipped(one: str, other: str) -> bool:
    """Whether two words are one edit apart (a letter more, less, other, or two exchanged); two edits in long words."""
    if one == other:
        return True
    short, long = sorted((len(one), len(other)))
    if short < 4 or long - short > 2:
        return False
    start = 0
    while start < short and one[start] == other[start]:
        start += 1
    end = 0
    while end < short - start and one[-1 - end] == other[-1 - end]:
        end += 1
    left, right = one[start : len(one) - end], other[start : len(other) - end]
    if left == right[::-1] and len(left) == 2:
        return True
    if start == 0 and end < 3:
        return False
    return max(len(left), len(right)) <= (1 if short < 8 else 2)
