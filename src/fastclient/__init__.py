"""fastclient makes an app's LLM calls fast, and shows where each call's time goes.

    import fastclient as fc

    with fc.Client("openai:gpt-5-mini") as client:
        print(client.chat("Name one prime.").text)

Every name loads with its first use, so importing this package costs nearly nothing.
"""

from __future__ import annotations

from importlib import import_module

from fastclient._version import __version__

TYPE_CHECKING = False  # what `typing` calls by this name; importing that takes longer than all of this

if TYPE_CHECKING:
    from fastclient.blocking import Client, ReplyStream
    from fastclient.cache import embedders
    from fastclient.cache.disk import DiskStore
    from fastclient.cache.memory import MemoryStore
    from fastclient.cache.postgres import PostgresIndex
    from fastclient.cache.redis import RedisStore
    from fastclient.cache.semantic.report import SemanticStats
    from fastclient.cache.semantic.settings import Semantic
    from fastclient.client import AsyncClient, AsyncReplyStream
    from fastclient.config import Cache, Hedge, Limits, Policy, Prompt, Retry, Route, Timeouts
    from fastclient.decorators import accelerate, cached, fallback, hedged, limited, retried, shared, timed
    from fastclient.errors import (
        AuthenticationFailed,
        BadRequest,
        ConfigError,
        ConnectFailed,
        ConnectTimeout,
        DeadlineExceeded,
        FastClientError,
        FirstTokenTimeout,
        LocalUnavailable,
        NotFound,
        Overloaded,
        PermissionDenied,
        PromptTooLong,
        ProviderError,
        QueueTimeout,
        RateLimited,
        ServerFailed,
        StreamCut,
        StreamStalled,
        TransportError,
    )
    from fastclient.keep_warm import Keeper
    from fastclient.parts import Part, documents, history, static, tools, user, volatile
    from fastclient.precompute import Precomputed, Schedule
    from fastclient.target import Price, Target
    from fastclient.transport.clients import async_http_client, http_client, wrap
    from fastclient.transport.transports import AsyncTransport, Transport
    from fastclient.types import Attempt, CacheInfo, Chunk, Reply, Timings, ToolCall, Usage
    from fastclient.warm import Warmed

__all__ = [
    "AsyncClient",
    "AsyncReplyStream",
    "AsyncTransport",
    "Attempt",
    "AuthenticationFailed",
    "BadRequest",
    "Cache",
    "CacheInfo",
    "Chunk",
    "Client",
    "ConfigError",
    "ConnectFailed",
    "ConnectTimeout",
    "DeadlineExceeded",
    "DiskStore",
    "FastClientError",
    "FirstTokenTimeout",
    "Hedge",
    "Keeper",
    "Limits",
    "LocalUnavailable",
    "MemoryStore",
    "NotFound",
    "Overloaded",
    "Part",
    "PermissionDenied",
    "Policy",
    "PostgresIndex",
    "Precomputed",
    "Price",
    "Prompt",
    "PromptTooLong",
    "ProviderError",
    "QueueTimeout",
    "RateLimited",
    "RedisStore",
    "Reply",
    "ReplyStream",
    "Retry",
    "Route",
    "Schedule",
    "Semantic",
    "SemanticStats",
    "ServerFailed",
    "StreamCut",
    "StreamStalled",
    "Target",
    "Timeouts",
    "Timings",
    "ToolCall",
    "Transport",
    "TransportError",
    "Usage",
    "Warmed",
    "__version__",
    "accelerate",
    "async_http_client",
    "cached",
    "documents",
    "embedders",
    "fallback",
    "hedged",
    "history",
    "http_client",
    "limited",
    "retried",
    "shared",
    "static",
    "timed",
    "tools",
    "user",
    "volatile",
    "wrap",
]

_NAMES = {
    "blocking": ("Client", "ReplyStream"),
    "cache.disk": ("DiskStore",),
    "cache.embedders": ("embedders",),
    "cache.memory": ("MemoryStore",),
    "cache.postgres": ("PostgresIndex",),
    "cache.redis": ("RedisStore",),
    "cache.semantic.report": ("SemanticStats",),
    "cache.semantic.settings": ("Semantic",),
    "client": ("AsyncClient", "AsyncReplyStream"),
    "config": ("Cache", "Hedge", "Limits", "Policy", "Prompt", "Retry", "Route", "Timeouts"),
    "decorators": ("accelerate", "cached", "fallback", "hedged", "limited", "retried", "shared", "timed"),
    "keep_warm": ("Keeper",),
    "parts": ("Part", "documents", "history", "static", "tools", "user", "volatile"),
    "precompute": ("Precomputed", "Schedule"),
    "target": ("Price", "Target"),
    "transport.clients": ("async_http_client", "http_client", "wrap"),
    "transport.transports": ("AsyncTransport", "Transport"),
    "types": ("Attempt", "CacheInfo", "Chunk", "Reply", "Timings", "ToolCall", "Usage"),
    "warm": ("Warmed",),
}
# Whatever is not listed above is an error.
_HOMES = dict.fromkeys(__all__, "errors") | {name: home for home, names in _NAMES.items() for name in names}


if not TYPE_CHECKING:  # which would take any misspelt name for one of these

    def __getattr__(name: str) -> object:
        if name in _NAMES or name == "errors":
            return import_module(f"fastclient.{name}")  # as after any import of it
        if name not in _HOMES:
            raise AttributeError(f"module 'fastclient' has no attribute {name!r}")
        home = import_module(f"fastclient.{_HOMES[name]}")
        value: object = home if name == "embedders" else getattr(home, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
