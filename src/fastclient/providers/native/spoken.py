"""An answer of another provider in the events of Chat Completions, for its SDK where a fallback answered. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fastclient.providers.dialect import Json, encoded
from fastclient.types import Chunk, ToolCallDelta, Usage

__all__ = ["Speaker"]

_FINISH = ("stop", "length", "tool_calls", "content_filter", "function_call")


class Speaker:
    """Turns the chunks of one answer into events, as they come.

    `created` is in seconds since 1970. With `usage` an event with the counts stands before the last one.
    """

    def __init__(self, *, name: str, model: str, created: float, usage: bool) -> None:
        self._head: Json = {"id": f"chatcmpl-{name}", "object": "chat.completion.chunk", "created": int(created)}
        self._model = model
        self._usage = Usage() if usage else None
        self._begun = False

    def events(self, chunks: Sequence[Chunk]) -> bytes:
        """The events for these chunks; maybe none."""
        return b"".join([self._event(chunk) for chunk in chunks])

    def end(self) -> bytes:
        """What comes after the last chunk."""
        done = b"data: [DONE]\n\n"
        if self._usage is None:
            return done
        return self._written({"choices": [], "usage": _counts(self._usage)}) + done

    def _event(self, chunk: Chunk) -> bytes:
        self._model = chunk.model or self._model
        if chunk.usage is not None and self._usage is not None:
            self._usage = self._usage.updated(chunk.usage)
        delta: Json = {}
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.tool_calls:
            delta["tool_calls"] = [_call(call) for call in chunk.tool_calls]
        finish = chunk.finish_reason
        if not delta and finish is None:
            return b""
        if not self._begun:
            self._begun = True
            delta = {"role": "assistant", "content": "", **delta}
        if finish is not None and finish not in _FINISH:
            finish = "stop"  # their reasons have names that SDKs check
        return self._written({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _written(self, fields: Json) -> bytes:
        return b"data: " + encoded(self._head | {"model": self._model} | fields) + b"\n\n"


def _call(call: ToolCallDelta) -> Json:
    told: Json = {"index": call.index, "function": {"arguments": call.arguments}}
    if call.id:
        told |= {"id": call.id, "type": "function"}
    if call.name:
        told["function"] = {"name": call.name, "arguments": call.arguments}
    return told


def _counts(usage: Usage) -> Json:
    sent, written = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "prompt_tokens": sent,
        "completion_tokens": written,
        "total_tokens": sent + written,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }
