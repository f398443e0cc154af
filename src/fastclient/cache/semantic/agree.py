"""Whether two answers say the same: the rule by which the semantic cache learns what it may serve. Pure.

When in doubt they do not: a wrong answer taken for right would be served to others, a right one taken for wrong only
costs a call. The rule: both begin with the same yes or no; all figures of the one are in the other (numbers, dates,
amounts, codes; numbers of list items do not count); and they share most of their words, whatever their endings.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from fastclient.cache.guards.lexicon import word

__all__ = ["Gist", "agree", "alike", "gist"]

_PIECES: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\w*\d[\w.,:/-]*\w|\d")
_ITEMS: Final = re.compile(r"(?m)^\s*(?:\d{1,2}[.)]|[-*#]+)\s+")
_SHORT: Final = 4  # words: so few must all be the same
_SHARED: Final = 0.5  # of all words
_WITHIN: Final = 0.8  # of the words of the one that has fewer
_LEAST: Final = 0.3  # of the longer one's words, even if it holds all of the other's
_SIDES: Final = {"yes": "yes", "yeah": "yes", "sure": "yes", "correct": "yes", "no": "no", "nope": "no", "not": "no"}
_OTHERS: Final = {"true": "true", "false": "false", "unfortunately": "no", "sorry": "no"}


class Gist(NamedTuple):
    """What of an answer is compared."""

    side: str
    denies: int
    words: frozenset[str]
    figures: frozenset[str]
    length: int


def alike(one: str, other: str) -> bool:
    """Whether two answers say the same, by the rule of this module. Takes some microseconds for each of their words."""
    return one == other or agree(gist(one), gist(other))


def agree(one: Gist, other: Gist) -> bool:
    """The same of what is compared."""
    if one.side != other.side or not _contained(one.figures, other.figures):
        return False
    shared, fewer = len(one.words & other.words), min(len(one.words), len(other.words))
    every = len(one.words | other.words)
    if not every:
        return one.length == other.length == 0 and one.figures == other.figures != frozenset()
    if fewer <= _SHORT:
        return one.words == other.words and one.denies == other.denies and one.figures == other.figures
    if max(one.length, other.length) <= 40 and (one.denies - other.denies) % 2:
        return False
    return shared / every >= _SHARED or (shared / fewer >= _WITHIN and shared / every >= _LEAST)


@lru_cache(maxsize=512)
def gist(answer: str) -> Gist:
    """An answer as far as it is compared."""
    words, figures = set[str](), set[str]()
    side, denies, length = "", 0, 0
    for number, piece in enumerate(_PIECES.findall(_ITEMS.sub("", answer))):
        low = piece.lower()
        if any(map(str.isdigit, low)):
            figures.add(low.replace(",", "").strip(".:/-"))
            continue
        known = word(low.removesuffix("'s"))
        if number == 0:
            side = _SIDES.get(low) or _OTHERS.get(low, "")
        denies += known.negator or low.endswith("n't")
        if known.content:
            words.add(known.stem)
            length += 1
    return Gist(side, denies, frozenset(words), frozenset(figures), length)


def _contained(one: frozenset[str], other: frozenset[str]) -> bool:
    return one <= other or other <= one if len(one) == len(other) or min(len(one), len(other)) > 2 else one == other
