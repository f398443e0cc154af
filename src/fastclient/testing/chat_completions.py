"""OpenAI's Chat Completions format, as OpenAI and its many imitators write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fastclient.testing.answer import Answer, ServerRequest, ToolCall, text_of, tokens_of
from fastclient.testing.formats import Asked, Events, Parts, dumps, items, usage_of, whole_number
from fastclient.testing.openai import CREATED, OpenAI

__all__ = ["ChatCompletions"]

_DONE = b"data: [DONE]\n\n"


class ChatCompletions(OpenAI):
    """The `openai` dialect: `POST .../chat/completions`."""

    name = "openai"
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
        body = {"id": _id(request), "object": "chat.completion", "created": CREATED}
        body |= {"model": answer.model or request.model, "choices": [choice], "usage": _usage(answer, request)}
        return dumps({**body, "service_tier": "default", **answer.extra})

    def ping(self, sent: int) -> bytes:  # noqa: ARG002
        """A comment: this format has no ping event, and imitators send comments."""
        return b": ping\n\n"

    def error_event(self, kind: str, message: str, request: ServerRequest, sent: int) -> bytes:  # noqa: ARG002
        """An event whose data is an error object."""
        return b'data: {"error":%b}\n\n' % dumps({"message": message, "type": kind, "param": None, "code": kind})


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
    known = {"id": _id(request), "object": "chat.completion.chunk", "created": CREATED}
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
