"""From the caller's words to a checked `Request`. Pure: nothing is sent, and what is wrong is named with its place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypedDict

from fastclient.errors import ConfigError
from fastclient.types import CacheMode, Message, Messages, Priority, Request

__all__ = ["Options", "checked"]

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_PRIORITIES = ("interactive", "default", "background")
_CACHE_MODES = ("use", "refresh", "off")
_TAKEN = {"model": "belongs to the target", "messages": "is the first argument", "stream": "is client.stream()"}


class Options(TypedDict, total=False):
    """What may be said beside the messages of one call. The first six steer fastclient; the rest goes to the provider.

    Provider parameters have OpenAI's names and are translated for others. Names not listed here are passed on as they
    are; `extra_body` does the same in a way type checkers accept.
    """

    priority: Priority
    namespace: str | None
    cache: CacheMode
    timeout: float | None
    hedge: None
    metadata: Mapping[str, object]

    max_tokens: int
    max_completion_tokens: int
    temperature: float
    top_p: float
    stop: str | Sequence[str]
    seed: int
    tools: Sequence[Mapping[str, object]]
    tool_choice: str | Mapping[str, object]
    parallel_tool_calls: bool
    response_format: Mapping[str, object]
    reasoning_effort: str
    thinking: Mapping[str, object]
    user: str
    extra_body: Mapping[str, object]


def checked(messages: Messages, options: Mapping[str, Any]) -> Request:
    """The request for these words. Raises ConfigError naming the field and the value."""
    params = dict(options)
    steering = {name: params.pop(name) for name in ("priority", "namespace", "cache", "timeout") if name in params}
    metadata = params.pop("metadata", None) or {}
    if params.get("hedge"):
        raise ConfigError.of("hedge", params["hedge"], "has no layer in this version")
    params.pop("hedge", None)
    params |= dict(params.pop("extra_body", None) or {})
    for name, value in params.items():
        if name in _TAKEN:
            raise ConfigError.of(name, value, f"cannot be given here: it {_TAKEN[name]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError.of(name, value, "must be a finite number")
    _one_of("priority", steering.get("priority", "default"), _PRIORITIES)
    _one_of("cache", steering.get("cache", "use"), _CACHE_MODES)
    timeout = steering.get("timeout")
    if timeout is not None and not (isinstance(timeout, (int, float)) and 0 < timeout < math.inf):
        raise ConfigError.of("timeout", timeout, "must be a finite number of seconds above 0")
    return Request(messages=_messages(messages), params=params, metadata=metadata, **steering)


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError.of(name, value, f"must be one of {', '.join(allowed)}")


def _messages(messages: object) -> tuple[Message, ...]:
    if isinstance(messages, str):
        if not messages:
            raise ConfigError.of("messages", messages, "must not be empty")
        return ({"role": "user", "content": messages},)
    if not isinstance(messages, Sequence) or isinstance(messages, bytes):
        raise ConfigError.of("messages", type(messages).__name__, "must be a string or a list of messages")
    if not messages:
        raise ConfigError.of("messages", messages, "must not be empty")
    return tuple(_message(message, f"messages[{number}]") for number, message in enumerate(messages))


def _message(message: object, place: str) -> Message:
    if not isinstance(message, Mapping):
        raise ConfigError.of(place, type(message).__name__, "must be a dict with role and content")
    role = message.get("role")
    if role not in _ROLES:
        near = get_close_matches(role, _ROLES, 1) if isinstance(role, str) else []
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError.of(f"{place}.role", role, f"must be one of {', '.join(_ROLES)}{hint}")
    content = message.get("content")
    if content is None:
        if not (role == "assistant" and message.get("tool_calls")):
            raise ConfigError.of(f"{place}.content", content, "is missing")
    elif not isinstance(content, str) and not (
        isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content)
    ):
        raise ConfigError.of(f"{place}.content", type(content).__name__, "must be a string or a list of parts")
    return dict(message)
