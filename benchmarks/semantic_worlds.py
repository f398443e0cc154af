"""Streams of questions replayed through the semantic cache's own rules, without a network: exact cache, look, judge.

Requests come one after the other. What was asked in the same words is the exact cache's; what is served is not kept;
what was not served, and what was checked, is. The names of the answers say what is right.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from benchmarks.semantic_data import Request
from fastclient.cache.guards import Kind
from fastclient.cache.semantic.gist import gist
from fastclient.cache.semantic.judge import Judge
from fastclient.cache.semantic.port import Near
from fastclient.cache.semantic.route import Place, Route, Scores, Terms

__all__ = ["Tally", "Twist", "World"]

Twist: TypeAlias = Callable[[int, bool], bool]
"""From the number of a request and whether a candidate is right to whether it is taken for right."""

_DEEP = 150  # neighbours of a text that are known beforehand
_LOOKED_AT = 5


@dataclass(slots=True)
class Tally:
    """How a replay went. `over` says whether the share of wrong answers was ever above what a route had allowed."""

    requests: int = 0
    exact: int = 0
    right: int = 0
    wrong: int = 0
    calls: int = 0
    over: bool = False
    route: Route | None = field(default=None, repr=False)


class World:
    """A stream with its vectors. Scores are the judge's, and kept for the next replay."""

    def __init__(self, requests: Sequence[Request], kind: Kind, embed: Callable[[Sequence[str]], Any]) -> None:
        self.kind: Kind = kind
        self.texts = list(dict.fromkeys(one.q for one in requests))
        numbers = {text: number for number, text in enumerate(self.texts)}
        self.asked = [numbers[one.q] for one in requests]
        names = {name: number for number, name in enumerate(dict.fromkeys(one.answer_id for one in requests))}
        answers = {one.q: names[one.answer_id] for one in requests}
        self.answers = [answers[text] for text in self.texts]
        self._vectors = embed(self.texts)
        self._judge = Judge(kind)
        self._near = self._neighbours()
        self._scores: dict[tuple[int, ...], list[Scores]] = {}

    def _neighbours(self) -> list[list[tuple[int, float]]]:
        """The nearest texts of each, nearest first."""
        deep, found = min(_DEEP, len(self.texts) - 1), []
        for low in range(0, len(self.texts), 1000):
            cosines = self._vectors[low : low + 1000] @ self._vectors.T
            for at, row in enumerate(cosines):
                places = np.argpartition(-row, deep)[: deep + 1]
                order = places[np.argsort(-row[places], kind="stable")]
                found.append([(int(one), float(row[one])) for one in order if one != low + at])
        return found

    def near(self, at: int, known: dict[int, None]) -> list[Near]:
        """The nearest of the texts that are known."""
        found = [(one, cosine) for one, cosine in self._near[at] if one in known][:_LOOKED_AT]
        if len(found) < _LOOKED_AT < len(known):
            places = np.fromiter(known, int, len(known))
            cosines = self._vectors[places] @ self._vectors[at]
            found = [(int(places[one]), float(cosines[one])) for one in np.argsort(-cosines)[:_LOOKED_AT]]
        return self._judge.near([Near(b"%d" % one, cosine, self.texts[one]) for one, cosine in found])

    def scores(self, at: int, near: Sequence[Near]) -> list[Scores]:
        """What the judge says of them, who knows their answers."""
        key = (at, *[int(each.key) for each in near])
        found = self._scores.get(key)
        if found is None:
            for each in near:
                self._judge.know(each.key, gist(f"The answer is number {self.answers[int(each.key)]}."))
            found = self._scores[key] = list(self._judge.scores(self.texts[at], near))
        return found

    def right(self, at: int, near: Sequence[Near]) -> list[bool]:
        """Which of them have the right answer."""
        return [self.answers[int(each.key)] == self.answers[at] for each in near]

    def fixed(self, rule: int, least: float) -> Tally:
        """Serve by one rule, from one score on, all the way."""
        tally, known = Tally(), dict[int, None]()
        for at in self.asked:
            tally.requests += 1
            if at in known:
                tally.exact += 1
                continue
            near = self.near(at, known)
            best = _best(rule, [(0, 0, each.cosine) for each in near] if rule == 2 else self.scores(at, near))
            if best is not None and best[1] >= least:
                good = self.right(at, near)[best[0]]
                tally.right, tally.wrong = tally.right + good, tally.wrong + (not good)
            else:
                tally.calls += 1
                known[at] = None
        return tally

    def controlled(self, terms: Terms, seed: int = 1, *, delay: int = 3, twist: Twist | None = None) -> Tally:
        """Serve by what the route decides. A check takes `delay` requests; `twist` may turn right into wrong."""
        draw = random.Random(seed).random
        route, tally, known = Route(terms, draw), Tally(), dict[int, None]()
        checks: deque[tuple[int, int, list[Scores], list[bool], Place]] = deque()
        for step, at in enumerate(self.asked):
            while checks and checks[0][0] <= step:
                _, place_of, scores, right, place = checks.popleft()
                route.found(scores, right, place)
                known[place_of] = None
            tally.requests += 1
            if at in known:
                tally.exact += 1
                continue
            route.asked()
            rule, least = route.threshold()
            near = self.near(at, known)
            scores, right = self.scores(at, near), self.right(at, near)
            right = [twist(step, one) for one in right] if twist else right
            best = _best(rule, scores) if least <= 1 else None
            place = route.place(*best) if best is not None and best[1] >= least else None
            if place is None:
                tally.calls += 1
                known[at] = None
                if near:
                    route.learned(scores, right)
                continue
            route.served(place)
            good = right[place.candidate]
            tally.right, tally.wrong = tally.right + good, tally.wrong + (not good)
            tally.over = tally.over or tally.wrong > terms.max_error * route.account.requests
            if place.checked:
                tally.calls += 1
                checks.append((step + delay, at, scores, right, place))
        tally.route = route
        return tally


def _best(rule: int, scores: Sequence[Scores]) -> tuple[int, float] | None:
    """The candidate with the highest score under a rule."""
    if not scores:
        return None
    best = max(range(len(scores)), key=lambda number: scores[number][rule])
    return best, float(scores[best][rule])
