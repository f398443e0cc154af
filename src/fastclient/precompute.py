"""Asking ahead of need: prompts whose answers will be wanted, asked in the background until the cache has them all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio

from fastclient.checks import seconds, whole
from fastclient.core import Core
from fastclient.engine.seam import engine
from fastclient.errors import ConfigError, FastClientError
from fastclient.types import Messages, Request

logger = logging.getLogger("fastclient")

__all__ = ["Plan", "Precomputed", "Prompts", "Schedule", "plan"]

Prompts: TypeAlias = "Iterable[Messages] | Callable[[], Iterable[Messages]]"
"""What to ask: the prompts, or a function that gives them anew for each round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precomputed:
    """One round so far.

    Of `total` prompts, `stored` were answered and are in the cache now, `fresh` were there before, `failed` got an
    error or an answer that is not kept, and `skipped` were left out because `when` said no.
    """

    total: int
    stored: int = 0
    fresh: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """How many prompts are through."""
        return self.stored + self.fresh + self.failed + self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be asked, how much at once, how often, and when."""

    core: Core
    prompts: Callable[[], Sequence[Request]]
    limit: int
    every: float | None
    when: Callable[[], bool] | None
    progress: Callable[[Precomputed], object] | None

    async def round(self) -> Precomputed:
        """Ask once for everything that is not in the cache, or would leave it before the next round."""
        return await _Round(self).run()

    async def rounds(self, finished: Callable[[Precomputed], object] | None = None) -> None:
        """One round after the other, each `every` seconds after the last began, until it is cancelled."""
        while True:
            done = await self.round()
            if finished is not None:
                finished(done)
            await anyio.sleep(max(0.0, (self.every or 0.0) - done.seconds))


def plan(
    core: Core,
    prompts: Prompts,
    options: Mapping[str, Any],
    *,
    limit: int,
    every: float | None,
    when: Callable[[], bool] | None,
    progress: Callable[[Precomputed], object] | None,
) -> Plan:
    """The plan for these words, checked. Raises ConfigError, also for any of the prompts; nothing is sent yet."""
    if core.policy.cache is None:
        raise ConfigError.at("precompute", "needs a policy with a cache: Policy(cache=Cache())")
    whole("limit", limit)
    if every is not None:
        seconds("every", every)
    for name, function in (("when", when), ("progress", progress)):
        if function is not None and not callable(function):
            raise ConfigError.of(name, function, "must be a function")
    if options.get("cache") == "off":
        raise ConfigError.of("cache", "off", "leaves nothing to fill")
    given = prompts if callable(prompts) else tuple(_listed(prompts))
    options = {"priority": "background", **options}

    def requests() -> Sequence[Request]:
        return [core.ask(messages, options) for messages in (_listed(given()) if callable(given) else given)]

    if not callable(given):
        requests()
    return Plan(core=core, prompts=requests, limit=limit, every=every, when=when, progress=progress)


def _listed(prompts: Iterable[Messages]) -> Iterable[Messages]:
    if isinstance(prompts, str) or not isinstance(prompts, Iterable):
        raise ConfigError.at("prompts", f"must be a list of prompts, not a {type(prompts).__name__}")
    return prompts


class _Round:
    """One round: some workers, one list."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = plan.prompts()
        self._waiting = iter(self._requests)
        self._counts: dict[str, int] = dict.fromkeys(("stored", "fresh", "failed", "skipped"), 0)
        self._started = anyio.current_time()
        self._problem: BaseException | None = None

    async def run(self) -> Precomputed:
        async with anyio.create_task_group() as tasks:
            for _ in range(min(self._plan.limit, len(self._requests))):
                tasks.start_soon(self._work, tasks.cancel_scope)
        if self._problem is not None:
            raise self._problem  # the user's own function's: as it is, not in a group
        return self._so_far()

    async def _work(self, scope: anyio.CancelScope) -> None:
        plan = self._plan
        for request in self._waiting:
            try:
                self._counts[await self._ask(request)] += 1
                if plan.progress is not None:
                    plan.progress(self._so_far())
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # the user's, maybe on the engine's thread
                self._problem = self._problem or error
                scope.cancel()
                return

    async def _ask(self, request: Request) -> str:
        plan = self._plan
        if plan.when is not None and not plan.when():
            return "skipped"
        cache = plan.core.policy.cache
        samples = request.samples or (cache.samples if cache is not None else 1)
        try:
            states = {await plan.core.ahead(request, plan.every or 0.0) for _ in range(samples)}
            return next(state for state in ("failed", "stored", "fresh") if state in states)
        except ConfigError:
            raise  # what cannot be, such as a client that was closed meanwhile
        except FastClientError:
            return "failed"

    def _so_far(self) -> Precomputed:
        return Precomputed(total=len(self._requests), seconds=anyio.current_time() - self._started, **self._counts)


class Schedule:
    """Rounds of precomputing that go on in the background, until `stop()` or the end of a `with` block.

    `last` is the round that was finished last. What one of the user's functions raises ends it, and is in `error`.
    """

    def __init__(self, plan: Plan) -> None:
        self.last: Precomputed | None = None
        self.error: BaseException | None = None
        self._plan = plan
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        engine().start(self._run, self._started)

    async def _run(self) -> None:
        try:
            await self._plan.rounds(self._finished)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # the latter would end the thread
            self.error = error
            logger.warning("precomputing ended with %s", type(error).__name__)

    def stop(self) -> None:
        """Begin no more, and cancel what is under way."""
        self._stopped = True
        if self._task is not None:
            engine().call(self._task.cancel)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._task = task
        if self._stopped:
            task.cancel()

    def _finished(self, done: Precomputed) -> None:
        self.last = done

    def __enter__(self) -> Schedule:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Schedule(last={self.last!r})"
