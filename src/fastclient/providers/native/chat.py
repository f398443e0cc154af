"""Chat Completions as the OpenAI SDK, and every other client of this format, writes and reads it. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fastclient.providers.dialect import Json, encoded
from fastclient.providers.native.original import Asked
from fastclient.providers.native.pieces import events_of, grow, grown, opened, put, replaced
from fastclient.providers.openai import dialect, marked, renamed
from fastclient.target import Target
from fastclient.types import Request

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["form", "refused_by_openai"]

_PATH = re.compile(r"(?:/deployments/(?P<model>[^/]+))?/chat/completions")
_DELIVERY = ("stream", "stream_options")  # how the answer comes, not what it is
_NOT_PARAMS = frozenset(("model", "messages", *_DELIVERY))
# Answered in another way, or not at all, where the answer is streamed: sound, and what some servers compute at the end.
_WHOLE_ONLY = ("audio", "stream_options", "prompt_logprobs", "use_beam_search", "best_of", "background")


class Chat:
    """The form of `POST .../chat/completions`."""

    provider = "openai"
    verbatim = True

    def asked(self, path: str, document: Json, *, exact: bool) -> Asked | None:  # noqa: ARG002
        found = _PATH.search(path.partition("?")[0])
        messages, streamed = document.get("messages"), document.get("stream")
        if found is None or found.end() != len(found.string) or not isinstance(messages, list) or not messages:
            return None
        model = document.get("model")
        if model is None and found["model"]:
            model = unquote(found["model"])  # Azure's
        if not isinstance(model, str) or not model or streamed not in (None, True, False):
            return None
        if not all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in messages):
            return None
        params = {name: value for name, value in document.items() if name not in _NOT_PARAMS}
        return Asked(model, tuple(messages), params, streamed is True, not all(map(_is_plain, messages)))

    def streamable(self, document: Json) -> bool:
        if document.get("n") not in (None, 1) or document.get("modalities") not in (None, ["text"]):
            return False
        return all(document.get(name) is None for name in _WHOLE_ONLY)

    def streaming(self, url: str, document: Json) -> tuple[str, Json]:
        return url, {**document, "stream": True, "stream_options": {"include_usage": True}}

    def rewritten(self, document: Json, request: Request, layout: Layout | None) -> Json:
        fields: Json = {"messages": list(request.messages), **request.params}
        if layout is not None:
            fields |= layout.params
            fields["messages"] = marked(request.messages, layout)
        return replaced(document, fields, ("model", *_DELIVERY))

    def elsewhere(self, document: Json, url: str, target: Target) -> tuple[str, Json]:  # noqa: ARG002
        base = target.base_url or dialect.base_url
        return f"{base}/chat/completions", renamed({**document, "model": target.model}, base)

    def gathered(self, events: bytes) -> bytes:
        found = events_of(events)
        if found is None:
            return events
        whole: Json = {}
        choices: dict[int, _Choice] = {}
        for event in found:
            for name, value in event.items():
                if name == "choices":
                    whole.setdefault(name, [])
                    for choice in value or ():
                        index = choice.get("index") or 0
                        if index not in choices:
                            choices[index] = _Choice()
                        choices[index].add(choice)
                elif value is not None or name not in whole:
                    put(whole, name, value)
        whole.pop("obfuscation", None)  # padding against those who count bytes
        whole["object"] = "chat.completion"
        whole["choices"] = [choices[index].whole() for index in sorted(choices)]
        return encoded(whole)

    def refused(self, status: int, message: str, kind: str) -> bytes:
        return refused_by_openai(status, message, kind)


def refused_by_openai(status: int, message: str, kind: str) -> bytes:
    """An error body as OpenAI writes them."""
    usual = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return encoded({"error": {"message": message, "type": usual, "param": None, "code": kind}})


def _is_plain(message: Json) -> bool:
    """Whether a message has content that can be looked into."""
    content = message.get("content")
    if isinstance(content, list):
        return all(isinstance(part, dict) for part in content)
    return content is None or isinstance(content, str)


class _Choice:
    """One answer under way."""

    def __init__(self) -> None:
        self._fields: Json = {}
        self._message: Json = {}
        self._calls: list[tuple[int, Json]] = []
        self._current: dict[int, Json] = {}  # by index

    def add(self, choice: Json) -> None:
        for name, value in choice.items():
            if name == "delta":
                self._fields.setdefault("message", None)
                self._add_delta(value or {})
            elif name == "logprobs" or isinstance(value, list):
                grow(self._fields, {name: value})
            else:
                put(self._fields, name, value)

    def _add_delta(self, delta: Json) -> None:
        calls = delta.get("tool_calls")
        grow(self._message, delta if calls is None else delta | {"tool_calls": None})
        for position, call in enumerate(calls or ()):
            self._add_call(position, call)

    def _add_call(self, position: int, call: Json) -> None:
        """Servers differ: some repeat id and name, some count every parallel call as index 0."""
        index = call.get("index")
        index = position if index is None else index
        piece = {name: value for name, value in call.items() if name != "index"}
        held = self._current.get(index)
        if held is None or _begins(grown(held), piece):
            held = self._current[index] = opened(piece)
            self._calls.append((index, held))
        else:
            grow(held, piece)

    def whole(self) -> Json:
        """The choice as it stands in a whole answer, where what was not said is null and not empty."""
        message: Json = {"content": None} | grown(self._message)
        message.pop("tool_calls", None)
        if self._calls:
            message["tool_calls"] = [grown(call) for _, call in sorted(self._calls, key=lambda item: item[0])]
        if not message["content"] and any(message.get(name) for name in ("tool_calls", "refusal", "function_call")):
            message["content"] = None
        fields: Json = grown(self._fields)
        return {"index": 0} | fields | {"message": message}


def _begins(held: Json, piece: Json) -> bool:
    """Whether a piece is not more of the call that is under way under its index, but a new one."""
    name = (piece.get("function") or {}).get("name")
    known = (held.get("function") or {}).get("name")
    return bool(name and known and piece.get("id") and piece["id"] != held.get("id"))


form = Chat()
