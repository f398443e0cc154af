"""What a client's semantic cache knows: questions by meaning, and for each route what may be served and why.

Anything that fails in here costs a lookup, never a call: whoever uses it catches Exception.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from random import random
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Final

import anyio
import orjson

from fastclient.cache.embedders.port import Embedder, embedded, quick, waits
from fastclient.cache.entry import Entry
from fastclient.cache.exact import Answers
from fastclient.cache.semantic.account import Account
from fastclient.cache.semantic.asked import Asked
from fastclient.cache.semantic.audit import Audit
from fastclient.cache.semantic.judge import Judge, kind_of
from fastclient.cache.semantic.port import Near, Questions
from fastclient.cache.semantic.report import SemanticStats
from fastclient.cache.semantic.route import Route, Terms
from fastclient.cache.store import Store
from fastclient.engine.detached import Work, behind
from fastclient.locks import Locked
from fastclient.types import Call

if TYPE_CHECKING:
    from fastclient.cache.embedders.vectors import Vectors
    from fastclient.cache.semantic.settings import Semantic

__all__ = ["Knowledge", "Spot"]

logger = logging.getLogger("fastclient")

_LOOKED_AT: Final = 5  # candidates
_ROUTES: Final = 1000
_ACCOUNTS: Final = 100_000
_OFTEN: Final = 100  # labels from one writing down to the next
_SOON: Final = (10, 25, 50)  # the first labels are written down sooner: many processes see few
_PATIENCE: Final = 2.0  # seconds a lookup may take, if it has to wait for anything
_REST: Final = 10.0  # seconds in which nothing is looked for after one that took longer
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
        self._told: set[tuple[str, str]] = set()
        self.kept = 0
        self._terms = Terms(max_error=semantic.max_error, mode=semantic.mode, rate=semantic.rate, kind=kind)
        self._store = store
        self._draw = draw
        self._dim = 0
        self._routes: OrderedDict[bytes, Route] = OrderedDict()
        self._accounts: OrderedDict[bytes, Account] = OrderedDict()  # of routes that had to make room
        self._unwritten: dict[bytes, tuple[Route, bytes, float]] = {}  # by name: with the tag, and when it last learned
        self._space = embedder.id.encode()
        self._quick = quick(embedder) and not waits(embedder)
        self._works = semantic.index is None and self._quick  # nothing is waited for in a lookup
        self._rests_until = 0.0
        self._lessons: dict[object, tuple[int, Callable[[], object]]] = {}  # thread, and how to end it
        self._closed = False

    def spot(self, call: Call, asked: Asked, answers: Answers) -> Spot | None:
        """Where the question of a call stands; None if JSON cannot say what stands around it."""
        around = answers.around(call.request, asked.rest)
        route = answers.around(call.request, asked.instructions)
        if around is None or route is None:
            return None
        space = self._space
        partition = blake2b(around + space, digest_size=32, person=b"fc partition").digest()
        name = blake2b(route + space, digest_size=32, person=b"fc route").digest()
        return Spot(asked, partition, answers.tag(call), name, self._route(name))

    async def vector(self, question: str) -> Vectors:
        """The question as a vector."""
        given = [question]
        rows = self.embedder.embed(given) if self._quick else await embedded(self.embedder, given)
        vector: Vectors = rows[0]
        if len(vector) != self._dim:
            self._dim = len(vector)
            self.questions.bind(self.embedder.id, self._dim)
        return vector

    async def near(self, spot: Spot, vector: Vectors) -> list[Near]:
        """The nearest questions that are worth a look."""
        return self.judge.near(await self.questions.nearest(spot.partition, vector, _LOOKED_AT))

    async def look(self, spot: Spot, left: float) -> tuple[Vectors, list[Near]]:
        """The question's vector, and the nearest questions. Raises TimeoutError before half of the time `left` is gone.

        An embedder or an index that hangs costs a call two seconds, and then for a while none.
        """
        if self._works:
            vector = await self.vector(spot.asked.question)
            return vector, await self.near(spot, vector)
        try:
            with anyio.fail_after(max(0.0, min(_PATIENCE, left / 2))):
                vector = await self.vector(spot.asked.question)
                return vector, await self.near(spot, vector)
        except TimeoutError:
            self._rests_until = monotonic() + _REST
            raise

    @property
    def resting(self) -> bool:
        """Whether nothing is to be looked for now, because it took too long a moment ago."""
        return self._rests_until > 0.0 and monotonic() < self._rests_until

    async def warm(self) -> None:
        """Have the embedder load what it needs, and the questions open their files."""
        vector = await self.vector("Hello")
        await self.questions.nearest(bytes(32), vector, 1)

    # --- work behind the callers' backs -------------------------------------------------------------------------------

    def behind(self, work: Work) -> None:
        """Do something nobody waits for. It ends with the client, if not before."""
        if self._closed:
            return
        name = object()

        async def lesson() -> None:
            try:
                await work()
            finally:
                self._lessons.pop(name, None)

        self._lessons[name] = get_ident(), behind(lesson)

    @property
    def closed(self) -> bool:
        """Whether nothing is asked for any more."""
        return self._closed

    async def aclose(self) -> None:
        """End what goes on behind the callers' backs, write down what was learned, let go of files and connections."""
        self._closed = True
        lessons, self._lessons = self._lessons, {}
        for thread, cancel in list(lessons.values()):
            if thread == get_ident():  # another thread's loop ends its own
                cancel()
        try:
            with self.lock:
                unwritten, self._unwritten = self._unwritten, {}
            for name in unwritten:
                self._write(name, *unwritten[name])
            await self.questions.aclose()
        except Exception as error:
            self.failed("closing the questions", error)

    def failed(self, what: str, error: Exception) -> None:
        """Something did not work; the call goes on without it. It warns once of each kind: every call may meet it."""
        self.failures += 1
        kind = what, type(error).__name__
        logger.log(logging.DEBUG if kind in self._told else logging.WARNING, "%s failed with %s", *kind)
        self._told.add(kind)

    def stats(self) -> SemanticStats:
        """The sum over all routes."""
        with self.lock:
            return SemanticStats.of(list(self._routes.values()), self.kept, self.failures)

    # --- evidence, across restarts ------------------------------------------------------------------------------------

    def _route(self, name: bytes) -> Route:
        with self.lock:
            route = self._routes.get(name)
            if route is None:
                route = self._routes[name] = Route(self._terms, self._draw)
                route.account = self._accounts.pop(name, route.account)
                self._read(name, route)
                if len(self._routes) > _ROUTES:
                    self._make_room()
            else:
                self._routes.move_to_end(name)
            return route

    def _make_room(self) -> None:
        """Write down what the route learned that was asked least lately, and keep its account: that is a promise."""
        name, route = self._routes.popitem(last=False)
        if name in self._unwritten:
            self._write(name, *self._unwritten.pop(name))
        if route.account.served:
            self._accounts[name] = route.account
            if len(self._accounts) > _ACCOUNTS:
                self._accounts.popitem(last=False)

    def _read(self, name: bytes, route: Route) -> None:
        found = self._store.get(name)
        if found is None:
            return
        try:
            route.read(orjson.loads(found.entry.text))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            logger.warning("what a route had learned before cannot be read")

    def labelled(self, spot: Spot, now: float) -> None:
        """The route has learned something; now and then that is written down."""
        with self.lock:
            self._unwritten[spot.name] = spot.route, spot.tag, now
            due = spot.route.labels % _OFTEN == 0 or spot.route.labels in _SOON
            if due:
                self._write(spot.name, *self._unwritten.pop(spot.name))

    def _write(self, name: bytes, route: Route, tag: bytes, now: float) -> None:
        """Write down what a route has learned."""
        with self.lock:
            text = orjson.dumps(route.written()).decode()
        self._store.put(name, Entry(stored=now, text=text), tag=tag, lifetime=_LASTING)
