"""The checks that values make of themselves: each raises `ConfigError` with the field and the value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard, TypeVar

from fastclient.errors import ConfigError

__all__ = ["instance", "is_number", "meant", "one_of", "seconds", "share", "whole"]

_T = TypeVar("_T")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def meant(word: object, known: Iterable[str]) -> str:
    """A hint at the known word that somebody may have meant; empty if none is like it."""
    from difflib import get_close_matches  # only for those who made a mistake

    near = get_close_matches(word, list(known), 1) if isinstance(word, str) else []
    return f" (did you mean {near[0]!r}?)" if near else ""


def seconds(name: str, value: Any) -> None:
    """Refuse anything but a finite number of seconds above 0."""
    if not is_number(value) or value <= 0:
        raise ConfigError.of(name, value, "must be a finite number of seconds above 0")


def instance(name: str, value: object, kind: type[_T]) -> _T:
    """Refuse anything but a value of this class."""
    if not isinstance(value, kind):
        raise ConfigError.of(name, value, f"must be a {kind.__name__}")
    return value


def whole(name: str, value: object) -> None:
    """Refuse anything but a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError.of(name, value, "must be a whole number above 0")


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse anything but one of these."""
    if value not in allowed:
        raise ConfigError.of(name, value, f"must be one of {', '.join(map(str, allowed))}")


def share(name: str, value: Any) -> None:
    """Refuse anything but a number between 0 and 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ConfigError.of(name, value, "must be a share between 0 and 1")
