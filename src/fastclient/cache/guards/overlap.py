"""Which words two questions share: as they are, misspelt, or by another word for the same. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from fastclient.cache.guards.lexicon import root
from fastclient.cache.guards.spelling import slipped
from fastclient.cache.guards.text import Text

__all__ = ["Overlap", "overlap"]

_MOST: Final = 24
"""Words without a partner that are looked at; so a pair of long texts costs no more than that, squared."""


class Overlap(NamedTuple):
    """How many stems are shared in each way, and those that are left over."""

    both: int
    slips: int
    partners: int
    asked: list[str]
    stored: list[str]


def overlap(asked: Text, stored: Text) -> Overlap:
    """Match the words of two questions."""
    mine, its = asked.stems, stored.stems
    left = [one for one in mine if one not in its]
    right = [one for one in its if one not in mine]
    both = len(mine) - len(left)
    slips = partners = 0
    if left and right and len(left) <= _MOST and len(right) <= _MOST:
        left.sort()
        right.sort()
        pair = (left, right) if left < right else (right, left)  # so that it does not matter which of the two is asked
        slips = _respelt(*pair)
        partners = _paired(*pair)
    return Overlap(both, slips, partners, left, right)


def _respelt(left: list[str], right: list[str]) -> int:
    """Take out the pairs that differ by a slip, where one of the two at least is no word that people know."""
    strange = [one for one in right if not root(one).known]
    count = 0
    for one in tuple(left):
        for other in right if not root(one).known else strange:
            if slipped(one, other):
                left.remove(one)
                right.remove(other)
                if other in strange:
                    strange.remove(other)
                count += 1
                break
    return count


def _paired(left: list[str], right: list[str]) -> int:
    """Take out the pairs of words that are in one group."""
    count = 0
    for one in tuple(left):
        if mine := root(one).concepts:
            for other in right:
                if mine & root(other).concepts:
                    left.remove(one)
                    right.remove(other)
                    count += 1
                    break
    return count
