"""A question taken apart, once: its words and stems, its numbers, names and negations, and who does what to whom. Pure.

Analysing takes time linear in the length, whatever the script; a `Text` may be kept beside the answer it belongs to.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from fastclient.cache.guards.lexicon import Word, word
from fastclient.cache.guards.listed import listed
from fastclient.cache.guards.numerals import Amounts
from fastclient.cache.guards.particles import CONTRACTIONS, PHRASES, SHORTENED, SPELLINGS
from fastclient.cache.guards.roles import Order, order_of

__all__ = ["LIMIT", "Text", "analyse"]

LIMIT: Final = 4_000
"""Characters. Longer texts are compared as wholes only: nobody can tell which part of them matters."""

_PIECE: Final = re.compile(
    r"[^\W\d_]+(?:'[^\W\d_]+)*(?:-?\d(?:[\w.]*\w)?|[+#]+(?!\w))?"  # a word, or an id that begins with letters
    r"|\d+(?:[.,:/-]\d+)*[^\W\d_]*"  # a number with what is glued to it
    r"|[-=]{1,3}>"
    r"|[.?!\n]"
    r"|[^\w\s.,;:?!'\"()\[\]{}/#…¿¡„“”«»\u2013\u2014-]"  # any other sign: `+`, `%`, an emoji
)
_HEADS: Final = frozenset(first for first, _ in PHRASES)
_QUOTES: Final[dict[int, str]] = dict.fromkeys((0x2019, 0x2018, 0x60, 0xB4, 0xFF07), "'")
_ENDS: Final = ".?!\n"
_UNSPACED: Final = (("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"), ("\u2e80", "\u9fff"))
_SWITCH: Final = frozenset(("on", "off"))
_SWITCHING: Final = listed("turn turns turned turning switch switched switching power powered put keep leave")
_AUXILIARY: Final = listed("is are was were do does did will can could should would has have had must may")
_KNOWING: Final = listed("know sure understand certain")


@dataclass(slots=True, repr=False, eq=False)
class Text:
    """A question as the verifier sees it. Its repr shows nothing of it. Not to be changed by anyone."""

    # not frozen: a frozen one takes three times as long to make
    normal: str
    """Lower case, contractions written out, no punctuation. Equal normal forms are the same question."""
    squashed: str
    """The normal form without its spaces."""
    trigrams: frozenset[str]
    tokens: Sequence[str]
    stems: dict[str, int]
    """Stems of the words with content, and where each first stands."""
    every: frozenset[str]
    """Stems of all words, small ones too."""
    numbers: set[str]
    vague: set[str]
    """Numbers that need no partner."""
    ids: set[str]
    units: set[str]
    dates: set[str]
    relative: set[str]
    aspect: set[str]
    """Whether something is about to be, or used to be."""
    negators: list[int]
    """Positions of the words that deny."""
    denied: set[str]
    """Stems of words that say no without a negator."""
    asks: set[str]
    joins: set[str]
    who: set[str]
    names: set[str]
    """Stems of the words written with a capital inside a sentence."""
    polar: list[tuple[str, int]]
    """Words that have opposites, and where they stand."""
    order: Order
    begins: int
    """Where the last sentence begins: what is denied before it only sets the scene."""
    long: bool

    def __repr__(self) -> str:
        """How many words, and none of them."""
        return f"Text({len(self.tokens)} words)"


class _Read(NamedTuple):
    tokens: list[str]
    amounts: Amounts
    names: set[str]
    begins: int


def analyse(text: str) -> Text:
    """Take a question apart. Any text will do; of one over `LIMIT` characters only the normal form is made."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    if len(text) > LIMIT:
        return _gather(_Read([], Amounts(), set(), 0), " ".join(text.lower().split()), long=True)
    read = _read(_PIECE.findall(text), shouted=text.isupper())
    normal = " ".join(read.tokens)
    return _gather(read if _HEADS.isdisjoint(read.tokens) else _joined(read), normal, long=False)


def _read(pieces: Sequence[str], *, shouted: bool) -> _Read:
    """The words in lower case with contractions and phrases written in one way; what counts; and which are names."""
    tokens: list[str] = []
    names: set[str] = set()
    amounts = Amounts()
    starts, last, begins = True, 0, 0
    for piece in pieces:
        if piece in _ENDS:
            starts, last = True, len(tokens)
            continue
        if starts:
            begins = last
        low = piece.lower()
        if not low.isalpha():
            low = _unusual(low, tokens, amounts)
        elif low in CONTRACTIONS:
            *before, low = CONTRACTIONS[low].split()
            tokens.extend(before)
        if low:
            if (
                not piece.islower()
                and len(low) > 1
                and not shouted
                and (not starts or (piece.isupper() and len(piece) > 1))
            ):
                names.add("usa" if low == "us" else low)
            if tokens and (whole := SPELLINGS.get((tokens[-1], low))):
                amounts.numbers.discard(tokens[-1])  # in `2 factor` it counts nothing
                tokens[-1] = whole
            elif low.isascii() or not _unspaced(low[0]):
                tokens.append(low)
            else:
                tokens.extend([low[at : at + 2] for at in range(max(1, len(low) - 1))])
        starts = False
    return _Read(tokens, amounts, names, begins)


def _joined(read: _Read) -> _Read:
    """With two words that mean what one says made that one."""
    tokens: list[str] = []
    begins = read.begins
    for at, token in enumerate(read.tokens):
        if tokens and (whole := PHRASES.get((tokens[-1], token))):
            tokens[-1] = whole
            begins -= at < read.begins
        else:
            tokens.append(token)
    return read._replace(tokens=tokens, begins=begins)


def _unusual(low: str, tokens: list[str], amounts: Amounts) -> str:
    """Take in a piece that is no plain word; returns the word that is left of it, or nothing."""
    if low[0].isdigit():
        tokens.extend(amounts.read(low))
        return ""
    if not low[0].isalpha():
        tokens.append("->" if low[-1] in ">→" and (len(low) > 1 or low == "→") else "and" if low == "&" else low)
        return ""
    if "'" not in low:
        tokens.extend(amounts.mixed(low))
        return ""
    *before, last = (CONTRACTIONS.get(low) or _written_out(low)).split()
    tokens.extend(before)
    return last


def _written_out(low: str) -> str:
    """A word with an apostrophe as the words it stands for; a possessive loses its ending."""
    head, _, tail = low.partition("'")
    if low.endswith("n't"):
        return f"{low[:-3]} not"
    if tail == "s":
        return f"{head} is" if head in SHORTENED else head
    return f"{head} {full}" if (full := SHORTENED.get(f"'{tail}")) else head + tail.replace("'", "")


def _unspaced(sign: str) -> bool:
    """Whether a letter belongs to a script that puts no spaces between words."""
    return any(low <= sign <= high for low, high in _UNSPACED) or "\uf900" <= sign <= "\ufaff" or sign >= "\U00020000"


def _gather(read: _Read, normal: str, *, long: bool) -> Text:
    """Look each word up, and put what it says where it belongs."""
    tokens, amounts, names, begins = read
    words = [word(token) for token in tokens]
    if "usa" in names and "us" in tokens:
        words[tokens.index("us")] = word("usa")
    stems: dict[str, int] = {}
    special: list[int] = []
    polar: list[tuple[str, int]] = []
    for at, one in enumerate(words):
        if one.content and one.stem not in stems:
            stems[one.stem] = at
        if one.opposed and (tokens[at] not in _SWITCH or _switched(tokens, at)):
            polar.append((one.stem, at))
        if one.special:
            special.append(at)
    text = Text(
        normal,
        normal.replace(" ", ""),
        frozenset() if long else frozenset([normal[at : at + 3] for at in range(len(normal) - 2)]),
        tokens,
        stems,
        frozenset([one.stem for one in words]),
        amounts.numbers,
        amounts.vague,
        amounts.ids,
        amounts.units,
        amounts.dates,
        *(set(), set(), [], set(), set(), set(), set()),
        {word(name).stem for name in names} if names else names,
        polar,
        order_of(tokens, words),
        begins,
        long,
    )
    if special:
        _sort(text, words, special)
        amounts.words(tokens, words, names)
    return text


def _sort(text: Text, words: Sequence[Word], special: Sequence[int]) -> None:
    """What the small words say."""
    tokens = text.tokens
    for at in special:
        one = words[at]
        if one.negator and _denies(tokens, at):
            text.negators.append(at)
        if one.denied:
            text.denied.add(one.stem)
        if one.asks and (tokens[at] != "when" or (at + 1 < len(tokens) and tokens[at + 1] in _AUXILIARY)):
            text.asks.add(one.asks)
        if one.joins:
            text.joins.add(one.joins)
        if one.who:
            text.who.add(one.who)
        if one.relative:
            text.relative.add(one.relative)
        elif (one.alone or one.date) and at and tokens[at - 1] == "this":
            text.relative.add("currently")
        if one.aspect:
            text.aspect.add(one.aspect)


def _switched(tokens: Sequence[str], at: int) -> bool:
    """Whether `on` or `off` is about a switch, and not `on Sunday`."""
    return at + 1 == len(tokens) or any(token in _SWITCHING for token in tokens[max(0, at - 5) : at])


def _denies(tokens: Sequence[str], at: int) -> bool:
    """Whether a negator denies something: `I do not know how` and `whether or not` do not."""
    if at + 1 < len(tokens) and tokens[at + 1] in _KNOWING:
        return False
    return not (at and (tokens[at - 1] == "or" or (tokens[at - 1] == "why" and at + 1 == len(tokens))))
