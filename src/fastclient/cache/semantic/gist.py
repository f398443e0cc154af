"""An answer as far as it is compared with others: its words, and what must not differ. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from fastclient.cache.guards.lexicon import Word, root, stem, word
from fastclient.cache.guards.listed import listed

__all__ = ["Gist", "gist"]

_FENCED: Final = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_ITEMS: Final = re.compile(r"(?m)^\s*(?:\d{1,2}[.)]|[-*#>]+)\s+")
_NOON: Final = re.compile(r"\b([ap])\.\s?m\b\.?", re.IGNORECASE)
_QUOTES: Final[dict[int, str | None]] = {0x2019: "'", 0x2018: "'", 0x2212: "-", 0x2011: "-", 0xA0: " "}
_PIECES: Final = re.compile(
    r"(?P<run>[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u3007\u3040-\u9fff\uff66-\uff9f]+)"
    r"|(?P<figure>(?:(?<![\w.])-)?\d(?:[\dA-Za-z_.,:/-]*[\dA-Za-z])?"
    r"|[A-Za-z][A-Za-z_.:/-]{0,20}\d(?:[\dA-Za-z_.:/-]{0,80}[\dA-Za-z])?)"
    r"|(?P<word>[^\W\d_]+(?:'[^\W\d_]+)?)"
    r"|(?P<money>°\s?[CF]\b|[$€£¥₹%‰°])"
)
_SIGNS: Final = re.compile(
    r"[=≤≥≠±\u00d7÷√∞^]|(?<=[\w)])\s?[+]\s?(?=[\w(])|(?<=\w)\*(?=\w)|(?<=[\w)]) \* (?=[\w(])"
    r"|(?<=[\d)])\s?[<>/]\s?(?=[\d(])|(?<!\w)(?:(?<=\w)|(?<=\w ))?[<>]\s?(?=-?\d)|(?<=[\d)]) - (?=[\d(])"
    r"|(?<=\b\w) [-<>] (?=\w\b)"
)
_THOUSANDS: Final = re.compile(r",(?=\d{3}(?!\d))")
_WHOLE: Final = re.compile(r"\.0+$")
_MONEY: Final = {"$": "usd", "€": "eur", "£": "gbp", "¥": "jpy", "₹": "inr", "%": "percent", "‰": "permille"}
_DEGREES: Final = {"c": "celsius", "f": "fahrenheit", "°": "degree"}
_SPELT: Final = {"pound": "gbp", "pounds": "gbp", "percent": "percent", "percentage": "percent", "pct": "percent"}
_SIDES: Final = {
    **dict.fromkeys(("yes", "yeah", "sure", "correct", "absolutely", "certainly", "yep", "indeed"), "yes"),
    **dict.fromkeys(("no", "nope", "not", "unfortunately", "sorry", "never", "incorrect"), "no"),
    "true": "true",
    "false": "false",
}
_DENYING: Final = listed(
    "unable impossible unavailable forbidden prohibited banned refused rejected declined denied hardly rarely seldom "
    "invalid incorrect untrue unless nicht kein keine keinen keiner keinem nie niemals pas jamais aucun aucune nunca "
    "sin ningún não nunca sem non mai senza niet geen nooit inte ikke aldrig nie nigdy не нет никогда"
)
_TURNS: Final = listed("before after over under more less most least on off above below inside outside")
_MARKS: Final = "*_\"'“”„«(["  # what may stand before the first word of a sentence
_AFTER: Final = 5  # words: so far a no reaches
_KNOWN: Final = 0.5  # of the words of an English text are known, at least, and one or more of them are little ones


class Gist(NamedTuple):
    """What of an answer is compared."""

    side: str
    """Whether it begins with a yes or a no."""
    denies: int
    """How often it says no."""
    denied: frozenset[str]
    """Stems right after a no."""
    words: frozenset[str]
    """Stems of the words with content."""
    order: tuple[str, ...]
    """All words of an answer that is not English."""
    figures: tuple[str, ...]
    """Numbers, dates and codes, each once, in their order; without those of list items."""
    units: frozenset[str]
    names: frozenset[str]
    """Stems of words with a capital inside a sentence, and single letters."""
    firsts: frozenset[str]
    """Stems of words with a capital that begin a sentence, and may be names."""
    turns: frozenset[str]
    """Little words that have an opposite."""
    than: frozenset[str]
    """With what something is compared."""
    sources: frozenset[str]
    """Names that a way begins at."""
    signs: frozenset[str]
    """Of formulas."""
    exact: frozenset[str]
    """Code, and words in scripts without spaces."""
    length: int
    english: bool

    @property
    def said(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self.words or self.figures or self.names or self.exact)


@lru_cache(maxsize=512)
def gist(answer: str) -> Gist:
    """An answer as far as it is compared."""
    reading = _Reading()
    text = _NOON.sub(r"\1m", _ITEMS.sub("\n", _FENCED.sub(reading.code, answer.translate(_QUOTES))).replace("**", ""))
    for piece in _PIECES.finditer(text):
        kind = piece.lastgroup
        if kind == "word":
            reading.word(piece[0], _begins(text, piece.start()), text[piece.end() : piece.end() + 1])
        elif kind == "figure":
            reading.figure(piece[0])
        elif kind == "money":
            reading.units.add(_MONEY.get(piece[0]) or _DEGREES[piece[0][-1].lower()])
        else:
            reading.every.append(piece[0])
            reading.exact.add(piece[0])
    return reading.done(frozenset(sign.strip() for sign in _SIGNS.findall(text)))


def _begins(text: str, at: int) -> bool:
    """Whether a sentence begins here."""
    before = text[max(0, at - 12) : at].rstrip(" \t" + _MARKS)
    return not before or before[-1] in ".!?:;\n|•–—-/"  # noqa: RUF001


class _Reading:
    """A gist while it is read."""

    def __init__(self) -> None:
        self.side, self.denies, self.length = "", 0, 0
        self.denied, self.words, self.names, self.firsts = set[str](), set[str](), set[str](), set[str]()
        self.units, self.turns, self.exact = set[str](), set[str](), set[str]()
        self.than, self.sources = set[str](), set[str]()
        self.figures: dict[str, None] = {}
        self.every: list[str] = []
        self.little = self.known = 0
        self._number: int | None = None
        self._reaches = 0  # for so many words a no is not over
        self._before = ""  # the little word right before
        self._counted = False  # a figure stands right before

    def code(self, fenced: re.Match[str]) -> str:
        self.exact.add(" ".join(fenced[1].split()))
        return "\n"

    def figure(self, figure: str) -> None:
        self._numbered()
        self._counted = True
        self._reaches -= 1
        for low in _parts(figure.lower().strip(".:/-_" if figure[0] != "-" else ".:/_")):
            number = _WHOLE.sub("", _THOUSANDS.sub("", low))
            known = word(number) if number.isalpha() else None
            if known is not None and known.unit:
                self.units.add(known.unit)
            elif number:
                self.figures.setdefault(number)

    def word(self, piece: str, begins: bool, after: str) -> None:
        low = piece.lower()
        known = word(low.removesuffix("'s"))
        if not self.every and not self.side:
            self.side = _SIDES.get(low, "")
        self.every.append(low)
        if known.number >= 0 or known.tens >= 0:
            self._count(known)
            return
        self._numbered()
        counted, self._counted = self._counted, False
        if counted and low in ("am", "pm"):
            self._glue(low)
            return
        self._letters(piece, known, begins, after)
        self._unit(low, known, counted)
        if low in _TURNS:
            self.turns.add(known.stem)
        self._denial(low, known)
        if not known.content or low.endswith("n't"):
            self.little += 1
            self.known += 1
            self._before = low
            return
        self.known += root(known.stem).known
        self.length += 1
        self.words.add(known.stem)
        if self._before == "than":
            self.than.add(known.stem)
        elif self._before == "from" and piece[0].isupper():
            self.sources.add(known.stem)
        self._before = ""

    def _letters(self, piece: str, known: Word, begins: bool, after: str) -> None:
        if len(piece) == 1:
            if not (begins and after not in ("", "\n", ")", ".", ":")) and piece not in ("I", "a", "s", "t"):
                self.names.add(piece.lower())
        elif piece[0].isupper() and known.content:
            (self.firsts if begins else self.names).add(known.stem)

    def _unit(self, low: str, known: Word, counted: bool) -> None:
        if counted or known.alone or low in _SPELT:
            unit = _SPELT.get(low, known.unit)
            if unit:
                self.units.add(unit)
            elif not known.content or low in ("business", "working", "calendar"):
                self._counted = counted  # 5 business days

    def _denial(self, low: str, known: Word) -> None:
        if known.negator or low.endswith("n't") or low in _DENYING:
            self.denies += 1
            self._reaches = _AFTER
        elif self._reaches > 0:
            self._reaches -= 1
            if known.content:
                self.denied.add(known.stem)
                self._reaches = 0

    def _count(self, known: Word) -> None:
        """Take up a number in words."""
        so_far = self._number or 0
        if known.tens >= 100:
            self._number = max(1, so_far) * known.tens
        else:
            self._number = so_far + max(known.number, known.tens)

    def _numbered(self) -> None:
        """A number in words is over. One and zero are seldom meant as numbers."""
        number, self._number = self._number, None
        if number is not None and number > 1:
            self.figures.setdefault(str(number))
            self._counted = True

    def _glue(self, end: str) -> None:
        if self.figures:
            last, _ = self.figures.popitem()
            self.figures.setdefault(last + end)

    def done(self, signs: frozenset[str]) -> Gist:
        self._numbered()
        english = not self.every or (self.little > 0 and self.known >= _KNOWN * len(self.every))
        return Gist(
            side=self.side,
            denies=self.denies,
            denied=frozenset(self.denied),
            words=frozenset(self.words),
            order=() if english else tuple(self.every),
            figures=tuple(self.figures),
            units=frozenset(self.units),
            names=frozenset(self.names),
            firsts=frozenset(self.firsts),
            turns=frozenset(map(stem, self.turns)),
            than=frozenset(self.than),
            sources=frozenset(self.sources),
            signs=signs,
            exact=frozenset(self.exact),
            length=self.length,
            english=english,
        )


def _parts(figure: str) -> Iterator[str]:
    """A range is two figures, and `30-day` a figure and its unit; everything else is one."""
    first, dash, second = figure[1:].partition("-")
    if dash and second and (figure[0] + first).isdigit() and (second.isdigit() or second.isalpha()):
        yield figure[0] + first
        yield second
    else:
        yield figure
