"""Streams in every shape, cut at every byte: the same answer, or an honest error; never a wrong success."""

from __future__ import annotations

from random import Random

import pytest

from fastclient.errors import StreamCut
from fastclient.testing import Answer
from tests.providers.streams import answers, decoder, read, words, written

DIALECTS = ["openai", "anthropic"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.timeout(240)
def test_any_split_reads_the_same(dialect: str) -> None:
    """150 streams, each split at some 128 places: text, reasoning, tool calls, usage and raw bytes are the same."""
    for answer in answers(seed=1, count=150):
        body, _ = written(dialect, answer)
        expected = read(dialect, body).meaning
        assert expected[0] == answer.text
        for at in range(0, len(body), 1 + len(body) // 128):
            assert read(dialect, body[:at], body[at:]).meaning == expected


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.timeout(240)
def test_truncation_is_never_success(dialect: str) -> None:
    """300 streams, each ended early at every byte: a StreamCut, and what was read is a beginning of the answer."""
    for answer in answers(seed=2, count=300):
        body, closing = written(dialect, answer)
        for end in range(0, len(body) - closing, 1 + len(body) // 128):
            cut = read(dialect, body[:end])
            assert isinstance(cut.error, StreamCut)
            assert answer.text.startswith(cut.answer.text)


@pytest.mark.soak
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_byte(dialect: str) -> None:
    """The two promises above at each single byte of 300 streams."""
    for answer in answers(seed=3, count=300):
        body, closing = written(dialect, answer)
        expected = read(dialect, body).meaning
        for at in range(len(body)):
            assert read(dialect, body[:at], body[at:]).meaning == expected
            cut = read(dialect, body[:at])
            assert (cut.error is None) == (at >= len(body) - closing)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_stream_at_every_byte(dialect: str) -> None:
    """The same at each byte of a few streams, and byte by byte; the blank line at the very end may be missing."""
    for answer in answers(seed=4, count=4):
        body, closing = written(dialect, answer)
        expected = read(dialect, body).meaning
        assert read(dialect, *(body[at : at + 1] for at in range(len(body)))).meaning == expected
        for at in range(len(body)):
            assert read(dialect, body[:at], body[at:]).meaning == expected
            assert (read(dialect, body[:at]).error is None) == (at >= len(body) - closing)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_answers_come_back_whole(dialect: str) -> None:
    """What the provider meant arrives: tool calls joined from their pieces, finish reason, usage with cached tokens."""
    for answer in answers(seed=5, count=60):
        got = read(dialect, written(dialect, answer).body).answer
        assert got.text == answer.text
        assert got.reasoning == answer.reasoning
        assert [(call.name, call.parsed()) for call in got.tool_calls] == [
            (call.name, dict(call.arguments)) for call in answer.tool_calls
        ]
        assert got.finish_reason == answer.finish_reason
        assert got.usage.input_tokens == 400
        assert (got.usage.cache_read_tokens or 0) == answer.cached_tokens


@pytest.mark.parametrize("dialect", DIALECTS)
def test_raw_bytes_are_kept(dialect: str) -> None:
    """The chunks' bytes put together are the body, comments and pings included."""
    body = written(dialect, Answer(words(Random(6), 40))).body
    assert read(dialect, b": hello\n\n" + body).answer.raw == b": hello\n\n" + body


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_broken_event_is_skipped_two_are_corrupt(dialect: str) -> None:
    """A single unreadable event is counted and passed over; two in a row end the answer with StreamCut."""
    body = written(dialect, Answer("some text here")).body
    middle = body.index(b"\n\n", len(body) // 2) + 2
    broken = b'data: {"choices": [{"delta"\n\n'
    assert read(dialect, body[:middle] + broken + body[middle:]).answer.text == "some text here"
    twice = read(dialect, body[:middle] + broken * 2 + body[middle:])
    assert isinstance(twice.error, StreamCut)
    reading = decoder(dialect)
    reading.feed(body[:middle] + broken + body[middle:])
    assert reading.malformed == 1


def test_an_event_over_the_limit_ends_the_answer() -> None:
    """16 MiB in one event is no answer: StreamCut, after the chunks that came before it."""
    reading = decoder("openai")
    chunks = reading.feed(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\ndata: ' + b"x" * (16 * 2**20 + 1))
    assert [chunk.text for chunk in chunks] == ["hi"]
    assert isinstance(reading.error, StreamCut)
