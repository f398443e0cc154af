"""Google's Gemini: streamed answers read, in any split."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fastclient.errors import ConfigError, RateLimited, StreamCut
from fastclient.providers.gemini import dialect
from fastclient.request import checked
from fastclient.target import Target
from tests.providers.streams import TARGETS, decoder, read

NAME = "gemini"
USAGE = {
    "promptTokenCount": 20,
    "cachedContentTokenCount": 8,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 29,
}


def piece(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    event = {"candidates": [candidate], "modelVersion": "m", "responseId": "r1", **more}
    return b"data: %b\r\n\r\n" % orjson.dumps(event)


CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}
FULL = (
    piece({"text": "hm", "thought": True}, usageMetadata={"promptTokenCount": 20})
    + piece({"text": "é "}, usageMetadata=USAGE | {"candidatesTokenCount": 1})
    + piece({"text": "漢\u2028🙂"})
    + piece(CALL, {"functionCall": {"id": "c2", "name": "g"}})
    + piece({"text": "", "thoughtSignature": "s"}, finish="STOP", usageMetadata=USAGE)
)


def test_everything_arrives() -> None:
    """Text, thoughts, calls, usage of the last piece, and the finish reason in Chat Completions' words."""
    got = read(NAME, FULL)
    answer = got.answer
    assert (got.done, got.error) == (True, None)
    assert (answer.text, answer.reasoning, answer.model) == ("é 漢\u2028🙂", "hm", "m")
    assert [(each.id, each.name, each.arguments) for each in answer.tool_calls] == [
        ("", "f", '{"a":1}'),
        ("c2", "g", "{}"),
    ]
    assert answer.finish_reason == "tool_calls"
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens) == (20, 9)
    assert (usage.cache_read_tokens, usage.reasoning_tokens) == (8, 5)
    assert answer.raw == FULL


def test_any_split_reads_the_same() -> None:
    """Cut at each byte, and byte by byte: the same answer."""
    expected = read(NAME, FULL).meaning
    assert read(NAME, *(FULL[at : at + 1] for at in range(len(FULL)))).meaning == expected
    for at in range(len(FULL)):
        assert read(NAME, FULL[:at], FULL[at:]).meaning == expected


def test_truncation_is_never_success() -> None:
    """A stream that ends before the end of the piece with the finish reason was cut."""
    for end in range(len(FULL) - 4):
        cut = read(NAME, FULL[:end])
        assert isinstance(cut.error, StreamCut)
        assert "é 漢\u2028🙂".startswith(cut.answer.text)
    assert read(NAME, FULL[:-4]).error is None


def test_counts_behind_the_finish_reason_are_read() -> None:
    """The answer is over when its body is: what follows the finish reason belongs to it."""
    reading = decoder(NAME)
    reading.feed(piece({"text": "hi"}, finish="STOP"))
    assert not reading.done
    [chunk] = reading.feed(b'data: {"usageMetadata":{"promptTokenCount":3}}\n\n')
    assert chunk.usage is not None
    assert not reading.finish()
    assert (reading.done, reading.error) == (True, None)


def test_a_finish_reason_in_every_piece() -> None:
    """Older models write one into each: the answer is whole if its body ends behind one."""
    answer = read(NAME, piece({"text": "a"}, finish="STOP"), piece({"text": "b"}, finish="STOP")).answer
    assert (answer.text, answer.finish_reason) == ("ab", "stop")
    cut = read(NAME, piece({"text": "a"}, finish="STOP"), piece({"text": "b"}))
    assert isinstance(cut.error, StreamCut)


def test_a_piece_cut_behind_the_finish_reason() -> None:
    """What cannot be read at the end is no whole answer."""
    assert isinstance(read(NAME, piece({"text": "a"}, finish="STOP") + b'data: {"candi').error, StreamCut)


@pytest.mark.parametrize(
    "reason, finish",
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
    ],
)
def test_finish_reasons(reason: str, finish: str) -> None:
    """Theirs in OpenAI's words, as far as it has one."""
    assert read(NAME, piece({"text": "x"}, finish=reason)).answer.finish_reason == finish


def test_a_prompt_that_was_blocked() -> None:
    """An answer without candidates is complete, and says why."""
    got = read(NAME, b'data: {"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}\n\n')
    assert (got.error, got.answer.finish_reason, got.answer.usage.input_tokens) == (None, "content_filter", 3)


def test_several_candidates() -> None:
    """The answer is the first one, and it is over when all of them are."""
    params = {"generationConfig": {"candidateCount": 2}}
    first = piece({"text": "a"}, finish="STOP")
    other = b'data: {"candidates":[{"index":1,"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}]}\n\n'
    reading = decoder(NAME, **params)
    assert [chunk.text for chunk in reading.feed(first + other)] == ["a", ""]
    reading.finish()
    assert reading.done
    alone = decoder(NAME, **params)
    alone.feed(first)
    alone.finish()
    assert isinstance(alone.error, StreamCut)


def test_an_error_inside_the_stream() -> None:
    """It is raised as what it is, and its bytes are kept."""
    body = b'data: {"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}\n\n'
    got = read(NAME, piece({"text": "a"}), body)
    assert isinstance(got.error, RateLimited)
    assert got.answer.raw == piece({"text": "a"}) + body


def test_an_error_as_a_document() -> None:
    """The same as the whole body; what is no JSON is kept as it came, too."""
    for body in (b'{"error":{"code":429,"message":"slow"}}', b"{broken"):
        got = read(NAME, body)
        assert got.error is not None
        assert got.answer.raw == body


def test_thinking_is_known_from_the_parts() -> None:
    """While thoughts come the model thinks; text ends it."""
    reading = decoder(NAME)
    reading.feed(piece({"text": "hm", "thought": True}))
    assert reading.thinking
    reading.feed(piece({"text": "x"}))
    assert not reading.thinking


@pytest.mark.parametrize(
    "config, thinks",
    [
        ({}, False),
        ({"thinkingConfig": {"thinkingBudget": 0}}, False),
        ({"thinkingConfig": {"thinkingBudget": 100}}, True),
        ({"thinking_config": {"thinking_level": "low"}}, True),
    ],
)
def test_whether_it_was_asked_to_think(config: dict[str, Any], thinks: bool) -> None:
    """By the budget or the level, in either spelling."""
    assert dialect.thinks(checked("hi", {"generationConfig": config})) is thinks


def test_a_whole_document() -> None:
    """A document means the same as its stream."""
    document = FULL.split(b"data: ")[-1].strip()
    got = read(NAME, document)
    assert (got.done, got.answer.finish_reason, got.answer.usage.output_tokens) == (True, "stop", 9)
    assert got.answer.raw == document


def test_requests_are_written_by_the_sdk() -> None:
    """What cannot be written yet says so; what is known of the server is there, with or without the API's version."""
    target = TARGETS[NAME]
    with pytest.raises(ConfigError, match="target"):
        dialect.write(checked("hi", {}), target)
    assert dialect.continued(checked("hi", {}), target, "x") is None
    assert dialect.authentication(target) == {"x-goog-api-key": "key-for-tests"}
    assert dialect.ping(target).url == "https://example.test/v1beta/models?pageSize=1"
    versioned = Target("gemini:m", base_url="https://example.test/v1beta")
    assert dialect.ping(versioned).url == "https://example.test/v1beta/models?pageSize=1"
