"""Whether two answers say the same: the rule by which the semantic cache learns what it may serve. Pure.

When in doubt they do not: a wrong answer taken for right would be served to others, a right one taken for wrong only
costs a call. The rule: they share most of their words, whatever their endings, and nothing that matters stands against
it (`against`). It knows English; answers in other languages, lists and code have to have the same words.
"""

from __future__ import annotations

from typing import Final

from fastclient.cache.guards.lexicon import root
from fastclient.cache.semantic.gist import Gist, gist

__all__ = ["Gist", "against", "agree", "alike", "gist"]

_SHORT: Final = 4  # words: so few must all be the same
_MIDDLING: Final = 40  # words: up to so many, one says no as often as the other, or twice more
_SHARED: Final = 0.5  # of all words
_WITHIN: Final = 0.8  # of the words of the one that has fewer
_LEAST: Final = 0.3  # of the longer one's words, even if it holds all of the other's
_PUT_IN: Final = 2  # words in place of as many others: the same sentence about something else


def alike(one: str, other: str) -> bool:
    """Whether two answers say the same, by the rule of this module. Takes some microseconds for each of their words."""
    return one == other or agree(gist(one), gist(other))


def agree(one: Gist, other: Gist) -> bool:
    """The same of what is compared."""
    if one is other:
        return one.said
    shared, every = len(one.words & other.words), len(one.words | other.words)
    fewer = min(len(one.words), len(other.words))
    if fewer <= _SHORT or not (one.english and other.english):
        return one.said and other.said and _same(one, other)
    enough = shared / every >= _SHARED or (shared / fewer >= _WITHIN and shared / every >= _LEAST)
    return enough and not against(one, other)


def _same(one: Gist, other: Gist) -> bool:
    """Whether all is the same but the little words, and where things stand."""
    return (
        (one.words, one.figures, one.units) == (other.words, other.figures, other.units)
        and (one.denies, one.denied, one.turns) == (other.denies, other.denied, other.turns)
        and one.order == other.order
        and not against(one, other)
    )


def against(one: Gist, other: Gist) -> bool:
    """Whether something stands against two answers saying the same, however many words they share.

    They begin with another yes or no; the figures of neither are all in the other, or in another order; they name other
    units, people and places; what one denies the other does not; one has a word where the other has its opposite, or
    all is the same but a word or two; or their code, formulas or words of other scripts differ.
    """
    return (
        one.side != other.side
        or one.exact != other.exact
        or one.signs != other.signs
        or one.than != other.than
        or not _contained(one.figures, other.figures)
        or bool(one.units - other.units and other.units - one.units)
        or bool(one.names - other.words - other.names and other.names - one.words - one.names)
        or bool((one.names - other.names) & other.firsts and (other.names - one.names) & one.firsts)
        or bool(one.sources and other.sources and one.sources.isdisjoint(other.sources))
        or bool(one.denied & (other.words - other.denied) or other.denied & (one.words - one.denied))
        or (max(one.length, other.length) <= _MIDDLING and (one.denies - other.denies) % 2 == 1)
        or _opposed(one.turns - other.turns, other.turns - one.turns)
        or _replaced(one.words - other.words, other.words - one.words)
    )


def _contained(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one's figures are all in the other, in this order. Where there are few, both have all of them."""
    if one == other:
        return True
    ours, theirs = set(one), set(other)
    if min(len(ours), len(theirs)) <= 2 and len(ours) != len(theirs):
        return False
    if not (ours <= theirs or theirs <= ours):
        return False
    return [each for each in one if each in theirs] == [each for each in other if each in ours]


def _opposed(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether one of our words is the opposite of one of theirs."""
    return bool(theirs) and any(not root(each).opposites.isdisjoint(theirs) for each in ours)


def _replaced(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether our words stand in the place of theirs and mean something else."""
    if not ours or not theirs:
        return False
    if _opposed(ours, theirs):
        return True
    if max(len(ours), len(theirs)) > _PUT_IN:
        return False
    return _alone(ours, theirs) and _alone(theirs, ours)


def _alone(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether one of our words means what none of theirs does."""
    meant = frozenset().union(*(root(each).concepts for each in theirs))
    return any(root(each).concepts.isdisjoint(meant) for each in ours)
