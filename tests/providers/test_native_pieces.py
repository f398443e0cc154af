"""Whole answers of Chat Completions put together from their streams, as OpenAI's own SDK does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from fastclient.providers.native.chat import form
from fastclient.testing import ServerRequest
from fastclient.testing.dialects import DIALECTS
from tests.providers.streams import answers, written

PATH = "/v1/chat/completions"
HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def stream(*deltas: dict[str, Any], finish: str | None = "stop", **last: Any) -> bytes:
    """A stream of these deltas; one with `choice` is a whole choice."""
    choices = [each.get("choice") or {"index": 0, "delta": each, "finish_reason": None} for each in deltas]
    events: list[dict[str, Any]] = [{**HEAD, "choices": [choice]} for choice in choices]
    events.append({**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    events.append({**HEAD, "choices": [], **last})
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events) + b"data: [DONE]\n\n"


def gathered(body: bytes) -> dict[str, Any]:
    return orjson.loads(form.gathered(body))


def message(*deltas: dict[str, Any]) -> dict[str, Any]:
    return gathered(stream(*deltas))["choices"][0]["message"]


def call(index: int, **function: str) -> dict[str, Any]:
    return {"index": index, "function": function}


def begun(index: int, name: str) -> dict[str, Any]:
    return {"index": index, "id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": ""}}


def prob(token: str) -> dict[str, Any]:
    return {"token": token, "logprob": -0.5, "bytes": [*token.encode()], "top_logprobs": []}


def with_probs(text: str) -> dict[str, Any]:
    logprobs = {"content": [prob(text)], "refusal": None}
    return {"choice": {"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": None}}


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 1}}
ROLE = {"role": "assistant", "content": "", "refusal": None}
STREAMS = {
    "text": stream(ROLE, {"content": "Hel"}, {"content": "lo"}, usage=USAGE, system_fingerprint="f"),
    "calls": stream(
        {"role": "assistant", "content": None, "tool_calls": [begun(0, "f")]},
        {"tool_calls": [call(0, arguments='{"a":')]},
        {"tool_calls": [call(0, arguments="1}"), begun(1, "g")]},
        {"tool_calls": [call(1, arguments="{}")]},
        finish="tool_calls",
        usage=USAGE,
    ),
    "refusal": stream({"role": "assistant", "content": None}, {"refusal": "I "}, {"refusal": "won't"}, usage=USAGE),
    "logprobs": stream(ROLE, with_probs("Hel"), with_probs("lo"), usage=USAGE),
    "reasoning": stream(ROLE, {"reasoning_content": "so "}, {"reasoning_content": "it"}, {"content": "yes"}),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_sdk_adds_up_the_same(name: str) -> None:
    """What is put together reads, with the SDK's own classes, like what the SDK makes of the same stream."""
    state = ChatCompletionStreamState()
    for line in STREAMS[name].split(b"\n\n")[:-2]:
        state.handle_chunk(ChatCompletionChunk.model_validate(orjson.loads(line.removeprefix(b"data: "))))
    theirs = state.get_final_completion().model_dump(exclude_none=True)
    for each in theirs["choices"][0]["message"].get("tool_calls", ()):
        del each["index"]  # the SDK leaves it in; a whole answer has none
        each["function"].pop("parsed_arguments", None)
    theirs["choices"][0]["message"].pop("parsed", None)
    ours = ChatCompletion.model_validate(gathered(STREAMS[name]), strict=True).model_dump(exclude_none=True)
    assert ours == theirs


def test_the_test_server_says_the_same_whole() -> None:
    """60 answers of every kind: their streams add up to what the server sends without a stream."""
    request = ServerRequest(
        path=PATH, headers={}, body=b"", json={}, dialect="openai", model="test", input_tokens=400
    )  # fmt: skip
    for answer in answers(seed=7, count=60):
        if answer.text or answer.tool_calls:
            whole = DIALECTS["openai"].whole(answer, request)
            assert gathered(written("openai", answer).body) == orjson.loads(whole)


def cut(text: str, places: Sequence[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[i:j] for i, j in zip([0, *ends], [*ends, len(text)], strict=True)]


texts = st.text(max_size=30)
cuts = st.lists(st.integers(0, 1000), max_size=6)
tools = st.lists(st.tuples(st.text("abc_", min_size=1), texts), max_size=3)


@given(texts.filter(bool), texts, tools, cuts)
def test_any_split_into_deltas(text: str, reasoning: str, calls: list[tuple[str, str]], places: list[int]) -> None:
    """A message cut into deltas anywhere comes back, with all its calls."""
    whole: dict[str, Any] = {"role": "assistant", "content": text, "reasoning": reasoning}
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    deltas += [{"reasoning": piece} for piece in cut(reasoning, places)]
    deltas += [{"content": piece} for piece in cut(text, places)]
    for at, (name, arguments) in enumerate(calls):
        deltas.append({"tool_calls": [begun(at, name)]})
        deltas += [{"tool_calls": [call(at, arguments=piece)]} for piece in cut(arguments, places)]
    if calls:
        whole["tool_calls"] = [
            {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments in calls
        ]
    assert message(*deltas) == whole


def test_servers_that_repeat_themselves() -> None:
    """Id, type and name with each piece are still said once, and two calls under one index are two."""
    pieces = [(name, piece) for name in ("f", "g") for piece in ('{"a":', "1}")]
    calls = [[begun(0, name) | {"function": {"name": name, "arguments": piece}}] for name, piece in pieces]
    made = message(*({"role": "assistant", "tool_calls": each} for each in calls))
    assert made["role"] == "assistant"
    assert [each["id"] for each in made["tool_calls"]] == ["call_f", "call_g"]
    assert [each["function"] for each in made["tool_calls"]] == [
        {"name": name, "arguments": '{"a":1}'} for name in ("f", "g")
    ]


def test_nothing_said_changes_nothing() -> None:
    """Nulls and empty texts between the pieces leave what was said; calls stand in the order of their numbers."""
    made = message(
        {"role": "", "content": "a", "refusal": None},
        {"role": "assistant", "content": None, "tool_calls": [begun(1, "g"), begun(0, "f")]},
        {"role": "", "content": "b", "refusal": None, "tool_calls": None},
    )
    assert (made["role"], made["content"], made["refusal"]) == ("assistant", "ab", None)
    assert [each["id"] for each in made["tool_calls"]] == ["call_f", "call_g"]


def test_unknown_fields_are_kept() -> None:
    """What only some servers say, in events, choices and deltas, is in the whole answer too."""
    first, more, other = ({"index": at, "type": "reasoning.text", "text": text} for at, text in enumerate("abc"))
    more["index"] = 0
    choice = {"index": 0, "delta": {"reasoning_details": [more, other]}, "token_ids": [1, 2], "stop_reason": 7}
    made = gathered(stream({"reasoning_details": [first]}, {"choice": choice}, {"choice": choice}, x_groq={"a": 1}))
    assert made["x_groq"] == {"a": 1}
    assert made["choices"][0]["token_ids"] == [1, 2, 1, 2]
    assert made["choices"][0]["stop_reason"] == 7
    assert made["choices"][0]["message"]["reasoning_details"] == [first | {"text": "abb"}, other | {"text": "cc"}]


def test_what_was_said_is_not_taken_back() -> None:
    """Fields that are null or empty in later events keep what they were; others are what was said last."""
    first = {
        "index": 0,
        "delta": ROLE,
        "content_filter_results": {"hate": {"filtered": False}},
        "finish_reason": "stop",
    }
    last = {"index": 0, "delta": {}, "content_filter_results": {}, "finish_reason": None}
    made = gathered(stream({"choice": first}, {"choice": last}, finish=None, usage=USAGE))
    assert made["choices"][0]["finish_reason"] == "stop"
    assert made["choices"][0]["content_filter_results"] == {"hate": {"filtered": False}}
    assert made["usage"] == USAGE


def test_padding_is_not_kept() -> None:
    """OpenAI's padding of streams has no place in a whole answer."""
    assert "obfuscation" not in gathered(stream(ROLE, obfuscation="xxxx"))


def test_a_document_stays_as_it_is() -> None:
    """A server that ignored `stream` has sent the whole answer already."""
    body = b'\n{"id": "c1",   "choices": []}'
    assert form.gathered(body) == body
