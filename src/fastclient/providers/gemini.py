"""Google's Gemini: streamed answers read. Requests are written by its own SDK."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from fastclient.errors import ConfigError
from fastclient.providers.dialect import Ended, Json, count, encoded, headers
from fastclient.providers.refusal import Scrub, refusal, scrubber
from fastclient.providers.sse import Event
from fastclient.target import Target
from fastclient.types import Chunk, Request, ToolCallDelta, Usage
from fastclient.wire.port import WireRequest

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["dialect", "option", "root"]

_VERSIONED = re.compile(r"/v\d\w*(/|\Z)")
_FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "FINISH_REASON_UNSPECIFIED": None} | dict.fromkeys(
    (
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
    ),
    "content_filter",
)


class Gemini:
    shortest = 1
    base_url = "https://generativelanguage.googleapis.com/v1beta"
    key_variable = "GEMINI_API_KEY"
    url_variable = "GOOGLE_GEMINI_BASE_URL"

    def write(self, request: Request, target: Target, layout: Layout | None = None) -> NoReturn:  # noqa: ARG002
        raise ConfigError.at("target", "gemini is for now only served under its own SDK")

    def reader(self, request: Request, target: Target) -> GeminiReader:
        return GeminiReader(
            thinking=self.thinks(request),
            provider=target.provider,
            scrub=scrubber(target, request),
            candidates=count(option(option(request.params, "generationConfig"), "candidateCount")) or 1,
        )

    def thinks(self, request: Request) -> bool:
        config = option(option(request.params, "generationConfig"), "thinkingConfig")
        return bool(config) and option(config, "thinkingBudget") != 0

    def continued(self, request: Request, target: Target, text: str) -> Request | None:  # noqa: ARG002
        return None

    def ping(self, target: Target) -> WireRequest:
        authentication = headers(target, self.authentication(target), content=False)
        return WireRequest(method="GET", url=f"{root(target)}/models?pageSize=1", headers=authentication)

    def authentication(self, target: Target) -> dict[str, str]:
        return {"x-goog-api-key": target.key} if target.key else {}


def root(target: Target) -> str:
    """The base URL with the version of the API, which Google's own SDK keeps apart from it."""
    base = target.base_url or Gemini.base_url
    return base if _VERSIONED.search(base) else f"{base}/v1beta"


def option(fields: object, name: str) -> Any:
    """A nested option by either of its spellings; an empty object if it was not given."""
    if not isinstance(fields, Mapping):
        return {}
    found = fields.get(name)
    if found is None:
        found = fields.get(re.sub("[A-Z]", lambda sign: "_" + sign[0].lower(), name))
    return {} if found is None else found


class GeminiReader:
    """Reads answers in pieces. No event says that it is the last, and older models write a finish reason into each of
    them: an answer is whole if its body ends behind a finish reason."""

    verbatim = False  # each event has its counts, and texts may come in parts
    noise = b""

    def __init__(self, *, thinking: bool, provider: str, scrub: Scrub, candidates: int = 1) -> None:
        self.thinking = thinking
        self.pings = 0
        self.ended: Ended = ""
        self._provider = provider
        self._scrub = scrub
        self._candidates = candidates
        self._finished: set[int] = set()
        self._calls = 0

    def is_end(self, event: Event) -> bool:  # noqa: ARG002
        return False

    def chunk(self, data: Json, event: Event) -> Chunk:
        chunk = self._read(data, event.data, event.raw)
        self.ended = "maybe" if len(self._finished) >= self._candidates else ""
        return chunk

    def whole(self, data: Json, raw: bytes) -> Chunk:
        return self._read(data, raw, raw)

    def _read(self, data: Json, said: bytes, raw: bytes) -> Chunk:
        if data.get("error"):
            raise refusal(self._provider, 200, {}, said, self._scrub)
        text, reasoning, finish = "", "", None
        calls: list[ToolCallDelta] = []
        for candidate in data.get("candidates") or ():
            index, reason = candidate.get("index") or 0, _finish(candidate.get("finishReason"))
            if reason is not None:
                self._finished.add(index)
            else:
                self._finished.discard(index)
            if index:
                continue  # an answer is the first one
            finish = reason
            for part in (candidate.get("content") or {}).get("parts") or ():
                if part.get("functionCall"):
                    calls.append(self._call(part["functionCall"]))
                elif part.get("thought"):
                    reasoning += part.get("text") or ""
                else:
                    text += part.get("text") or ""
        if (data.get("promptFeedback") or {}).get("blockReason"):
            self._finished.update(range(self._candidates))
            finish = "content_filter"
        if text or reasoning or calls:
            self.thinking = not (text or calls)
        if finish == "stop" and self._calls:
            finish = "tool_calls"
        usage = _usage(data.get("usageMetadata"))
        return Chunk(text, reasoning, tuple(calls), finish, usage, data.get("modelVersion"), raw)

    def _call(self, call: Json) -> ToolCallDelta:
        """Calls come whole."""
        self._calls += 1
        arguments = encoded(call.get("args") or {}).decode()
        return ToolCallDelta(self._calls - 1, call.get("id") or "", call["name"], arguments)


def _finish(reason: str | None) -> str | None:
    """Their finish reason in OpenAI's words; reasons OpenAI has no word for stay as they are."""
    return None if reason is None else _FINISH.get(reason, reason)


def _usage(usage: Json | None) -> Usage | None:
    if not usage:
        return None
    written, thought = count(usage.get("candidatesTokenCount")), count(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=count(usage.get("promptTokenCount")),
        output_tokens=None if written is None and thought is None else (written or 0) + (thought or 0),
        cache_read_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thought,
    )


dialect = Gemini()
