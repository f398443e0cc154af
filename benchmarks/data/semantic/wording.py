"""Texts made from texts: the values of slots with their spellings, filled templates, and changed questions.

A change either keeps the answer (`KEEPS`) or gives another question, and then its kind says by what.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

__all__ = ["FOLDER", "KEEPS", "Value", "drawn", "filled", "framed", "frames", "plain", "risen", "value", "variants"]

FOLDER = Path(__file__).parent
KEEPS = ("typo", "case", "contraction", "frame", "synonym")
Value = list[tuple[str, ...]]
"""The spellings of one value: a route or a pair of roles has two parts, all else has one."""

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_SMALL = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_HOW = re.compile(r"how (?:do|can) i ([^?.!]+)\?$", re.IGNORECASE)


@cache
def _words() -> dict[str, Any]:
    words: dict[str, Any] = orjson.loads((FOLDER / "words.json").read_bytes())
    return words


def frames(form: str) -> list[str]:
    """The sentences that a phrase can be put into: `do`, `ask`, `state`, or `how` for a whole question."""
    found: list[str] = _words()["frames"][form]
    return found


def plain(text: str) -> str:
    """The text in small letters, without the marks at the ends of its words."""
    return " ".join(word.strip("?!.,;:¿¡\"'") for word in text.casefold().split()).strip()


def risen(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


# --- values of slots --------------------------------------------------------------------------------------------------


def _one(*spellings: str) -> Value:
    return [(spelling,) for spelling in spellings]


def _date(n: int) -> Value:
    month, day = _MONTHS[(n - 1) // 31], (n - 1) % 31 % 28 + 1
    ending = "th" if 3 < day < 21 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return _one(f"{day} {month}", f"{month} {day}", f"{month} {day}{ending}", f"the {day}{ending} of {month}")


def _time(n: int) -> Value:
    hour, past = n // 2, ":30" if n % 2 else ""
    twelve, half = (hour - 1) % 12 + 1, "am" if hour < 12 else "pm"
    return _one(f"{hour}{past or ':00'}", f"{twelve}{past} {half[0]}.m.", f"{twelve}{past}{half}")


_SPELT: dict[str, Callable[[int], Value]] = {
    "number": lambda n: _one(str(n), _SMALL[n - 2]) if n < 20 else _one(str(n)),
    "money": lambda n: _one(f"${n:,}", f"{n} dollars", f"{n:,} USD", f"${n}"),
    "percent": lambda n: _one(f"{n}%", f"{n} %", f"{n} percent", f"{n} per cent"),
    "version": lambda n: _one(f"{n // 10}.{n % 10}", f"v{n // 10}.{n % 10}"),
    "year": lambda n: _one(str(n)),
    "date": _date,
    "time": _time,
}


def value(kind: str, spec: str, rng: random.Random) -> tuple[Value, list[tuple[str, Value]]]:
    """A value of a slot, and the values that it may be taken for, each with the kind of the difference."""
    if kind == "id":
        return _id(spec, rng)
    if kind in ("direction", "role"):
        start, end, third = rng.sample(spec.split("|"), 3)
        return [(start, end)], [(kind, [(end, start)]), ("entity", [(start, third)])]
    if kind == "unit":
        unit, another = rng.sample([unit.split(",") for unit in spec.split("|")], 2)
        n, more = rng.randint(2, 40), rng.randint(1, 30)
        spelt, other, next_to = (
            _one(*(f"{many} {name}" for name in names)) for many, names in ((n, unit), (n, another), (n + more, unit))
        )
        return spelt, [("unit", other), ("number", next_to)]
    low, high = map(int, spec.split(":"))
    n = rng.randint(low, high)
    here = _SPELT[kind](n)
    # the day is counted twice by a few numbers, so the spellings are compared, and not the numbers
    others = [at for at in (n - 1, n + 1, n + 10, n * 10, rng.randint(low, high)) if low <= at <= high]
    there = [spelt for spelt in map(_SPELT[kind], others) if spelt != here]
    return here, [(kind, rng.choice(there))]


def _id(spec: str, rng: random.Random) -> tuple[Value, list[tuple[str, Value]]]:
    letters = [{"#": rng.choice("0123456789"), "@": rng.choice("ABCDEFGH")}.get(sign, sign) for sign in spec]
    digits = [at for at, sign in enumerate(spec) if sign == "#"]
    other, at = letters.copy(), rng.choice(digits[:-1])
    if rng.random() < 0.4 and spec[at + 1] == "#" and letters[at] != letters[at + 1]:
        other[at], other[at + 1] = letters[at + 1], letters[at]
    else:
        other[at] = str((int(letters[at]) + rng.randint(1, 9)) % 10)
    return _one("".join(letters), "".join(letters).lower()), [("id", _one("".join(other)))]


def filled(text: str, spelling: tuple[str, ...]) -> str:
    """The text of a slot with one spelling of a value in its place."""
    return risen(text.format(v=spelling[0], a=spelling[0], b=spelling[-1])).replace("..", ".")


def drawn(template: str, half: str, rng: random.Random) -> dict[str, Any]:
    """Words for the places of a template, from the half of each list that belongs to `fit` or `test`."""
    lists, places, chosen = _words()["lists"], sorted(set(re.findall(r"\{([a-z]+)(\d?)", template))), {}
    for name in sorted({name for name, _ in places}):
        numbers = [number for found, number in places if found == name]
        for number, word in zip(numbers, rng.sample(lists[name][half], len(numbers)), strict=True):
            chosen[name + number] = word
    return chosen


# --- changed questions ------------------------------------------------------------------------------------------------


def variants(text: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """The text with one change each time, and the kind of the change."""
    yield "typo", _typo(text, rng)
    yield "case", plain(text)
    yield "contraction", _swapped(text, _words()["contractions"])
    yield "synonym", _swapped(text, _words()["synonyms"])
    if changed := framed(text, rng):
        yield "frame", changed
    if ". " in text or "! " in text:
        return  # a word of what is told beforehand may not touch the question at the end
    for word, (opposite, kind) in _words()["opposites"].items():
        if not re.search(rf"\b{opposite}\b", text, re.IGNORECASE):
            yield kind, _swapped(text, {word: opposite})


def framed(text: str, rng: random.Random) -> str | None:
    """A question after a way of doing something, asked in another form; None for other questions."""
    found = _HOW.match(text)
    return rng.choice(frames("how")).replace("{x}", found[1]) if found else None


def _swapped(text: str, table: dict[str, str]) -> str:
    """The text with the first word of it that the table holds exchanged, or the text as it was."""
    for word, other in table.items():
        if found := re.search(rf"\b(?:{word})\b", text, re.IGNORECASE):
            return text[: found.start()] + _cased(other, found[0]) + text[found.end() :]
    return text


def _cased(word: str, model: str) -> str:
    return risen(word) if model[:1].isupper() else word


def _typo(text: str, rng: random.Random) -> str:
    """The text with two letters of a longer word exchanged, or one left out or doubled."""
    words = list(re.finditer(r"\b[a-z]{5,}\b", text))
    if not words:
        return text
    found = rng.choice(words)
    at = rng.randrange(found.start() + 1, found.end() - 2)
    slip = rng.choice((text[at + 1] + text[at], text[at], text[at] + text[at] + text[at + 1]))
    return text[:at] + slip + text[at + 2 :]
