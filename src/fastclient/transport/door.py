"""What both transports share: which requests are calls, the layers for each target, and the way past them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from fastclient.checks import instance
from fastclient.config import Policy
from fastclient.core import Core
from fastclient.engine.attempt import attempt
from fastclient.errors import ConfigError
from fastclient.target import Target, as_target
from fastclient.transport.passing import Passing
from fastclient.transport.recognise import Recognised, recognised
from fastclient.transport.respond import Answered, open_answer, raised
from fastclient.transport.translated import TRANSLATED
from fastclient.wire.named import wire_for

if TYPE_CHECKING:
    from fastclient.observe.stats import Stats

__all__ = ["Door"]

logger = logging.getLogger("fastclient")

_CORES = 256  # targets whose layers are kept ready
_NOBODY = Target("openai:-")  # for the layers that others are copied from


class Door:
    """A policy's layers for whatever target an SDK calls. Its targets share connections, statistics and the cache."""

    def __init__(self, policy: Policy | None, wire: str, *, kind: str, blocking: bool) -> None:
        self._policy = policy = Policy() if policy is None else instance("policy", policy, Policy)
        network = wire_for(wire, policy)
        plain = replace(policy, prompt=None)  # with all targets, so that one without a key is refused now
        self._first = Core.of(attempt(network, policy.timeouts), _NOBODY, plain, wire=network, blocking=blocking)
        self._cores: dict[tuple[Target, bool], Core] = {}
        self._told = False
        self._unstreamed: set[Target] = set()
        self.passing = Passing(kind)

    @property
    def core(self) -> Core:
        """The first of its cores, which stands for all of them when they are closed."""
        return self._first

    def stats(self) -> Stats:
        return self._first.stats()

    async def answer(self, url: str, headers: Mapping[str, str], body: bytes, extensions: Any) -> Answered | None:
        """The answer to a request; None if it is no call. Raises Raised for what failed on the way."""
        limits = extensions.get("timeout") or {}
        while True:
            try:
                found = recognised(url, headers, body, self._policy, limits, self._unstreamed)
            except ConfigError as error:
                return _refused(error)
            if found is None:
                return None
            given = await self._answered(found)
            if not found.original.turned or given.status != 400 or b"stream" not in given.body:
                return given
            self._unstreamed.add(
                found.original.target
            )  # asked for a stream it refuses, as SDKs had not: ask as they did

    async def _answered(self, found: Recognised) -> Answered:
        request, original = found
        core = self._core(original.target, original.asked.rigid)
        if request.repeated and self._policy.retry is not None and not self._told:
            self._told = True
            logger.warning("the SDK tries again what was tried again here already: make its client with max_retries=0")
        try:
            call = core.begin(request, held=original.asked.streamed)
        except ConfigError as error:  # closed
            raise raised(error) from error
        return await open_answer(core.handler, call, original, retried=self._policy.retry is not None)

    def _core(self, target: Target, rigid: bool) -> Core:
        """The layers for a target; those that change prompts are left out where a prompt must not be changed."""
        core = self._cores.get((target, rigid))
        if core is None:
            while len(self._cores) >= _CORES:
                self._cores.pop(next(iter(self._cores)), None)
            policy = _for_provider(self._policy, target.provider)
            core = self._first.toward(target).with_policy(replace(policy, prompt=None) if rigid else policy)
            core = self._cores.setdefault((target, rigid), core)  # another thread may have made it too
        return core


def _for_provider(policy: Policy, provider: str) -> Policy:
    """The policy with those other targets whose answers the SDK of this provider can be given.

    An answer that broke off is not made whole either: what has come of it is with the SDK already.
    """
    hedge, route = policy.hedge, policy.route
    if hedge is not None and hedge.targets:
        hedge = replace(hedge, targets=_understood(provider, hedge.targets))
    if route is not None:
        fallback = _understood(provider, route.fallback)
        route = replace(route, fallback=fallback, recover=None) if fallback else None
    return replace(policy, hedge=hedge, route=route)


def _understood(provider: str, targets: Sequence[Target | str]) -> tuple[Target, ...]:
    understood = (provider, *TRANSLATED.get(provider, ()))
    return tuple(target for target in map(as_target, targets) if target.provider in understood)


def _refused(error: ConfigError) -> Answered:
    """What cannot be done is told as an error of the request, in a form that all SDKs can read."""
    told = {"type": "error", "error": {"type": "invalid_request_error", "message": str(error)}}
    headers = [(b"content-type", b"application/json"), (b"x-should-retry", b"false")]
    return Answered(400, headers, orjson.dumps(told))
