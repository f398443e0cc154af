"""What both clients share: the wire, the stack of layers, and reading an answer. Written once, as async code.

`AsyncClient` awaits it; `Client` drives it on the calling thread up to the seam.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import getrandbits
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread

from fastclient.cache.key import Keys, tag_of
from fastclient.checks import instance, seconds, whole
from fastclient.config import Policy
from fastclient.engine.attempt import attempt
from fastclient.engine.clock import running_clock
from fastclient.engine.stack import Handler
from fastclient.errors import ConfigError
from fastclient.levers import Common, Levers, shaping_of
from fastclient.observe.events import StreamAbandoned, emit
from fastclient.observe.stats import Stats
from fastclient.observe.timed import TimedStream
from fastclient.observe.timing import CallRecord
from fastclient.prompt.tokens import Count, estimated
from fastclient.providers.resolve import resolved
from fastclient.request import checked, labels
from fastclient.tail.share import Flights
from fastclient.target import Target, as_target
from fastclient.types import Call, Messages, Reply, Request
from fastclient.wire.named import wire_for
from fastclient.wire.port import Wire

__all__ = ["Core"]

if TYPE_CHECKING:
    from fastclient.warm import Step, Warmed

logger = logging.getLogger("fastclient")

# What shapes a call below the seam.
_WAY = ("timeouts", "retry", "hedge", "limits", "route", "cache", "semantic", "prompt")


class Core:
    """A client without its door."""

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
        handler, own = attempt(opened, policy.timeouts), isinstance(wire, str)
        self._set_up(target, policy, Common.of(handler, opened, policy, own_wire=own, blocking=blocking, keys=None))

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
        common = Common.of(handler, wire, policy, own_wire=True, blocking=blocking, keys=keys)
        core._set_up(target, policy, common)
        return core

    def _set_up(self, target: Target, policy: Policy, common: Common) -> None:
        self.blocking = common.blocking
        self.warming: dict[str, Step] = {}  # where parts that take long to load say how that is done
        self._wire = common.wire
        self._use(policy, target, common, Levers(policy, target, common))

    def _use(self, policy: Policy, target: Target, common: Common, levers: Levers) -> Core:
        self.policy, self.target = policy, target
        self._common, self._levers = common, levers
        self.handler = levers.handler
        return self

    def with_policy(self, policy: Policy) -> Core:
        """A copy that shares the wire and the statistics."""
        instance("policy", policy, Policy)
        if policy.limits is not None and policy.limits != self.policy.limits:
            raise ConfigError.of("policy.limits", policy.limits, "cannot differ in a copy: it shares the connections")
        was, common, levers = self.policy, self._common, self._levers
        if common.wire is not None:
            common = replace(common, handler=attempt(common.wire, policy.timeouts))
        if any(getattr(policy, name) != getattr(was, name) for name in _WAY):
            common = replace(common, flights=Flights(common.stats.settled))  # whoever joins a flight takes its way
        shaping = levers.shaping if policy.prompt == was.prompt else None
        same = policy.semantic == was.semantic and policy.cache == was.cache
        levers = Levers(policy, self.target, common, shaping, levers.knowledge if same else None)
        return self._copy()._use(policy, self.target, common, levers)

    def toward(self, target: Target) -> Core:
        """A copy for calls to another target, which shares all that does not belong to one."""
        levers = Levers(self.policy, target, self._common, None, self._levers.knowledge)
        return self._copy()._use(self.policy, target, self._common, levers)

    def _copy(self) -> Core:
        copy = object.__new__(Core)
        copy.__dict__.update(self.__dict__)
        return copy

    def ask(self, messages: Messages, options: Mapping[str, Any]) -> Request:
        """Check that this client may be used, and the caller's words."""
        self._common.switch.check()
        request = checked(messages, options)
        if request.hedge and self.policy.hedge is None:
            raise ConfigError.of("hedge", request.hedge, "needs a policy that hedges: Policy(hedge=Hedge())")
        if request.recover and self.policy.route is None:
            raise ConfigError.of("recover", request.recover, "needs a policy with a route: Policy(route=Route())")
        return request

    def begin(self, request: Request, *, held: bool) -> Call:
        """A call for this request, from now on. `held` says whether the caller will see chunks."""
        self._common.switch.check()
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
        stream = await self._levers.inside(self.begin(request, held=False))
        opened()
        return await _read(stream)

    async def ahead(self, request: Request, margin: float) -> Literal["fresh", "stored", "failed"]:
        """See to it that the answer is in the cache `margin` seconds from now too. Runs on an event loop."""
        call = self.begin(request, held=False)
        await _read(await self._levers.inside(call))
        cache, found = self.policy.cache, call.record.cache
        if found.state in ("hit", "stale") and found.age is not None and cache is not None:
            if found.age + margin < cache.ttl:
                return "fresh"
            call = replace(self.begin(replace(request, cache="refresh"), held=False), key=call.record.key)
            await _read(await self._levers.inside(call))
        return "stored" if (call.record.lender or call.record).kept else "failed"

    def abandoned(self, call: Call) -> None:
        logger.debug("stream of call %s was dropped unread; closed by the garbage collector", call.id)
        emit(self.policy.observers, StreamAbandoned(call_id=call.id))

    async def warm(self, connections: int, prompt: Request | None, tokenizer: bool, timeout: float | None) -> Warmed:
        """Get ready what the next calls will need: connections and stores, and what else was asked for."""
        from fastclient.warm import PATIENCE, threaded, warmed

        self._common.switch.check()
        whole("connections", connections)
        instance("tokenizer", tokenizer, bool)
        if timeout is not None:
            seconds("timeout", timeout)
        if self._wire is None:
            raise ConfigError.at("client", "has no connections to open")
        steps: list[tuple[str, Step]] = [("connections", self.ping)] * connections
        steps += self.warming.items()
        if self._levers.answers is not None:
            steps.append(("store", threaded(self._levers.answers.store.open)))
        if self._levers.knowledge is not None:
            steps.append(("embedder", self._levers.knowledge.warm))
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
        stats = self._common.stats.snapshot()
        return stats.attempts - stats.fallbacks - stats.hedges, stats.in_flight

    def _load_tokenizer(self) -> None:
        from fastclient.prompt.counting import counting

        counting(self.target.model).load()

    async def forget(self, namespace: str | None, tags: Sequence[str], depends_on: Sequence[str]) -> None:
        """Forget answers, in the semantic cache too. Runs on an event loop."""
        self._common.switch.check()
        answers, knowledge = self._levers.answers, self._levers.knowledge
        if answers is None:
            raise ConfigError.at("forget", "needs a cache: Policy(cache=Cache())")
        if namespace is not None:
            instance("namespace", namespace, str)
        given = labels(tags, depends_on)
        if namespace is None and not given:
            namespace = answers.namespace
        before = answers.now()
        await anyio.to_thread.run_sync(answers.forget, namespace, given)
        if knowledge is not None:
            tag = None if namespace is None else tag_of(namespace)
            await knowledge.questions.forget(tag, given, before)

    def count(self, request: Request) -> Count:
        """The tokens of a prompt as it would be sent."""
        return (self._levers.shaping or shaping_of(None, self.target)).count(request)

    def stats(self) -> Stats:
        stats = self._common.stats.snapshot()
        knowledge = self._levers.knowledge
        return stats if knowledge is None else replace(stats, semantic=knowledge.stats())

    def check(self) -> None:
        """Raise ConfigError if this client may not be used."""
        self._common.switch.check()

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return not self._common.switch.on

    def refuse(self) -> None:
        """From now on this client and all its copies take no calls."""
        self._common.switch.on = False

    def close_store(self) -> None:
        """Have the cache write what waits, and let go of its files and connections. May take two seconds."""
        if self._levers.answers is not None:
            self._levers.answers.store.close()

    async def aclose(self) -> None:
        """Close the connections, and end the waiting for one. A blocking client's store is closed on its own thread."""
        try:
            self._common.upstreams.close()
            for knowledge in self._common.knowledge:
                await knowledge.aclose()
            if self._levers.answers is not None and not self.blocking:
                await anyio.to_thread.run_sync(self.close_store)
        finally:
            if self._wire is not None:
                await self._wire.aclose()


async def _read(stream: TimedStream) -> Reply:
    if not stream.complete:  # otherwise all of it was there already
        try:
            while await stream.pull():
                pass
        finally:
            await stream.aclose()
    return stream.reply()
