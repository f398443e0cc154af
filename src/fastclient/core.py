"""What both clients share: the wire, the stack of layers, and reading an answer. Written once, as async code.

`AsyncClient` awaits it; `Client` drives it on the calling thread up to the seam.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import getrandbits
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread

from fastclient.cache.exact import Answers, cached, stored
from fastclient.cache.key import Keys, keyed, tag_of
from fastclient.cache.revive import revival
from fastclient.cache.store import Remote
from fastclient.checks import instance, seconds, whole
from fastclient.config import Policy, Prompt
from fastclient.engine.attempt import attempt
from fastclient.engine.clock import running_clock
from fastclient.engine.detached import Work, behind, quiet
from fastclient.engine.seam import engine, seam
from fastclient.engine.stack import Handler, Layer, stack
from fastclient.engine.stream import Stream
from fastclient.errors import ConfigError
from fastclient.observe.events import StreamAbandoned, emit
from fastclient.observe.stats import Stats, StatsRecorder
from fastclient.observe.timed import TimedStream, timed
from fastclient.observe.timing import CallRecord
from fastclient.prompt.tokens import Count, estimated
from fastclient.providers.resolve import resolved
from fastclient.request import checked, labels
from fastclient.tail.deadline import deadline
from fastclient.tail.layers import layers
from fastclient.tail.share import Flights, shared
from fastclient.tail.upstream import Upstreams
from fastclient.target import Target, as_target
from fastclient.types import Call, Messages, Reply, Request
from fastclient.wire.port import Wire

__all__ = ["Core", "wire_for"]

if TYPE_CHECKING:
    from fastclient.cache.semantic.knowledge import Knowledge
    from fastclient.prompt.shaping import Shaping
    from fastclient.warm import Step, Warmed

logger = logging.getLogger("fastclient")

_WAY = (
    "timeouts",
    "retry",
    "hedge",
    "limits",
    "route",
    "cache",
    "semantic",
    "prompt",
)  # what shapes a call below the seam


class Core:
    """A client without its door."""

    _keys: Keys | None = None

    def __init__(
        self,
        target: Target | str,
        *,
        base_url: str | None,
        api_key: str | None,
        policy: Policy,
        wire: Wire | str,
        headers: Mapping[str, str] | None,
        allow_http: bool,
        blocking: bool,
    ) -> None:
        instance("policy", policy, Policy)
        target = as_target(target)
        if headers is not None and not isinstance(headers, Mapping):
            raise ConfigError.at("headers", f"must map names to values, not be a {type(headers).__name__}")
        target = replace(
            target,
            base_url=target.base_url if base_url is None else base_url,
            api_key=target.api_key if api_key is None else api_key,
            headers={**target.headers, **(headers or {})},
            allow_http=target.allow_http or allow_http,
        )
        target = resolved(target, key_needed=isinstance(wire, str))
        opened = wire_for(wire, policy)
        self._own_wire = isinstance(wire, str)
        self._set_up(target, policy, attempt(opened, policy.timeouts), opened, blocking)

    @classmethod
    def of(
        cls,
        handler: Handler,
        target: Target,
        policy: Policy,
        *,
        wire: Wire | None,
        blocking: bool,
        keys: Keys | None = None,
    ) -> Core:
        """The layers of a policy around any handler. The wire, if there is one, is closed with it.

        With `keys`, calls that ask the same at the same time share one, also without a cache.
        """
        instance("policy", policy, Policy)
        core = object.__new__(cls)
        core._own_wire = True
        core._keys = keys
        core._set_up(target, policy, handler, wire, blocking)
        return core

    def _set_up(self, target: Target, policy: Policy, handler: Handler, wire: Wire | None, blocking: bool) -> None:
        self.target = target
        self.policy = policy
        self.blocking = blocking
        self._around = handler
        self._stats = StatsRecorder()
        self._open = Switch(blocking)
        self._wire = wire
        self._upstreams = Upstreams(policy.limits)
        self._flights = Flights(self._stats.settled)
        self._shaping: Shaping | None = None
        self._knowledge: Knowledge | None = None
        self.warming: dict[str, Step] = {}  # where parts that take long to load say how that is done
        self._build()

    def _build(self) -> None:
        policy = self.policy
        answers = self._answers()
        self._store = None if answers is None else answers.store
        if policy.prompt is not None and self._shaping is None:
            self._shaping = _shaping(policy.prompt, self.target)
        tail = self._tail(answers)
        below = stack(*tail, self._open.layer, around=self._around)
        above: list[Layer] = [] if self._shaping is None else [self._shaping.above()]
        if answers is not None:
            again = timed(below, policy.observers, self._stats)
            above.append(cached(answers, revival(again, policy.timeouts, _on_engine if self.blocking else behind)))
        elif self._keys is not None:
            above.append(keyed(self._keys))
        across = (seam,) if self.blocking and (tail or self._wire is not None) else ()
        self.handler = timed(stack(*above, *across, around=below), policy.observers, self._stats)
        self._inside = timed(stack(*above, around=below), policy.observers, self._stats)

    def _answers(self) -> Answers | None:
        cache = self.policy.cache
        if cache is None or cache.store is None:
            return None
        return Answers(cache, cache.store, self.target, _block if self.blocking else anyio.sleep, time)

    def _tail(self, answers: Answers | None) -> tuple[Layer, ...]:
        """The layers between the seam and the attempt, outermost first; those not asked for are not there."""
        policy = self.policy
        if not (
            policy.retry or policy.hedge or policy.limits or policy.route or policy.prompt or answers or self._keys
        ):
            return ()
        sharing: tuple[Layer, ...] = () if answers is None and self._keys is None else (shared(self._flights),)
        if answers is not None:
            sharing = (*self._meanings(answers), *sharing, *_remote(answers, policy), stored(answers))
        if self._shaping is not None:
            sharing = (*sharing, self._shaping.below(policy.observers))
        return layers(policy, self._upstreams, lambda target: resolved(target, key_needed=self._own_wire), sharing)

    def _meanings(self, answers: Answers) -> tuple[Layer, ...]:
        """The layer for questions in other words, if it is asked for; importing it takes a while."""
        policy = self.policy
        if policy.semantic is None:
            return ()
        from fastclient.cache.semantic.lever import known, meanings

        if self._knowledge is None:
            self._knowledge = known(policy.semantic, answers.store)
        again = lambda handler: timed(deadline(handler), policy.observers, self._stats)  # noqa: E731
        return (meanings(policy.semantic, self._knowledge, answers, policy.timeouts, again),)

    def with_policy(self, policy: Policy) -> Core:
        """A copy that shares the wire and the statistics."""
        instance("policy", policy, Policy)
        if policy.limits is not None and policy.limits != self.policy.limits:
            raise ConfigError.of("policy.limits", policy.limits, "cannot differ in a copy: it shares the connections")
        copy = object.__new__(Core)
        copy.__dict__.update(self.__dict__)
        copy.policy = policy
        if self._wire is not None:
            copy._around = attempt(self._wire, policy.timeouts)
        if any(getattr(policy, name) != getattr(self.policy, name) for name in _WAY):
            copy._flights = Flights(self._stats.settled)  # whoever joins a flight takes its way
        if policy.prompt != self.policy.prompt:
            copy._shaping = None
        if policy.semantic != self.policy.semantic or policy.cache != self.policy.cache:
            copy._knowledge = None
        copy._build()
        return copy

    def toward(self, target: Target) -> Core:
        """A copy for calls to another target, which shares all that does not belong to one."""
        copy = object.__new__(Core)
        copy.__dict__.update(self.__dict__)
        copy.target = target
        copy._shaping = None
        copy._build()
        return copy

    def ask(self, messages: Messages, options: Mapping[str, Any]) -> Request:
        """Check that this client may be used, and the caller's words."""
        self._open.check()
        request = checked(messages, options)
        if request.hedge and self.policy.hedge is None:
            raise ConfigError.of("hedge", request.hedge, "needs a policy that hedges: Policy(hedge=Hedge())")
        if request.recover and self.policy.route is None:
            raise ConfigError.of("recover", request.recover, "needs a policy with a route: Policy(route=Route())")
        return request

    def begin(self, request: Request, *, held: bool) -> Call:
        """A call for this request, from now on. `held` says whether the caller will see chunks."""
        self._open.check()
        clock = monotonic if self.blocking else running_clock()
        started = clock()
        record = CallRecord(clock, started, consumer=0.0 if held else None)
        deadline = started + (request.timeout or (request.timeouts or self.policy.timeouts).total)
        return Call(
            id=f"{getrandbits(64):016x}",
            request=request,
            target=self.target,
            deadline=deadline,
            record=record,
            tokens=estimated(request.messages),
        )

    async def chat(self, request: Request) -> Reply:
        """The whole answer."""
        return await _read(await self.handler(self.begin(request, held=False)))

    async def inside(self, request: Request, opened: Callable[[], None]) -> Reply:
        """The whole answer, on an event loop also for a blocking client. `opened` is called when it begins."""
        stream = await self._inside(self.begin(request, held=False))
        opened()
        return await _read(stream)

    async def ahead(self, request: Request, margin: float) -> Literal["fresh", "stored", "failed"]:
        """See to it that the answer is in the cache `margin` seconds from now too. Runs on an event loop."""
        call = self.begin(request, held=False)
        await _read(await self._inside(call))
        cache, found = self.policy.cache, call.record.cache
        if found.state in ("hit", "stale") and found.age is not None and cache is not None:
            if found.age + margin < cache.ttl:
                return "fresh"
            call = replace(self.begin(replace(request, cache="refresh"), held=False), key=call.record.key)
            await _read(await self._inside(call))
        return "stored" if (call.record.lender or call.record).kept else "failed"

    def abandoned(self, call: Call) -> None:
        logger.debug("stream of call %s was dropped unread; closed by the garbage collector", call.id)
        emit(self.policy.observers, StreamAbandoned(call_id=call.id))

    async def warm(self, connections: int, prompt: Request | None, tokenizer: bool, timeout: float | None) -> Warmed:
        """Get ready what the next calls will need: connections and stores, and what else was asked for."""
        from fastclient.warm import PATIENCE, threaded, warmed

        self._open.check()
        whole("connections", connections)
        instance("tokenizer", tokenizer, bool)
        if timeout is not None:
            seconds("timeout", timeout)
        if self._wire is None:
            raise ConfigError.at("client", "has no connections to open")
        steps: list[tuple[str, Step]] = [("connections", self.ping)] * connections
        steps += self.warming.items()
        if self._store is not None:
            steps.append(("store", threaded(self._store.open)))
        if self._knowledge is not None:
            steps.append(("embedder", self._knowledge.warm))
        if tokenizer:
            steps.append(("tokenizer", threaded(self._load_tokenizer)))
        if prompt is not None:
            steps.append(("prompt", partial(self.prefill, prompt)))
        return await warmed(self.target.name, steps, timeout or PATIENCE)

    async def ping(self) -> int:
        """Send a request that costs no tokens, for the sake of its connection. Returns 1, or raises what goes wrong."""
        from fastclient.warm import ping

        if self._wire is None:
            raise ConfigError.at("client", "has no connections to open")
        return await ping(self._wire, self.target, self.policy.timeouts)

    async def prefill(self, prompt: Request) -> int | None:
        """Have the provider read a prompt, so that its cache holds it; returns how many tokens that were."""
        from fastclient.warm import brief

        reply = await self.inside(brief(prompt, self.target.provider), lambda: None)
        return reply.usage.input_tokens

    def traffic(self) -> tuple[int, int]:
        """How many requests calls have sent to this target so far, and how many calls are under way."""
        stats = self._stats.snapshot()
        return stats.attempts - stats.fallbacks - stats.hedges, stats.in_flight

    def _load_tokenizer(self) -> None:
        from fastclient.prompt.counting import counting

        counting(self.target.model).load()

    async def forget(self, namespace: str | None, tags: Sequence[str], depends_on: Sequence[str]) -> None:
        """Forget answers, in the semantic cache too. Runs on an event loop."""
        self._open.check()
        answers = self._answers()
        if answers is None:
            raise ConfigError.at("forget", "needs a cache: Policy(cache=Cache())")
        if namespace is not None:
            instance("namespace", namespace, str)
        given = labels(tags, depends_on)
        if namespace is None and not given:
            namespace = answers.namespace
        before = time()
        await anyio.to_thread.run_sync(answers.forget, namespace, given)
        if self._knowledge is not None:
            tag = None if namespace is None else tag_of(namespace)
            await self._knowledge.questions.forget(tag, given, before)

    def count(self, request: Request) -> Count:
        """The tokens of a prompt as it would be sent."""
        return (self._shaping or _shaping(None, self.target)).count(request)

    def stats(self) -> Stats:
        stats = self._stats.snapshot()
        return stats if self._knowledge is None else replace(stats, semantic=self._knowledge.stats())

    def check(self) -> None:
        """Raise ConfigError if this client may not be used."""
        self._open.check()

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return not self._open.on

    def refuse(self) -> None:
        """From now on this client and all its copies take no calls."""
        self._open.on = False

    def close_store(self) -> None:
        """Have the cache write what waits, and let go of its files and connections. May take two seconds."""
        if self._store is not None:
            self._store.close()

    async def aclose(self) -> None:
        """Close the connections, and end the waiting for one. A blocking client's store is closed on its own thread."""
        try:
            self._upstreams.close()
            if self._knowledge is not None:
                await self._knowledge.aclose()
            if self._store is not None and not self.blocking:
                await anyio.to_thread.run_sync(self.close_store)
        finally:
            if self._wire is not None:
                await self._wire.aclose()


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


def _shaping(prompt: Prompt | None, target: Target) -> Shaping:
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


async def _read(stream: TimedStream) -> Reply:
    if not stream.complete:  # otherwise all of it was there already
        try:
            while await stream.pull():
                pass
        finally:
            await stream.aclose()
    return stream.reply()


def _on_engine(work: Work) -> None:
    engine().start(lambda: quiet(work))


async def _block(seconds: float) -> None:
    sleep(seconds)  # noqa: ASYNC251  # above the seam, on the caller's own thread


def wire_for(wire: Wire | str, policy: Policy) -> Wire:
    """The wire of this name, or the one given. Raises ConfigError."""
    if not isinstance(wire, str):
        if isinstance(wire, type) or not callable(getattr(wire, "send", None)) or not hasattr(wire, "aclose"):
            raise ConfigError.of("wire", wire, 'must be "httpx2", "direct", "httpx" or an object with send and aclose')
        return wire
    if wire == "direct":
        from fastclient.wire.direct.wire import DirectWire

        return DirectWire()
    if wire not in ("httpx2", "httpx"):
        raise ConfigError.of("wire", wire, 'must be "httpx2", "direct", "httpx" or a Wire')
    from fastclient.wire.family import FamilyWire

    limit = policy.limits.concurrency if policy.limits and wire == "httpx" else None
    if limit is not None:
        # The gate bounds what is under way at each target; but httpx sends on what was given up: it has to be held too.
        others = (*(policy.route.fallback if policy.route else ()), *(policy.hedge.targets if policy.hedge else ()))
        limit *= 1 + len(others)
    return FamilyWire(wire, concurrency=limit)
