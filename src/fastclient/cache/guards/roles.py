"""Who does what to whom, and from where to where, as far as word order and a few small words show it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fastclient.cache.guards.lexicon import Word
from fastclient.cache.guards.listed import listed
from fastclient.cache.guards.particles import BEING, SYMMETRIC

__all__ = ["Order", "order_of", "turned"]

_ROLES: Final = {"from": "from", "to": "to", "into": "to", "onto": "to", "->": "to", "than": "than"}
_JOINTS: Final = frozenset(("and", "or"))
_STARTS: Final = ("start", "starting", "begin", "beginning", "depart", "departing", "leaving")
_SOURCES: Final = {"of": ("instead", "out"), "at": _STARTS, "in": _STARTS}
"""Words that with one of these before them say `from`."""
_MARKS: Final = frozenset((*SYMMETRIC, *_ROLES, *_JOINTS, *_SOURCES, "by", "for"))
_SWAPS: Final = listed("leave leaving left drop dropping swap swapping trade trading exchange exchanging")
_INFINITIVE: Final = listed(
    "have has had having want wants need needs like how where what when able going try trying way ways steps possible "
    "allowed order up best about supposed required easy easier hard chance time"
)
"""Words after which `to` begins an infinitive."""
_ALIKE: Final = listed("hurt hit cut put set beat read shut let cast cost quit split spread run come become")
"""Participles that look like the verb itself."""


class Order(NamedTuple):
    """The order of a question's words with content, a passive put back into the active, and their roles."""

    stems: Sequence[str]
    origins: frozenset[str]
    """What stands after `from`."""
    goals: frozenset[str]
    """What stands after `to`."""
    measures: frozenset[str]
    """What stands after `than`."""
    passive: bool
    symmetric: bool
    """A word such as `between` lets others change places."""
    joined: frozenset[str]
    """Words on either side of `and` and `or`."""


_MOST: Final = 16
"""Words whose order is looked at; the time this takes grows with the square."""
_NONE: Final[frozenset[str]] = frozenset()


def order_of(tokens: Sequence[str], words: Sequence[Word]) -> Order:
    """Read the order and the roles off."""
    stems = [one.stem for one in words if one.content]
    marks = [at for at, token in enumerate(tokens) if token in _MARKS][:_MOST]
    if not marks:
        return Order(tuple(dict.fromkeys(stems))[:_MOST], _NONE, _NONE, _NONE, False, False, _NONE)
    roles: dict[str, set[str]] = {"from": set(), "to": set(), "than": set(), "and": set()}
    symmetric = passive = False
    for at in marks:
        mark, after = tokens[at], _after(words, at)
        if mark in SYMMETRIC:
            symmetric = True
        elif mark in _JOINTS:
            roles["and"].update((_before(words, at), after))
        elif mark == "by":
            if after and (verb := _participle(tokens, words, at)):
                passive = True
                stems = [after, verb, *(stem for stem in stems if stem not in (after, verb))]
        elif mark in _SOURCES:
            if at and tokens[at - 1] in _SOURCES[mark]:
                roles["from"].add(after)
        elif mark == "for":
            if left := next((i for i in range(max(0, at - 4), at) if tokens[i] in _SWAPS), None):
                roles["from"].add(_after(words, left))
                roles["to"].add(after)
        elif mark != "to" or not at or tokens[at - 1] not in _INFINITIVE:
            roles[_ROLES[mark]].add(after)
            if mark == "->":
                roles["from"].add(_before(words, at))
    for found in roles.values():
        found.discard("")
    origins, goals, measures, joined = map(frozenset, roles.values())
    return Order(tuple(dict.fromkeys(stems))[:_MOST], origins, goals, measures, passive, symmetric, joined)


def turned(one: Order, other: Order, names: set[str]) -> tuple[str, str] | None:
    """The two words that have changed places so that the meaning turned round, if there are such."""
    if one == other:
        return None
    if found := min((one.origins & other.goals) - one.goals | (one.goals & other.origins) - other.goals, default=""):
        return found, found
    if one.symmetric or other.symmetric:
        return None
    if one.passive != other.passive and (swapped := _exchanged(*((one, other) if one.passive else (other, one)))):
        return swapped
    for here, there in ((one.goals, other.goals), (one.measures, other.measures)):
        known = set(one.stems).intersection(other.stems)
        left, right = min((here - there) & known, default=""), min((there - here) & known, default="")
        if left and right and _precedes(one, right, left) and _precedes(other, left, right):
            return left, right
    return _around(one, other, None if one.passive or other.passive else names)


def _around(one: Order, other: Order, ends: set[str] | None) -> tuple[str, str] | None:
    """Two words that have changed places with a third staying between them: `cats chase dogs`, `dogs chase cats`.

    Only words that are among `ends` count, if it is given.
    """
    if one.stems == other.stems:
        return None
    places = {stem: at for at, stem in enumerate(other.stems)}
    found = [stem for stem in one.stems if stem in places]
    free = one.joined | other.joined
    loose = {stem for stem in found if stem not in free and (ends is None or stem in ends)}
    for middle in range(1, len(found) - 1):
        at = places[found[middle]]
        before = next((stem for stem in found[:middle] if places[stem] > at and stem in loose), "")
        after = next((stem for stem in found[middle + 1 :] if places[stem] < at and stem in loose), "")
        if before and after:
            return before, after
    return None


def _precedes(order: Order, first: str, second: str) -> bool:
    return order.stems.index(first) < order.stems.index(second)


def _exchanged(passive: Order, active: Order) -> tuple[str, str] | None:
    """Agent and patient of a passive, if the active question has them the other way round."""
    agent, verb = passive.stems[:2]
    if agent not in active.stems:
        return None
    patient = next((stem for stem in passive.stems[2:] if stem in active.stems), "")
    if not patient:  # `who was hired by Ann`, `who hired Ann`
        return (agent, verb) if verb in active.stems and _precedes(active, verb, agent) else None
    return (agent, patient) if _precedes(active, patient, agent) else None


def _after(words: Sequence[Word], at: int) -> str:
    """The next word with content, at most three small words away."""
    return next((one.stem for one in words[at + 1 : at + 5] if one.content), "")


def _before(words: Sequence[Word], at: int) -> str:
    return next((one.stem for one in reversed(words[max(0, at - 3) : at]) if one.content), "")


def _participle(tokens: Sequence[str], words: Sequence[Word], at: int) -> str:
    """The verb of `is ... -ed by`, or nothing."""
    if at < 2 or (tokens[at - 1] == words[at - 1].stem and tokens[at - 1] not in _ALIKE):
        return ""
    return words[at - 1].stem if any(token in BEING for token in tokens[: at - 1]) else ""
