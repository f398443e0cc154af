"""What forbids serving, whatever else agrees: other numbers, ids, units or times, a denial, an opposite, another order.

Pure. The checks come in the order of what they cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final, NamedTuple

from fastclient.cache.guards.lexicon import root
from fastclient.cache.guards.opposites import LESS, PREFIXES
from fastclient.cache.guards.roles import turned
from fastclient.cache.guards.text import Text

__all__ = ["Veto", "vetoes"]

_JOINTS: Final = frozenset(("and", "or"))
_POUNDS: Final = frozenset(("lb", "gbp"))
_DEGREES: Final = LESS | {"more", "most"}


class Veto(NamedTuple):
    """A reason not to serve: its name, and the words concerned on either side."""

    name: str
    asked: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()


_Place = tuple[str, int]
_Pair = tuple[_Place, _Place]


def vetoes(asked: Text, stored: Text) -> Iterator[Veto]:
    """All reasons not to serve, the cheapest to find first; whoever needs only one takes the first."""
    for check in _CHECKS:
        if veto := check(asked, stored):
            yield veto


def _length(asked: Text, stored: Text) -> Veto | None:
    return Veto("length") if asked.long or stored.long else None


def _number(asked: Text, stored: Text) -> Veto | None:
    """Numbers have to agree; a vague one such as `one` or `a couple` may be missing, but not be another."""
    mine, its = asked.numbers, stored.numbers
    if mine == its and not (asked.vague or stored.vague):
        return None
    left, right = mine - its - stored.vague, its - mine - asked.vague
    if left or right:
        return Veto("number", tuple(left), tuple(right))
    if asked.vague and stored.vague and not asked.vague & stored.vague and not mine and not its:
        return Veto("number", tuple(asked.vague), tuple(stored.vague))
    return None


def _id(asked: Text, stored: Text) -> Veto | None:
    if asked.ids == stored.ids:
        return None
    left = tuple([one for one in asked.ids if one not in stored.squashed])
    right = tuple([one for one in stored.ids if one not in asked.squashed])
    return Veto("id", left, right) if left or right else None


def _unit(asked: Text, stored: Text) -> Veto | None:
    mine, its = asked.units, stored.units
    if "pound" in mine ^ its and (mine | its) & _POUNDS:  # money or weight: nobody can tell which
        mine, its = ({"pound" if one in _POUNDS else one for one in units} for units in (mine, its))
    return _conflict("unit", mine, its)


def _date(asked: Text, stored: Text) -> Veto | None:
    return _conflict("date", asked.dates, stored.dates)


def _time(asked: Text, stored: Text) -> Veto | None:
    if asked.aspect != stored.aspect and asked.stems.keys() == stored.stems.keys():
        left, right = asked.aspect - stored.aspect, stored.aspect - asked.aspect
        if (left and right) or (left | right) - {"past", "future"}:  # a tense on one side only is mere style
            return Veto("time", tuple(left), tuple(right))
    return _conflict("time", asked.relative, stored.relative)


def _conflict(name: str, asked: Set[str], stored: Set[str]) -> Veto | None:
    """Each names something that the other does not."""
    if not asked or not stored or asked == stored:
        return None
    left, right = asked - stored, stored - asked
    return Veto(name, tuple(left), tuple(right)) if left and right else None


def _sense(asked: Text, stored: Text) -> Veto | None:
    """Negations and opposites, together: `not safe` is `dangerous`, and `less bold` is `more timid`."""
    turns = len(asked.negators) - len(stored.negators)
    pairs = _contraries(asked, stored)
    if pairs:
        loose = [pair for pair in pairs if not _DEGREES & {asked.tokens[pair[0][1]], stored.tokens[pair[1][1]]}]
        kept = [pair for pair in loose if _less(asked, pair[0][1]) == _less(stored, pair[1][1])]
        if kept or not loose:
            mine, its = min(kept or pairs)
            return Veto("opposite", (asked.tokens[mine[1]],), (stored.tokens[its[1]],))
        turns += sum(_denied(asked, mine[1]) or _denied(stored, its[1]) for mine, its in loose)
    elif asked.polar and stored.polar:
        if (at := _added(asked, stored)) >= 0:
            return Veto("opposite", (asked.tokens[at],))
        if (at := _added(stored, asked)) >= 0:
            return Veto("opposite", (), (stored.tokens[at],))
    if turns % 2 == 0 or not (_reaches(asked, stored) or _reaches(stored, asked)):
        return None
    fewer, more = (asked, stored) if turns < 0 else (stored, asked)
    if not pairs and fewer.denied - more.denied:
        return None
    return Veto("negation", _negators(asked), _negators(stored))


def _contraries(asked: Text, stored: Text) -> set[_Pair]:
    """Words of one side only whose opposite stands on the other side only."""
    found: set[_Pair] = set()
    right = {stem: at for stem, at in stored.polar if stem not in asked.every}
    for stem, at in asked.polar if right else ():
        if stem not in stored.every:
            found.update([((stem, at), (other, right[other])) for other in root(stem).opposites & right.keys()])
    mine, its = asked.stems, stored.stems
    left, rest = mine.keys() - stored.every, its.keys() - asked.every
    if left and rest:
        found.update([((one, mine[one]), (other, its[other])) for one, other in _turned(left, rest)])
        found.update([((one, mine[one]), (other, its[other])) for other, one in _turned(rest, left)])
    return found


def _turned(stems: Set[str], others: Set[str]) -> Iterator[tuple[str, str]]:
    """Stems that are one of the others turned round by a prefix: `insecure` and `secure`, but not `into` and `to`."""
    for stem in stems:
        for prefix in PREFIXES:
            short = stem.removeprefix(prefix)
            if short != stem and short in others and len(short) > (2 if prefix in ("un", "non") else 4):
                yield stem, short


def _added(one: Text, other: Text) -> int:
    """Where one has a word more whose opposite both have: `I found my lost card` is not `I lost my card`. Or -1."""
    shared = {stem for stem, _ in one.polar} & {stem for stem, _ in other.polar}
    if shared:
        for stem, at in one.polar:
            if stem not in other.every and root(stem).opposites & shared and one.tokens[at] not in _DEGREES:
                return -1 if _less(one, at) else at
    return -1


def _reaches(one: Text, other: Text) -> bool:
    """Whether a negation says something about the question: `I am no resident.` before it only sets the scene."""
    for at in one.negators:
        if at >= one.begins:
            return True
        following = next((stem for stem, place in one.stems.items() if at < place < at + 5), "")
        if not following or following in other.every:
            return True
    return False


def _less(text: Text, at: int) -> bool:
    """Whether one of the two words before turns a word round."""
    return any(token in LESS for token in text.tokens[max(0, at - 2) : at])


def _denied(text: Text, at: int) -> bool:
    return at - 1 in text.negators or at - 2 in text.negators


def _negators(text: Text) -> tuple[str, ...]:
    return tuple(text.tokens[at] for at in text.negators)


def _direction(asked: Text, stored: Text) -> Veto | None:
    found = turned(asked.order, stored.order, asked.names | stored.names)
    if not found and len(asked.tokens) == len(stored.tokens):
        return _swapped(asked, stored)
    if not found:
        return None
    return Veto("direction", (_written(asked, found[0]),), (_written(stored, found[1]),))


def _written(text: Text, stem: str) -> str:
    return text.tokens[text.stems[stem]] if stem in text.stems else stem


def _swapped(asked: Text, stored: Text) -> Veto | None:
    """All words are the same, but two have changed places across others: `did Ann thank Bob`, `did Bob thank Ann`."""
    differ = [at for at, token in enumerate(asked.tokens) if token != stored.tokens[at]]
    if len(differ) != 2 or differ[1] - differ[0] < 2 or asked.order.symmetric:
        return None
    left, right = (asked.tokens[at] for at in differ)
    if (left, right) != (stored.tokens[differ[1]], stored.tokens[differ[0]]) or _JOINTS.intersection(
        asked.tokens[differ[0] : differ[1]]
    ):
        return None
    return Veto("direction", (left,), (right,))


_CHECKS: Final = (_length, _number, _id, _unit, _date, _time, _sense, _direction)
