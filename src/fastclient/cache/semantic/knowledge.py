"""What a client's semantic cache knows: questions by meaning, and for each route what may be served and why.

Anything that fails in here costs a lookup, never a call: whoever uses it catches Exception.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import random
from typing import TYPE_CHECKING, Final

import orjson

from fastclient.cache.embedders.port import Embedder, embedded
from fastclient.cache.entry import Entry
from fastclient.cache.exact import Answers
from fastclient.cache.semantic.asked import Asked
from fastclient.cache.semantic.audit import Audit
from fastclient.cache.semantic.judge import Judge, kind_of
from fastclient.cache.semantic.port import Near, Questions
from fastclient.cache.semantic.report import SemanticStats
from fastclient.cache.semantic.route import Route, Terms
from fastclient.cache.store import Store
from fastclient.locks import Locked
from fastclient.types import Call

if TYPE_CHECKING:
    from fastclient.cache.embedders.vectors import Vectors
    from fastclient.cache.semantic.settings import Semantic

__all__ = ["Knowledge", "Spot"]

logger = logging.getLogger("fastclient")

_LOOKED_AT: Final = 5  # candidates
_ROUTES: Final = 1000
_OFTEN: Final = 100  # labels from one writing down to the next
_LASTING: Final = 30 * 86_400.0  # seconds for which a route's evidence is kept


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a question stands: its partition, its namespace's tag, its route and that one's name."""

    asked: Asked
    partition: bytes
    tag: bytes
    name: bytes
    route: Route


class Knowledge(Locked):
    """Shared by the copies of one client. `draw` gives numbers from 0 to 1 and decides what is checked."""

    def __init__(
        self,
        semantic: Semantic,
        embedder: Embedder,
        questions: Questions,
        store: Store,
        draw: Callable[[], float] = random,
    ) -> None:
        super().__init__()
        kind = kind_of(embedder)
        self.embedder = embedder
        self.questions = questions
        self.judge = Judge(kind)
        self.audit = None if semantic.audit is None else Audit(semantic.audit)
        self.failures = 0
        self._terms = Terms(max_error=semantic.max_error, mode=semantic.mode, rate=semantic.rate, kind=kind)
        self._store = store
        self._draw = draw
        self._dim = 0
        self._routes: OrderedDict[bytes, Route] = OrderedDict()

    def spot(self, call: Call, asked: Asked, answers: Answers) -> Spot | None:
        """Where the question of a call stands; None if JSON cannot say what stands around it."""
        around = answers.around(replace(call.request, messages=asked.rest))
        route = answers.around(replace(call.request, messages=asked.instructions))
        if around is None or route is None:
            return None
        space = self.embedder.id.encode()
        partition = blake2b(around + space, digest_size=32, person=b"fc partition").digest()
        name = blake2b(route + space, digest_size=32, person=b"fc route").digest()
        return Spot(asked, partition, answers.tag(call), name, self._route(name))

    async def vector(self, question: str) -> Vectors:
        """The question as a vector."""
        vector: Vectors = (await embedded(self.embedder, [question]))[0]
        if len(vector) != self._dim:
            self._dim = len(vector)
            self.questions.bind(self.embedder.id, self._dim)
        return vector

    async def near(self, spot: Spot, vector: Vectors) -> list[Near]:
        """The nearest questions that are worth a look."""
        return self.judge.near(await self.questions.nearest(spot.partition, vector, _LOOKED_AT))

    def failed(self, what: str, error: Exception) -> None:
        """Something did not work; the call goes on without it."""
        self.failures += 1
        logger.warning("%s failed with %s", what, type(error).__name__)

    def stats(self) -> SemanticStats:
        """The sum over all routes."""
        with self.lock:
            return SemanticStats.of(list(self._routes.values()), self.failures)

    # --- evidence, across restarts ------------------------------------------------------------------------------------

    def _route(self, name: bytes) -> Route:
        with self.lock:
            route = self._routes.get(name)
            if route is None:
                route = self._routes[name] = Route(self._terms, self._draw)
                self._read(name, route)
                if len(self._routes) > _ROUTES:
                    self._routes.popitem(last=False)
            else:
                self._routes.move_to_end(name)
            return route

    def _read(self, name: bytes, route: Route) -> None:
        found = self._store.get(name)
        if found is None:
            return
        try:
            route.read(orjson.loads(found.entry.text))
        except (ValueError, TypeError, KeyError):
            logger.warning("what a route had learned before cannot be read")

    def labelled(self, spot: Spot, now: float) -> None:
        """The route has learned something; now and then that is written down."""
        if spot.route.labels % _OFTEN == 0:
            with self.lock:
                text = orjson.dumps(spot.route.written()).decode()
            self._store.put(spot.name, Entry(stored=now, text=text), tag=spot.tag, lifetime=_LASTING)
