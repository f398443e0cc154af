"""The verdict on a pair: may the answer stored for one question be served for another? Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import exp, inf
from operator import mul
from typing import Final, Literal

from fastclient.cache.guards.features import ALIKE, FEATURES, alike, features
from fastclient.cache.guards.fitted import FITTED
from fastclient.cache.guards.overlap import overlap
from fastclient.cache.guards.text import Text
from fastclient.cache.guards.vetoes import Veto, vetoes

__all__ = ["Kind", "Verdict", "Verifier", "verifier", "verify"]

Kind = Literal["sentence", "lexical"]
"""What the cosine comes from: an encoder of sentences, or counted words and letters. Each has a scale of its own."""

_WORDS: Final = Veto("words")


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """How probable it is that the stored answer is right for the asked question. Its repr shows no text."""

    probability: float
    """0 if there is a veto. If it is below the `floor` that was given, it may be only an upper bound."""
    vetoes: tuple[str, ...] = ()
    """Names of what forbids serving: `number`, `id`, `unit`, `date`, `time`, `negation`, `opposite`, `direction`,
    `words` (none in common) or `length`. Judging stops at the first."""
    _why: tuple[Verifier, Text, Text, float, float] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """The verdict and no word of what it is about."""
        return f"Verdict(probability={self.probability:.3f}, vetoes={self.vetoes!r})"

    def explain(self) -> tuple[str, ...]:
        """The reasons in plain words, the weightiest first. They quote the words concerned: for your own eyes only."""
        return self._why[0].reasons(*self._why[1:]) if self._why else ("the same words",)


class Verifier:
    """The hard vetoes, and a logistic model for what is left."""

    __slots__ = ("_alike", "_bias", "_most", "_rest", "_steep", "_weights")

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Weights by the name of their feature, and `bias`; a feature without one does not count."""
        if wrong := [one.name for one in FEATURES if weights.get(one.name, 0.0) * one.sign < 0]:
            raise ValueError(f"weights with a sign they must not have: {', '.join(wrong)}")
        self._bias = weights["bias"]
        self._weights = tuple(weights.get(one.name, 0.0) for one in FEATURES)
        self._steep = weights.get("cosine", 0.0)
        self._alike = tuple(weights.get(name, 0.0) for name in ALIKE)
        most = {one.name: max(0.0, weight) * one.most for one, weight in zip(FEATURES, self._weights, strict=True)}
        self._most = self._bias + sum(most.values()) - self._steep  # without what the cosine adds
        self._rest = self._most - sum(most[name] for name in ALIKE)  # and without what `alike` finds

    def verify(self, asked: Text, stored: Text, cosine: float, margin: float = inf, floor: float = 0.0) -> Verdict:
        """Judge a pair.

        `margin`: how much nearer this stored question is than the nearest one with another answer (negative: less
        near); `inf` if there is no such. `floor`: what the probability has to reach to be of use; a pair that cannot
        reach it by its cosine, or by that and its words in common, costs nothing more.
        """
        if asked.normal == stored.normal:
            return Verdict(1.0)
        if floor and (most := self.bound(cosine)) < floor:
            return Verdict(most, (), (self, asked, stored, cosine, margin))
        why = (self, asked, stored, cosine, margin)
        words = overlap(asked, stored)
        if not (words.both or words.slips or words.partners):
            return Verdict(0.0, (_WORDS.name,), why)
        if floor:
            known = self._steep * cosine + sum(map(mul, self._alike, alike(asked, stored, words)))
            if (most := _logistic(self._rest + known)) < floor:
                return Verdict(most, (), why)
        if veto := next(vetoes(asked, stored), None):
            return Verdict(0.0, (veto.name,), why)
        values = features(asked, stored, words, cosine, margin)
        return Verdict(_logistic(self._bias + sum(map(mul, self._weights, values))), (), why)

    def bound(self, cosine: float) -> float:
        """The most that any pair with this cosine can reach, other than one in the same words."""
        return _logistic(self._most + self._steep * cosine)

    def least_cosine(self, floor: float) -> float:
        """The cosine below which nothing reaches `floor`, to three decimals: no need to look at what is less near."""
        return next((step / 1000 for step in range(-1000, 1000) if self.bound(step / 1000) >= floor), 1.0)

    def reasons(self, asked: Text, stored: Text, cosine: float, margin: float) -> tuple[str, ...]:
        """Why a pair got the verdict it got, the weightiest reason first."""
        if found := [_said(veto) for veto in vetoes(asked, stored)]:
            return tuple(found)
        words = overlap(asked, stored)
        if not (words.both or words.slips or words.partners):
            return ("words: none in common",)
        values = features(asked, stored, words, cosine, margin)
        counts = [
            (weight * value, one)
            for one, weight, value in zip(FEATURES, self._weights, values, strict=True)
            if abs(weight * value) >= 0.05
        ]
        alone = [
            text.tokens[text.stems[stem]]
            for text, stems in ((asked, words.asked), (stored, words.stored))
            for stem in stems
        ]
        last = (f"on one side only: {', '.join(alone)}",) if alone else ()
        return (
            *(f"{count:+.1f} {one.says}" for count, one in sorted(counts, key=lambda each: -abs(each[0]))),
            *last,
        )


def verify(
    asked: Text, stored: Text, cosine: float, margin: float = inf, *, kind: Kind = "sentence", floor: float = 0.0
) -> Verdict:
    """May the answer stored for one question be served for another? See `Verifier.verify`."""
    return verifier(kind).verify(asked, stored, cosine, margin, floor)


@cache
def verifier(kind: Kind) -> Verifier:
    """The verifier with the shipped weights for a kind of embeddings."""
    return Verifier(FITTED[kind])


def _logistic(score: float) -> float:
    return 1.0 / (1.0 + exp(-score)) if score > -700.0 else 0.0


def _said(veto: Veto) -> str:
    """A veto in words."""
    name, mine, its = veto
    if not mine and not its:
        return f"{name}: one is too long to be compared" if name == "length" else f"{name}: they differ"
    sides = ", ".join(sorted(mine)) or "nothing", ", ".join(sorted(its)) or "nothing"
    return f"{name}: {sides[0]} asked, {sides[1]} stored"
