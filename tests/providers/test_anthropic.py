"""Anthropic Messages: OpenAI's words translated, typed events read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fastclient.errors import ConfigError, Overloaded
from fastclient.providers.anthropic import dialect
from fastclient.request import checked
from fastclient.target import Target
from fastclient.types import Reply, Timings
from tests.providers.streams import TARGETS, decoder, read


def body(*messages: Any, **params: Any) -> dict[str, Any]:
    return orjson.loads(dialect.write(checked(list(messages) or "hi", params), TARGETS["anthropic"]).body)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **fields}) + b"\n\n"


@pytest.mark.parametrize("base_url", ["https://example.test", "https://example.test/v1"])
def test_request(base_url: str) -> None:
    """One POST to /v1/messages, whether or not the base URL has its /v1; the API's number of tokens is always there."""
    request = dialect.write(checked("hi", {}), Target("anthropic:test", base_url=base_url, api_key="key-for-tests"))
    assert request.url == "https://example.test/v1/messages"
    assert request.headers["x-api-key"] == "key-for-tests"
    assert request.headers["anthropic-version"] == "2023-06-01"
    sent = orjson.loads(request.body)
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert (sent["stream"], sent["max_tokens"]) == (True, 4096)


def test_a_tool_conversation() -> None:
    """System goes on top, tool calls become tool_use, results of one turn become one user message."""
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": f'{{"n":{n}}}'}} for n in (1, 2)
    ]
    sent = body(
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "calling", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "user", "content": "and now?"},
    )
    assert sent["system"] == [{"type": "text", "text": "be brief"}]
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"][1] == {"type": "tool_use", "id": "c1", "name": "f", "input": {"n": 1}}
    assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]


def test_native_blocks_pass_unchanged() -> None:
    """Anthropic's own blocks, thinking with its signature and cache marks included, are sent as they are."""
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
    ]
    sent = body(
        {"role": "user", "content": "q"}, {"role": "assistant", "content": blocks}, {"role": "user", "content": "?"}
    )
    assert sent["messages"][1]["content"] == blocks


def test_images() -> None:
    """OpenAI's image parts become image blocks, from a data URL or a link."""
    urls = ["data:image/png;base64,AAAA", "https://example.test/a.png"]
    sent = body({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}} for url in urls]})
    assert [block["source"] for block in sent["messages"][0]["content"]] == [
        {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        {"type": "url", "url": "https://example.test/a.png"},
    ]


@pytest.mark.parametrize(
    "said, sent",
    [
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "tool", "name": "f"}},
        ),
        (
            {"parallel_tool_calls": False, "tools": [{"name": "f", "input_schema": {}}]},
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 8000}},
            {"thinking": {"type": "enabled", "budget_tokens": 8000}, "max_tokens": 12096},
        ),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"stop": None, "max_tokens": None}, {"max_tokens": 4096}),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"a": 1}}}]},
            {"tools": [{"name": "f", "description": "d", "input_schema": {"a": 1}}]},
        ),
    ],
)
def test_parameters(said: dict[str, Any], sent: dict[str, Any]) -> None:
    """OpenAI's parameter names are translated; Anthropic's own pass."""
    assert body(**said).items() >= sent.items()


@pytest.mark.parametrize(
    "message, field",
    [
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,AA"}}]}, "content"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]},
            "tool_calls",
        ),
    ],
)
def test_what_cannot_be_translated(message: dict[str, Any], field: str) -> None:
    """What the format cannot say is refused with its place."""
    with pytest.raises(ConfigError, match=rf"messages\[1\]\.{field}"):
        body({"role": "user", "content": "hi"}, message)


def test_usage_counts_cached_tokens_as_input() -> None:
    """Their input_tokens leaves cached ones out; ours has them in. Counts the closing event leaves out are kept."""
    usage = {"input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 5, "output_tokens": 1}
    stream = event("message_start", message={"model": "m", "usage": usage}) + event("ping")
    stream += event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    stream += event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"})
    stream += event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
    answer = read("anthropic", stream + event("message_stop")).answer
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (105, 7)
    assert (answer.usage.cache_read_tokens, answer.usage.cache_write_tokens) == (90, 5)
    assert (answer.text, answer.finish_reason, answer.model) == ("hi", "stop", "m")


def test_thinking_is_known_from_the_block() -> None:
    """While a thinking block is open the model thinks; a text block ends it."""
    reading = decoder("anthropic")
    reading.feed(event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}))
    assert reading.thinking
    reading.feed(event("content_block_start", index=1, content_block={"type": "text", "text": ""}))
    assert not reading.thinking


def test_an_error_event() -> None:
    """An overload reported inside the stream is Overloaded."""
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    assert isinstance(read("anthropic", error).error, Overloaded)


def test_a_whole_message() -> None:
    """A message that came as one document is read like its stream."""
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
    ]
    document = {
        "type": "message",
        "model": "m",
        "content": content,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3},
    }
    answer = read("anthropic", orjson.dumps(document)).answer
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("hi", "hm", "tool_calls")
    assert answer.tool_calls[0].parsed() == {"a": 1}


@pytest.mark.parametrize(
    "said", [{"seed": 1}, {"response_format": {"type": "json_object"}}, {"reasoning_effort": "low"}]
)
def test_parameters_without_counterpart(said: dict[str, Any]) -> None:
    """What Anthropic has no word for is refused here, by name, and not by the API later."""
    with pytest.raises(ConfigError, match=next(iter(said))):
        body(**said)


def test_system_messages_alone() -> None:
    """Anthropic needs a turn to answer."""
    with pytest.raises(ConfigError, match="messages"):
        body({"role": "system", "content": "be brief"})


def test_signed_thinking_goes_back_as_it_came() -> None:
    """A reply's message holds the thinking block with its signature, so that a tool conversation can go on."""
    stream = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
    for delta in ({"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "sig"}):
        stream += event("content_block_delta", index=0, delta=delta)
    stream += event("content_block_stop", index=0)
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
    stream += event("content_block_start", index=1, content_block=call) + event("content_block_stop", index=1)
    answer = read("anthropic", stream + event("message_stop")).answer
    reply = Reply(
        text=answer.text, tool_calls=answer.tool_calls, blocks=answer.blocks, model="m", timings=Timings(total=1.0)
    )
    result = {"role": "tool", "tool_call_id": "c", "content": "2"}
    sent = body({"role": "user", "content": "q"}, reply.message, result)
    assert sent["messages"][1]["content"] == [{"type": "thinking", "thinking": "hm", "signature": "sig"}, call]
