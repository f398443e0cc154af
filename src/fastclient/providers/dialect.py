"""What a provider's module has to say: one small protocol for writing requests and one for reading events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import orjson

from fastclient._version import __version__
from fastclient.errors import ConfigError
from fastclient.prompt.wire import unwritable
from fastclient.providers.sse import Event
from fastclient.target import Target
from fastclient.types import Chunk, Request
from fastclient.wire.port import WireRequest

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = [
    "Dialect",
    "Ended",
    "Json",
    "Reader",
    "count",
    "encoded",
    "find",
    "headers",
    "marker",
    "prefilled",
    "reasons",
]

# Provider name -> the module that speaks its format.
_MODULES = {
    "openai": "fastclient.providers.openai",
    "openai-responses": "fastclient.providers.responses",
    "anthropic": "fastclient.providers.anthropic",
    "gemini": "fastclient.providers.gemini",
    "function": "fastclient.providers.function",
}

_ROOM = 2**12  # bytes
_LOOKED_AT = ("messages", "system")

_REASONING = re.compile(r"o[1-9]\b|gpt-[5-9](?!.*chat)")

Json = dict[str, Any]
Ended = Literal["", "maybe", "here"]


class Reader(Protocol):
    """Reads the events of one answer.

    `thinking` is true while the model reasons before or between content; `pings` counts keep-alive events. `ended` is
    for formats whose last event is read like the others: it was ("here"), or it was if the body ends now ("maybe").

    `verbatim` says that a text stands in its event as one string, and that one event after the other that is nothing
    but a text changes nothing here, whatever the texts are: then not every one of them has to be shown to this reader.
    `noise` begins a string that is another one in each event, and that is never looked at here; empty if there is none.
    """

    thinking: bool
    pings: int
    ended: Ended
    verbatim: bool
    noise: bytes

    def is_end(self, event: Event) -> bool:
        """Whether this event is the terminal one; a stream without it was cut."""
        ...

    def chunk(self, data: Json, event: Event) -> Chunk:
        """What one event means. Raises ProviderError for an error event, any lookup error for a malformed one."""
        ...

    def whole(self, data: Json, raw: bytes) -> Chunk:
        """A complete answer that came as one JSON document, because the server ignored that we asked for a stream."""
        ...


class Dialect(Protocol):
    """A provider's format. `shortest` is the smallest number of tokens that an answer may be limited to."""

    shortest: int
    base_url: str
    key_variable: str
    url_variable: str

    def write(self, request: Request, target: Target, layout: Layout | None = None) -> WireRequest:
        """The HTTP request for a call, laid out for the provider's cache if that was planned.

        Raises ConfigError for what the format cannot express.
        """
        ...

    def reader(self, request: Request, target: Target) -> Reader:
        """A reader for one answer to this request."""
        ...

    def thinks(self, request: Request) -> bool:
        """Whether the model was asked to reason before it answers."""
        ...

    def continued(self, request: Request, target: Target, text: str) -> Request | None:
        """The request for the rest of an answer that began with this text; None where that cannot be asked for."""
        ...

    def ping(self, target: Target) -> WireRequest:
        """A cheap request that opens a connection and costs no tokens."""
        ...

    def authentication(self, target: Target) -> dict[str, str]:
        """The headers that say who is asking."""
        ...


@cache
def find(provider: str) -> Dialect:
    """The dialect of a provider, imported on first use."""
    if provider not in _MODULES:
        raise ConfigError.of("target", provider, f"is not a known provider; known are {', '.join(_MODULES)}")
    return cast(Dialect, import_module(_MODULES[provider]).dialect)  # each module holds its one instance


def prefilled(request: Request, text: str, **marks: object) -> Request:
    """The request with the beginning of its answer as the last message, and these marks in it."""
    return replace(request, messages=(*request.messages, {"role": "assistant", "content": text, **marks}))


def marker(lifetime: str) -> Json:
    """Anthropic's breakpoint; five minutes need not be said."""
    return {"type": "ephemeral"} if lifetime == "5m" else {"type": "ephemeral", "ttl": lifetime}


@lru_cache(maxsize=256)
def reasons(model: str) -> bool:
    """Whether an OpenAI model thinks before it answers without being asked to, as its name says."""
    return _REASONING.match(model) is not None


def count(value: object) -> int | None:
    """A count a provider reported, if it is one."""
    return value if type(value) is int and value >= 0 else None


def headers(
    target: Target, authentication: Mapping[str, str], layout: Layout | None = None, *, content: bool = True
) -> dict[str, str]:
    """The headers of every request. Buffering proxies hold a compressed stream back: ask for plain bytes."""
    common = {
        "accept": "text/event-stream, application/json",
        "accept-encoding": "identity",
        "cache-control": "no-cache",
        "user-agent": f"fastclient/{__version__}",
    }
    if content:
        common["content-type"] = "application/json"
    if layout is not None:
        common |= layout.headers
    return common | dict(authentication) | {name.lower(): value for name, value in target.headers.items()}


def _doubtful(body: Json) -> Json:
    """What nobody has looked at before."""
    return {name: body[name] for name in body if name not in _LOOKED_AT}


def encoded(body: Json, layout: Layout | None = None) -> bytes:
    """The body as JSON. Raises ConfigError naming the place of a value JSON has no word for.

    The messages of a prompt that was laid out have been looked at before, once each.
    """
    cause: TypeError | None = None
    try:
        data = orjson.dumps(body)
    except TypeError as error:
        data, cause = b"null", error
    # orjson writes NaN and the infinities as null without a word, so a null is worth a look.
    if b"null" in data and (found := unwritable(body if layout is None else _doubtful(body))):
        path, value = found
        path = path if len(path) <= 200 else f"{path[:100]}...{path[-40:]}"
        shown = repr(value) if isinstance(value, (int, float)) else f"a {type(value).__name__}"
        raise ConfigError.at(path, f"{shown} cannot be written as JSON") from cause
    if cause is not None:
        raise ConfigError.at("request", "cannot be written as JSON") from cause
    # What orjson returns occupies all of the room it was written in, for as long as the answer takes.
    return bytes(memoryview(data)) if len(data) < _ROOM else data
