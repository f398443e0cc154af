"""The third door: decorators that put the levers around any function.

    @fc.cached(ttl=1800)
    @fc.retried(attempts=3)
    def ask(question: str) -> str: ...

What comes back is a function of the same kind: plain, coroutine, generator or asynchronous generator. Stacked
decorators act from the outside in. A failure reaches the caller as the function raised it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from fastclient.config import Cache, Hedge, Limits, Observer, Policy, Retry, Timeouts
from fastclient.errors import ConfigError
from fastclient.functions.function import Function, Plan
from fastclient.functions.lower import MARK, lowered

if TYPE_CHECKING:
    from fastclient.cache.store import Store
    from fastclient.functions.arguments import Key
    from fastclient.functions.transient import Transient
    from fastclient.observe.stats import Stats

__all__ = [
    "Decorator",
    "accelerate",
    "cached",
    "fallback",
    "hedged",
    "limited",
    "retried",
    "shared",
    "stats_of",
    "timed",
]

_F = TypeVar("_F", bound=Callable[..., object])

_EVER = 1e9  # seconds; a function may take as long as it likes
_PATIENT = Timeouts(total=_EVER, queue=_EVER, first_token=_EVER)
_BARE = Policy(timeouts=_PATIENT, retry=None)


class Decorator(Protocol):
    """Takes a function, and returns one that is called and typed in the same way."""

    def __call__(self, function: _F, /) -> _F: ...


def _decorator(plan: Plan) -> Decorator:
    def decorate(function: _F, /) -> _F:
        return lowered(Function(function, plan), function)

    return decorate


def _policy(**levers: Any) -> Policy:
    return Policy(**{"timeouts": _PATIENT, "retry": None, **levers})


@overload
def accelerate(function: _F, /) -> _F: ...
@overload
def accelerate(
    policy: Policy | None = None, *, key: Key | None = None, codec: object = None, on: Transient | None = None
) -> Decorator: ...
def accelerate(
    policy: Callable[..., object] | Policy | None = None,
    *,
    key: Key | None = None,
    codec: object = None,
    on: Transient | None = None,
) -> object:
    """Every lever of a policy that makes sense for a function, `Policy.recommended()` if none is given.

    Those are the cache with its single flight, retries, hedging, limits, `timeouts.total`, `timeouts.queue` and
    observers. `prompt`, `route` and `hedge.targets` are about providers, and ignored. Where the policy hedges, plain
    functions run on threads of our own: a loser cannot be stopped there, and `stats_of(function).stray_threads` counts
    those. For `key` and `codec` see `cached`, for `on` see `retried`.
    """
    if policy is not None and not isinstance(policy, Policy):
        return _decorator(Plan(policy=Policy.recommended()))(_function(policy))
    policy = Policy.recommended() if policy is None else policy
    return _decorator(Plan(policy=policy, key=key, codec=codec, on=on))


@overload
def cached(function: _F, /) -> _F: ...
@overload
def cached(
    *,
    ttl: float = 3600.0,
    stale: float = 0.0,
    namespace: str = "default",
    store: Store | None = None,
    samples: int = 1,
    key: Key | None = None,
    codec: object = None,
) -> Decorator: ...
def cached(
    function: Callable[..., object] | None = None,
    /,
    *,
    ttl: float = 3600.0,
    stale: float = 0.0,
    namespace: str = "default",
    store: Store | None = None,
    samples: int = 1,
    key: Key | None = None,
    codec: object = None,
) -> object:
    """Keep what the function returns, and return it again for the same arguments; the same at the same time runs once.

    The first five options are those of `Cache`. Arguments are the same if they are the same JSON; for others, and for
    methods, `key` gets the arguments and returns something that JSON can say exactly. What is kept is exact JSON too,
    or what `codec` writes: a model class (by default the one in the function's annotation), or an object with
    `encode(value) -> bytes` and `decode(bytes)`. Every hit is a value of its own. Functions of one name that share a
    store share what is kept: give them namespaces.
    """
    cache = Cache(store=store, ttl=ttl, stale=stale, namespace=namespace, samples=samples)
    return _applied(Plan(policy=_policy(cache=cache), key=key, codec=codec), function)


@overload
def hedged(function: _F, /) -> _F: ...
@overload
def hedged(*, budget: float = 0.02) -> Decorator: ...
def hedged(function: Callable[..., object] | None = None, /, *, budget: float = 0.02) -> object:
    """Run the function a second time when it is late, and take what comes first. See `Hedge`.

    Only for functions that may run twice. Plain functions run on threads of our own, in a copy of the caller's context;
    a loser's thread cannot be stopped, and runs to its end: `stats_of(function).stray_threads` counts those.
    """
    return _applied(Plan(policy=_policy(hedge=Hedge(budget=budget))), function)


@overload
def retried(function: _F, /) -> _F: ...
@overload
def retried(*, attempts: int = 3, budget: float = 0.10, on: Transient | None = None) -> Decorator: ...
def retried(
    function: Callable[..., object] | None = None,
    /,
    *,
    attempts: int = 3,
    budget: float = 0.10,
    on: Transient | None = None,
) -> object:
    """Run the function again after a failure that may pass, at most `attempts` times in all and within a budget.

    See `Retry`. By default those are errors of connections and timeouts, Python's and those of the usual HTTP
    libraries, and whatever has a `status_code` of 408, 409, 425, 429 or from 500 on; `on` names other exception classes
    instead, or is a function that is asked. A generator is begun again only if it failed before its first item.
    """
    return _applied(Plan(policy=_policy(retry=Retry(attempts=attempts, budget=budget)), on=on), function)


@overload
def shared(function: _F, /) -> _F: ...
@overload
def shared(*, key: Key | None = None) -> Decorator: ...
def shared(function: Callable[..., object] | None = None, /, *, key: Key | None = None) -> object:
    """Run the function once for all who call it with the same arguments at the same time.

    They all get the very same object. For `key` see `cached`.
    """
    return _applied(Plan(policy=_BARE, key=key, shares=True), function)


@overload
def timed(function: _F, /) -> _F: ...
@overload
def timed(*, observers: Sequence[Observer] = ()) -> Decorator: ...
def timed(function: Callable[..., object] | None = None, /, *, observers: Sequence[Observer] = ()) -> object:
    """Count and time the calls: see `stats_of`. Observers get a `CallFinished` for each, without its values."""
    return _applied(Plan(policy=_policy(observers=tuple(observers))), function)


def fallback(instead: Callable[..., object], /, *, on: Transient | None = None) -> Decorator:
    """Call another function, with the same arguments, when this one fails in a way that may be its own affair.

    Which ways those are says `on`, as in `retried`. A function that fails again and again (half of at least ten calls
    within twenty seconds) is passed over for some seconds. A coroutine function may fall back on a plain one, which
    runs on the event loop.
    """
    return _decorator(Plan(policy=_BARE, on=on, instead=_function(instead)))


def limited(*, concurrency: int) -> Decorator:
    """Run at most so many calls at once; the others wait in line. After a 429 or 529 everybody pauses: see `Limits`."""
    return _decorator(Plan(policy=_policy(limits=Limits(concurrency=concurrency))))


def stats_of(function: Callable[..., object]) -> Stats:
    """Counts and percentiles of the calls of a decorated function; where decorators are stacked, of the outermost."""
    found = getattr(function, MARK, None)
    if not isinstance(found, Function):
        raise ConfigError.at("function", "was not decorated by fastclient")
    return found.stats()


def _applied(plan: Plan, function: Callable[..., object] | None) -> object:
    decorate = _decorator(plan)
    return decorate if function is None else decorate(_function(function))


def _function(function: object) -> Callable[..., object]:
    if not callable(function):
        raise ConfigError.at("function", f"must be a function, not a {type(function).__name__}: give options by name")
    return function
