"""A user's function with the levers of a policy around it: makes its requests, and the core they go through."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import NamedTuple

from fastclient.cache.key import Keys
from fastclient.checks import instance
from fastclient.config import Hedge, Policy, Route
from fastclient.core import Core
from fastclient.errors import ConfigError
from fastclient.functions.arguments import Arguments, Key
from fastclient.functions.codec import codec_for, named, returned
from fastclient.functions.job import Job, inside, kind_of, name_of
from fastclient.functions.lift import Asked, Lifted
from fastclient.functions.transient import Transient, rule
from fastclient.locks import Locked
from fastclient.observe.stats import Stats
from fastclient.target import Target
from fastclient.types import CacheMode, Request

__all__ = ["Asking", "Function", "Plan"]

_MODES: dict[str, tuple[str, ...]] = {
    "plain": ("plain",),
    "generator": ("generator",),
    "coroutine": ("coroutine", "plain"),
    "async generator": ("async generator", "generator"),
}
"""Which kinds may stand in for which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a decorator asks for. `shares` is for sharing without a cache; `instead` is what may stand in."""

    policy: Policy
    key: Key | None = None
    codec: object = None
    on: Transient | None = None
    shares: bool = False
    instead: Callable[..., object] | None = None


class Asking(NamedTuple):
    """One call, ready to be made."""

    core: Core
    request: Request


class Function(Locked):
    """One decorated function. Its core belongs to the process: a forked child begins with one of its own."""

    __slots__ = ("_arguments", "_cores", "_keys", "_lifted", "_policy", "_process", "_said", "_target", "job")

    def __init__(self, function: Callable[..., object], plan: Plan) -> None:
        super().__init__()
        kind, name = kind_of(function), name_of(function)
        self._policy = _fitting(plan.policy)
        cached, transient = self._policy.cache is not None, rule(plan.on)
        items = kind in ("generator", "async generator")
        codec = None
        if cached:
            codec = returned(function, items=items) if plan.codec is None else codec_for(plan.codec)
        self.job = Job(function, kind, name, transient, codec)
        self._target = Target(f"function:{name}", stops_billing=True)
        jobs = {self._target.name: self.job}
        if plan.instead is not None:
            target = Target(f"{self._target.name} or {name_of(plan.instead)}", stops_billing=True)
            jobs[target.name] = _substitute(plan.instead, self.job)
            self._policy = replace(self._policy, route=Route(fallback=(target,)))
        self._lifted = Lifted(jobs, races=self._policy.hedge is not None)
        self._arguments = Arguments(function, name, plan.key) if cached or plan.shares else None
        self._keys = Keys(self._target, "default") if plan.shares and not cached else None
        self._said: dict[str, object] = {"function": _known_as(function, name)}
        if items:
            self._said["items"] = True
        if codec is not None:
            self._said["codec"] = named(codec)
        self._process = os.getpid()
        self._cores = self._made()

    @property
    def blocking(self) -> bool:
        """Whether its calls wait on a plain thread."""
        return self.job.kind in ("plain", "generator")

    @property
    def items(self) -> bool:
        """Whether it gives items one by one."""
        return self.job.kind in ("generator", "async generator")

    def asking(self, args: tuple[object, ...], kwargs: dict[str, object], mode: CacheMode = "use") -> Asking | None:
        """The call with these arguments; None if it asks what it is inside of, and only the function itself can go on.

        Raises ConfigError for arguments that make no key.
        """
        core, nested = self._core()
        if self._arguments is None:
            params, marks = self._said, frozenset({self}) if self._policy.limits is not None else _NO_MARKS
        else:
            text = self._arguments.text(args, kwargs)
            if inside((self, text)):
                return None  # it would wait for itself
            params, marks = {**self._said, "key": text}, frozenset({self, (self, text)})
        if marks and self._policy.limits is not None and inside(self):
            core = nested  # the call it is inside of has a permit
        work = Asked(self._lifted, args, kwargs, marks)
        return Asking(core, Request(messages=(), params=params, cache=mode, work=work))

    def stats(self) -> Stats:
        """Counts and percentiles of the calls so far, in this process."""
        return replace(self._core()[0].stats(), stray_threads=self._lifted.strays.count)

    def _core(self) -> tuple[Core, Core]:
        """The core, and the one for calls inside of calls, which ask for no permit."""
        if os.getpid() != self._process:
            with self.lock:
                if os.getpid() != self._process:
                    self._cores, self._process = self._made(), os.getpid()
        return self._cores

    def _made(self) -> tuple[Core, Core]:
        core = Core.of(
            self._lifted.handler, self._target, self._policy, wire=None, blocking=self.blocking, keys=self._keys
        )
        if self._policy.limits is None:
            return core, core
        return core, core.with_policy(replace(self._policy, limits=None))


_NO_MARKS: frozenset[object] = frozenset()


def _fitting(policy: Policy) -> Policy:
    """The policy without what makes no sense for a function: prompts, other targets."""
    instance("policy", policy, Policy)
    hedge = None if policy.hedge is None else Hedge(budget=policy.hedge.budget)
    return replace(policy, prompt=None, route=None, semantic=None, hedge=hedge)


def _substitute(function: Callable[..., object], job: Job) -> Job:
    kind = kind_of(function)
    if kind not in _MODES[job.kind]:
        problem = f"a {kind} function cannot stand in for {job.name}, a {job.kind} function"
        raise ConfigError.at("fallback", problem)
    return Job(function, kind, name_of(function), job.transient, job.codec)


def _known_as(function: Callable[..., object], name: str) -> str:
    """What the function is called in keys. Scripts are all `__main__`: their files tell them apart."""
    if getattr(function, "__module__", None) != "__main__":
        return name
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return f"{PurePath(file).stem}:{name}" if file else name
