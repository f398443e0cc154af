"""OpenAI's Responses format: typed and numbered events, and the whole answer again in the last of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import NamedTuple

from fastclient.testing.answer import Answer, ServerRequest, ToolCall, text_of, tokens_of
from fastclient.testing.formats import Asked, Events, Parts, dumps, items, usage_of, whole_number
from fastclient.testing.openai import CREATED, OpenAI

__all__ = ["Responses"]

_Fields = dict[str, object]

_UNFINISHED = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What a response repeats of its request, with what it says where nothing was asked for.
_REPEATED: Mapping[str, object] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


class Responses(OpenAI):
    """The `openai-responses` dialect: `POST .../responses`. Answers are not kept: nothing can be asked for again."""

    name = "openai-responses"
    malformed = (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","output_index":0,"de\n\n'
    )

    def read(self, path: str, body: Mapping[str, object]) -> Asked:  # noqa: ARG002
        """What is asked; a text as input is the user's only message."""
        said = body.get("input")
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else items(said)
        prompt = "".join(_prompt(body, messages))
        return Asked(
            model=str(body.get("model", "")),
            messages=messages,
            stream=body.get("stream") is True,
            max_tokens=whole_number(body.get("max_output_tokens")),
            include_usage=True,
            prompt=prompt,
            cacheable=len(prompt),
        )

    def parts(self, answer: Answer, request: ServerRequest) -> Parts:
        """Everything before the first content, the items of the output, the response again as a whole."""
        numbers = count()
        begun = {"response": _response(answer, request, "in_progress")}
        opening = tuple(_event(kind, begun, next(numbers)) for kind in ("created", "in_progress"))
        tokens: list[Events] = []
        output = _output(answer, request)
        for at, item in enumerate(output):
            start = item.start(numbers)
            deltas = item.deltas(numbers)
            if item.named:
                deltas.insert(0, start)
            elif at:
                deltas[0] = (*start, *deltas[0])
            else:
                opening += start
            deltas[-1] += item.end(numbers)
            tokens += deltas
        whole = _finished(answer, request, output)
        return Parts(opening, tuple(tokens), (_event(str(whole["status"]), {"response": whole}, next(numbers)),))

    def whole(self, answer: Answer, request: ServerRequest) -> bytes:
        """A `response` object."""
        return dumps(_finished(answer, request, _output(answer, request)))

    def ping(self, sent: int) -> bytes:
        """A `keepalive` event, which OpenAI sends and does not document."""
        return b'event: keepalive\ndata: {"type":"keepalive","sequence_number":%d}\n\n' % sent

    def error_event(self, kind: str, message: str, request: ServerRequest, sent: int) -> bytes:
        """An `error` event, and the response again as a failed one."""
        error = {"type": kind, "code": kind, "message": message, "param": None}
        told = b"event: error\ndata: %b\n\n" % dumps({"type": "error", "sequence_number": sent, "error": error})
        failed = _response(Answer(), request, "failed") | {"error": {"code": kind, "message": message}}
        return told + _event("failed", {"response": failed}, sent + 1)


def _prompt(body: Mapping[str, object], messages: Sequence[object]) -> Iterator[str]:
    if body.get("tools"):
        yield dumps(body["tools"]).decode()
    if body.get("instructions"):
        yield f"system: {text_of(body['instructions'])}\n"
    for item in messages:
        if isinstance(item, Mapping) and "content" in item:
            yield f"{item.get('role')}: {text_of(item['content'])}\n"
        else:
            yield f"{dumps(item).decode()}\n"


def _event(kind: str, fields: Mapping[str, object], number: int) -> bytes:
    kind = f"response.{kind}"
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps({"type": kind, "sequence_number": number, **fields}))


class _Item(NamedTuple):
    """One item of the output. `added` and `done` are how it begins and ends; `part` is what is inside of it, if its
    pieces are not in the item itself. With `named`, its beginning is the model's own first token."""

    place: _Fields
    added: _Fields
    done: _Fields
    delta: str
    pieces: tuple[str, ...]
    more: Mapping[str, object] = {}
    part: tuple[str, _Fields, _Fields] | None = None
    named: bool = False

    def start(self, numbers: Iterator[int]) -> Events:
        """The item and the part inside of it, both still empty."""
        item = _event("output_item.added", self._whole("item", self.added), next(numbers))
        if self.part is None:
            return (item,)
        kind, empty, _ = self.part
        return (item, _event(f"{kind}.added", {**self.place, "part": empty}, next(numbers)))

    def deltas(self, numbers: Iterator[int]) -> list[Events]:
        """One event for each piece."""
        return [
            (_event(f"{self.delta}.delta", {**self.place, "delta": piece, **self.more}, next(numbers)),)
            for piece in self.pieces
        ]

    def end(self, numbers: Iterator[int]) -> Events:
        """What was said in pieces, the part and the item, each again as a whole."""
        word = "arguments" if self.named else "text"
        said = {**self.place, word: "".join(self.pieces), **self.more}
        events = [_event(f"{self.delta}.done", said, next(numbers))]
        if self.part is not None:
            kind, _, full = self.part
            events.append(_event(f"{kind}.done", {**self.place, "part": full}, next(numbers)))
        return (*events, _event("output_item.done", self._whole("item", self.done), next(numbers)))

    def _whole(self, name: str, value: _Fields) -> _Fields:
        return {"output_index": self.place["output_index"], name: value}


def _output(answer: Answer, request: ServerRequest) -> list[_Item]:
    """The items of an answer: reasoning, text, tool calls. Where it was cut off, the last one is incomplete."""
    makers: list[Callable[[Answer, ServerRequest, int, str], _Item]] = []
    if answer.reasoning:
        makers.append(_thought)
    if answer.deltas:
        makers.append(_said)
    makers += [partial(_called, call, number) for number, call in enumerate(answer.tool_calls)]
    last = "incomplete" if answer.finish in _UNFINISHED else "completed"
    states = ["completed"] * (len(makers) - 1) + [last]
    return [make(answer, request, at, state) for at, (make, state) in enumerate(zip(makers, states, strict=False))]


def _thought(answer: Answer, request: ServerRequest, at: int, state: str) -> _Item:  # noqa: ARG001
    identity = f"rs_{request.index:06d}_{at}"
    item: _Fields = {"id": identity, "type": "reasoning", "summary": []}
    part: _Fields = {"type": "summary_text", "text": ""}
    full = {**part, "text": answer.reasoning}
    return _Item(
        place={"item_id": identity, "output_index": at, "summary_index": 0},
        added=item,
        done={**item, "summary": [full]},
        delta="reasoning_summary_text",
        pieces=tokens_of(answer.reasoning),
        part=("reasoning_summary_part", part, full),
    )


def _said(answer: Answer, request: ServerRequest, at: int, state: str) -> _Item:
    identity = f"msg_{request.index:06d}_{at}"
    item: _Fields = {"id": identity, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    part: _Fields = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    full = {**part, "text": "".join(answer.deltas)}
    return _Item(
        place={"item_id": identity, "output_index": at, "content_index": 0},
        added=item,
        done={**item, "status": state, "content": [full]},
        delta="output_text",
        pieces=answer.deltas,
        more={"logprobs": []},
        part=("content_part", part, full),
    )


def _called(call: ToolCall, number: int, answer: Answer, request: ServerRequest, at: int, state: str) -> _Item:  # noqa: ARG001
    identity = f"fc_{request.index:06d}_{at}"
    item: _Fields = {"id": identity, "type": "function_call", "status": "in_progress", "arguments": ""}
    item |= {"call_id": call.id or f"call_{request.index:06d}_{number}", "name": call.name}
    return _Item(
        place={"item_id": identity, "output_index": at},
        added=item,
        done={**item, "status": state, "arguments": call.json},
        delta="function_call_arguments",
        pieces=tokens_of(call.json),
        named=True,
    )


def _response(answer: Answer, request: ServerRequest, status: str) -> _Fields:
    """A response with nothing in it yet."""
    asked = request.json
    head: _Fields = {"id": f"resp_{request.index:06d}_{request.attempt}", "object": "response", "created_at": CREATED}
    head |= {"status": status, "error": None, "incomplete_details": None, "model": answer.model or request.model}
    repeated = {
        name: usual if asked.get(name) is None else _laid_over(usual, asked[name]) for name, usual in _REPEATED.items()
    }
    return {**head, **repeated, "output": [], "service_tier": "default", "usage": None}


def _laid_over(usual: object, asked: object) -> object:
    return {**usual, **asked} if isinstance(usual, dict) and isinstance(asked, Mapping) else asked


def _finished(answer: Answer, request: ServerRequest, output: list[_Item]) -> _Fields:
    """A response with all that is in it."""
    reason = _UNFINISHED.get(answer.finish)
    response = _response(answer, request, "incomplete" if reason else "completed")
    response |= {"incomplete_details": {"reason": reason}} if reason else {"completed_at": CREATED}
    return {**response, "output": [item.done for item in output], "usage": _usage(answer, request), **answer.extra}


def _usage(answer: Answer, request: ServerRequest) -> _Fields:
    usage = usage_of(answer, request)
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
