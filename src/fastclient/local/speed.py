"""How fast the engine reads and writes, as measured, and what that says about the next request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Known", "LocalState", "Prediction", "Speed", "common_characters"]

_WEIGHT = 8.0  # samples that count


class Prediction(NamedTuple):
    """Seconds to the first token, and to the last."""

    first: float
    total: float


class Known(NamedTuple):
    """What a slot has read: the texts of its messages, and how many tokens they were."""

    texts: tuple[str, ...]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalState:
    """A local model at one moment. Speeds are in tokens a second; None while nothing was measured.

    `cached` is how many tokens each slot holds; `limit` how many a request may have, prompt and answer together (0
    before the model is loaded).
    """

    loaded: bool = False
    queue: int = 0
    busy: int = 0
    slots: int = 0
    cached: tuple[int, ...] = ()
    prefill: float | None = None
    decode: float | None = None
    limit: int = 0
    engine: str = ""
    gpu: bool = False


@dataclass(slots=True)
class Running:
    """A running mean that forgets."""

    value: float = 0.0
    count: int = 0

    def add(self, sample: float) -> None:
        self.count += 1
        self.value += (sample - self.value) / min(self.count, _WEIGHT)


@dataclass(slots=True)
class Speed:
    """Measurements of one engine, in seconds: per prompt token read, per token written, and per request in a slot.

    `fixed` is what comes before the first token beside reading the prompt, `characters` how many a token has.
    """

    read: Running = field(default_factory=Running)
    write: Running = field(default_factory=Running)
    service: Running = field(default_factory=Running)
    written: Running = field(default_factory=Running)
    characters: Running = field(default_factory=Running)

    @property
    def prefill(self) -> float | None:
        return 1 / self.read.value if self.read.value > 0 else None

    @property
    def decode(self) -> float | None:
        return 1 / self.write.value if self.write.value > 0 else None

    def predict(
        self, texts: Sequence[str], known: Sequence[Known], limit: int | None, waiting: int, slots: int
    ) -> Prediction | None:
        """What a request would take; None while too little was measured. Takes some microseconds.

        `waiting` is how many requests are before it that no slot is free for.
        """
        if not self.read.count or not self.write.count:
            return None
        per_token = self.characters.value or 4.0
        size = sum(map(len, texts))
        had = max([common_characters(texts, each.texts) for each in known], default=0)
        output = float(limit) if limit is not None else self.written.value or 64.0
        if limit is not None and self.written.count:
            output = min(output, max(self.written.value * 2, 1.0))
        queued = waiting * self.service.value / max(1, slots)
        first = queued + (size - had) / per_token * self.read.value + self.write.value
        return Prediction(first, first + max(0.0, output - 1) * self.write.value)


def common_characters(one: Sequence[str], other: Sequence[str]) -> int:
    """How many characters two conversations begin with in common. Whole messages are compared at once."""
    total = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine == theirs:
            total += len(mine)
            continue
        return total + _common(mine, theirs)
    return total


def _common(one: str, other: str) -> int:
    """Doubles a piece until it differs and halves it then: a loop over characters takes a hundred times as long."""
    low, high, step = 0, min(len(one), len(other)), 16
    while step < high and one[low:step] == other[low:step]:
        low, step = step, step * 2
    high = min(step, high)
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
