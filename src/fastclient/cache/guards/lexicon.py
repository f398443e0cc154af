"""What is known of one word: its stem, its kind, what it may stand for. Worked out once per word and kept."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final, NamedTuple

from fastclient.cache.guards.forms import FORMS
from fastclient.cache.guards.known import COMMON
from fastclient.cache.guards.opposites import OPPOSITES
from fastclient.cache.guards.particles import ACTIONS, ASKING, ASPECTS, DENIED, JOINING, NEGATORS, PEOPLE, PLAIN
from fastclient.cache.guards.quantities import ALONE_UNITS, DAYS, DIGITS, MONTHS, RELATIVE, TENS, UNITS
from fastclient.cache.guards.synonyms import SYNONYMS

__all__ = ["Root", "Word", "root", "stem", "word"]

_ENDINGS: Final = (
    *(
        ("ations", 4),
        ("ating", 4),
        ("ation", 4),
        ("ments", 3),
        ("ment", 3),
        ("ings", 3),
        ("ing", 3),
        ("ions", 4),
        ("ion", 4),
    ),
    *(("ates", 4), ("ated", 4), ("ate", 4), ("ies", 2), ("ied", 2), ("ed", 2), ("ly", 4)),
    *(("s", 2), ("e", 3), ("y", 3)),
)
"""Endings with the letters that have to be left before them; the longest come first."""


class Word(NamedTuple):
    """A word on its own. All but `stem` are empty for most words."""

    stem: str
    content: bool
    opposed: bool = False
    """It has opposites."""
    special: bool = False
    """Any of the fields below is set; most words are done after one look."""
    negator: bool = False
    denied: bool = False
    asks: str = ""
    joins: str = ""
    who: str = ""
    relative: str = ""
    unit: str = ""
    alone: bool = False
    """A unit that is one without a number beside it."""
    date: str = ""
    number: int = -1
    """-1: none."""
    tens: int = -1
    """-1: none; else what it adds or multiplies."""
    aspect: str = ""


class Root(NamedTuple):
    """A stem, whatever its ending was."""

    known: bool
    """A common word: not a misspelling of another."""
    action: bool
    """Something that people do."""
    concepts: frozenset[int]
    """The groups of words for the same that it is in."""
    opposites: frozenset[str]
    """The stems that mean the contrary."""


@lru_cache(maxsize=8192)
def word(text: str) -> Word:
    """Everything known about a lower-case word. Words longer than 40 characters are only themselves."""
    if len(text) > 40:
        return Word(text, content=True)
    base = stem(text)
    asks, joins, who = ASKING.get(text, ""), JOINING.get(text, ""), PEOPLE.get(text, "")
    relative, unit, date = RELATIVE.get(text, ""), UNITS.get(text, ""), MONTHS.get(text) or DAYS.get(text) or ""
    number, tens = DIGITS.get(text, -1), TENS.get(text, -1)
    negator, denied = text in NEGATORS, text in DENIED
    special = bool(negator or denied or asks or joins or who or relative or unit or date) or max(number, tens) >= 0
    aspect = ASPECTS.get(text, "")
    special = special or bool(aspect) or text in ("am", "pm")
    figures = text[0].isdigit() and not text[-1].isalpha()  # what numbers say is compared on its own
    plain = text in PLAIN or negator or figures or max(number, tens) >= 0 or bool(relative)
    return Word(
        stem=base,
        content=not plain and (len(text) > 1 or not text.isascii()),
        opposed=base in _opposites(),
        special=special,
        negator=negator,
        denied=denied,
        asks=asks,
        joins=joins,
        who=who,
        relative=relative,
        unit=unit,
        alone=text in ALONE_UNITS,
        date=date,
        number=number,
        tens=tens,
        aspect=aspect,
    )


def stem(text: str) -> str:
    """A word without its ending: `cancelled`, `cancelling` and `cancellation` are one."""
    return _irregular().get(text) or _cut(text)


@lru_cache(maxsize=8192)
def root(text: str) -> Root:
    """Everything known about a stem."""
    return Root(
        known=text in _known(),
        action=text in _actions(),
        concepts=_concepts().get(text, frozenset()),
        opposites=_opposites().get(text, frozenset()),
    )


def _cut(text: str) -> str:
    if len(text) < 4 or not text.isascii() or not text.isalpha():
        return text
    if text.endswith(("sses", "shes", "ches", "xes", "zes")):
        text = text[:-2]
    for ending, left in _ENDINGS:
        if text.endswith(ending) and len(text) - len(ending) >= left and text[-2:] != "ss":
            text = text[: -len(ending)]
            if ending in ("ies", "ied", "y"):
                return text + "i"
            break
    if len(text) > 3 and text[-1] == "e":
        text = text[:-1]
    return text[:-1] if len(text) > 3 and text[-1] == text[-2] else text


@cache
def _irregular() -> dict[str, str]:
    groups = (group.split() for group in FORMS.split(","))
    return {form: _cut(group[0]) for group in groups for form in group}


@cache
def _concepts() -> dict[str, frozenset[int]]:
    found: dict[str, list[int]] = {}
    for number, group in enumerate(SYNONYMS.split(",")):
        for root in {stem(one) for one in group.split()}:
            found.setdefault(root, []).append(number)
    return {root: frozenset(names) for root, names in found.items()}


@cache
def _opposites() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for group in OPPOSITES.split(","):
        left, right = ({stem(one) for one in side.split()} for side in group.split("|"))
        for here, there in ((left, right), (right, left)):
            for root in here:
                found.setdefault(root, set()).update(there - here)
    return {root: frozenset(others) for root, others in found.items()}


@cache
def _actions() -> frozenset[str]:
    return frozenset(stem(one) for one in ACTIONS)


@cache
def _known() -> frozenset[str]:
    tables = f"{COMMON} {SYNONYMS} {FORMS} {OPPOSITES}".translate({ord(","): " ", ord("|"): " "})
    others = (*PLAIN, *PEOPLE, *ASKING, *RELATIVE, *UNITS, *MONTHS, *DAYS, *DIGITS, *TENS, *DENIED, *ACTIONS)
    return frozenset(stem(one) for one in (*tables.split(), *others))
