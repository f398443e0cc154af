"""What speaks for and against two questions being the same, as numbers for the model. Pure.

Each feature has a sign it may count with: a conflict can lower the probability and never raise it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fastclient.cache.guards.lexicon import root
from fastclient.cache.guards.overlap import Overlap
from fastclient.cache.guards.text import Text

__all__ = ["ALIKE", "FEATURES", "Feature", "alike", "features"]


class Feature(NamedTuple):
    """One input of the model."""

    name: str
    sign: int
    """+1 or -1: it may only raise, or only lower; 0: either."""
    most: float
    """Its largest value."""
    says: str
    """What it means, for people."""


FEATURES: Final = (
    Feature("cosine", +1, 1.0, "how near the embeddings are"),
    Feature("ahead", +1, 0.15, "no other answer's question is as near"),
    Feature("behind", -1, 0.15, "another answer's question is nearer"),
    Feature("shared", +1, 1.0, "share of words in common, other words for the same included"),
    Feature("reworded", +1, 1.0, "share of words that are other words for the same"),
    Feature("trigrams", 0, 1.0, "how alike they are letter by letter"),
    Feature("slips", +1, 2.0, "words that look like a slip of the finger"),
    Feature("exchanged", -1, 1.0, "one word is another"),
    Feature("inserted_one", -1, 1.0, "one word more is all the difference"),
    Feature("names", -1, 1.0, "each has a name that the other lacks"),
    Feature("name", -1, 1.0, "one has a name that the other lacks"),
    Feature("strange", -1, 1.0, "each has an uncommon word that the other lacks"),
    Feature("acts", -1, 1.0, "they ask about doing different things"),
    Feature("same_number", +1, 1.0, "the same number or id in both"),
    Feature("unit", -1, 1.0, "units differ"),
    Feature("date", -1, 1.0, "dates differ"),
    Feature("time", -1, 1.0, "times seen from now differ"),
    Feature("why", -1, 1.0, "one asks why"),
    Feature("asks", -1, 1.0, "they ask for different things (when, where, how much)"),
    Feature("when", -1, 1.0, "one asks when"),
    Feature("where", -1, 1.0, "one asks where"),
    Feature("duration", -1, 1.0, "one asks how long"),
    Feature("cost", -1, 1.0, "one is about what it costs"),
    Feature("limit", -1, 1.0, "one is about a limit"),
    Feature("who", -1, 1.0, "they are about different people"),
    Feature("joins", -1, 1.0, "one says `or`"),
    Feature("length", 0, 1.0, "how equal they are in length"),
    Feature("denied", -1, 1.0, "one denies something"),
    Feature("deny", 0, 1.0, "both deny something"),
)
"""In the order in which `features` gives their values."""

ALIKE: Final = ("shared", "reworded", "slips", "same_number", "deny")
"""What can raise the probability, the embeddings apart: found first, so that hopeless pairs are known early."""

_ASKED: Final = ("when", "where", "duration", "cost", "limit")
_NOTHING: Final = (0.0,) * len(_ASKED)
_CLOSE: Final = 0.15
"""A margin beyond this says nothing more."""
_HALF: Final = 0.7
"""What another word for the same counts, beside one for the word itself."""


def alike(asked: Text, stored: Text, words: Overlap) -> tuple[float, ...]:
    """The features in `ALIKE`."""
    both, slips, partners, left, right = words
    same_number = bool(asked.numbers and asked.numbers == stored.numbers)
    deny = bool(asked.negators and stored.negators)
    total = both + slips + partners + len(left) + len(right)
    if not total:
        return 1.0, 0.0, 0.0, same_number, deny
    shared = (both + slips + _HALF * partners) / total
    exact = both / (len(asked.stems) + len(stored.stems) - both)
    return shared, max(0.0, shared - exact), min(2.0, slips), same_number, deny


def features(asked: Text, stored: Text, words: Overlap, cosine: float, margin: float) -> list[float]:
    """The values for a pair; `words` is what `overlap` found."""
    left, right = words.asked, words.stored
    shared, reworded, slips, same_number, deny = alike(asked, stored, words)
    grams = len(asked.trigrams & stored.trigrams)
    all_grams = len(asked.trigrams) + len(stored.trigrams) - grams
    short, long = sorted((len(asked.tokens), len(stored.tokens)))
    return [
        cosine,
        min(_CLOSE, margin) if 0.0 < margin <= 2.0 else 0.0,
        min(_CLOSE, -margin) if margin < 0.0 else 0.0,
        shared,
        reworded,
        grams / all_grams if all_grams else 1.0,
        slips,
        len(left) == len(right) == 1,
        len(left) + len(right) == 1,
        *_left_over(asked, stored, left, right),
        same_number,
        asked.units != stored.units,
        asked.dates != stored.dates,
        asked.relative != stored.relative or asked.aspect != stored.aspect,
        *_asks(asked.asks, stored.asks),
        asked.who != stored.who,
        asked.joins != stored.joins and "or" in asked.joins ^ stored.joins,
        short / long if long else 1.0,
        bool(asked.negators) != bool(stored.negators),
        deny,
    ]


def _left_over(asked: Text, stored: Text, left: Sequence[str], right: Sequence[str]) -> tuple[float, ...]:
    """What the words without a partner are: names, uncommon words, actions, words with opposites."""
    mine, its = not asked.names <= stored.every, not stored.names <= asked.every
    ours, theirs = [root(one) for one in left], [root(one) for one in right]
    act, acts = any(one.action for one in ours), any(one.action for one in theirs)
    strange = not all(one.known for one in ours) and not all(one.known for one in theirs)
    return (
        mine and its,
        mine != its,
        strange,
        act and acts,
    )


def _asks(mine: set[str], its: set[str]) -> tuple[float, ...]:
    if mine == its:
        return (0.0, 0.0, *_NOTHING)
    differ = mine ^ its
    return (
        "why" in differ,
        bool(mine and its) and not mine & its,
        *[one in differ for one in _ASKED],
    )
