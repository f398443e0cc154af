"""The levers of a policy as layers, in their order, around whatever sends a request."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from time import sleep, time
from typing import TYPE_CHECKING

import anyio

from fastclient.cache.exact import Answers, cached, stored
from fastclient.cache.key import Keys, keyed
from fastclient.cache.revive import revival
from fastclient.cache.store import Remote
from fastclient.config import Policy, Prompt
from fastclient.engine.detached import Work, behind, quiet
from fastclient.engine.seam import engine, seam
from fastclient.engine.stack import Handler, Layer, stack
from fastclient.engine.stream import Stream
from fastclient.errors import ConfigError
from fastclient.observe.stats import StatsRecorder
from fastclient.observe.timed import TimedHandler, timed
from fastclient.providers.resolve import resolved
from fastclient.tail.deadline import deadline
from fastclient.tail.layers import layers
from fastclient.tail.share import Flights, shared
from fastclient.tail.upstream import Upstreams
from fastclient.target import Target
from fastclient.types import Call
from fastclient.wire.port import Wire

if TYPE_CHECKING:
    from fastclient.cache.semantic.knowledge import Knowledge
    from fastclient.prompt.shaping import Shaping

__all__ = ["Common", "Levers", "Switch", "shaping_of"]


class Switch:
    """Whether a client and its copies may be used. It knows no client, so that a dropped one ends at once."""

    def __init__(self, blocking: bool) -> None:
        self.on = True
        self._blocking = blocking
        self._pid = os.getpid()

    def check(self) -> None:
        """Raise ConfigError if it may not."""
        if not self.on:
            raise ConfigError.at("client", "closed")
        if not self._blocking and os.getpid() != self._pid:
            raise ConfigError.at("client", "an AsyncClient cannot be used after a fork: make one in the child process")

    def layer(self, handler: Handler) -> Handler:
        """Sends nothing any more once the client is closed, for calls that were waiting meanwhile."""

        async def checking(call: Call) -> Stream:
            self.check()
            return await handler(call)

        return checking


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the copies of a client have in common. `handler` sends, over `wire` if there is one.

    `own_wire` says that targets need keys. `knowledge` is what copies have come to know of questions, to be closed
    with the client. With `keys`, calls are shared that ask the same, also without a cache.
    """

    handler: Handler
    wire: Wire | None
    own_wire: bool
    blocking: bool
    keys: Keys | None
    stats: StatsRecorder
    switch: Switch
    upstreams: Upstreams
    flights: Flights
    knowledge: list[Knowledge] = field(default_factory=list)

    @classmethod
    def of(
        cls, handler: Handler, wire: Wire | None, policy: Policy, *, own_wire: bool, blocking: bool, keys: Keys | None
    ) -> Common:
        """That of a new client."""
        stats = StatsRecorder()
        return cls(
            handler=handler,
            wire=wire,
            own_wire=own_wire,
            blocking=blocking,
            keys=keys,
            stats=stats,
            switch=Switch(blocking),
            upstreams=Upstreams(policy.limits),
            flights=Flights(stats.settled),
        )


class Levers:
    """The layers of one policy for one target. `handler` is entered by callers, `inside` on an event loop.

    `shaping` and `knowledge` are what another copy has learned of prompts and questions, if that is of use here too.
    """

    def __init__(
        self,
        policy: Policy,
        target: Target,
        common: Common,
        shaping: Shaping | None = None,
        knowledge: Knowledge | None = None,
    ) -> None:
        self._policy = policy
        self._common = common
        cache = policy.cache
        nap = _block if common.blocking else anyio.sleep
        self.answers = None if cache is None or cache.store is None else Answers(cache, cache.store, target, nap, time)
        self.shaping = shaping if shaping or policy.prompt is None else shaping_of(policy.prompt, target)
        self.knowledge = knowledge
        tail = self._tail()
        below = stack(*tail, common.switch.layer, around=common.handler)
        above = self._above(below)
        across = (seam,) if common.blocking and (tail or common.wire is not None) else ()
        self.handler = self._timed(stack(*above, *across, around=below))
        self.inside = self._timed(stack(*above, around=below))

    def _timed(self, handler: Handler) -> TimedHandler:
        return timed(handler, self._policy.observers, self._common.stats)

    def _above(self, below: Handler) -> list[Layer]:
        """The layers that never wait, outermost first."""
        above: list[Layer] = [] if self.shaping is None else [self.shaping.above()]
        if self.answers is not None:
            spawn = _on_engine if self._common.blocking else behind
            above.append(cached(self.answers, revival(self._timed(below), self._policy.timeouts, spawn)))
        elif self._common.keys is not None:
            above.append(keyed(self._common.keys))
        return above

    def _tail(self) -> tuple[Layer, ...]:
        """The layers between the seam and the attempt, outermost first; those not asked for are not there."""
        policy, common, answers = self._policy, self._common, self.answers
        if not (
            policy.retry or policy.hedge or policy.limits or policy.route or policy.prompt or answers or common.keys
        ):
            return ()
        sharing: tuple[Layer, ...] = () if answers is None and common.keys is None else (shared(common.flights),)
        if answers is not None:
            sharing = (*self._meanings(answers), *sharing, *_remote(answers, policy), stored(answers))
        if self.shaping is not None:
            sharing = (*sharing, self.shaping.below(policy.observers))
        return layers(policy, common.upstreams, lambda target: resolved(target, key_needed=common.own_wire), sharing)

    def _meanings(self, answers: Answers) -> tuple[Layer, ...]:
        """The layer for questions in other words, if it is asked for; importing it takes a while."""
        policy = self._policy
        if policy.semantic is None:
            return ()
        from fastclient.cache.semantic.lever import known, meanings

        if self.knowledge is None:
            self.knowledge = known(policy.semantic, answers.store)
            self._common.knowledge.append(self.knowledge)
        return (
            meanings(
                policy.semantic,
                self.knowledge,
                answers,
                policy.timeouts,
                lambda handler: self._timed(deadline(handler)),
            ),
        )


def shaping_of(prompt: Prompt | None, target: Target) -> Shaping:
    """The prompt lever; importing it takes a while, which clients without it are spared."""
    from fastclient.prompt.shaping import UNSHAPED, Shaping

    return Shaping(UNSHAPED if prompt is None else prompt, target)


def _remote(answers: Answers, policy: Policy) -> tuple[Layer, ...]:
    """The layer for a store that has to be waited for, if it is one."""
    store = answers.store
    if not isinstance(store, Remote):
        return ()

    def layer(handler: Handler) -> Handler:
        revive = revival(handler, policy.timeouts, behind)
        replay = lambda call, found: answers.replay(call, found, lambda: revive(call), below=True)  # noqa: E731
        return store.layer(replay, answers.tag)(handler)

    return (layer,)


def _on_engine(work: Work) -> None:
    engine().start(lambda: quiet(work))


async def _block(seconds: float) -> None:
    sleep(seconds)  # noqa: ASYNC251  # above the seam, on the caller's own thread
