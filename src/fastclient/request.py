"""From the caller's words to a checked `Request`. Pure: nothing is sent, and what is wrong is named with its place."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, TypedDict

from fastclient.checks import instance, meant, one_of, seconds, whole
from fastclient.errors import ConfigError
from fastclient.parts import Part, laid_out
from fastclient.types import CacheMode, Message, Messages, Priority, Recovery, Request

__all__ = ["Options", "checked", "labels", "owned", "snapshot", "steering"]

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_NULLABLE = ("priority", "cache")  # None is no way to leave these out
_TAKEN = {
    "messages": "is the first argument",
    "model": "belongs to the client's target",
    "stream": "is client.stream()",
}


class Options(TypedDict, total=False):
    """What may be said beside the messages of one call. The first ten steer fastclient; the rest is the provider's.

    Provider parameters have OpenAI's names and are translated for others. Names not listed here are passed on as they
    are; `extra_body` does the same in a way type checkers accept.
    """

    priority: Priority
    namespace: str | None
    cache: CacheMode
    samples: int | None
    tags: Sequence[str] | None
    depends_on: Sequence[str] | None
    timeout: float | None
    hedge: bool | None
    recover: Recovery | None
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
    if not options and type(messages) is str and messages:  # by far the most common words
        return Request(messages=({"role": "user", "content": messages},), params={}, metadata={})
    params: dict[str, Any] = {}
    steering: dict[str, Any] = {}
    for name, value in options.items():
        check = _STEERING.get(name)
        if check is not None:
            if value is not None or name in _NULLABLE:
                steering[name] = check(name, value)
        elif value is not None:
            params[name] = value
    if "extra_body" in params:
        params |= _mapping("extra_body", params.pop("extra_body"))
    if not params.keys().isdisjoint(_TAKEN):
        name = next(iter(_TAKEN.keys() & params))
        shown = "" if name == "messages" else f"{reprlib.repr(params[name])} "
        raise ConfigError.at(name, f"{shown}cannot be given here: it {_TAKEN[name]}")
    if "tags" in steering or "depends_on" in steering:
        steering["labels"] = labels(steering.pop("tags", ()), steering.pop("depends_on", ()))
    if params.get("n", 1) != 1:
        raise ConfigError.of("n", params["n"], "must be 1: a reply holds one answer")
    if isinstance(messages, (list, tuple)) and any(isinstance(each, Part) for each in messages):
        messages, steering["shape"], offered = laid_out(messages)
        if offered is not None:
            if "tools" in params:
                raise ConfigError.at("tools", "are given twice: as an option and as a part")
            params["tools"] = offered
    return Request(messages=_messages(messages), params=params, **steering)


def steering(options: Mapping[str, Any]) -> dict[str, Any]:
    """What steers fastclient in these options, checked. Raises ConfigError for what does not."""
    for name, value in options.items():
        if name not in _STEERING:
            hint = meant(name, _STEERING)
            raise ConfigError.at(name, f"is not known here; known are {', '.join(_STEERING)}{hint}")
        _STEERING[name](name, value)
    return dict(options)


def _among(*allowed: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: object) -> object:
        one_of(name, value, allowed)
        return value

    return check


def _kind(kind: type) -> Callable[[str, Any], Any]:
    return lambda name, value: instance(name, value, kind)


def _duration(name: str, value: object) -> object:
    seconds(name, value)
    return value


def _names(name: str, value: object) -> object:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not all(map(_is_name, value)):
        raise ConfigError.of(name, value, "must be a list of texts that are not empty")
    return tuple(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def labels(tags: Sequence[str], depends_on: Sequence[str]) -> tuple[str, ...]:
    """What answers are forgotten by: a hash of each tag and each document, so that a store shows no names."""
    _names("tags", tags)
    _names("depends_on", depends_on)
    named = [*(("tag", each) for each in tags), *(("document", each) for each in depends_on)]
    return tuple(
        blake2b(f"{kind} {name}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() for kind, name in named
    )


def _number(name: str, value: object) -> object:
    whole(name, value)
    return value


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError.at(name, f"must be a mapping, not a {type(value).__name__}")
    return dict(value)


def _messages(messages: object) -> tuple[Message, ...]:
    if isinstance(messages, str):
        if not messages:
            raise ConfigError.of("messages", messages, "must not be empty")
        return ({"role": "user", "content": messages},)
    if not isinstance(messages, Sequence) or isinstance(messages, bytes):
        raise ConfigError.at("messages", f"must be a string or a list of messages, not a {type(messages).__name__}")
    if not messages:
        raise ConfigError.of("messages", messages, "must not be empty")
    return tuple(_message(message, f"messages[{number}]") for number, message in enumerate(messages))


def _message(message: object, place: str) -> Message:
    if not isinstance(message, Mapping):
        raise ConfigError.at(place, f"must be a dict with role and content, not a {type(message).__name__}")
    role = message.get("role")
    if role not in _ROLES:
        raise ConfigError.of(f"{place}.role", role, f"must be one of {', '.join(_ROLES)}{meant(role, _ROLES)}")
    content = message.get("content")
    if content is None:
        if not (role == "assistant" and message.get("tool_calls")):
            raise ConfigError.at(f"{place}.content", "is missing")
    elif not isinstance(content, str) and not (
        isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content)
    ):
        raise ConfigError.at(f"{place}.content", f"must be a string or a list of parts, not a {type(content).__name__}")
    return dict(message)


def snapshot(request: Request) -> Request:
    """The same request, out of its caller's reach: what the caller does to nested parts from now on does not show."""
    if request.original is not None:
        return request  # it came as bytes: nobody else has its parts
    if _flat((request.params, *request.messages)):
        return request  # the mappings themselves are ours already
    messages = tuple(owned(message) for message in request.messages)
    return replace(request, messages=messages, params=owned(request.params))


def _flat(mappings: Iterable[Mapping[str, object]]) -> bool:
    """Whether there are texts and numbers only in these, which nobody can change."""
    for mapping in mappings:
        for name in mapping:
            if type(mapping[name]) not in _UNCHANGING:
                return False
    return True


def owned(value: Any, depth: int = 0) -> Any:
    """A copy of JSON data, down to its texts and numbers."""
    if depth > 250:
        return value  # deeper than JSON is written; a structure that holds itself ends here too
    if isinstance(value, dict):
        return {name: owned(item, depth + 1) for name, item in value.items()}
    return [owned(item, depth + 1) for item in value] if isinstance(value, (list, tuple)) else value


_UNCHANGING = frozenset({str, int, float, bool, type(None)})
_STEERING: Mapping[str, Callable[[str, Any], Any]] = {
    "priority": _among("interactive", "default", "background"),
    "namespace": _kind(str),
    "cache": _among("use", "refresh", "off"),
    "samples": _number,
    "tags": _names,
    "depends_on": _names,
    "timeout": _duration,
    "hedge": _kind(bool),
    "recover": _among("restart", "resume"),
    "metadata": _mapping,
}
"""What steers fastclient and is not sent, with its check."""
