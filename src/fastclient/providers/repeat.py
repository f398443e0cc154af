"""Which requests may be sent twice, and what a copy that is given up costs. Pure.

An answer that is only text can be asked for again. What stores, runs on in the background, continues a conversation
kept at the provider, or lets the provider act, cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from fastclient.errors import FastClientError, Overloaded, RateLimited
from fastclient.target import Target, is_loopback
from fastclient.types import Request

__all__ = ["left_no_trace", "repeatable", "stops_billing"]

_STATEFUL = ("store", "background", "previous_response_id", "conversation", "container")
_HARMLESS_TOOLS = ("function", "custom", "web_search", "file_search")  # others may act: run code, use a computer

# Where closing the stream ends the bill, according to OpenRouter's documentation of upstream providers (2026).
_STOPPING = (
    *("openai.com", "openai.azure.com", "anthropic.com", "fireworks.ai", "together.xyz", "together.ai"),
    *("deepinfra.com", "cohere.com", "cohere.ai", "x.ai", "deepseek.com", "cloudflare.com", "novita.ai"),
    *("hyperbolic.xyz", "friendli.ai", "chutes.ai", "mancer.tech", "infermatic.ai", "avian.io", "liquid.ai"),
)


def repeatable(request: Request) -> bool:
    """Whether answering this request twice does nothing twice."""
    params = request.params
    if not params:
        return True
    if not params.keys().isdisjoint(_STATEFUL) and any(params.get(name) for name in _STATEFUL):
        return False
    tools = params.get("tools")
    return tools is None or not isinstance(tools, Sequence) or all(_harmless(tool) for tool in tools)


def _harmless(tool: object) -> bool:
    """Tools that the caller runs, and searches. Anthropic's own tools have dated types, the caller's have none."""
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    return kind is None or (isinstance(kind, str) and kind.startswith(_HARMLESS_TOOLS))


def left_no_trace(error: FastClientError) -> bool:
    """Whether this failure means that the provider did not begin to work on the request."""
    return not error.sent or isinstance(error, (RateLimited, Overloaded))


def stops_billing(target: Target) -> bool:
    """Whether giving a stream up ends what it costs there. What nobody knows counts as no."""
    if target.stops_billing is not None:
        return target.stops_billing
    url = target.base_url or ""
    host = urlsplit(url).hostname or ""
    return is_loopback(url) or any(host == name or host.endswith("." + name) for name in _STOPPING)
