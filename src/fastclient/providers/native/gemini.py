"""Gemini as Google's SDK writes and reads it: looked at, and sent on as it came. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode

from fastclient.providers.dialect import Json, encoded
from fastclient.providers.gemini import option, root
from fastclient.providers.native.original import Asked
from fastclient.providers.native.pieces import events_of, grow, grown, opened, put
from fastclient.target import Target
from fastclient.types import Message, Request

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["form"]

_PATH = re.compile(r"/(?:models|tunedModels|endpoints)/([^/:]+):(generateContent|streamGenerateContent)(?:\?(.*))?\Z")
_SYSTEM = ("systemInstruction", "system_instruction")
_FUNCTIONS = frozenset(("functionDeclarations", "function_declarations"))
_TEXT = frozenset(("text", "thought", "thoughtSignature"))
_SAID = frozenset(("text", "thoughtSignature"))  # a signature may come behind its text, alone
_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Gemini:
    """The form of `POST .../models/{model}:generateContent`, and of `:streamGenerateContent?alt=sse`."""

    provider = "gemini"
    verbatim = False

    def asked(self, path: str, document: Json, *, exact: bool) -> Asked | None:  # noqa: ARG002
        found = _PATH.search(path)
        contents = document.get("contents")
        if found is None or not isinstance(contents, list) or not contents:
            return None
        streamed = found[2] == "streamGenerateContent"
        if streamed and ("alt", "sse") not in parse_qsl(found[3] or ""):
            return None  # a JSON array in pieces
        params = {name: value for name, value in document.items() if name != "contents" and name not in _SYSTEM}
        return Asked(unquote(found[1]), tuple(_words(document)), params, streamed, rigid=True)

    def streamable(self, document: Json) -> bool:
        """Sound comes in pieces, grounding in another order, and probabilities not at all."""
        config = option(document, "generationConfig")
        modalities = option(config, "responseModalities")
        if any(str(each).upper() != "TEXT" for each in modalities) or option(config, "responseLogprobs"):
            return False
        tools = document.get("tools") or ()
        functions = all(isinstance(tool, dict) and _FUNCTIONS.issuperset(tool) for tool in tools)
        calling = option(option(document, "toolConfig"), "functionCallingConfig")
        return (
            functions
            and option(config, "candidateCount") in ({}, 1)
            and not option(calling, "streamFunctionCallArguments")
        )

    def streaming(self, url: str, document: Json) -> tuple[str, Json]:
        address, _, query = url.partition("?")
        asked = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "alt"]
        address = address.removesuffix(":generateContent").removesuffix(":streamGenerateContent")
        return f"{address}:streamGenerateContent?{urlencode([*asked, ('alt', 'sse')])}", document

    def rewritten(self, document: Json, request: Request, layout: Layout | None) -> Json:  # noqa: ARG002
        return document

    def elsewhere(self, document: Json, url: str, target: Target) -> tuple[str, Json]:
        found = _PATH.search(url)
        verb = found[2] if found else "generateContent"
        streamed = "?alt=sse" if verb == "streamGenerateContent" else ""  # the rest may hold the other one's key
        return f"{root(target)}/models/{target.model}:{verb}{streamed}", document

    def gathered(self, events: bytes) -> bytes:
        found = events_of(events)
        if found is None:
            return events
        whole: Json = {}
        candidates: dict[int, _Candidate] = {}
        for event in found:
            for name, value in event.items():
                if name == "candidates":
                    whole.setdefault(name, [])
                    for candidate in value or ():
                        candidates.setdefault(candidate.get("index") or 0, _Candidate()).add(candidate)
                elif name == "usageMetadata" and isinstance(value, dict):
                    whole[name] = {**whole.get(name, {}), **value}
                else:
                    put(whole, name, value)
        if candidates:
            whole["candidates"] = [candidates[index].whole() for index in sorted(candidates)]
        return encoded(whole)

    def refused(self, status: int, message: str, kind: str) -> bytes:  # noqa: ARG002
        usual = "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"
        return encoded({"error": {"code": status, "message": message, "status": _ERRORS.get(status, usual)}})


def _words(document: Json) -> Iterator[Message]:
    """What is said, for estimating and for telling requests apart."""
    for name in _SYSTEM:
        if document.get(name):
            yield {"role": "system", "content": _parts(document[name])}
    for content in document["contents"]:
        role = (content.get("role") if isinstance(content, dict) else None) or "user"
        yield {"role": "assistant" if role == "model" else str(role), "content": _parts(content)}


def _parts(content: Any) -> Sequence[Json]:
    parts = content.get("parts") if isinstance(content, dict) else content
    if isinstance(parts, dict) or not isinstance(parts, list):
        parts = [parts]
    return [_part(part) for part in parts]


def _part(part: Any) -> Json:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict):
        return {"type": "other", "value": part}
    return {"type": "text", **part} if "text" in part else part


class _Candidate:
    """One answer under way."""

    def __init__(self) -> None:
        self._fields: Json = {}
        self._content: Json = {}
        self._parts: list[Json] = []

    def add(self, candidate: Json) -> None:
        for name, value in candidate.items():
            if name == "content":
                self._fields.setdefault(name, None)
                self._add_content(value or {})
            elif name == "citationMetadata" and isinstance(value, dict):
                grow(self._fields, {name: value})
            else:
                put(self._fields, name, value)

    def _add_content(self, content: Json) -> None:
        for name, value in content.items():
            if name == "parts":
                self._content.setdefault(name, [])
                for part in value or ():
                    self._add_part(part)
            else:
                put(self._content, name, value)

    def _add_part(self, part: Json) -> None:
        """More of the text before it, or a part of its own. What is signed is whole."""
        last = self._parts[-1] if self._parts else None
        if last is not None and _goes_on(last, part):
            grow(last, {name: value for name, value in part.items() if name != "thought"})
        elif last is None or part != {"text": ""}:  # which is how a stream may end behind a call
            self._parts.append(opened(part))

    def whole(self) -> Json:
        fields: Json = grown(self._fields)
        if "content" in fields:
            fields["content"] = self._content | ({"parts": grown(self._parts)} if self._parts else {})
        return fields


def _goes_on(last: Json, part: Json) -> bool:
    if "text" not in last or "thoughtSignature" in last or not (part.keys() & _SAID):
        return False
    return _TEXT.issuperset((*last, *part)) and bool(last.get("thought")) == bool(part.get("thought"))


form = Gemini()
