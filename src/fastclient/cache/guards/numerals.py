"""Everything in a question that counts: numbers, ids, units and dates, each in one way of writing. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from fastclient.cache.guards.lexicon import Word, root, stem, word
from fastclient.cache.guards.listed import listed
from fastclient.cache.guards.quantities import MONTHS, VAGUE

__all__ = ["Amounts"]

_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_ISO: Final = re.compile(r"(\d{4})[-/](0?[1-9]|1[0-2])(?:[-/](\d{1,2}))?")
_RUNS: Final = re.compile(r"\d+(?:\.\d+)*")
_BETWEEN: Final = re.compile("[-/]")
_MONTH_NAMES: Final = tuple(dict.fromkeys(MONTHS.values()))
_ORDINAL: Final = frozenset(("st", "nd", "rd", "th"))
_SAME: Final = {"2fa": "twofactor", "2sv": "twofactor", "k8s": "kubernetes"}
_VERSIONS: Final = {"v": "version", "ver": "version", "no": "number", "nr": "number"}
_HALVES: Final = frozenset(("am", "pm"))
_ALSO: Final = listed("may march mon sun sat fri dec jun jan wed spring")
"""Dates that are other words as well."""


class Amounts:
    """What was found so far. Numbers are kept as text: `4.10` and `4.1` are two versions."""

    __slots__ = ("dates", "ids", "numbers", "units", "vague")

    def __init__(self) -> None:
        self.numbers: set[str] = set()
        self.vague: set[str] = set()
        self.ids: set[str] = set()
        self.units: set[str] = set()
        self.dates: set[str] = set()

    def read(self, piece: str) -> Sequence[str]:
        """Take in a piece that begins with a digit: `1,000`, `2024-03`, `15th`, `100ml`. Returns its tokens."""
        if piece in _SAME:
            return (_SAME[piece],)
        end = len(piece)
        while piece[end - 1].isalpha():
            end -= 1
        figures, glued = piece[:end], piece[end:]
        if not glued and (iso := _ISO.fullmatch(figures)):
            year, month, day = iso.groups()
            self.numbers.update((year, _plain(day)) if day else (year,))
            self.dates.add(_MONTH_NAMES[int(month) - 1])
            return (figures,)
        parts = [_plain(part) for part in _BETWEEN.split(figures)]
        if glued == "k":
            parts[-1] += "000"
        elif glued in _HALVES:
            parts = [_clock(part, glued) for part in parts]
        self.numbers.update(parts)
        if not glued or glued == "k" or glued in _ORDINAL or glued in _HALVES:
            return parts
        unit = word(glued).unit
        if not unit:
            self.ids.add(piece)
            return (piece,)
        self.units.add(unit)
        return (*parts, glued)

    def mixed(self, piece: str) -> Sequence[str]:
        """Take in a piece of letters and digits: `v3.5`, `T-74426`, `INV1535`, `c++`. Returns its tokens."""
        if piece in _SAME:
            return (_SAME[piece],)
        runs = _RUNS.findall(piece)
        self.numbers.update([_plain(run) for run in runs])
        start = next((at for at, sign in enumerate(piece) if not sign.isalpha()), len(piece))
        letters, rest = piece[:start], piece[start:].lstrip("-")
        if len(runs) == 1 and rest == runs[0] and (letters in _VERSIONS or root(stem(letters)).known):
            return (_VERSIONS.get(letters, letters), _plain(rest))
        whole = piece.replace("-", "")
        self.ids.add(whole)
        return (whole,)

    def words(self, tokens: Sequence[str], words: Sequence[Word], names: set[str]) -> None:
        """Take in what is written in words: `twenty five`, `$`, `days`, `march`."""
        total = last = -1
        for at, one in enumerate(words):
            counts = one.number >= 0 or one.tens >= 0
            if total >= 0 and not counts:
                if last >= 100 and tokens[at] == "and":
                    continue
                self.numbers.add(str(total))
                total = last = -1
            if tokens[at] in _HALVES and at and tokens[at - 1] in self.numbers:
                self.numbers.discard(tokens[at - 1])
                self.numbers.add(_clock(tokens[at - 1], tokens[at]))
            if not one.special:
                continue
            if counts:
                if tokens[at] in VAGUE and (at + 1 == len(words) or words[at + 1].tens < 100):
                    self.vague.add(str(one.number))
                else:
                    total, last = _grow(total, last, one), one.tens
            elif one.unit and (one.alone or _beside(tokens, words, at)):
                self.units.add(one.unit)
            elif one.date and (tokens[at] not in _ALSO or _dated(tokens, at, names)):
                self.dates.add(one.date)
        if total >= 0:
            self.numbers.add(str(total))
        if "1" in self.numbers:  # `1 hub` says no more than `a hub`
            self.numbers.discard("1")
            self.vague.add("1")


def _beside(tokens: Sequence[str], words: Sequence[Word], at: int) -> bool:
    """Whether a number stands right before a unit that may be another word."""
    return at > 0 and (tokens[at - 1][-1:].isdigit() or words[at - 1].number > 0 or words[at - 1].tens > 0)


def _dated(tokens: Sequence[str], at: int, names: set[str]) -> bool:
    """Whether `may` or `march` is a date here: with a number beside it, or with a capital inside a sentence."""
    beside = (tokens[at - 1] if at else "") + (tokens[at + 1] if at + 1 < len(tokens) else "")
    return any(sign.isdigit() for sign in beside) or tokens[at] in names


def _grow(total: int, last: int, one: Word) -> int:
    """The number so far with one more number word."""
    if one.tens >= 100:
        return max(total, 1) * one.tens
    more = one.tens if one.tens >= 0 else one.number
    return total + more if total >= 0 and last >= 20 else more


def _clock(figures: str, half: str) -> str:
    """A time of day by the 24-hour clock."""
    hour, colon, minutes = figures.partition(":")
    return f"{int(hour) % 12 + 12 * (half == 'pm')}{colon}{minutes}" if hour.isdecimal() and len(hour) < 3 else figures


def _plain(figures: str) -> str:
    """One way to write a number: `1,000` is `1000`, `50.00` is `50`; a long one keeps its zeros, being an id."""
    if _GROUPED.fullmatch(figures):
        figures = figures.replace(",", "")
    figures = figures.replace(",", ".").removesuffix(".00").removesuffix(":00")
    return figures.lstrip("0") or "0" if len(figures) < 4 and "." not in figures else figures
