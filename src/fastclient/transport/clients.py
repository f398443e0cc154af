"""One line for an SDK: an HTTP client that answers through our layers, new or under an SDK client that exists."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, overload

import httpx
import httpx2

from fastclient.checks import one_of
from fastclient.config import Policy
from fastclient.errors import ConfigError
from fastclient.transport.transports import AsyncTransport, Transport, family_of

__all__ = ["async_http_client", "http_client", "wrap"]

_Client = TypeVar("_Client")
Family = Literal["httpx", "httpx2"]
_WRAPPERS = ("SyncHttpxClientWrapper", "AsyncHttpxClientWrapper")  # what both SDKs make for themselves


@overload
def http_client(policy: Policy | None = None, *, family: Literal["httpx"]) -> httpx.Client: ...


@overload
def http_client(policy: Policy | None = None, *, family: Literal["httpx2"] | None = None) -> httpx2.Client: ...


def http_client(policy: Policy | None = None, *, family: Family | None = None) -> httpx.Client | httpx2.Client:
    """An HTTP client for a blocking SDK client: `OpenAI(http_client=fc.http_client(policy))`.

    Calls go through the layers of the policy (by default `Policy()`), anything else goes out as it is. `family` is the
    library the SDK is built on: `httpx2` by default; `"httpx"` for openai before 3, anthropic before 1, and LiteLLM.
    Close the SDK client as always; that closes this one.
    """
    one_of("family", family, (None, "httpx", "httpx2"))
    module: Any = httpx if family == "httpx" else httpx2
    client: httpx.Client | httpx2.Client = module.Client(transport=Transport(policy), follow_redirects=True)
    return client


@overload
def async_http_client(policy: Policy | None = None, *, family: Literal["httpx"]) -> httpx.AsyncClient: ...


@overload
def async_http_client(
    policy: Policy | None = None, *, family: Literal["httpx2"] | None = None
) -> httpx2.AsyncClient: ...


def async_http_client(
    policy: Policy | None = None, *, family: Family | None = None
) -> httpx.AsyncClient | httpx2.AsyncClient:
    """An HTTP client for an asynchronous SDK client, on asyncio or trio. See `http_client`."""
    one_of("family", family, (None, "httpx", "httpx2"))
    module: Any = httpx if family == "httpx" else httpx2
    transport = AsyncTransport(policy)
    client: httpx.AsyncClient | httpx2.AsyncClient = module.AsyncClient(transport=transport, follow_redirects=True)
    return client


def wrap(client: _Client, policy: Policy | None = None) -> _Client:
    """An SDK client like this one, with all its options, whose calls go through the layers of the policy.

    For clients of openai and anthropic, blocking or not, in whatever version: `client = fc.wrap(OpenAI(), policy)`.
    Raises ConfigError for others, and for one that was given an `http_client`, whose certificates, proxies and mounts
    would be lost: make that on `fc.Transport`.
    """
    given: Any = client
    inner: Any = getattr(given, "_client", None)
    try:
        family = family_of(inner)
    except TypeError:
        problem = "must be a client of an SDK that is built on httpx or httpx2"
        raise ConfigError.at("client", f"{problem}, not a {type(client).__name__}") from None
    if not callable(getattr(given, "with_options", None)):
        raise ConfigError.at("client", f"a {type(client).__name__} cannot be given another HTTP client")
    usual = type(inner).__name__ in _WRAPPERS and not any(inner.event_hooks.values())
    if not usual and not isinstance(inner._transport, (Transport, AsyncTransport)):
        raise ConfigError.at("client", "has an HTTP client of its own: make that one on fc.Transport(policy)")
    make: Any = async_http_client if isinstance(inner, family.AsyncClient) else http_client
    wrapped: _Client = given.with_options(http_client=make(policy, family=family.__name__))
    return wrapped
