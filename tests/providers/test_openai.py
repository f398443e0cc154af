"""OpenAI Chat Completions and what compatible servers make of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fastclient.errors import BadRequest, ConfigError, Overloaded, RateLimited, ServerFailed, StreamCut
from fastclient.providers.openai import dialect
from fastclient.request import checked
from fastclient.target import Target
from tests.providers.streams import TARGETS, decoder, read


def body(*messages: Any, base_url: str = "https://example.test/v1", **params: Any) -> dict[str, Any]:
    target = Target("openai:test", base_url=base_url, api_key="k" * 8)
    return orjson.loads(dialect.write(checked(list(messages) or "hi", params), target).body)


def events(*deltas: dict[str, Any], **last: Any) -> bytes:
    """A stream of these deltas, closed properly."""
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **last})
    return b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def test_request() -> None:
    """One POST to /chat/completions that asks for a stream with usage, in plain bytes, with the key in its header."""
    request = dialect.write(checked("hi", {"temperature": 0}), TARGETS["openai"])
    assert (request.method, request.url) == ("POST", "https://example.test/chat/completions")
    assert orjson.loads(request.body) == {
        "model": "test",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert request.headers["authorization"] == "Bearer key-for-tests"
    assert request.headers["accept-encoding"] == "identity"


def test_messages_pass_unchanged() -> None:
    """Images, names, tool calls and tool results are sent exactly as they were given."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what is this?"}, image], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    assert body(*messages)["messages"] == messages


@pytest.mark.parametrize(
    "base_url, name", [("https://api.openai.com/v1", "max_completion_tokens"), ("https://vllm.test/v1", "max_tokens")]
)
def test_the_token_limit_goes_by_the_name_the_server_knows(base_url: str, name: str) -> None:
    """OpenAI itself gets max_completion_tokens, which its reasoning models insist on; others get max_tokens."""
    assert body(base_url=base_url, max_tokens=5)[name] == 5


def test_extra_body_and_stream_options_are_merged() -> None:
    """Parameters of one server only go through, and stream_options keeps what the caller set."""
    sent = body(extra_body={"top_k": 3}, min_p=0.1, stream_options={"include_obfuscation": False})
    assert (sent["top_k"], sent["min_p"]) == (3, 0.1)
    assert sent["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_unwritable_parameters_name_their_place() -> None:
    """A schema that JSON has no word for is refused with the path to the value."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"default": object()}}}}}
    with pytest.raises(ConfigError, match=r"tools\[0\]\.function\.parameters\.properties\.a\.default: a object"):
        body(tools=[tool])


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_read_under_both_names(field: str) -> None:
    """DeepSeek and llama.cpp say reasoning_content, OpenRouter and newer vLLM say reasoning."""
    answer = read("openai", events({field: "hm"}, {"content": "yes"})).answer
    assert (answer.reasoning, answer.text) == ("hm", "yes")


def test_parallel_tool_calls_without_usable_index() -> None:
    """Servers that give no index, or 0 to every call, still yield separate calls."""
    whole = [{"id": f"c{n}", "function": {"name": f"f{n}", "arguments": "{}"}} for n in (0, 1)]
    assert [call.name for call in read("openai", events({"tool_calls": whole})).answer.tool_calls] == ["f0", "f1"]
    zeros = [{"tool_calls": [{"index": 0, **call}]} for call in whole]
    assert [call.id for call in read("openai", events(*zeros)).answer.tool_calls] == ["c0", "c1"]


def test_arguments_as_an_object() -> None:
    """Arguments that come as an object instead of text are written as JSON."""
    call = {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}
    assert read("openai", events({"tool_calls": [call]})).answer.tool_calls[0].parsed() == {"a": 1}


def test_content_as_parts() -> None:
    """Content that streams as a list of parts is joined."""
    parts = [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": []}, {"type": "text", "text": "b"}]
    assert read("openai", events({"content": parts})).answer.text == "ab"


@pytest.mark.parametrize(
    "extra, part, seconds",
    [
        ({"timings": {"prompt_ms": 12.5, "cache_n": 7}}, "prefill", 0.0125),
        ({"x_groq": {"usage": {"queue_time": 0.5}}}, "server_queue", 0.5),
        ({"time_info": {"prompt_time": 0.25}}, "prefill", 0.25),
        ({"metrics": {"queue_time_ms": 3}}, "server_queue", 0.003),
    ],
)
def test_provider_timings_are_read(extra: dict[str, Any], part: str, seconds: float) -> None:
    """What a server says about its own queue and prefill is taken over, in seconds."""
    chunks = decoder("openai").feed(events({"content": "x"}, **extra))
    assert next(chunk.reported for chunk in chunks if chunk.reported) == {part: seconds}


def test_a_whole_answer_is_read_too() -> None:
    """A server that ignores stream=true and answers with one JSON document, after blank lines, is understood."""
    message = {"role": "assistant", "content": "hello", "tool_calls": None}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
    document = {"model": "m", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    answer = read("openai", b"\n\n  \n", orjson.dumps(document)).answer
    assert (answer.text, answer.finish_reason, answer.usage.cache_read_tokens) == ("hello", "stop", 4)


@pytest.mark.parametrize(
    "error, expected",
    [
        ({"message": "no", "type": "server_error"}, ServerFailed),
        ({"message": "no", "code": 429}, RateLimited),
        ({"message": "no", "type": "overloaded_error"}, Overloaded),
        ({"message": "no", "code": "context_length_exceeded", "type": "invalid_request_error"}, BadRequest),
    ],
)
def test_errors_inside_a_200(error: dict[str, Any], expected: type) -> None:
    """An error event in a stream, or an error document with status 200, becomes the class its words mean."""
    streamed = read("openai", b"data: " + orjson.dumps({"error": error}) + b"\n\n")
    assert type(streamed.error) is expected
    assert type(read("openai", orjson.dumps({"error": error})).error) is expected


@pytest.mark.parametrize(
    "document, error",
    [
        (b"[1]", ServerFailed),
        (b'{"choices":[{}]}', ServerFailed),
        (b'{"choices', ServerFailed),
        (b'"text"', ServerFailed),
        (b"nonsense", ServerFailed),
        (b"", StreamCut),
        (b"error: no", StreamCut),
    ],
)
def test_an_unreadable_answer(document: bytes, error: type) -> None:
    """A JSON answer that is none is ServerFailed, anything else a stream without its end; never a bare JSON error."""
    assert type(read("openai", document).error) is error


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"message": "no", "code": 502}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]},
        {"object": "error", "message": "no", "code": 500},
    ],
)
def test_errors_in_other_shapes(event: dict[str, Any]) -> None:
    """An error beside a choice (OpenRouter) and a flat one (older vLLM) are errors too."""
    stream = events({"content": "half"}).partition(b"data: [DONE]")[0] + b"data: " + orjson.dumps(event) + b"\n\n"
    assert isinstance(read("openai", stream + b"data: [DONE]\n\n").error, ServerFailed)


@pytest.mark.parametrize(
    "deltas, expected",
    [
        (
            [(0, "a", "f", '{"x":'), (0, "", "", "1}"), (0, "b", "g", '{"y":'), (0, "", "", "2}")],
            [("a", "1"), ("b", "2")],
        ),
        ([(0, "a1", "f", '{"x"'), (0, "a2", "", ":1}")], [("a1", "1")]),
        (
            [(0, "a", "f", ""), (1, "b", "g", ""), (0, "", "", '{"x":1}'), (1, "", "", '{"y":2}')],
            [("a", "1"), ("b", "2")],
        ),
    ],
)
def test_tool_calls_as_servers_send_them(deltas: list[tuple[Any, ...]], expected: list[tuple[str, str]]) -> None:
    """Every parallel call under index 0, an id that changes with each piece, pieces in turns: the calls stay apart."""
    pieces = [
        {"tool_calls": [{"index": index, "id": id_, "function": {"name": name, "arguments": arguments}}]}
        for index, id_, name, arguments in deltas
    ]
    calls = read("openai", events(*pieces)).answer.tool_calls
    assert [(call.id, str(*dict(call.parsed()).values())) for call in calls] == expected


def test_usage_wherever_servers_put_it() -> None:
    """Groq's usage beside a choice, DeepSeek's cache hits, and zero as a number of its own."""
    groq = {"x_groq": {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}}
    assert read("openai", events({"content": "x"}, **groq)).answer.usage.input_tokens == 5
    deepseek = {"usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 0}}
    assert read("openai", events({"content": "x"}, **deepseek)).answer.usage.cache_read_tokens == 0
    odd = {"usage": {"prompt_tokens": "5", "completion_tokens": None}}
    assert read("openai", events({"content": "x"}, **odd)).answer.usage.input_tokens is None


@pytest.mark.parametrize(
    "delta",
    [
        {"content": 5},
        {"tool_calls": [{"index": "0", "id": "c", "function": {"name": "f"}}]},
        {"tool_calls": [{"index": 0, "id": 5, "function": {"name": "f"}}]},
        {"tool_calls": {"index": 0}},
        {"tool_calls": [7]},
    ],
)
def test_values_of_the_wrong_type_are_malformed(delta: dict[str, Any]) -> None:
    """A number where a text belongs is a broken event, skipped once; it never comes out as a TypeError."""
    stream = events({"content": "a"}, delta, {"content": "b"})
    assert read("openai", stream).answer.text == "ab"
    assert isinstance(read("openai", events(delta, delta)).error, StreamCut)
