"""fastclient makes an app's LLM calls fast, and shows where each call's time goes.

    import fastclient as fc

    with fc.Client("openai:gpt-5-mini") as client:
        print(client.chat("Name one prime.").text)

The clients load on first use, so importing this package loads no HTTP library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastclient._version import __version__
from fastclient.config import Cache, Hedge, Limits, Policy, Prompt, Retry, Route, Timeouts
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
from fastclient.parts import Part, documents, history, static, tools, user, volatile
from fastclient.target import Price, Target
from fastclient.types import Attempt, CacheInfo, Chunk, Reply, Timings, ToolCall, Usage

if TYPE_CHECKING:
    from fastclient.blocking import Client as Client
    from fastclient.blocking import ReplyStream as ReplyStream
    from fastclient.cache.disk import DiskStore as DiskStore
    from fastclient.cache.memory import MemoryStore as MemoryStore
    from fastclient.cache.redis import RedisStore as RedisStore
    from fastclient.client import AsyncClient as AsyncClient
    from fastclient.client import AsyncReplyStream as AsyncReplyStream
    from fastclient.decorators import accelerate as accelerate
    from fastclient.decorators import cached as cached
    from fastclient.decorators import fallback as fallback
    from fastclient.decorators import hedged as hedged
    from fastclient.decorators import limited as limited
    from fastclient.decorators import retried as retried
    from fastclient.decorators import shared as shared
    from fastclient.decorators import timed as timed
    from fastclient.precompute import Precomputed as Precomputed
    from fastclient.precompute import Schedule as Schedule
    from fastclient.transport.clients import async_http_client as async_http_client
    from fastclient.transport.clients import http_client as http_client
    from fastclient.transport.clients import wrap as wrap
    from fastclient.transport.transports import AsyncTransport as AsyncTransport
    from fastclient.transport.transports import Transport as Transport

_LAZY = {
    "AsyncClient": "fastclient.client",
    "AsyncReplyStream": "fastclient.client",
    "AsyncTransport": "fastclient.transport.transports",
    "Client": "fastclient.blocking",
    "DiskStore": "fastclient.cache.disk",
    "MemoryStore": "fastclient.cache.memory",
    "Precomputed": "fastclient.precompute",
    "RedisStore": "fastclient.cache.redis",
    "ReplyStream": "fastclient.blocking",
    "Schedule": "fastclient.precompute",
    "Transport": "fastclient.transport.transports",
    "async_http_client": "fastclient.transport.clients",
    "http_client": "fastclient.transport.clients",
    "wrap": "fastclient.transport.clients",
    **dict.fromkeys(
        ("accelerate", "cached", "fallback", "hedged", "limited", "retried", "shared", "timed"), "fastclient.decorators"
    ),
}

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
    "Limits",
    "LocalUnavailable",
    "MemoryStore",
    "NotFound",
    "Overloaded",
    "Part",
    "PermissionDenied",
    "Policy",
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
    "__version__",
    "accelerate",
    "async_http_client",
    "cached",
    "documents",
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


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastclient' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
