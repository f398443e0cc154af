"""What a pretend provider is asked and what it answers: plain values that know no wire format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from random import Random

import orjson

__all__ = ["Answer", "ServerRequest", "ToolCall", "invented", "tokens_of"]

TOKEN = 4
"""Characters per token, everywhere in this package."""

_WORDS = ("the", "sun", "and", "sea", "may", "one", "day", "old", "oak", "for", "all", "ice", "can", "see", "how")


def tokens_of(text: str) -> tuple[str, ...]:
    """Cut a text into tokens of four characters; the last may be shorter."""
    return tuple(text[at : at + TOKEN] for at in range(0, len(text), TOKEN))


def token_count(text: str) -> int:
    """How many tokens that makes."""
    return -(-len(text) // TOKEN)


def invented(seed: str, tokens: int) -> str:
    """A made-up text of exactly `tokens` tokens, the same for the same seed."""
    return " ".join(Random(seed).choices(_WORDS, k=tokens)) + "." * (tokens > 0)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool the pretend model calls. `arguments` is JSON text, or a mapping that is written as JSON."""

    name: str
    arguments: str | Mapping[str, object] = "{}"
    id: str | None = None

    @property
    def json(self) -> str:
        """The arguments as JSON text."""
        return self.arguments if isinstance(self.arguments, str) else orjson.dumps(self.arguments).decode()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the pretend model, written in whichever dialect was asked.

    A plain text is cut into tokens of four characters; `pieces` gives the exact pieces instead (and the text, when
    `text` is empty). Token numbers left at `None` are counted. `cached_tokens` and `cache_write_tokens` are parts of
    `input_tokens`, `reasoning_tokens` a part of `output_tokens`. `finish_reason` uses the words `stop`, `length`,
    `tool_calls` and `content_filter`. `extra` is merged into the last JSON object of the answer: timings of
    llama.cpp, `x_groq`, `time_info`.

    >>> Answer("Hello world").deltas
    ('Hell', 'o wo', 'rld')
    """

    text: str = ""
    _: KW_ONLY
    pieces: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    finish_reason: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def deltas(self) -> tuple[str, ...]:
        """The pieces the text is streamed in."""
        return self.pieces or tokens_of(self.text)

    @property
    def whole_text(self) -> str:
        """The text in one piece."""
        return self.text or "".join(self.pieces)

    @property
    def finish(self) -> str:
        """Why the pretend model stopped."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRequest:
    """One request as the server understood it; its repr shows neither headers nor body.

    `index` numbers distinct requests (distinct bodies) from 0, `attempt` numbers how often these very bytes came
    before, `arrival` numbers everything; `digest` is a short name for the body. Header names are in lower case. `json`
    is the parsed body, `prompt` its text, of which the first `cacheable` characters may be cached; `cached_tokens`
    were found in the cache.
    """

    method: str = "POST"
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    json: Mapping[str, object] = field(repr=False)
    dialect: str
    digest: str = ""
    model: str = ""
    messages: Sequence[object] = field(default=(), repr=False)
    stream: bool = False
    max_tokens: int | None = None
    include_usage: bool = True
    prompt: str = field(default="", repr=False)
    cacheable: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    index: int = 0
    attempt: int = 0
    arrival: int = 0

    @property
    def text(self) -> str:
        """The text of the last message: what an answer function usually looks at."""
        last = self.messages[-1] if self.messages else None
        return text_of(last.get("content", last.get("parts"))) if isinstance(last, Mapping) else ""


def text_of(content: object) -> str:
    """The text of a message content: a string, or a list of parts; parts without text count as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "".join(_part_text(part) for part in content)
    return "" if content is None else orjson.dumps(content).decode()


def _part_text(part: object) -> str:
    if isinstance(part, Mapping):
        for name in ("text", "content"):
            if name in part:
                return text_of(part[name])
    return part if isinstance(part, str) else orjson.dumps(part).decode()
