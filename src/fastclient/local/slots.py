"""Which slot a prompt goes to, and how much of it is there already. Pure.

A slot keeps the tokens it has read and written after its answer has ended. A new prompt begins with what it shares with
any slot, also with one that is busy, and overwrites the idle slot that loses least.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Choice", "Slot", "choose", "shared"]

_MUCH = 2**31  # more than any slot holds
_WORTH = 16  # tokens: fewer are read faster than a slot is copied


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence of the model's memory: `held` are the tokens it has certainly read, `used` when it was last used."""

    number: int
    held: array[int] = field(default_factory=lambda: array("i"))
    busy: bool = False
    used: int = 0
    texts: tuple[str, ...] = ()  # the messages they came from


class Choice(NamedTuple):
    """Where a prompt goes. Its first `kept` tokens are taken from `source`, which may be the slot itself."""

    slot: Slot
    source: Slot
    kept: int


def shared(one: array[int], other: array[int]) -> int:
    """How many tokens two sequences begin with in common. Compares pieces whole and halves them: some microseconds."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    step = 64  # prompts that have nothing in common are the usual case
    while step < high and one[low:step] == other[low:step]:
        low, step = step, step * 2
    high = min(step, high)
    while low + 1 < high:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def choose(slots: Sequence[Slot], prompt: array[int]) -> Choice | None:
    """Where this prompt goes; None if every slot is busy. At least one token of a prompt is always read anew."""
    idle = [slot for slot in slots if not slot.busy]
    if not idle:
        return None
    common = {slot.number: shared(slot.held, prompt) for slot in slots}
    source = max(slots, key=lambda slot: (common[slot.number], not slot.busy))
    slot = min(idle, key=lambda slot: (_loss(slot, common[slot.number]), -common[slot.number], slot.used))
    most = len(prompt) - 1
    if common[slot.number] + _WORTH > min(common[source.number], most):
        source = slot
    return Choice(slot, source, min(common[source.number], most))


def _loss(slot: Slot, common: int) -> int:
    """What is forgotten if this slot is taken. Where that is most of it, how much does not matter: the oldest goes."""
    lost = len(slot.held) - common
    return lost if lost * 2 <= len(slot.held) else _MUCH
