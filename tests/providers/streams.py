"""Streams in the shapes providers send, made by the test server's own writers, and a client that reads them at rest."""

from __future__ import annotations

import string
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from fastclient.engine.answer import Answer as Assembled
from fastclient.errors import FastClientError
from fastclient.providers.decoder import Decoder
from fastclient.providers.dialect import find
from fastclient.providers.refusal import refusal as refusal  # re-exported for the tests of error bodies
from fastclient.request import checked
from fastclient.target import Target
from fastclient.testing import Answer, ServerRequest, ToolCall
from fastclient.testing.dialects import DIALECTS

TARGETS = {
    name: Target(f"{name}:test", base_url="https://example.test", api_key="key-for-tests")
    for name in (*DIALECTS, "openai-responses", "gemini")
}
_LETTERS = string.ascii_letters + ' \n"\\{}é漢🙂\u2028'


def words(rng: Random, length: int) -> str:
    return "".join(rng.choices(_LETTERS, k=length))


def answers(seed: int, count: int) -> Iterator[Answer]:
    """Answers of every kind: text, reasoning, one or several tool calls, nothing at all, cached tokens."""
    rng = Random(seed)
    for _ in range(count):
        calls = tuple(
            ToolCall(f"tool_{n}", {"q": words(rng, 9), "n": rng.randrange(99)}) for n in range(rng.choice([0, 0, 1, 2]))
        )
        yield Answer(
            words(rng, rng.choice([0, 3, 18])),
            reasoning=words(rng, rng.choice([0, 0, 12])),
            tool_calls=calls,
            finish_reason="tool_calls" if calls else rng.choice(["stop", "length"]),
            input_tokens=400,
            cached_tokens=rng.choice([0, 256]),
        )


class Stream(NamedTuple):
    body: bytes
    closing: int  # the last so many bytes may be missing without the answer being incomplete


def written(dialect: str, answer: Answer) -> Stream:
    """The body of a stream as the test server writes it."""
    format_ = DIALECTS[dialect]
    path = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}[dialect]
    json = {"model": "test", "stream": True, "stream_options": {"include_usage": True}, "messages": []}
    asked = format_.read(path, json)
    request = ServerRequest(
        **asked._asdict(), path=path, headers={}, body=b"", json=json, dialect=dialect, digest="", index=0, attempt=0,
        arrival=0, input_tokens=400,
    )  # fmt: skip
    events = format_.parts(answer, request).events
    return Stream(b"".join(events), len(events[-1]) - len(events[-1].rstrip(b"\n")))


def decoder(dialect: str, **params: object) -> Decoder:
    target = TARGETS[dialect]
    return Decoder(find(dialect).reader(checked("a question", params), target))


class Read(NamedTuple):
    """What a client has after reading pieces to the end of the body."""

    answer: Assembled
    done: bool
    error: FastClientError | None

    @property
    def meaning(self) -> tuple[object, ...]:
        answer = self.answer
        return (
            answer.text,
            answer.reasoning,
            answer.tool_calls,
            answer.finish_reason,
            answer.usage,
            answer.model,
            answer.raw,
        )


def read(dialect: str, *pieces: bytes) -> Read:
    reading, assembled = decoder(dialect), Assembled()
    for piece in pieces:
        assembled.add(reading.feed(piece))
        if reading.done or reading.error:
            break
    if not (reading.done or reading.error):
        assembled.add(reading.finish())
    return Read(assembled, reading.done, reading.error)
