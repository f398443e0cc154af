"""How two texts differ: by the least that must be made equal for them to be the same. Pure.

All of it takes time in proportion to their length, whatever they hold.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import orjson

__all__ = ["Difference", "canonical", "common_prefix", "difference"]

Difference: TypeAlias = Literal["whitespace", "reserialised", "timestamp", "random_id", "changed"]

_NESTED = 50  # levels of JSON, and of JSON inside its strings, that are looked into
_AROUND = 80  # characters before and behind a difference that may belong to the same time or id
_MASK = "\0"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]{0,6}\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?(?!\d)"
_MOMENTS = (
    r"(?<!\d)\d{4}([-/.])\d{1,2}\1\d{1,2}(?!\d)",
    r"(?<!\d)\d{1,2}([-/.])\d{1,2}\2\d{4}(?!\d)",
    r"(?<!\d)\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\b)?(?: ?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?(?!\d)",
    rf"(?<!\d){_DAY} {_MONTH}(?:,? \d{{4}})?(?!\d)",
    rf"{_MONTH} {_DAY}(?:,? \d{{4}})?(?!\d)",
    r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b",
    r"(?<![\w-])\d{10}(?:\d{3})?(?:\.\d+)?(?![\w-])",
)
_MOMENT = re.compile("|".join(_MOMENTS))
_ONE_MOMENT = re.compile(rf"{_MASK}(?:(?:T|,? ){_MASK})+")  # a weekday, a date and a clock time
_ID = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|(?<![0-9a-fA-F])[0-9a-fA-F]{12,64}(?![0-9a-fA-F])"
    r"|(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}"  # a digit: names_of_many_words are no random ids
)
_SPACE = re.compile(r"(?:\s|\\[nrt])+")  # in JSON, line ends and tabs are escaped
_JSON = re.compile(r"\s*[\[{]")


def difference(old: str, new: str) -> Difference:
    """The least that must be made equal for two texts to be the same."""
    was, now = _around(old, new)
    if _collapsed(was) == _collapsed(now):
        return "whitespace"
    if canonical(old) == canonical(new):
        return "reserialised"
    was, now = _timeless(was), _timeless(now)
    if was == now:
        return "timestamp"
    return "random_id" if _ID.sub(_MASK, was) == _ID.sub(_MASK, now) else "changed"


def canonical(text: str) -> str:
    """JSON with sorted keys and no spaces, also of the JSON inside its strings; any other text as it is."""
    if not _JSON.match(text):
        return text
    try:
        return orjson.dumps(_opened(orjson.loads(text), _NESTED), option=orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError):
        return text


def common_prefix(old: str, new: str) -> int:
    """How many characters two texts have in common at their beginnings."""
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _around(old: str, new: str) -> tuple[str, str]:
    """Of both texts what differs, with enough around it to see what it is a part of."""
    begin = common_prefix(old, new)
    end = common_prefix(old[begin:][::-1], new[begin:][::-1])
    begin, end = max(0, begin - _AROUND), max(0, end - _AROUND)
    return old[begin : len(old) - end], new[begin : len(new) - end]


def _opened(value: object, depth: int) -> object:
    """The value with JSON in place of the strings that hold it."""
    if depth and isinstance(value, str) and _JSON.match(value):
        try:
            value = orjson.loads(value)
        except ValueError:
            return value
    if depth and isinstance(value, dict):
        return {key: _opened(inner, depth - 1) for key, inner in value.items()}
    if depth and isinstance(value, list):
        return [_opened(inner, depth - 1) for inner in value]
    return value


def _collapsed(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def _timeless(text: str) -> str:
    return _ONE_MOMENT.sub(_MASK, _MOMENT.sub(_MASK, text))
