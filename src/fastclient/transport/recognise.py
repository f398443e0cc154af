"""From an SDK's HTTP request to a call: which format it is, where it goes, what it asks, how long it may take. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson

from fastclient.config import Hedge, Policy, Timeouts
from fastclient.errors import ConfigError
from fastclient.providers.native.original import CREDENTIALS, Asked, Form, Original, forms
from fastclient.providers.repeat import stops_billing
from fastclient.request import steering
from fastclient.target import Target
from fastclient.types import Request

__all__ = ["STEER", "Headers", "Recognised", "may_be_call", "recognised"]

_PATHS = ("/chat/completions", "/responses", "/messages", ":generateContent", ":streamGenerateContent")
_LARGEST = 64 * 2**20  # bytes of a body that is looked into
STEER = "x-fastclient-"

# Who asks and for which version of the interface: calls that differ in these have nothing to learn from each other.
_OF_TARGET = (*CREDENTIALS, "openai-organization", "openai-project", "anthropic-version", "anthropic-beta")
# What says nothing about the answer, or is made anew for each message of the connection.
_NOISE = frozenset(
    (
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "user-agent"),
        *("idempotency-key", "traceparent", "tracestate", "baggage", "x-request-id", "x-client-request-id"),
        *("b3", "sentry-trace", "newrelic", "uber-trace-id", "x-amzn-trace-id", "x-cloud-trace-context"),
        *("x-correlation-id", "elastic-apm-traceparent"),
    )
)
_NOISES = ("x-stainless-", "x-b3-", "x-datadog-")
_BALANCERS = ("__cf_bm=", "_cfuvid=", "__cflb=", "AWSALB", "INGRESSCOOKIE=")
_NUMBERS: Mapping[str, Callable[[str], float]] = {"samples": int, "timeout": float}
_PER_HOP = frozenset(("host", "connection", "content-length", "transfer-encoding", "keep-alive"))


class Headers(dict[str, str]):
    """Headers by lower-case name. They hold keys, so they do not show themselves."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} headers>"


class Recognised(NamedTuple):
    """A call, and what it was made of."""

    request: Request
    original: Original


def may_be_call(method: str, path: str) -> bool:
    """Whether a request is worth a look. `path` is without the query."""
    return method == "POST" and path.endswith(_PATHS)


def recognised(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    policy: Policy,
    limits: Mapping[str, float | None],
    unstreamed: Container[Target] = (),
) -> Recognised | None:
    """The call in an SDK's request; None if it is something else. Header names are in lower case.

    `limits` are the SDK's own: seconds to connect, between two reads, and so on; `unstreamed` targets are asked for no
    streams. Raises ConfigError for steering headers (`x-fastclient-cache: off`) that cannot be.
    """
    if "content-encoding" in headers or not headers.get("content-type", "").startswith("application/json"):
        return None
    if not all(map(str.isascii, headers.values())):
        return None
    exact = policy.prompt is not None
    found = _asked(url, body, exact=exact)
    if found is None:
        return None
    form, document, asked = found
    steered = {name.removeprefix(STEER): value for name, value in headers.items() if name.startswith(STEER)}
    steer = steering({name: _value(name, value) for name, value in steered.items()}) if steered else {}
    target = _target(form.provider, _root(url), asked.model, _told(headers))
    if target is None:
        return None
    may_be_copied = _copied(policy.hedge, steer.get("hedge"), target)
    turned = not asked.streamed and may_be_copied and target not in unstreamed and form.streamable(document)
    sent = Headers({name: value for name, value in headers.items() if name not in _PER_HOP})
    for name in steered:
        del sent[STEER + name]
    sent["accept-encoding"] = "identity"  # compressed streams are held back on their way
    if headers.get("host") != urlsplit(url).netloc:
        sent["host"] = headers.get("host", "")  # the caller's own word for it
    said = "" if form.verbatim or (exact and not asked.rigid) else _digest(_without_delivery(document))
    if asked.params.get("n") not in (None, 1):
        steer["cache"] = "off"  # how one of several answers ended is not known for all
    original = Original(
        form=form,
        target=target,
        url=url,
        headers=sent,
        body=body,
        document=document,
        asked=asked,
        turned=turned,
        variant=(*_variant(form.streaming(url, document) if turned else (url, document), sent), said),
    )
    request = Request(
        messages=asked.messages,
        params=asked.params,
        original=original,
        timeouts=_timeouts(policy.timeouts, asked.streamed or turned, *map(limits.get, ("connect", "read", "pool"))),
        repeated=headers.get("x-stainless-retry-count", "0") != "0",
        **steer,
    )
    return Recognised(request, original)


def _asked(url: str, body: bytes, *, exact: bool) -> tuple[Form, dict[str, object], Asked] | None:
    if len(body) > _LARGEST:
        return None
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    for form in forms():
        asked = form.asked(path, document, exact=exact)
        if asked is not None:
            return form, document, asked
    return None


def _copied(hedge: Hedge | None, wish: object, target: Target) -> bool:
    """Whether copies of such calls may be sent: only then is it worth fetching a whole answer as a stream."""
    return hedge is not None and bool(wish or hedge.targets or stops_billing(target))


def _root(url: str) -> str:
    """The URL without what is appended for each call."""
    root = url.partition("?")[0]
    for suffix in ("/chat/completions", "/responses", "/v1/messages", "/messages"):
        if root.endswith(suffix):
            return root.removesuffix(suffix)
    return root.partition("/models/")[0]


def _own_cookies(value: str) -> str:
    """The cookies that are not a load balancer's, which change by themselves and say nothing about the answer."""
    cookies = (cookie.strip() for cookie in value.split(";"))
    return "; ".join(cookie for cookie in cookies if not cookie.startswith(_BALANCERS))


def _without_delivery(document: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in document.items() if name not in ("stream", "stream_options")}


def _digest(said: object) -> str:
    """A digest, because what is said may hold a secret."""
    words = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    return blake2b(words, digest_size=16, key=b"fastclient original").hexdigest()


def _told(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, headers[name]) for name in _OF_TARGET if name in headers)


@lru_cache(maxsize=256)
def _target(provider: str, root: str, model: str, told: tuple[tuple[str, str], ...]) -> Target | None:
    """Where a call goes; None if that cannot be said in the words of a target."""
    try:
        return Target(f"{provider}:{model}", base_url=root, headers=dict(told), allow_http=True)
    except ConfigError:
        return None


def _variant(sent: tuple[str, Mapping[str, object]], headers: Mapping[str, str]) -> tuple[object, ...]:
    """What makes the bytes of the answer differ, beside messages and parameters; unknown headers may."""
    url, document = sent
    others = {
        name: _own_cookies(value) if name == "cookie" else value
        for name, value in headers.items()
        if name not in _NOISE and name not in _OF_TARGET and not name.startswith(_NOISES)
    }
    told = {name: value for name, value in others.items() if value}
    return (
        urlsplit(url).query,
        _digest(told) if told else "",
        bool(document.get("stream")),
        document.get("stream_options"),
    )


@lru_cache(maxsize=64)
def _timeouts(own: Timeouts, streamed: bool, connect: float | None, read: float | None, pool: float | None) -> Timeouts:
    """The stricter of our limits and the SDK's. A whole answer comes all at once, after it was written."""

    def stricter(limit: float, theirs: float | None) -> float:
        return limit if theirs is None else min(limit, max(theirs, 0.001))

    waits = {name: getattr(own, name) for name in ("first_token", "progress", "liveness", "thinking")}
    if not streamed:
        waits = dict.fromkeys(waits, own.total)
    return replace(
        own,
        connect=stricter(own.connect, connect),
        queue=stricter(own.queue, pool),
        **{name: stricter(limit, read) for name, limit in waits.items()},
    )


def _value(name: str, text: str) -> object:
    """A steering header's value as what it stands for; what cannot be read is left for the check to refuse."""
    try:
        if name == "hedge":
            return {"true": True, "false": False}[text]
        return _NUMBERS[name](text) if name in _NUMBERS else text
    except (ValueError, KeyError):
        return text
