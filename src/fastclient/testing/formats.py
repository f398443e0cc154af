"""What every dialect offers, and the few pieces they share. The dialects themselves stand in files of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from fastclient.testing.answer import Answer, ServerRequest, token_count

__all__ = ["Asked", "Dialect", "Events", "Parts", "Usage", "dumps", "loads", "tokens_in", "usage_of"]

Events = tuple[bytes, ...]
"""Complete events as written on the wire, each with its closing blank line."""

dumps, loads = orjson.dumps, orjson.loads


class Asked(NamedTuple):
    """What a request asks for; the fields are those of `ServerRequest`."""

    model: str
    messages: Sequence[object]
    stream: bool
    max_tokens: int | None
    include_usage: bool
    prompt: str
    cacheable: int


class Parts(NamedTuple):
    """A streamed answer: what comes before the first token, the events of each token, what comes after the last."""

    opening: Events
    tokens: tuple[Events, ...]
    ending: Events

    @property
    def events(self) -> Events:
        """All of them in order."""
        return (*self.opening, *(event for token in self.tokens for event in token), *self.ending)


class Usage(NamedTuple):
    """Token numbers of one answer; `cached` and `written` are parts of `input`, `reasoning` a part of `output`."""

    input: int
    cached: int
    written: int
    output: int
    reasoning: int


class Dialect(Protocol):
    """One provider's wire format."""

    name: str
    malformed: bytes

    def read(self, path: str, body: Mapping[str, object]) -> Asked:
        """What a request to this path with this JSON body asks for."""
        ...

    def parts(self, answer: Answer, request: ServerRequest) -> Parts:
        """The answer as a stream of events."""
        ...

    def whole(self, answer: Answer, request: ServerRequest) -> bytes:
        """The answer as one JSON body, for a request that did not ask for a stream."""
        ...

    def error(self, status: int, kind: str | None, message: str | None) -> bytes:
        """An error body; without `kind` and `message`, those the provider uses for this status."""
        ...

    def ping(self, sent: int) -> bytes:
        """A keep-alive inside a stream of which so many events were sent."""
        ...

    def error_event(self, kind: str, message: str, request: ServerRequest, sent: int) -> bytes:
        """An error inside a stream of which so many events were sent."""
        ...

    def headers(self, request: ServerRequest, seconds: float) -> dict[str, str]:
        """The headers this provider adds to an answer that took `seconds` to begin."""
        ...

    def models(self, names: Sequence[str]) -> bytes:
        """The body of the list of models."""
        ...

    def key(self, path: str, headers: Mapping[str, str]) -> str | None:
        """The API key a request brought."""
        ...


def tokens_in(answer: Answer) -> int:
    """How many tokens an answer is made of: reasoning, text and the arguments of its tool calls."""
    tools = sum(1 + token_count(call.json) for call in answer.tool_calls)
    return token_count(answer.reasoning) + (len(answer.pieces) or token_count(answer.text)) + tools


def usage_of(answer: Answer, request: ServerRequest, written: int = 0) -> Usage:
    """The numbers to report: the answer's own, else those counted."""

    def pick(given: int | None, counted: int) -> int:
        return counted if given is None else given

    return Usage(
        pick(answer.input_tokens, request.input_tokens),
        pick(answer.cached_tokens, request.cached_tokens),
        pick(answer.cache_write_tokens, written),
        pick(answer.output_tokens, tokens_in(answer)),
        pick(answer.reasoning_tokens, token_count(answer.reasoning)),
    )


def whole_number(value: object) -> int | None:
    """A JSON number of tokens, or `None`."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def items(value: object) -> Sequence[object]:
    """A JSON list; anything else is an empty one."""
    return value if isinstance(value, list) else ()
