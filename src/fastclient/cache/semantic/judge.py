"""What candidates score under each rule, with as little work as the question at hand needs. Pure but for its memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from fastclient.cache.guards import Kind, Text, analyse, verifier
from fastclient.cache.guards.vetoes import vetoes
from fastclient.cache.semantic.agree import Gist, agree
from fastclient.cache.semantic.port import Near
from fastclient.cache.semantic.route import RULES, Scores

if TYPE_CHECKING:
    from fastclient.cache.embedders.port import Embedder

__all__ = ["Best", "Judge", "kind_of"]

_T = TypeVar("_T")
_KEPT: Final = 4096  # questions and answers that stay taken apart
_LEAST: Final = {"sentence": 0.5, "lexical": 0.3}  # a cosine below which no candidate is looked at


def kind_of(embedder: Embedder) -> Kind:
    """Which of the verifier's scales an embedder's cosines are on."""
    return "lexical" if embedder.id.startswith("lexical") else "sentence"


class Best(NamedTuple):
    """The candidate that scores best, by its number."""

    candidate: int
    score: float


class Judge:
    """Scores candidates. It keeps what it has worked out, by the keys of the questions. One loop's alone."""

    def __init__(self, kind: Kind) -> None:
        self._verifier = verifier(kind)
        self._least = _LEAST[kind]
        self._texts: _Kept[Text] = _Kept()
        self._gists: _Kept[Gist] = _Kept()

    def near(self, found: Sequence[Near]) -> list[Near]:
        """Those worth a look."""
        return [each for each in found if each.cosine >= self._least]

    def know(self, key: bytes, gist: Gist) -> None:
        """What the answer under a key says."""
        self._gists.put(key, gist)

    def known(self, key: bytes) -> Gist | None:
        """What the answer under a key says, if that was told."""
        return self._gists.get(key)

    def best(self, question: str, found: Sequence[Near], rule: int, least: float) -> Best | None:
        """The candidate with the highest score of at least `least` under a rule; None if none reaches it."""
        if RULES[rule] == "cosine":
            top = max(range(len(found)), key=lambda number: found[number].cosine, default=None)
            return None if top is None or found[top].cosine < least else Best(top, min(1.0, found[top].cosine))
        best: Best | None = None
        asked, gists = analyse(question), self._known(found)
        for number, each in enumerate(found):
            if best is not None:
                least = best.score
            if RULES[rule] == "guarded cosine":
                score = min(1.0, each.cosine)
                score = 0.0 if score < least or self._vetoed(asked, each) else score
            elif self._verifier.bound(each.cosine) < least and each.cosine < 0.999:
                continue
            else:
                stored, margin = self._text(each), _margin(found, gists, number)
                score = self._verifier.verify(asked, stored, each.cosine, margin, least).probability
            if score >= least and (best is None or score > best.score):
                best = Best(number, score)
        return best

    def scores(self, question: str, found: Sequence[Near]) -> list[Scores]:
        """All candidates under all rules."""
        asked, gists = analyse(question), self._known(found)
        scored: list[Scores] = []
        for number, each in enumerate(found):
            cosine = max(0.0, min(1.0, each.cosine))
            margin = _margin(found, gists, number)
            verdict = self._verifier.verify(asked, self._text(each), each.cosine, margin)
            guarded = 0.0 if self._vetoed(asked, each) else cosine
            scored.append((verdict.probability, guarded, cosine))
        return scored

    def _text(self, near: Near) -> Text:
        text = self._texts.get(near.key)
        if text is None:
            text = analyse(near.question)
            self._texts.put(near.key, text)
        return text

    def _vetoed(self, asked: Text, near: Near) -> bool:
        stored = self._text(near)
        return asked.normal != stored.normal and next(vetoes(asked, stored), None) is not None

    def _known(self, found: Sequence[Near]) -> list[Gist | None]:
        return [self._gists.get(each.key) for each in found]


def _margin(found: Sequence[Near], gists: Sequence[Gist | None], number: int) -> float:
    """How much nearer this one is than the nearest with another answer, as far as answers are known."""
    own = gists[number]
    if own is None:
        return inf
    for other, gist in zip(found, gists, strict=True):
        if gist is not None and gist is not own and not agree(own, gist):
            return found[number].cosine - other.cosine
    return inf


class _Kept(Generic[_T]):
    """The values used last."""

    def __init__(self) -> None:
        self._values: OrderedDict[bytes, _T] = OrderedDict()

    def get(self, key: bytes) -> _T | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: _T) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > _KEPT:
            self._values.popitem(last=False)
