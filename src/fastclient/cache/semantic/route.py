"""What one route has learned, and what it may serve: rule and threshold by evidence, within a bound on errors. Pure.

Three scores compete, each between 0 and 1: the verifier's probability, the cosine where no veto forbids the pair, and
the plain cosine. Which is best differs by traffic, so it is chosen by what was seen (`choice`); how much is served with
it is another matter, and bounded by what is proved (`account`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from fastclient.cache.semantic.account import Account
from fastclient.cache.semantic.choice import Choice, Chosen

__all__ = ["RULES", "Mode", "Place", "Route", "Scores", "Terms"]

Mode: TypeAlias = Literal["auto", "shadow", "serve"]
Scores: TypeAlias = Sequence[float]
"""Of one candidate, under each of `RULES`."""

RULES: Final = ("verifier", "guarded cosine", "cosine")

_CAREFUL: Final = {"sentence": 0.9, "lexical": 0.95}  # the verifier's probability that "serve" begins with
_SHARE: Final = 0.5  # of the error allowed, for the threshold: the rest is for what is not known
_CERTAIN: Final = 0.3  # the same while all is checked: what is saved now proves the more, the sooner calls are saved
_EVERY: Final = 25  # requests from one look at the evidence to the next
_TRIED: Final = 40  # checked answers, before "serve" goes by what they say


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was asked for. `rate` is the share of served answers that is checked once enough is known."""

    max_error: float
    mode: Mode
    rate: float
    kind: Literal["sentence", "lexical"]


class Place(NamedTuple):
    """Which candidate is served, by which rule and score, and whether it is checked: with which probability it was."""

    candidate: int
    rule: int
    score: float
    checked: bool
    rate: float


class Route:
    """The evidence and the account of one route. Not safe for threads: it belongs to whoever holds its lock."""

    __slots__ = ("_careful", "_chosen", "_draw", "_since", "_terms", "account", "choice", "labels")

    def __init__(self, terms: Terms, draw: Callable[[], float]) -> None:
        self._terms = terms
        self._draw = draw
        self._since = 0
        self._chosen: Chosen | None = None
        self._careful: Chosen | None = None  # while all is checked
        self.account = Account(max_error=terms.max_error, rate=terms.rate)
        self.choice = Choice(len(RULES))
        self.labels = 0

    def asked(self) -> None:
        """A request came that might be answered from here."""
        self.account.asked()
        self.choice.asked()
        self._since += 1
        if self._since >= _EVERY:
            self._look()

    def _look(self) -> None:
        self._since = 0
        error = self._terms.max_error
        self._chosen = self.choice.best(error * _SHARE)
        self._careful = self.choice.best(error * _CERTAIN)

    def place(self, candidate: int, score: float) -> Place | None:
        """Whether to serve a candidate that scored enough for `threshold`, and whether to check it."""
        rate = self._rate()
        if rate is None:
            return None
        return Place(candidate, self.threshold()[0], score, rate >= 1.0 or self._draw() < rate, rate)

    def threshold(self) -> tuple[int, float]:
        """The rule that serves now, and the score it asks for; one above 1 where nothing is served."""
        rate = self._rate()
        if rate is None:
            return 0, 2.0
        serve = self._terms.mode == "serve"
        chosen = self._careful if rate >= 1.0 > self._terms.rate and not serve else self._chosen
        if chosen is not None:
            return chosen.rule, chosen.score
        return 0, _CAREFUL[self._terms.kind] if serve else 2.0

    @property
    def rule(self) -> int | None:
        """The rule that evidence is for, whether or not one more may be served at the moment; None if there is none."""
        chosen = self._chosen or self._careful
        if chosen is not None:
            return chosen.rule
        return 0 if self._terms.mode == "serve" else None

    def _rate(self) -> float | None:
        """With which probability to check what is served now; None if nothing is."""
        account, mode = self.account, self._terms.mode
        if mode == "auto":
            return account.next_rate()
        if mode == "shadow" or (account.wrong + account.right >= _TRIED and self._estimate() > account.max_error):
            return None
        return self._terms.rate

    def _estimate(self) -> float:
        """The share of requests that got a wrong answer, going by the checks."""
        return self.account.estimate() / max(1, self.account.requests)

    def served(self, place: Place) -> None:
        """It was."""
        self.account.serve(place.rate, checked=place.checked)

    def learned(self, candidates: Sequence[Scores], right: Sequence[bool], *, weight: float = 1.0) -> None:
        """Which of the candidates would have been right: each rule hears of the one it would have served."""
        self.labels += 1
        for rule in range(len(RULES)):
            best = max(range(len(candidates)), key=lambda number: candidates[number][rule])
            alone = [0.0] * len(RULES)
            alone[rule] = candidates[best][rule]
            self.choice.note(alone, right=right[best], weight=weight)

    def found(self, candidates: Sequence[Scores], right: Sequence[bool], place: Place) -> None:
        """A check is over. It stands for all that were served and not checked."""
        self.account.found(place.rate, right=right[place.candidate])
        self.learned(candidates, right, weight=1 / place.rate)

    def lost(self, place: Place | None = None) -> None:
        """A check that never came to an end counts as if it had found the answer wrong."""
        self.account.found(self._terms.rate if place is None else place.rate, right=False)

    # --- across restarts ----------------------------------------------------------------------------------------------

    def written(self) -> Mapping[str, Any]:
        """What is worth keeping: the evidence. The account is not: its promise holds for one process's life."""
        return self.choice.written()

    def read(self, written: Mapping[str, Any]) -> None:
        """Begin with the evidence of before. Raises ValueError, TypeError or KeyError if it is none."""
        self.choice.read(written)
        self._look()
