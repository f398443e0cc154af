"""Google's Gemini format: each event is a piece of the answer in the shape of the whole, and none says it is last."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from fastclient.testing.answer import Answer, ServerRequest, ToolCall, text_of, token_count, tokens_of
from fastclient.testing.formats import Asked, Events, Parts, dumps, items, loads, usage_of, whole_number

__all__ = ["Gemini"]

_Fields = dict[str, object]

_PATH = re.compile(r"/(?:models|tunedModels|endpoints)/([^/?]+):(generateContent|streamGenerateContent)")
_SIGNATURE = "c2lnbmVkIGJ5IHRoZSBwcmV0ZW5kIHByb3ZpZGVy"
_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_KINDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CODES = {kind: code for code, kind in _KINDS.items()}
_OVERLOADED = "overloaded_error"  # the word of the plans, which is Anthropic's


class Gemini:
    """The `gemini` dialect: `POST .../models/{model}:generateContent`, and `:streamGenerateContent?alt=sse`."""

    name = "gemini"
    malformed = b'data: {"candidates":[{"content":{"parts":[{"text":\r\n\r\n'

    def read(self, path: str, body: Mapping[str, object]) -> Asked:
        """What is asked, and how: model and streaming stand in the path. The whole prompt may be cached."""
        found = _PATH.search(path)
        contents = items(body.get("contents"))
        prompt = "".join(_prompt(body, contents))
        return Asked(
            model=unquote(found[1]) if found else "",
            messages=contents,
            stream=_streams(path) and _query(path).get("alt") == ["sse"],
            max_tokens=whole_number(_option(_option(body, "generationConfig"), "maxOutputTokens")),
            include_usage=True,
            prompt=prompt,
            cacheable=len(prompt),
        )

    def parts(self, answer: Answer, request: ServerRequest) -> Parts:
        """A piece without content, the pieces, and one with the finish reason and all counts. Calls come whole."""
        counts = _prompt_counts(answer, request)
        early = {"usageMetadata": {**counts, "totalTokenCount": counts["promptTokenCount"]}, **_known(answer, request)}
        tail = dumps(early)[1:]

        def event(*parts: _Fields) -> bytes:
            content: _Fields = {"parts": parts, "role": "model"} if parts else {"role": "model"}
            return b'data: {"candidates":[{"content":%b,"index":0}],%b\r\n\r\n' % (dumps(content), tail)

        tokens: list[Events] = []
        for said in _said(answer, request):
            tokens += [()] * said.unseen
            tokens += [(event({**said.fields, **piece}),) for piece in said.pieces]
        signed = {"thoughtSignature": _SIGNATURE} if answer.reasoning and not answer.tool_calls else {}
        last = _piece(answer, request, [{"text": "", **signed}])
        return Parts((event(),), tuple(tokens), (b"data: %b\r\n\r\n" % dumps(last),))

    def whole(self, answer: Answer, request: ServerRequest) -> bytes:
        """One object; in a list where a stream was asked for that is not one of events."""
        parts = [said.whole() for said in _said(answer, request)]
        if answer.reasoning and not answer.tool_calls and answer.deltas:
            parts[-1]["thoughtSignature"] = _SIGNATURE
        body = dumps(_piece(answer, request, parts))
        return b"[%b]" % body if _streams(request.path) else body

    def error(self, status: int, kind: str | None, message: str | None) -> bytes:
        """`{"error": {"code", "message", "status"}}`."""
        usual = _KINDS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        text = message or f"The pretend provider answers {status}."
        return dumps({"error": {"code": status, "message": text, "status": kind or usual}})

    def ping(self, sent: int) -> bytes:  # noqa: ARG002
        """A comment: this format has no ping."""
        return b": ping\n\n"

    def error_event(self, kind: str, message: str, request: ServerRequest, sent: int) -> bytes:  # noqa: ARG002
        """An event whose data is an error object."""
        kind = _KINDS[503] if kind == _OVERLOADED else kind
        return b"data: %b\r\n\r\n" % self.error(_CODES.get(kind, 500), kind, message)

    def headers(self, request: ServerRequest, seconds: float) -> dict[str, str]:  # noqa: ARG002
        """How many milliseconds Google says it took."""
        return {"server-timing": f"gfet4t7; dur={round(seconds * 1000)}"}

    def models(self, names: Sequence[str]) -> bytes:
        """A page of models."""
        methods = {"supportedGenerationMethods": ["generateContent"]}
        return dumps({"models": [{"name": f"models/{name}", "displayName": name, **methods} for name in names]})

    def key(self, path: str, headers: Mapping[str, str]) -> str | None:
        """`x-goog-api-key`, `key` in the query, or a bearer token."""
        given = headers.get("x-goog-api-key") or "".join(_query(path).get("key", ()))
        return given or headers.get("authorization", "").removeprefix("Bearer ") or None


def _query(path: str) -> dict[str, list[str]]:
    return parse_qs(path.partition("?")[2])


def _streams(path: str) -> bool:
    return ":streamGenerateContent" in path


def _option(fields: object, name: str) -> object:
    """A field by either of the spellings that Google takes."""
    if not isinstance(fields, Mapping):
        return None
    other = re.sub("[A-Z]", lambda sign: "_" + sign[0].lower(), name)
    return fields.get(name, fields.get(other))


def _prompt(body: Mapping[str, object], contents: Sequence[object]) -> Iterator[str]:
    if body.get("tools"):
        yield dumps(body["tools"]).decode()
    system = _option(body, "systemInstruction")
    if system:
        yield f"system: {_text(system)}\n"
    for content in contents:
        role = content.get("role", "user") if isinstance(content, Mapping) else "user"
        yield f"{role}: {_text(content)}\n"


def _text(content: object) -> str:
    return text_of(content["parts"] if isinstance(content, Mapping) and "parts" in content else content)


class _Said(NamedTuple):
    """One part of an answer: its fields, the pieces of it, and how many tokens it takes until there is one to see."""

    fields: Mapping[str, object]
    pieces: tuple[Mapping[str, object], ...]
    unseen: int = 0

    def whole(self) -> _Fields:
        """The part in one piece."""
        texts = [str(piece["text"]) for piece in self.pieces if "text" in piece]
        return {**({"text": "".join(texts)} if texts else self.pieces[0]), **self.fields}


def _said(answer: Answer, request: ServerRequest) -> Iterator[_Said]:
    if answer.reasoning:
        yield _Said({"thought": True}, tuple({"text": piece} for piece in tokens_of(answer.reasoning)))
    if answer.deltas:
        yield _Said({}, tuple({"text": piece} for piece in answer.deltas))
    for number, call in enumerate(answer.tool_calls):
        signed = {"thoughtSignature": _SIGNATURE} if answer.reasoning and not number else {}
        yield _Said(signed, ({"functionCall": _call(call, number, request)},), token_count(call.json))


def _call(call: ToolCall, number: int, request: ServerRequest) -> _Fields:
    return {"id": call.id or f"fc_{request.index:06d}_{number}", "name": call.name, "args": loads(call.json)}


def _known(answer: Answer, request: ServerRequest) -> _Fields:
    identity = f"resp_{request.index:06d}_{request.attempt}"
    return {"modelVersion": answer.model or request.model, "responseId": identity}


def _piece(answer: Answer, request: ServerRequest, parts: list[_Fields]) -> _Fields:
    """The whole answer, or the last piece of it: what is in it, why it ended, and the counts."""
    content: _Fields = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    candidate = {"content": content, "finishReason": _FINISH.get(answer.finish, answer.finish), "index": 0}
    usage = {"usageMetadata": _usage(answer, request)}
    return {"candidates": [candidate], **usage, **_known(answer, request), **answer.extra}


def _prompt_counts(answer: Answer, request: ServerRequest) -> _Fields:
    tokens = usage_of(answer, request).input
    return {"promptTokenCount": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}


def _usage(answer: Answer, request: ServerRequest) -> _Fields:
    """Google's `candidatesTokenCount` leaves the thoughts out; what did not happen is not counted."""
    usage = usage_of(answer, request)
    counts = _prompt_counts(answer, request)
    if usage.cached:
        counts["cachedContentTokenCount"] = usage.cached
        counts["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.cached}]
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    return {
        **counts,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.input + usage.output,
    }
