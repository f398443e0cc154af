"""`fastclient cache audit`: what a semantic cache served for what, for people to read.

It shows questions as they were asked. What would move a cursor or colour a terminal is written out.
"""

from __future__ import annotations

import argparse
from collections import Counter, deque
from math import sqrt

from fastclient.cache.semantic.audit import Served, read
from fastclient.cli.screen import Screen
from fastclient.errors import FastClientError

__all__ = ["audit", "interval", "on_a_line"]

_COLUMNS = ("asked", "stored", "rule", "score", "cosine", "checked")
_CHECKED = {True: "right", False: "wrong", None: "-"}
_95 = 1.96  # standard deviations


def audit(options: argparse.Namespace) -> int:
    """Run it; returns the exit status."""
    screen, found = Screen(), Counter[bool | None]()
    listed: deque[Served] = deque(maxlen=options.last)
    try:
        for each in read(options.file):
            found[each.right] += 1
            if each.right is False or not options.wrong:
                listed.append(each)
    except OSError as error:
        raise FastClientError(f"{options.file}: {error.strerror or type(error).__name__}") from error
    if listed:
        screen.table("What was served for what, oldest first", _COLUMNS, list(map(_row, listed)), texts=3)
    screen.say(_summary(found))
    return 0


def _row(served: Served) -> tuple[str, ...]:
    numbers = (f"{served.score:.2f}", f"{served.cosine:.2f}", _CHECKED[served.right])
    return (on_a_line(served.asked), on_a_line(served.stored), on_a_line(served.rule), *numbers)


def on_a_line(text: str) -> str:
    """A text on one line, with no character that a terminal would act on."""
    spaced = " ".join(text.split())
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in spaced)


def _summary(found: Counter[bool | None]) -> str:
    """How much was served, how much of it was checked, and how much of that was wrong."""
    wrong, checked = found[False], found[False] + found[True]
    said = f"{found.total():,} served, {checked:,} of them checked"
    if not checked:
        return said
    low, high = interval(wrong, checked)
    return f"{said}, {wrong:,} wrong: {wrong / checked:.1%} of what was served (95 % interval {low:.1%} to {high:.1%})"


def interval(found: int, of: int) -> tuple[float, float]:
    """Wilson's interval for a share: it holds for small numbers too, and for none at all."""
    share, spread = found / of, _95 * _95 / of
    middle = (share + spread / 2) / (1 + spread)
    reach = _95 * sqrt(share * (1 - share) / of + spread / of / 4) / (1 + spread)
    return max(0.0, middle - reach), min(1.0, middle + reach)
