"""OpenAI Chat Completions, which is also what nearly every compatible server speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastclient.config import Target
from fastclient.errors import ConfigError
from fastclient.providers.dialect import Json, encoded, headers
from fastclient.providers.refusal import Scrub, refusal, scrubber
from fastclient.providers.reported import reported
from fastclient.providers.sse import Event
from fastclient.types import Chunk, Request, ToolCallDelta, Usage
from fastclient.wire.port import WireRequest

__all__ = ["dialect"]


class OpenAI:
    base_url = "https://api.openai.com/v1"
    key_variable = "OPENAI_API_KEY"
    url_variable = "OPENAI_BASE_URL"

    def write(self, request: Request, target: Target) -> WireRequest:
        params: Json = dict(request.params)
        if target.base_url == self.base_url and "max_tokens" in params:
            # OpenAI's own reasoning models refuse the old name; other servers know only the old one.
            params.setdefault("max_completion_tokens", params.pop("max_tokens"))
        if not isinstance(params.get("stream_options", {}), Mapping):
            raise ConfigError.of("stream_options", params["stream_options"], "must be a mapping")
        body = {
            "model": target.model,
            "messages": request.messages,
            **params,
            "stream": True,
            "stream_options": {"include_usage": True, **params.get("stream_options", {})},
        }
        return WireRequest(
            method="POST",
            url=f"{target.base_url}/chat/completions",
            headers=headers(target, self._authentication(target)),
            body=encoded(body),
        )

    def reader(self, request: Request, target: Target) -> OpenAIReader:
        thinking = any(request.params.get(name) not in (None, "none") for name in ("reasoning_effort", "reasoning"))
        return OpenAIReader(thinking=thinking, provider=target.provider, scrub=scrubber(target, request))

    def ping(self, target: Target) -> WireRequest:
        authentication = headers(target, self._authentication(target), content=False)
        return WireRequest(method="GET", url=f"{target.base_url}/models", headers=authentication)

    def _authentication(self, target: Target) -> dict[str, str]:
        return {"authorization": f"Bearer {target.key}"} if target.key else {}


class OpenAIReader:
    """Reads `chat.completion.chunk` events up to `data: [DONE]`."""

    def __init__(self, *, thinking: bool, provider: str, scrub: Scrub) -> None:
        self.thinking = thinking
        self._provider = provider
        self._scrub = scrub

    def is_end(self, event: Event) -> bool:
        return event.data == b"[DONE]"

    def chunk(self, data: Json, event: Event) -> Chunk:
        choices = data.get("choices")
        if not choices:
            return self._without_choice(data, event)
        choice = choices[0]
        delta = choice.get("delta") or {}
        text = delta.get("content") or delta.get("refusal") or ""
        reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
        if not isinstance(text, str):
            text = _joined(text)
        if text:
            self.thinking = False
        elif reasoning:
            self.thinking = True
        calls = delta.get("tool_calls")
        usage = data.get("usage")
        return Chunk(
            text,
            reasoning,
            tuple(map(_call, calls, range(len(calls)))) if calls else (),
            choice.get("finish_reason"),
            _usage(data, usage) if usage else None,
            data.get("model"),
            event.raw,
            reported(data),
        )

    def whole(self, data: Json, raw: bytes) -> Chunk:
        choices = data.get("choices")
        if not choices:
            raise self._refused(data, raw)
        message = choices[0]["message"]
        as_delta = {**data, "choices": [{**choices[0], "delta": message}]}
        return self.chunk(as_delta, Event(b"", "message", raw))

    def _without_choice(self, data: Json, event: Event) -> Chunk:
        """The closing usage event, or an error the provider sent in the middle of the stream."""
        if "choices" not in data and ("error" in data or event.name == "error"):
            raise self._refused(data, event.data)
        usage = data.get("usage") or (data.get("x_groq") or {}).get("usage")
        return Chunk(
            usage=_usage(data, usage) if usage else None,
            model=data.get("model"),
            raw=event.raw,
            reported=reported(data),
        )

    def _refused(self, data: Json, raw: bytes) -> Exception:
        if not isinstance(data, dict):
            raise TypeError("not an object")
        return refusal(self._provider, 200, {}, raw, self._scrub)


def _call(call: Json, position: int) -> ToolCallDelta:
    function = call.get("function") or {}
    index = call.get("index")
    arguments = function.get("arguments") or ""
    return ToolCallDelta(
        position if index is None else index,
        call.get("id") or "",
        function.get("name") or "",
        arguments if isinstance(arguments, str) else encoded(arguments).decode(),
    )


def _joined(parts: list[Any]) -> str:
    """The text of content that came as a list of parts."""
    return "".join(part.get("text") or "" for part in parts if part.get("type") in (None, "text"))


def _usage(data: Json, usage: Json) -> Usage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    cached = prompt.get("cached_tokens")
    return Usage(
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        cache_read_tokens=cached if cached is not None else (data.get("timings") or {}).get("cache_n"),
        cache_write_tokens=prompt.get("cache_write_tokens"),
        reasoning_tokens=completion.get("reasoning_tokens"),
    )


dialect = OpenAI()
