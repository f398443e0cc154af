"""What a user configures: targets, and one policy made of frozen parts. `None` means a lever is absent.

Every value is checked when it is made: a wrong one raises `ConfigError` with the field and the value. Durations are
seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar
from urllib.parse import SplitResult, urlsplit

from fastclient.errors import ConfigError

if TYPE_CHECKING:
    from fastclient.observe.events import Event

__all__ = ["Hedge", "Limits", "Policy", "Price", "Prompt", "Retry", "Secret", "Target", "Timeouts"]

_LOOPBACK = re.compile(r"localhost|.+\.localhost|127(\.\d{1,3}){3}|::1")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def seconds(name: str, value: Any) -> None:
    """Refuse anything but a finite number of seconds above 0."""
    if not is_number(value) or value <= 0:
        raise ConfigError.of(name, value, "must be a finite number of seconds above 0")


class Secret:
    """A key. Shows itself only to `reveal()`: not in repr, str, format, JSON or pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the moment a request is written."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written to disk or sent between processes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Money per million tokens, in any one currency. Unset cache prices count as the input price."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cache_read", "cache_write"):
            value: Any = getattr(self, name)
            if value is None and name.startswith("cache"):
                continue
            if not is_number(value) or value < 0:
                raise ConfigError.of(f"price.{name}", value, "must be a finite number, 0 or above")


@dataclass(frozen=True, slots=True)
class Target:
    """Somewhere a call can go: `Target("openai:gpt-5-mini")`, or with a `base_url` any compatible server.

    `api_key` falls back to the provider's environment variable when the client is made. `base_url` must be https
    unless it is a loopback address or `allow_http` is set; it carries no user, password, query or fragment, because
    those would end up in logs. `headers` are added to each request and are treated as secrets.
    """

    name: str
    base_url: str | None = field(default=None, kw_only=True)
    api_key: Secret | str | None = field(default=None, kw_only=True, repr=False)
    price: Price | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False, hash=False)
    allow_http: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        provider, colon, model = self.name.partition(":") if isinstance(self.name, str) else ("", "", "")
        if not (colon and provider and model):
            raise ConfigError.of("target", self.name, 'must look like "provider:model"')
        if isinstance(self.api_key, str):
            object.__setattr__(self, "api_key", Secret(self.api_key))
        if self.api_key is not None:
            if not isinstance(self.api_key, Secret):
                raise ConfigError.at("api_key", f"must be a text, not {type(self.api_key).__name__}")
            _header("api_key", self.key)
        if self.price is not None:
            instance("target.price", self.price, Price)
        if not isinstance(self.headers, Mapping):
            raise ConfigError.at("headers", f"must map names to values, not be a {type(self.headers).__name__}")
        for name, value in self.headers.items():
            if not isinstance(name, str) or not _TOKEN.fullmatch(name):
                raise ConfigError.at("headers", "a name is no HTTP token (not shown)")
            _header(f"headers[{name!r}]", value)
        if self.base_url is not None:
            object.__setattr__(self, "base_url", _checked_url(self.base_url, self.allow_http))

    @property
    def provider(self) -> str:
        return self.name.partition(":")[0]

    @property
    def model(self) -> str:
        return self.name.partition(":")[2]

    @property
    def key(self) -> str:
        """The key itself, or an empty string."""
        return self.api_key.reveal() if isinstance(self.api_key, Secret) else ""


def _header(name: str, value: object) -> None:
    """A header value must be printable ASCII; a stray newline would let an HTTP library print the key."""
    if not (isinstance(value, str) and value.isascii() and value.isprintable() and value == value.strip()):
        raise ConfigError.at(name, "must be printable ASCII without spaces at its ends (value not shown)")


def _checked_url(url: object, allow_http: bool) -> str:
    """The URL without its trailing slash, or a ConfigError that shows no more of it than is safe to show."""
    problem = "must be a URL with scheme and host, like https://host/v1"
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        raise ConfigError.of("base_url", _shown(url), problem)
    parts = _split(url)
    host = (parts.hostname if parts else None) or ""
    if parts is None or parts.scheme not in ("http", "https") or not host:
        raise ConfigError.of("base_url", _shown(url), problem)
    if "@" in url or "?" in url or "#" in url:
        raise ConfigError.of("base_url", _shown(url), "must not carry a user, password, query or fragment")
    if parts.scheme == "http" and not allow_http and not _LOOPBACK.fullmatch(host):
        raise ConfigError.of("base_url", _shown(url), "must be https (or loopback, or set allow_http=True)")
    return parts.geturl().rstrip("/")


def _split(url: str) -> SplitResult | None:
    """The parts of a URL. The parser's own error would quote what stands in the place of a port."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    return _LOOPBACK.fullmatch(urlsplit(url).hostname or "") is not None


def _shown(url: object) -> str:
    """A URL without the parts that may hold a secret."""
    text = url if isinstance(url, str) else type(url).__name__
    scheme, separator, rest = text.partition("://")
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0].partition("#")[0]


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
        _share("retry.budget", self.budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """A second copy of a late request, for at most `budget` extra cost per unit of cost; `targets` may take copies."""

    budget: float = 0.02
    targets: tuple[Target | str, ...] = ()

    def __post_init__(self) -> None:
        _share("hedge.budget", self.budget)
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


def as_target(target: Target | str) -> Target:
    """A target, or the target a `"provider:model"` string names."""
    return Target(target) if isinstance(target, str) else instance("target", target, Target)


_T = TypeVar("_T")


def instance(name: str, value: object, kind: type[_T]) -> _T:
    """Refuse anything but a value of this class."""
    if not isinstance(value, kind):
        raise ConfigError.of(name, value, f"must be a {kind.__name__}")
    return value


def whole(name: str, value: object) -> None:
    """Refuse anything but a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError.of(name, value, "must be a whole number above 0")


def _share(name: str, value: Any) -> None:
    if not is_number(value) or not 0 <= value <= 1:
        raise ConfigError.of(name, value, "must be a share between 0 and 1")
