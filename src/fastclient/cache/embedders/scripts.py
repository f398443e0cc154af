"""Words of all scripts, in one pass over a text. Pure.

Scripts that write no spaces between words (Chinese, Japanese, Thai, Khmer, Lao, Burmese) come in runs, which whoever
reads them takes apart by characters.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import cache

__all__ = ["Words", "words"]

Words = list[tuple[str, str]]
"""Each one is a word and nothing, or nothing and a run without spaces, whichever stood there."""

_ASCII = re.compile(r"[a-z0-9]+").findall
_UNSPACED = (
    *("\u0e00-\u0eff", "\u1000-\u109f", "\u1780-\u17ff"),  # Thai and Lao, Burmese, Khmer
    *("\u3005-\u3007", "\u3040-\u30ff", "\u31f0-\u31ff", "\u3400-\u4dbf", "\u4e00-\u9fff"),  # Japanese and Chinese
    *("\uf900-\ufaff", "\U0001b000-\U0001b16f", "\U00020000-\U0003ffff"),
)


def words(text: str) -> tuple[list[str], list[str]]:
    """The words of a text in their order, and its runs without spaces; without case, accents as they are."""
    if text.isascii():
        return _ASCII(text.lower()), []
    found = _finder()(unicodedata.normalize("NFKC", text).casefold())
    return [word for word, _ in found if word], [run for _, run in found if run]


@cache
def _finder() -> Callable[[str], Words]:
    """Finds the words of a text that is not all ASCII. Made when the first one comes, in some milliseconds."""
    unspaced = "".join(_UNSPACED)
    marks = _marks()
    # Letters may carry marks, which are no letters to Python: without them most words of India would fall to pieces.
    pattern = f"((?:(?![{unspaced}])[^\\W_][{marks}]*)+)|((?:[{unspaced}][{marks}]*)+)"
    return re.compile(pattern).findall


def _marks() -> str:
    """All combining marks and joiners, as ranges for a character class."""
    ranges: list[list[int]] = [[0x200C, 0x200D]]
    for code in (*range(0x300, 0x10000), *range(0x10A00, 0x11FFF), *range(0x1E000, 0x1E8FF)):
        if code <= sys.maxunicode and unicodedata.category(chr(code))[0] == "M":
            if ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
