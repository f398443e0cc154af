"""OpenAI's Chat Completions format, as OpenAI and its many imitators write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fastclient.testing.answer import Answer, ServerRequest, ToolCall, text_of, tokens_of
from fastclient.testing.formats import Asked, Events, Parts, dumps, items, usage_of, whole_number

__all__ = ["ChatCompletions"]

_CREATED = 1_750_000_000  # fixed, so that the same answer is the same bytes
_DONE = b"data: [DONE]\n\n"
_KINDS = {
    400: ("invalid_request_error", "invalid_request"),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "not_found"),
    413: ("invalid_request_error", "context_length_exceeded"),
    429: ("requests", "rate_limit_exceeded"),
}


class ChatCompletions:
    """The `openai` dialect: `POST .../chat/completions`."""

    name = "openai"
    ping = b": ping\n\n"  # this format has no ping event; imitators send comments
    malformed = b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","choices":[{"delta":{"content":\n\n'

    def read(self, path: str, body: Mapping[str, object]) -> Asked:  # noqa: ARG002
        """What is asked; the whole prompt may be cached, as OpenAI does it."""
        messages = items(body.get("messages"))
        prompt = "".join(_prompt(body.get("tools"), messages))
        options = body.get("stream_options")
        return Asked(
            model=str(body.get("model", "")),
            messages=messages,
            stream=body.get("stream") is True,
            max_tokens=whole_number(body.get("max_completion_tokens", body.get("max_tokens"))),
            include_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
            prompt=prompt,
            cacheable=len(prompt),
        )

    def parts(self, answer: Answer, request: ServerRequest) -> Parts:
        """The role-only chunk, the deltas, the finish chunk, the usage chunk if asked for, `[DONE]`."""
        head = _chunk_head(answer, request)
        tail = b',"logprobs":null,"finish_reason":null}]' + b',"usage":null' * request.include_usage + b"}\n\n"
        first = b'data: %b,"choices":[{"index":0,"delta":' % head
        tokens = tuple((first + delta + tail,) for delta in _deltas(answer, request))
        role = first + b'{"role":"assistant","content":"","refusal":null}' + tail
        return Parts((role,), tokens, (*_ending(answer, request, head), _DONE))

    def whole(self, answer: Answer, request: ServerRequest) -> bytes:
        """A `chat.completion` object."""
        message: dict[str, object] = {"role": "assistant", "content": answer.whole_text or None, "refusal": None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [_tool(call, at, request) for at, call in enumerate(answer.tool_calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
        body = {"id": _id(request), "object": "chat.completion", "created": _CREATED}
        body |= {"model": answer.model or request.model, "choices": [choice], "usage": _usage(answer, request)}
        return dumps({**body, "service_tier": "default", **answer.extra})

    def error(self, status: int, kind: str | None, message: str | None) -> bytes:
        """`{"error": {"message", "type", "param", "code"}}`."""
        usual, code = _KINDS.get(status, ("server_error", None))
        detail = {"message": message or f"The pretend provider answers {status}.", "type": kind or usual}
        return dumps({"error": {**detail, "param": None, "code": kind or code}})

    def error_event(self, kind: str, message: str) -> bytes:
        """An event whose data is an error object."""
        return b'data: {"error":%b}\n\n' % dumps({"message": message, "type": kind, "param": None, "code": kind})

    def headers(self, request: ServerRequest, seconds: float) -> dict[str, str]:
        """The request id and the milliseconds OpenAI says it took."""
        return {"x-request-id": f"req_{request.arrival:08d}", "openai-processing-ms": str(round(seconds * 1000))}

    def models(self, names: Sequence[str]) -> bytes:
        """A list of `model` objects."""
        data = [{"id": name, "object": "model", "created": _CREATED, "owned_by": "fastclient"} for name in names]
        return dumps({"object": "list", "data": data})

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The bearer token, or Azure's `api-key`."""
        return headers.get("authorization", "").removeprefix("Bearer ") or headers.get("api-key")


def _prompt(tools: object, messages: Sequence[object]) -> Iterator[str]:
    if tools:
        yield dumps(tools).decode()
    for message in messages:
        if isinstance(message, Mapping):
            calls = message.get("tool_calls")
            yield f"{message.get('role')}: {text_of(message.get('content'))}{dumps(calls).decode() if calls else ''}\n"


def _id(request: ServerRequest) -> str:
    return f"chatcmpl-{request.index:06d}-{request.attempt}"


def _chunk_head(answer: Answer, request: ServerRequest) -> bytes:
    known = {"id": _id(request), "object": "chat.completion.chunk", "created": _CREATED}
    return dumps({**known, "model": answer.model or request.model, "service_tier": "default"})[:-1]


def _deltas(answer: Answer, request: ServerRequest) -> Iterator[bytes]:
    for piece in tokens_of(answer.reasoning):
        yield b'{"reasoning_content":%b}' % dumps(piece)
    for piece in answer.deltas:
        yield b'{"content":%b}' % dumps(piece)
    for at, call in enumerate(answer.tool_calls):
        yield dumps({"tool_calls": [{"index": at, **_tool(call, at, request, arguments="")}]})
        for piece in tokens_of(call.json):
            yield dumps({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})


def _tool(call: ToolCall, at: int, request: ServerRequest, arguments: str | None = None) -> dict[str, object]:
    function = {"name": call.name, "arguments": call.json if arguments is None else arguments}
    return {"id": call.id or f"call_{request.index:06d}_{at}", "type": "function", "function": function}


def _ending(answer: Answer, request: ServerRequest, head: bytes) -> Events:
    finish = b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":%b}]' % dumps(answer.finish)
    extra = b"," + dumps(answer.extra)[1:-1] if answer.extra else b""
    if not request.include_usage:
        return (b"data: %b,%b%b}\n\n" % (head, finish, extra),)
    numbers = dumps(_usage(answer, request))
    last = b'data: %b,"choices":[],"usage":%b%b}\n\n' % (head, numbers, extra)
    return (b'data: %b,%b,"usage":null}\n\n' % (head, finish), last)


def _usage(answer: Answer, request: ServerRequest) -> dict[str, object]:
    usage = usage_of(answer, request)
    prompt = {"cached_tokens": usage.cached, "audio_tokens": 0} | {"cache_write_tokens": usage.written}
    details = {"reasoning_tokens": usage.reasoning, "audio_tokens": 0}
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": details | {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    }
