"""Where calls go: a provider, a model, a server, and the key for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from fastclient.checks import instance, is_number
from fastclient.errors import ConfigError

__all__ = ["Price", "Secret", "Target", "as_target", "is_loopback", "is_private"]

_LOOPBACK = re.compile(r"localhost|.+\.localhost|127(\.\d{1,3}){3}|::1")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


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
    those would end up in logs. `headers` are added to each request and are treated as secrets. `stops_billing` says
    whether giving a stream up ends what it costs there, which is where a copy of a late request may be sent without
    being asked for by name; None means what is known of the provider (loopback: yes, unknown servers: no).
    """

    name: str
    base_url: str | None = field(default=None, kw_only=True)
    api_key: Secret | str | None = field(default=None, kw_only=True, repr=False)
    price: Price | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False)
    allow_http: bool = field(default=False, kw_only=True)
    stops_billing: bool | None = field(default=None, kw_only=True)
    provider: str = field(init=False, repr=False, compare=False)
    model: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        provider, colon, model = self.name.partition(":") if isinstance(self.name, str) else ("", "", "")
        if not (colon and provider and model):
            raise ConfigError.of("target", self.name, 'must look like "provider:model"')
        object.__setattr__(self, "provider", provider)
        object.__setattr__(self, "model", model)
        if isinstance(self.api_key, str):
            object.__setattr__(self, "api_key", Secret(self.api_key))
        if self.api_key is not None:
            if not isinstance(self.api_key, Secret):
                raise ConfigError.at("api_key", f"must be a text, not {type(self.api_key).__name__}")
            _header("api_key", self.key)
        if self.price is not None:
            instance("target.price", self.price, Price)
        if self.stops_billing is not None:
            instance("target.stops_billing", self.stops_billing, bool)
        if not isinstance(self.headers, Mapping):
            raise ConfigError.at("headers", f"must map names to values, not be a {type(self.headers).__name__}")
        for name, value in self.headers.items():
            if not isinstance(name, str) or not _TOKEN.fullmatch(name):
                raise ConfigError.at("headers", "a name is no HTTP token (not shown)")
            _header(f"headers[{name!r}]", value)
        if self.base_url is not None:
            object.__setattr__(self, "base_url", _checked_url(self.base_url, self.allow_http))

    def __hash__(self) -> int:
        return hash((self.name, self.base_url, self.api_key, frozenset(self.headers.items())))

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


def is_private(url: str) -> bool:
    """Whether a URL's host is this machine or one of the user's own network, as far as its name says."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return is_loopback(url) or "." not in host or host.endswith((".local", ".internal", ".lan", ".home.arpa"))


def _shown(url: object) -> str:
    """A URL without the parts that may hold a secret."""
    text = url if isinstance(url, str) else type(url).__name__
    scheme, separator, rest = text.partition("://")
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0].partition("#")[0]


def as_target(target: Target | str) -> Target:
    """A target, or the target a `"provider:model"` string names."""
    return Target(target) if isinstance(target, str) else instance("target", target, Target)
