"""What an answer's headers say about the quotas of the key: how much is left, and when it is full again.

Reads the names of OpenAI, which most others copy, and those of Anthropic. What is missing, unreadable or makes no
sense is left out; headers never raise.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias, cast

__all__ = ["Kind", "Rate", "rates"]

Kind: TypeAlias = Literal["requests", "tokens", "input-tokens", "output-tokens"]


class Rate(NamedTuple):
    """One quota. `reset` is in seconds from now.

    A server that writes a duration means from the moment it looked, which is about when the request came in. One that
    writes a point in time (`dated`) means just that; it is mostly rounded to a second.
    """

    kind: Kind
    limit: float
    remaining: float
    reset: float
    dated: bool = False


def _names() -> dict[str, tuple[Kind | None, str]]:
    """Which quota and which of its fields a header is about; None is a quota without a name, taken for requests."""
    names: dict[str, tuple[Kind | None, str]] = {}
    for field in ("limit", "remaining", "reset"):
        names[f"x-ratelimit-{field}"] = (None, field)
        openai: tuple[Kind, ...] = ("requests", "tokens")
        anthropic: tuple[Kind, ...] = ("requests", "tokens", "input-tokens", "output-tokens")
        names.update({f"x-ratelimit-{field}-{kind}": (kind, field) for kind in openai})
        names.update({f"anthropic-ratelimit-{kind}-{field}": (kind, field) for kind in anthropic})
    return names


_NAMES = _names()
_NAMED = frozenset(_NAMES)
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_UNIT = r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|d|h|m|s)"
_PART = re.compile(_UNIT)
_DURATION = re.compile(f"(?:{_UNIT})+")
_LONGEST_TEXT = 64
_LONGEST_RESET = 365 * 86400.0  # anything above is not a quota but a bug
_MOST = 1e15
_EPOCH = 1e9  # above: seconds since 1970, as no duration is that long
_EPOCH_MS = 1e11  # above: milliseconds


def rates(headers: Mapping[str, str]) -> tuple[Rate, ...]:
    """The quotas these headers tell of; empty if none. Names in lower case."""
    if _NAMED.isdisjoint(headers):  # most answers have none
        return ()
    told = _told(headers)
    quotas: dict[Kind | None, dict[str, str]] = {}
    for name, text in told.items():
        kind, field = _NAMES[name]
        quotas.setdefault(kind, {})[field] = text
    unnamed = quotas.pop(None, {})
    if "requests" not in quotas and unnamed:
        quotas["requests"] = unnamed
    found = (_rate(cast(Kind, kind), fields, headers) for kind, fields in quotas.items())  # None was taken out above
    return tuple(rate for rate in found if rate is not None)


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers about quotas."""
    return {name: headers[name] for name in headers if name in _NAMES}


def _rate(kind: Kind, fields: Mapping[str, str], headers: Mapping[str, str]) -> Rate | None:
    limit, remaining = _number(fields.get("limit")), _number(fields.get("remaining"))
    reset = _reset(fields.get("reset"), headers)
    if not limit or remaining is None or reset is None:
        return None
    return Rate(kind, limit, remaining, *reset)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text and len(text) <= _LONGEST_TEXT else -1.0
    except ValueError:
        return None
    return number if 0 <= number <= _MOST else None  # NaN fails this too


def _reset(text: str | None, headers: Mapping[str, str]) -> tuple[float, bool] | None:
    """Seconds until a reset, and whether it was written as a point in time."""
    if not text or len(text) > _LONGEST_TEXT:
        return None
    number, dated = _number(text), False
    if number is not None and number >= _EPOCH:
        number, dated = (number / 1000 if number >= _EPOCH_MS else number) - _now(headers), True
    elif number is None and _DURATION.fullmatch(text):
        number = sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    elif number is None:
        moment = _moment(text)
        number, dated = (None, False) if moment is None else (moment - _now(headers), True)
    if dated and number is not None and -1 < number < 0:
        number = 0.0  # whole seconds: it is this very second
    return (number, dated) if number is not None and 0 <= number <= _LONGEST_RESET else None


def _moment(text: str) -> float | None:
    """An RFC 3339 time as seconds since 1970; without a zone it is taken for UTC."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _now(headers: Mapping[str, str]) -> float:
    """The time by the clock that wrote the reset, where it tells: ours may be minutes off."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(headers.get("date") or "").timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return time.time()
