"""What a user configures: one policy made of frozen parts. `None` means a lever is absent.

Every value is checked when it is made: a wrong one raises `ConfigError` with the field and the value. Durations are
seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastclient.checks import instance, is_number, one_of, seconds, share, whole
from fastclient.errors import ConfigError
from fastclient.target import Target, as_target
from fastclient.types import Recovery

if TYPE_CHECKING:
    from fastclient.cache.semantic.settings import Semantic
    from fastclient.cache.store import Store
    from fastclient.observe.events import Event

__all__ = ["Cache", "Hedge", "Limits", "Policy", "Prompt", "Retry", "Route", "Timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each wait may last, in seconds.

    `total` covers the whole call. `connect` is TCP and TLS each, `queue` the wait for a permit, `first_token` from the
    start of the attempt to the first content, `progress` the gap between two pieces of content, `thinking` either of
    the last two while the model reasons, `liveness` the gap between two bytes of any kind, pings included. Only time
    spent waiting for the network counts: a slow consumer never trips a limit.
    """

    total: float = 600.0
    connect: float = 5.0
    queue: float = 10.0
    first_token: float = 60.0
    progress: float = 30.0
    liveness: float = 45.0
    thinking: float = 300.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            seconds(f"timeouts.{name}", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """New attempts after a retryable failure: at most `attempts` in all, and at most `budget` retries per call.

    The first ten retries at a target are free; after that each one must have been earned by other calls, so that an
    upstream in trouble gets little more than its usual load. An error that is not tried again for that reason has
    `retry_budget_exhausted` set. Waits are as long as the provider asks for, else random up to 0.05, 0.1, 0.2 ... 2
    seconds (1, 2, 4 ... 60 when it has no capacity); a wait beyond the call's deadline is not begun.
    """

    attempts: int = 3
    budget: float = 0.10

    def __post_init__(self) -> None:
        whole("retry.attempts", self.attempts)
        share("retry.budget", self.budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """A second copy of a late request; the first to answer wins, the other is closed.

    Copies cost at most `budget` of what the requests cost, at every moment, and go out only when a request is late
    alone: when everybody is slow, nobody gets one. The first 40 requests of a kind are never copied. Copies go to
    `targets`, or to the call's own target where giving a stream up ends its cost (`Target.stops_billing`). Requests
    that store, run in the background, continue a conversation kept at the provider, or let it act, are not copied.
    Per call, `hedge=False` forbids and `hedge=True` permits a copy against these two rules.
    """

    budget: float = 0.02
    targets: tuple[Target | str, ...] = ()

    def __post_init__(self) -> None:
        share("hedge.budget", self.budget)
        object.__setattr__(self, "targets", _targets("hedge.targets", self.targets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be sent to one target (provider, server, key and model).

    `concurrency` bounds open requests (None: no bound). With `pace`, requests keep to the quotas the provider's headers
    tell of. After a refusal (429, 529) everybody pauses, and one request goes first. Who waits is served by priority;
    who cannot be served in time is told at once, with nothing sent.
    """

    concurrency: int | None = None
    pace: bool = True

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            whole("limits.concurrency", self.concurrency)
        instance("limits.pace", self.pace, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where else a call may go.

    `fallback` targets are tried in this order when one before them has no capacity, is broken or out of reach, or
    shows no first token. `recover` says what happens when an answer breaks off after it began: None is an error with
    the partial text, "resume" asks the provider for the rest where that can be asked for, "restart" asks again and
    shows what is new.
    """

    fallback: tuple[Target | str, ...] = ()
    recover: Recovery | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fallback", _targets("route.fallback", self.fallback))
        one_of("route.recover", self.recover, (None, "restart", "resume"))


def _targets(name: str, targets: object) -> tuple[Target, ...]:
    if not isinstance(targets, (tuple, list)):
        raise ConfigError.of(name, targets, "must be a tuple of targets")
    return tuple(as_target(target) for target in targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Answers are kept, and the same request is answered from there; the same request at the same time is sent once.

    `store` is a `MemoryStore` (by default one of its own), a `DiskStore` or a `RedisStore`. An answer is served for
    `ttl` seconds, and for `stale` more while a new one is fetched in the background. Requests share answers only within
    a `namespace`, one target and one API key; a call may name another namespace. A refusal that would come again (400,
    404 and the like) is remembered for `negative` seconds; 0: never. `samples` is how many different answers to keep
    and take turns with. With `pace`, a stored answer is streamed at that many content chunks per second, otherwise at
    once. Only answers that ended cleanly are kept: not what broke off, was filtered, was cut by a length limit the
    caller had not set, or came from another model than the one asked for.
    """

    store: Store | None = None
    ttl: float = 3600.0
    stale: float = 0.0
    namespace: str = "default"
    negative: float = 30.0
    samples: int = 1
    pace: float | None = None

    def __post_init__(self) -> None:
        if self.store is None:
            from fastclient.cache.memory import MemoryStore

            object.__setattr__(self, "store", MemoryStore())
        elif isinstance(self.store, type) or not all(callable(getattr(self.store, name, None)) for name in _STORE):
            raise ConfigError.of("cache.store", self.store, "must be a MemoryStore, a DiskStore or a RedisStore")
        seconds("cache.ttl", self.ttl)
        for name in ("stale", "negative"):
            if getattr(self, name) != 0:
                seconds(f"cache.{name}", getattr(self, name))
        instance("cache.namespace", self.namespace, str)
        whole("cache.samples", self.samples)
        if self.pace is not None and not (is_number(self.pace) and self.pace > 0):
            raise ConfigError.of("cache.pace", self.pace, "must be a number of chunks per second above 0")


_STORE = ("open", "get", "put", "close", "stats")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is done to a prompt before it is sent.

    With `stable`, tools and the keys of JSON objects get one order, the same in every process, so that each request
    begins like the one before. `squeeze` leaves out what costs tokens and says nothing: whitespace and needless escapes
    in JSON, padding in tables. Both leave the text of system and assistant messages, code, and the order of a schema's
    properties as they are. With `tables`, lists of records that are alike are sent as tables, which models read as well
    but which are no JSON any more.

    A prompt of more than `max_input_tokens` (None: no limit) loses its lowest-ranked documents and then its oldest
    turns, whole ones, rarely and then a quarter of them at once, so that the provider's cache holds the rest for many
    requests. Instructions, the first user turn and the newest message stay; if they do not fit, the call raises
    PromptTooLong and nothing is sent.

    `provider_cache="auto"` marks breakpoints where they pay, and adds the keys that bring a conversation back to the
    machine that has its beginning; "off" leaves that to the caller.
    """

    max_input_tokens: int | None = None
    squeeze: bool = True
    stable: bool = True
    provider_cache: str = "auto"
    tables: bool = False

    def __post_init__(self) -> None:
        if self.max_input_tokens is not None:
            whole("prompt.max_input_tokens", self.max_input_tokens)
        instance("prompt.squeeze", self.squeeze, bool)
        instance("prompt.stable", self.stable, bool)
        instance("prompt.tables", self.tables, bool)
        one_of("prompt.provider_cache", self.provider_cache, ("auto", "off"))


Observer = Callable[["Event"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which levers a client uses. `Policy()` bounds, times and retries calls, and changes nothing else about them.

    `observers` are called with each event (`fastclient.observe.events`), on the thread that made it; what they raise
    is logged and dropped.
    """

    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: Retry | None = field(default_factory=Retry)
    hedge: Hedge | None = None
    limits: Limits | None = None
    cache: Cache | None = None
    semantic: Semantic | None = None
    prompt: Prompt | None = None
    route: Route | None = None
    observers: tuple[Observer, ...] = ()

    def __post_init__(self) -> None:
        instance("policy.timeouts", self.timeouts, Timeouts)
        for name, kind in (
            ("retry", Retry),
            ("hedge", Hedge),
            ("limits", Limits),
            ("cache", Cache),
            ("prompt", Prompt),
            ("route", Route),
        ):
            if getattr(self, name) is not None:
                instance(f"policy.{name}", getattr(self, name), kind)
        if self.semantic is not None:
            from fastclient.cache.semantic.settings import Semantic

            instance("policy.semantic", self.semantic, Semantic)
            if self.cache is None:
                raise ConfigError.at("policy.semantic", "needs a cache for the answers: Policy(cache=Cache(), ...)")
        if not isinstance(self.observers, tuple) or not all(callable(observer) for observer in self.observers):
            raise ConfigError.of("policy.observers", self.observers, "must be a tuple of functions")

    @classmethod
    def recommended(
        cls,
        cache_dir: str | os.PathLike[str] | None = None,
        namespace: str | None = None,
        max_input_tokens: int | None = None,
    ) -> Policy:
        """Every lever that can only help: a cache, single flight, a stable prompt, hedging at 2 % of the cost, pacing.

        Answers are kept in memory for an hour, and with `cache_dir` in that folder too; see `Cache`. Prompts are
        squeezed and laid out for the provider's cache, and with `max_input_tokens` trimmed to so many; see `Prompt`.
        """
        store: Store | None = None
        if cache_dir is not None:
            from fastclient.cache.disk import DiskStore

            store = DiskStore(cache_dir)
        cache = Cache(store=store) if namespace is None else Cache(store=store, namespace=namespace)
        return cls(hedge=Hedge(), limits=Limits(), cache=cache, prompt=Prompt(max_input_tokens=max_input_tokens))
