"""Messages as the Anthropic SDK writes and reads it: its blocks in OpenAI's words where they have some. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fastclient.errors import ConfigError
from fastclient.providers.anthropic import dialect, root
from fastclient.providers.dialect import Json, encoded
from fastclient.providers.native.blocks import message_of
from fastclient.providers.native.original import Asked
from fastclient.providers.native.pieces import events_of, replaced
from fastclient.providers.turns import CALL_EXTRAS, RESULT_EXTRAS, Marks, turned
from fastclient.target import Target
from fastclient.types import Message, Request

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["form"]

_NOT_PARAMS = frozenset(("model", "messages", "system", "stream"))
_DICT = frozenset((dict,))
_ODD = (ConfigError, KeyError, TypeError, AttributeError, ValueError)
# Parameters of which it is known how their answers are streamed.
_KNOWN = frozenset((
    *("model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences"),
    *("metadata", "tools", "tool_choice", "thinking", "service_tier", "container", "mcp_servers", "output_config"),
    *("output_format", "context_management", "cache_control", "inference_geo", "speed", "user_profile_id"),
    *("workspace_id", "diagnostics"),
))  # fmt: skip
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Messages:
    """The form of `POST .../messages`."""

    provider = "anthropic"
    verbatim = False

    def asked(self, path: str, document: Json, *, exact: bool) -> Asked | None:
        model, turns, streamed = document.get("model"), document.get("messages"), document.get("stream")
        if not path.partition("?")[0].endswith("/messages") or "max_tokens" not in document:
            return None
        if not isinstance(model, str) or not model or not isinstance(turns, list) or not turns:
            return None
        if streamed not in (None, True, False):
            return None
        params = {name: value for name, value in document.items() if name not in _NOT_PARAMS}
        try:
            words = tuple(_words(document))
        except _ODD:
            return Asked(model, (), params, streamed is True, rigid=True)
        return Asked(model, words, params, streamed is True, exact and not _is_exact(words, params, document))

    def streamable(self, document: Json) -> bool:
        if not _KNOWN.issuperset(document):
            return False
        tools = document.get("tools")  # eager ones may stream what is no JSON
        return not isinstance(tools, list) or not any(
            isinstance(tool, dict) and tool.get("eager_input_streaming") for tool in tools
        )

    def streaming(self, url: str, document: Json) -> tuple[str, Json]:
        return url, {**document, "stream": True}

    def rewritten(self, document: Json, request: Request, layout: Layout | None) -> Json:
        marks = Marks(layout)
        system, turns = turned(request.messages, marks, plain=True)
        fields: Json = {**request.params, "messages": turns}
        if system:
            fields["system"] = system
        if isinstance(fields.get("tools"), list):
            fields["tools"] = tools = [*fields["tools"]]
            marks.put(tools, None)
        return replaced(document, fields, ("model", "stream"))

    def elsewhere(self, document: Json, url: str, target: Target) -> tuple[str, Json]:
        beta = "?beta=true" if "beta=true" in url.partition("?")[2].split("&") else ""  # all else may be a key
        return f"{root(target) or dialect.base_url}/v1/messages{beta}", {**document, "model": target.model}

    def gathered(self, events: bytes) -> bytes:
        found = events_of(events)
        return events if found is None else encoded(message_of(found))

    def refused(self, status: int, message: str, kind: str) -> bytes:  # noqa: ARG002
        usual = "api_error" if status >= 500 else "invalid_request_error"
        error = {"type": _ERRORS.get(status, usual), "message": message}
        return encoded({"type": "error", "error": error, "request_id": None})


def _words(document: Json) -> Iterator[Message]:
    """The conversation in OpenAI's words. Raises a lookup or type error where it has not the shape it should have."""
    if document.get("system") is not None:
        yield {"role": "system", "content": _checked(document["system"])}
    for turn in document["messages"]:
        role, content = turn["role"], _checked(turn["content"])
        if not isinstance(role, str):
            raise TypeError("a role is no text")
        if isinstance(content, str) or role not in ("user", "assistant"):
            yield {"role": role, "content": content}
        elif role == "assistant":
            yield _said(content)
        else:
            yield from _answered(content)


def _checked(content: Any) -> Any:
    if not isinstance(content, str) and not (isinstance(content, list) and _DICT.issuperset(map(type, content))):
        raise TypeError("neither a text nor blocks")
    return content


def _said(content: list[Json]) -> Message:
    """An assistant's turn. Calls that stand in front of something else could not be put back into their place."""
    kinds = [block["type"] for block in content]
    calls = kinds.count("tool_use")
    rest = len(kinds) - calls
    if not calls or "tool_use" in kinds[:rest]:
        return {"role": "assistant", "content": content}
    return {"role": "assistant", "content": content[:rest] or None, "tool_calls": [*map(_call, content[rest:])]}


def _call(block: Json) -> Json:
    function = {"name": block["name"], "arguments": encoded(block["input"]).decode()}
    return {"id": block["id"], "type": "function", "function": function} | _extras(block, CALL_EXTRAS)


def _answered(content: list[Json]) -> Iterator[Message]:
    """A user's turn: results of tools, as they have to be in front, and what the user said."""
    kinds = [block["type"] for block in content]
    results = kinds.count("tool_result")
    if "tool_result" in kinds[results:]:
        yield {"role": "user", "content": content}
        return
    for block in content[:results]:
        message: Json = {"role": "tool", "tool_call_id": block["tool_use_id"]}
        if "content" in block:
            message["content"] = block["content"]
        yield message | _extras(block, RESULT_EXTRAS)
    if results < len(content) or not content:
        yield {"role": "user", "content": content[results:]}


def _extras(block: Json, names: tuple[str, ...]) -> Json:
    return {name: block[name] for name in names if name in block}


def _is_exact(words: tuple[Message, ...], params: Mapping[str, object], document: Json) -> bool:
    """Whether these words, written again, are what stands in the document."""
    tools = params.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        return False
    try:
        system, turns = turned(words, _UNMARKED, plain=True)
    except _ODD:
        return False
    return turns == document["messages"] and (system or None) == document.get("system")


_UNMARKED = Marks(None)
form = Messages()
