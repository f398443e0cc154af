"""Anthropic's Messages format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fastclient.testing.answer import Answer, ServerRequest, ToolCall, text_of, tokens_of
from fastclient.testing.formats import Asked, Events, Parts, Usage, dumps, items, loads, usage_of, whole_number

__all__ = ["Messages"]

_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_SIGNATURE = "c2lnbmVkIGJ5IHRoZSBwcmV0ZW5kIHByb3ZpZGVy"
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Messages:
    """The `anthropic` dialect: `POST .../messages`."""

    name = "anthropic"
    malformed = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"ty\n\n'

    def read(self, path: str, body: Mapping[str, object]) -> Asked:  # noqa: ARG002
        """What is asked; what stands before the last `cache_control` mark may be cached."""
        prompt, cacheable = _prompt(body)
        return Asked(
            model=str(body.get("model", "")),
            messages=items(body.get("messages")),
            stream=body.get("stream") is True,
            max_tokens=whole_number(body.get("max_tokens")),
            include_usage=True,
            prompt=prompt,
            cacheable=cacheable,
        )

    def parts(self, answer: Answer, request: ServerRequest) -> Parts:
        """`message_start` and a ping, the content blocks, `message_delta` and `message_stop`."""
        usage = _usage(answer, request)
        message = _message(answer, request, content=[], stop=None, usage=_start_usage(usage))
        opening = (_event("message_start", {"message": message}), _PING)
        blocks = [*_blocks(answer, request)]
        tokens = tuple(token for at, block in enumerate(blocks) for token in _block_tokens(at, *block))
        delta = {"delta": {"stop_reason": _stop(answer), "stop_sequence": None}, "usage": _end_usage(usage)}
        return Parts(opening, tokens, (_event("message_delta", {**delta, **answer.extra}), _event("message_stop", {})))

    def whole(self, answer: Answer, request: ServerRequest) -> bytes:
        """A `message` object."""
        usage = _usage(answer, request)
        content = [_finished(start, pieces) for start, _, pieces in _blocks(answer, request)]
        numbers = {**_start_usage(usage), **_end_usage(usage)}
        return dumps({**_message(answer, request, content, _stop(answer), numbers), **answer.extra})

    def error(self, status: int, kind: str | None, message: str | None) -> bytes:
        """`{"type": "error", "error": {"type", "message"}, "request_id"}`."""
        kind = kind or _KINDS.get(status, "api_error")
        detail = {"type": kind, "message": message or f"The pretend provider answers {status}."}
        return dumps({"type": "error", "error": detail, "request_id": "req_error"})

    def ping(self, sent: int) -> bytes:  # noqa: ARG002
        """A `ping` event."""
        return _PING

    def error_event(self, kind: str, message: str, request: ServerRequest, sent: int) -> bytes:  # noqa: ARG002
        """An `error` event."""
        return b"event: error\ndata: %b\n\n" % self.error(200, kind, message)

    def headers(self, request: ServerRequest, seconds: float) -> dict[str, str]:  # noqa: ARG002
        """The request id; Anthropic reports no timings."""
        return {"request-id": f"req_{request.arrival:08d}"}

    def models(self, names: Sequence[str]) -> bytes:
        """A page of `model` objects."""
        known = {"type": "model", "created_at": "2025-06-15T00:00:00Z", "lifecycle": "active"}
        data = [{**known, "id": name, "display_name": name} for name in names]
        return dumps({"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]})

    def key(self, path: str, headers: Mapping[str, str]) -> str | None:  # noqa: ARG002
        """`x-api-key`, or a bearer token."""
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ") or None


def _event(kind: str, fields: Mapping[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps({"type": kind, **fields}))


def _prompt(body: Mapping[str, object]) -> tuple[str, int]:
    texts, length, cacheable = [], 0, 0
    for text, marked in _prompt_pieces(body):
        texts.append(text)
        length += len(text)
        cacheable = length if marked else cacheable
    return "".join(texts), length if body.get("cache_control") else cacheable


def _prompt_pieces(body: Mapping[str, object]) -> Iterator[tuple[str, bool]]:
    for tool in items(body.get("tools")):
        yield dumps(tool).decode(), _marked(tool)
    yield from _content_pieces(body.get("system"))
    for message in items(body.get("messages")):
        if isinstance(message, Mapping):
            yield f"{message.get('role')}: ", False
            yield from _content_pieces(message.get("content"))
            yield "\n", False


def _content_pieces(content: object) -> Iterator[tuple[str, bool]]:
    if isinstance(content, list):
        for block in content:
            yield text_of([block]), _marked(block)
    else:
        yield text_of(content), False


def _marked(block: object) -> bool:
    return isinstance(block, Mapping) and bool(block.get("cache_control"))


def _blocks(answer: Answer, request: ServerRequest) -> Iterator[tuple[dict[str, object], str, tuple[str, ...]]]:
    """Each content block: how it starts, which field of its deltas holds the text, and the pieces of that text."""
    if answer.reasoning:
        start: dict[str, object] = {"type": "thinking", "thinking": "", "signature": ""}
        yield start, "thinking_delta", tokens_of(answer.reasoning)
    if answer.deltas:
        yield {"type": "text", "text": ""}, "text_delta", answer.deltas
    for at, call in enumerate(answer.tool_calls):
        yield _tool(call, at, request), "input_json_delta", ("", *tokens_of(call.json))


def _tool(call: ToolCall, at: int, request: ServerRequest) -> dict[str, object]:
    return {"type": "tool_use", "id": call.id or f"toolu_{request.index:06d}_{at}", "name": call.name, "input": {}}


_FIELD = {"thinking_delta": "thinking", "text_delta": "text", "input_json_delta": "partial_json"}


def _block_tokens(at: int, start: dict[str, object], kind: str, pieces: tuple[str, ...]) -> list[Events]:
    """The events of each token of a block: its first brings the start with it, its last the stop."""
    head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":' % (
        at,
        kind.encode(),
        _FIELD[kind].encode(),
    )
    tokens: list[Events] = [(head + dumps(piece) + b"}}\n\n",) for piece in pieces]
    tokens[0] = (_event("content_block_start", {"index": at, "content_block": start}), *tokens[0])
    if kind == "thinking_delta":
        signature = {"type": "signature_delta", "signature": _SIGNATURE}
        tokens[-1] = (*tokens[-1], _event("content_block_delta", {"index": at, "delta": signature}))
    tokens[-1] = (*tokens[-1], _event("content_block_stop", {"index": at}))
    return tokens


def _finished(start: dict[str, object], pieces: tuple[str, ...]) -> dict[str, object]:
    text = "".join(pieces)
    if start["type"] == "thinking":
        return {**start, "thinking": text, "signature": _SIGNATURE}
    if start["type"] == "tool_use":
        return {**start, "input": loads(text)}
    return {**start, "text": text}


def _message(
    answer: Answer, request: ServerRequest, content: list[dict[str, object]], stop: str | None, usage: object
) -> dict[str, object]:
    head = {"id": f"msg_{request.index:06d}_{request.attempt}", "type": "message", "role": "assistant"}
    rest = {"content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}
    return {**head, "model": answer.model or request.model, **rest}


def _stop(answer: Answer) -> str:
    return _STOP.get(answer.finish, answer.finish)


def _usage(answer: Answer, request: ServerRequest) -> Usage:
    """Without a mark nothing is cached; what is marked and was not there yet is written."""
    return usage_of(answer, request, written=max(0, request.cacheable // 256 * 64 - request.cached_tokens))


def _start_usage(usage: Usage) -> dict[str, object]:
    written = {"ephemeral_5m_input_tokens": usage.written, "ephemeral_1h_input_tokens": 0}
    return {**_input_usage(usage), "cache_creation": written, "output_tokens": 1, "service_tier": "standard"}


def _end_usage(usage: Usage) -> dict[str, object]:
    thinking = {"output_tokens_details": {"thinking_tokens": usage.reasoning}}
    return {**_input_usage(usage), "output_tokens": usage.output, **thinking}


def _input_usage(usage: Usage) -> dict[str, object]:
    """Anthropic's `input_tokens` leaves out what was read from or written to the cache."""
    fresh = max(0, usage.input - usage.cached - usage.written)
    cached = {"cache_creation_input_tokens": usage.written, "cache_read_input_tokens": usage.cached}
    return {"input_tokens": fresh, **cached}
