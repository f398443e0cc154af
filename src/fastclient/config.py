"""What a user configures: one policy made of frozen parts. `None` means a lever is absent.

Every value is checked when it is made: a wrong one raises `ConfigError` with the field and the value. Durations are
seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastclient.checks import instance, seconds, share, whole
from fastclient.errors import ConfigError
from fastclient.target import Target, as_target

if TYPE_CHECKING:
    from fastclient.observe.events import Event

__all__ = ["Hedge", "Limits", "Policy", "Prompt", "Retry", "Timeouts"]


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
    """New attempts after a retryable failure: at most `attempts` in all, for at most `budget` extra cost per cost."""

    attempts: int = 3
    budget: float = 0.10

    def __post_init__(self) -> None:
        whole("retry.attempts", self.attempts)
        share("retry.budget", self.budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """A second copy of a late request, for at most `budget` extra cost per unit of cost; `targets` may take copies."""

    budget: float = 0.02
    targets: tuple[Target | str, ...] = ()

    def __post_init__(self) -> None:
        share("hedge.budget", self.budget)
        if not isinstance(self.targets, (tuple, list)):
            raise ConfigError.of("hedge.targets", self.targets, "must be a tuple of targets")
        object.__setattr__(self, "targets", tuple(as_target(target) for target in self.targets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be under way. `concurrency` bounds open requests (None: no bound); `pace` obeys rate headers."""

    concurrency: int | None = None
    pace: bool = True

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            whole("limits.concurrency", self.concurrency)
        instance("limits.pace", self.pace, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What may be done to a prompt before it is sent. `provider_cache` is "auto" or "off"."""

    max_input_tokens: int | None = None
    squeeze: bool = True
    stable: bool = True
    provider_cache: str = "auto"

    def __post_init__(self) -> None:
        if self.max_input_tokens is not None:
            whole("prompt.max_input_tokens", self.max_input_tokens)
        instance("prompt.squeeze", self.squeeze, bool)
        instance("prompt.stable", self.stable, bool)
        if self.provider_cache not in ("auto", "off"):
            raise ConfigError.of("prompt.provider_cache", self.provider_cache, 'must be "auto" or "off"')


Observer = Callable[["Event"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which levers a client uses. `Policy()` changes nothing about a call but bounding and timing it.

    `observers` are called with each event (`fastclient.observe.events`), on the thread that made it; what they raise
    is logged and dropped. Levers this version has no layer for are listed in `pending()`; a client says so once, as a
    warning in the log, and goes without them.
    """

    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: Retry | None = None
    hedge: Hedge | None = None
    limits: Limits | None = None
    cache: None = None
    semantic: None = None
    prompt: Prompt | None = None
    route: None = None
    observers: tuple[Observer, ...] = ()

    def __post_init__(self) -> None:
        instance("policy.timeouts", self.timeouts, Timeouts)
        for name, kind in (("retry", Retry), ("hedge", Hedge), ("limits", Limits), ("prompt", Prompt)):
            if getattr(self, name) is not None:
                instance(f"policy.{name}", getattr(self, name), kind)
        for name in ("cache", "semantic", "route"):
            if getattr(self, name) is not None:
                raise ConfigError.of(f"policy.{name}", getattr(self, name), "has no layer in this version: use None")
        if not isinstance(self.observers, tuple) or not all(callable(observer) for observer in self.observers):
            raise ConfigError.of("policy.observers", self.observers, "must be a tuple of functions")

    @classmethod
    def recommended(
        cls,
        cache_dir: str | None = None,
        namespace: str | None = None,
        max_input_tokens: int | None = None,
    ) -> Policy:
        """Every lever that can only help. This version has none that needs asking for: it is `Policy()`.

        The arguments belong to levers that are still to come; giving one raises ConfigError instead of doing nothing.
        """
        said = {"cache_dir": cache_dir, "namespace": namespace, "max_input_tokens": max_input_tokens}
        for name, value in said.items():
            if value is not None:
                raise ConfigError.of(name, value, "has no layer in this version: leave it out")
        return cls()

    def pending(self) -> tuple[str, ...]:
        """The levers asked for here that this version does not have yet."""
        return tuple(name for name in ("retry", "hedge", "prompt") if getattr(self, name) is not None)
