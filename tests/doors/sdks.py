"""Asking the official SDKs, with their own HTTP client or with ours, so that both can be compared.

Written for the newest SDKs as well as for openai 2 on httpx: the family is that of the SDK installed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable
from typing import Any

import anyio
import openai

import fastclient as fc
from fastclient.testing import ProviderServer

try:
    import anthropic
except ImportError:  # in the environment of the older SDKs
    anthropic = None  # type: ignore[assignment]

__all__ = ["FAMILY", "MESSAGES", "SDKS", "STYLES", "TOOLS", "Seen", "asked", "noted", "sdk_client", "told_by"]

FAMILY: Any = "httpx" if int(openai.__version__.partition(".")[0]) < 3 else "httpx2"
SDKS = ("openai", "anthropic") if anthropic is not None else ("openai",)
STYLES = ("threads", "asyncio", "trio")

MESSAGES = [{"role": "user", "content": "Will it rain in Oslo?"}]
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {
    "openai": [{"type": "function", "function": {"name": "weather", "parameters": _CITY}}],
    "anthropic": [{"name": "weather", "input_schema": _CITY}],
}


@dataclass
class Seen:
    """What an SDK's user got from one call: chunks or a whole answer as data, or an error, and the levers' headers."""

    items: list[Any] = field(default_factory=list)
    error: tuple[str, ...] = ()
    cause: BaseException | None = field(default=None, compare=False)
    told: dict[str, str] = field(default_factory=dict, compare=False)


def sdk_client(sdk: str, style: str, server: ProviderServer, policy: fc.Policy | None, **options: Any) -> Any:
    """A client of this SDK; without a policy it is the SDK's very own."""
    module: Any = openai if sdk == "openai" else anthropic
    kind = ("" if style == "threads" else "Async") + ("OpenAI" if sdk == "openai" else "Anthropic")
    url = server.base_url if sdk == "openai" else server.anthropic_url
    if policy is not None:
        make = fc.http_client if style == "threads" else fc.async_http_client
        options["http_client"] = make(policy, family=FAMILY)
    return getattr(module, kind)(base_url=url, api_key="any", **options)


def asked(client: Any, style: str, calls: Sequence[Mapping[str, Any]]) -> list[Seen]:
    """Some calls one after the other, each read to its end or left after `take` chunks; then the client is closed."""
    if style != "threads":
        return anyio.run(_on_loop, client, calls, backend=style)
    seen = []
    with client:
        for call in calls:
            seen.append(Seen())
            with noted(seen[-1]):
                _in_thread(*_prepared(client, call), seen[-1])
    return seen


def _prepared(client: Any, call: Mapping[str, Any]) -> tuple[Callable[[], Any], int | None]:
    said = {"model": "m", "messages": MESSAGES, **call}
    take = said.pop("take", None)
    shape = said.pop("shape", None)  # a pydantic class
    if hasattr(client, "chat"):
        if shape is not None:
            return partial(client.chat.completions.parse, response_format=shape, **said), take
        return partial(client.chat.completions.with_raw_response.create, **said), take
    if shape is not None:
        return partial(client.messages.parse, max_tokens=200, output_format=shape, **said), take
    return partial(client.messages.with_raw_response.create, **{"max_tokens": 200, **said}), take


def _in_thread(call: Callable[[], Any], take: int | None, seen: Seen) -> None:
    raw = call()
    if not hasattr(raw, "headers"):  # of `parse`
        seen.items.append(repr(raw))
        return
    seen.told = told_by(raw.headers)
    answer = raw.parse()
    if not hasattr(answer, "__next__"):
        seen.items.append(answer.model_dump())
        return
    with answer:
        for chunk in answer:
            seen.items.append(chunk.model_dump())
            if len(seen.items) == take:
                break


async def _on_loop(client: Any, calls: Sequence[Mapping[str, Any]]) -> list[Seen]:
    seen = []
    async with client:
        for call in calls:
            seen.append(Seen())
            with noted(seen[-1]):
                await _in_task(*_prepared(client, call), seen[-1])
    return seen


async def _in_task(call: Callable[[], Any], take: int | None, seen: Seen) -> None:
    raw = await call()
    if not hasattr(raw, "headers"):  # of `parse`
        seen.items.append(repr(raw))
        return
    seen.told = told_by(raw.headers)
    answer = raw.parse()
    if isawaitable(answer):
        answer = await answer
    if not hasattr(answer, "__anext__"):
        seen.items.append(answer.model_dump())
        return
    async with answer:
        async for chunk in answer:
            seen.items.append(chunk.model_dump())
            if len(seen.items) == take:
                break


def told_by(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-fastclient-")}


@contextmanager
def noted(seen: Seen) -> Iterator[None]:
    """An error is part of what was seen: its class, and what an `except` clause looks at."""
    try:
        yield
    except Exception as error:
        kind = type(error)
        status, body = getattr(error, "status_code", None), getattr(error, "body", None)
        seen.error = (kind.__module__, kind.__qualname__, str(status), str(body))
        seen.cause = error
