"""OpenAI's Responses: typed events read, in any split."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fastclient.errors import BadRequest, ConfigError, RateLimited, ServerFailed, StreamCut
from fastclient.providers.responses import dialect
from fastclient.request import checked
from tests.providers.streams import TARGETS, decoder, read

NAME = "openai-responses"
USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 4},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 29,
}


def event(kind: str, **fields: Any) -> bytes:
    kind = kind if kind == "error" else f"response.{kind}"
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def response(status: str = "completed", **more: Any) -> dict[str, Any]:
    usual = {"id": "r1", "object": "response", "created_at": 1.5, "model": "m", "status": status, "error": None}
    return {**usual, "incomplete_details": None, "output": [], "usage": USAGE, **more}


def added(index: int, **item: Any) -> bytes:
    return event("output_item.added", output_index=index, item=item)


def done(index: int, **item: Any) -> bytes:
    return event("output_item.done", output_index=index, item=item)


def said(text: str) -> bytes:
    return event("output_text.delta", output_index=1, content_index=0, item_id="i", delta=text, logprobs=[])


def call(index: int, *pieces: str, whole: str | None = None) -> bytes:
    head = {"type": "function_call", "id": f"fc{index}", "call_id": f"call{index}", "name": "f"}
    deltas = (event("function_call_arguments.delta", output_index=index, item_id="i", delta=each) for each in pieces)
    arguments = "".join(pieces) if whole is None else whole
    return added(index, **head, arguments="") + b"".join(deltas) + done(index, **head, arguments=arguments)


OPENING = event("created", response=response("in_progress")) + event("in_progress", response=response("in_progress"))
END = event("completed", response=response())
REASONING = added(0, type="reasoning", id="rs") + event("reasoning_summary_text.delta", output_index=0, delta="hm")
FULL = (
    OPENING
    + REASONING
    + done(0, type="reasoning", id="rs")
    + added(1, type="message", role="assistant", content=[])
    + event("content_part.added", output_index=1, content_index=0, part={"type": "output_text", "text": ""})
    + said("é ")
    + said("漢\u2028🙂")
    + call(2, '{"a":', "1}")
    + END
)


def test_everything_arrives() -> None:
    """Text, reasoning, calls, usage and the finish reason in Chat Completions' words."""
    got = read(NAME, FULL)
    answer = got.answer
    assert (got.done, got.error) == (True, None)
    assert (answer.text, answer.reasoning, answer.model) == ("é 漢\u2028🙂", "hm", "m")
    assert [(each.id, each.name, each.arguments) for each in answer.tool_calls] == [("call2", "f", '{"a":1}')]
    assert answer.finish_reason == "tool_calls"
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (20, 9, 5)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (8, 4)
    assert answer.raw == FULL


def test_any_split_reads_the_same() -> None:
    """Cut at each byte, and byte by byte: the same answer."""
    expected = read(NAME, FULL).meaning
    assert read(NAME, *(FULL[at : at + 1] for at in range(len(FULL)))).meaning == expected
    for at in range(len(FULL)):
        assert read(NAME, FULL[:at], FULL[at:]).meaning == expected


def test_truncation_is_never_success() -> None:
    """A stream that ends before the end of its terminal event was cut, wherever that is."""
    for end in range(len(FULL) - 2):
        cut = read(NAME, FULL[:end])
        assert isinstance(cut.error, StreamCut)
        assert "é 漢\u2028🙂".startswith(cut.answer.text)
    assert read(NAME, FULL[:-2]).error is None


def test_what_comes_after_the_end_is_not_read() -> None:
    """The terminal event ends the answer while the body is still open."""
    reading = decoder(NAME)
    reading.feed(FULL + said("more"))
    assert reading.done


def test_steps_on_the_way_are_no_content() -> None:
    """Nor is a call that has only its name: the first of its arguments is."""
    head = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}
    chunks = decoder(NAME).feed(OPENING + event("queued", response=response("queued")) + added(0, **head))
    assert not any(chunk.is_content for chunk in chunks)
    [chunk] = decoder(NAME).feed(call(0, "{").split(b"\n\n")[1] + b"\n\n")
    assert chunk.is_content


def test_calls_come_once() -> None:
    """A call whose arguments were streamed is not told again at its end; one that comes whole is told there."""
    answer = read(NAME, call(0, "{", "}") + call(1, whole='{"b":2}') + call(2, whole="") + END).answer
    assert [(each.id, each.arguments) for each in answer.tool_calls] == [
        ("call0", "{}"),
        ("call1", '{"b":2}'),
        ("call2", ""),
    ]


def test_custom_tools_and_refusals() -> None:
    """Free text for a tool is a call too; a refusal is text."""
    head = {"type": "custom_tool_call", "id": "x", "call_id": "c", "name": "sql"}
    stream = added(0, **head, input="") + event("custom_tool_call_input.delta", output_index=0, delta="select")
    stream += done(0, **head, input="select") + event("refusal.delta", output_index=1, content_index=0, delta="no")
    answer = read(NAME, stream + END).answer
    assert [(each.name, each.arguments) for each in answer.tool_calls] == [("sql", "select")]
    assert answer.text == "no"


@pytest.mark.parametrize(
    "reason, finish", [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "steered")]
)
def test_incomplete_answers(reason: str, finish: str) -> None:
    """An answer that was stopped is one, with its reason."""
    last = event("incomplete", response=response("incomplete", incomplete_details={"reason": reason}))
    got = read(NAME, OPENING + said("x") + last)
    assert (got.done, got.answer.finish_reason) == (True, finish)


FAILED = {"code": "server_error", "message": "broke"}


@pytest.mark.parametrize(
    "last, kind",
    [
        (event("error", code="rate_limit_exceeded", message="slow", param=None), RateLimited),
        (event("error", error={"code": "rate_limit_exceeded", "message": "slow"}), RateLimited),
        (b'data: {"error":{"code":"rate_limit_exceeded","message":"slow"}}\n\n', RateLimited),
        (event("failed", response=response("failed", error=FAILED)), ServerFailed),
        (event("failed", response=response("failed", error={**FAILED, "code": "invalid_prompt"})), BadRequest),
    ],
)
def test_errors(last: bytes, kind: type[Exception]) -> None:
    """Errors inside the stream are raised as what they are, and their bytes are kept."""
    got = read(NAME, OPENING + last)
    assert isinstance(got.error, kind)
    assert got.answer.raw == OPENING + last


def test_thinking_is_known_from_the_items() -> None:
    """While an item of reasoning is open the model thinks; text ends it."""
    reading = decoder(NAME)
    reading.feed(added(0, type="reasoning", id="rs"))
    assert reading.thinking
    reading.feed(done(0, type="reasoning", id="rs"))
    assert not reading.thinking
    reading.feed(REASONING)
    assert reading.thinking
    reading.feed(said("x"))
    assert not reading.thinking


@pytest.mark.parametrize(
    "reasoning, thinks", [(None, False), ({"effort": "none"}, False), ({"effort": "low"}, True), ({}, False)]
)
def test_whether_it_was_asked_to_think(reasoning: object, thinks: bool) -> None:
    """By the effort that was asked for."""
    assert dialect.thinks(checked("hi", {"reasoning": reasoning})) is thinks


def test_a_whole_document() -> None:
    """A server that ignored `stream` means the same with its document."""
    content = [{"type": "output_text", "text": "hello", "annotations": []}]
    output = [
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": content},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    got = read(NAME, orjson.dumps(response(output=output)))
    assert (got.answer.text, got.answer.reasoning, got.answer.finish_reason) == ("hello", "hm", "tool_calls")
    assert got.answer.usage.input_tokens == 20
    assert isinstance(read(NAME, orjson.dumps(response("failed", error=FAILED))).error, ServerFailed)


def test_requests_are_written_by_the_sdk() -> None:
    """What cannot be written yet says so; what is known of the server is there."""
    target = TARGETS[NAME]
    with pytest.raises(ConfigError, match="target"):
        dialect.write(checked("hi", {}), target)
    assert dialect.continued(checked("hi", {}), target, "x") is None
    assert dialect.authentication(target) == {"authorization": "Bearer key-for-tests"}
    assert dialect.ping(target).url == "https://example.test/models"
