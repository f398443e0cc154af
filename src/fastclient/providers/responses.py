"""OpenAI's Responses: typed events read. Requests are written by its own SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

from fastclient.errors import ConfigError, ProviderError
from fastclient.providers.dialect import Ended, Json, count, encoded, headers, reasons
from fastclient.providers.refusal import Scrub, refusal, scrubber
from fastclient.providers.sse import Event
from fastclient.target import Target
from fastclient.types import Chunk, Request, ToolCallDelta, Usage
from fastclient.wire.port import WireRequest

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["LAST", "dialect"]

LAST = ("response.completed", "response.incomplete", "response.failed")
_FINISH = {"max_output_tokens": "length"}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}  # what the model writes for a tool
_TEXTS = ("response.output_text.delta", "response.refusal.delta")
_REASONING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_WRITING = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")


class Responses:
    shortest = 16
    base_url = "https://api.openai.com/v1"
    key_variable = "OPENAI_API_KEY"
    url_variable = "OPENAI_BASE_URL"

    def write(self, request: Request, target: Target, layout: Layout | None = None) -> NoReturn:  # noqa: ARG002
        raise ConfigError.at("target", "openai-responses is for now only served under its own SDK: use openai")

    def reader(self, request: Request, target: Target) -> ResponsesReader:
        thinking = self.thinks(request) or ("reasoning" not in request.params and reasons(target.model))
        return ResponsesReader(thinking=thinking, provider=target.provider, scrub=scrubber(target, request))

    def thinks(self, request: Request) -> bool:
        reasoning = request.params.get("reasoning")
        return isinstance(reasoning, Mapping) and reasoning.get("effort") not in (None, "none")

    def continued(self, request: Request, target: Target, text: str) -> Request | None:  # noqa: ARG002
        return None

    def ping(self, target: Target) -> WireRequest:
        authentication = headers(target, self.authentication(target), content=False)
        return WireRequest(method="GET", url=f"{target.base_url}/models", headers=authentication)

    def authentication(self, target: Target) -> dict[str, str]:
        return {"authorization": f"Bearer {target.key}"} if target.key else {}


class _Call:
    """A tool call under way: its name goes out with the first thing that is written for it."""

    __slots__ = ("begun", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.begun = False

    def written(self, item: Json, piece: str) -> ToolCallDelta:
        begun, self.begun = self.begun, True
        if begun:
            return ToolCallDelta(self.number, arguments=piece)
        return ToolCallDelta(self.number, item.get("call_id") or item.get("id") or "", item.get("name") or "", piece)


class ResponsesReader:
    """Reads typed events up to `response.completed` or `response.incomplete`, which say it all again."""

    verbatim = False  # each event has its number
    noise = b""

    def __init__(self, *, thinking: bool, provider: str, scrub: Scrub) -> None:
        self.thinking = thinking
        self.pings = 0
        self.ended: Ended = ""
        self._provider = provider
        self._scrub = scrub
        self._items: dict[int, tuple[Json, _Call]] = {}  # tool calls by the index of their item

    def is_end(self, event: Event) -> bool:  # noqa: ARG002
        return False  # the last event has usage and finish reason: it is read like the others

    def chunk(self, data: Json, event: Event) -> Chunk:
        kind, raw = data.get("type") or event.name, event.raw
        if kind in _TEXTS:
            self.thinking = False
            return Chunk(text=data["delta"], raw=raw)
        if kind in _REASONING:
            self.thinking = True
            return Chunk(reasoning=data["delta"], raw=raw)
        if kind in _WRITING:
            self.thinking = False
            return self._written(data["output_index"], data["delta"], raw)
        match kind:
            case "response.output_item.added":
                self._added(data["output_index"], data.get("item") or {})
            case "response.output_item.done":
                return self._done(data["output_index"], data["item"], raw)
            case "response.created":
                return Chunk(model=data["response"].get("model"), raw=raw)
            case "response.completed" | "response.incomplete":
                return self._last(data["response"], raw)
            case "error" | "response.failed":
                raise self._refused(data.get("response") or data, event.data)
            case _ if data.get("error"):
                raise self._refused(data, event.data)
            case _:  # steps on the way, tools of the provider's own, and whatever comes next year
                self.pings += kind == "keepalive"
        return Chunk(raw=raw)

    def whole(self, data: Json, raw: bytes) -> Chunk:
        if data.get("error") or data.get("status") == "failed" or "output" not in data:
            raise self._refused(data, raw)
        output = data["output"]
        calls = [item for item in output if item["type"] in _CALLS]
        return Chunk(
            "".join(_texts(output, "message")),
            "".join(_texts(output, "reasoning")),
            tuple(_Call(at).written(call, call[_CALLS[call["type"]]]) for at, call in enumerate(calls)),
            _finish(data, calls=bool(calls)),
            _usage(data.get("usage")),
            data.get("model"),
            raw,
        )

    def _added(self, index: int, item: Json) -> None:
        """A call that has only its name is nothing to anybody yet."""
        kind = item.get("type")
        if kind in _CALLS:
            self._call(index, item)
        self.thinking = kind == "reasoning"

    def _call(self, index: int, item: Json) -> tuple[Json, _Call]:
        return self._items.setdefault(index, (item, _Call(len(self._items))))

    def _written(self, index: int, piece: str, raw: bytes) -> Chunk:
        item, call = self._call(index, {})
        return Chunk(tool_calls=(call.written(item, piece),) if piece else (), raw=raw)

    def _done(self, index: int, item: Json, raw: bytes) -> Chunk:
        """The end of an item: a call of which nothing was streamed is there now."""
        kind = item["type"]
        if kind == "reasoning":
            self.thinking = False
        if kind in _CALLS:
            _, call = self._call(index, item)
            if not call.begun:
                return Chunk(tool_calls=(call.written(item, item.get(_CALLS[kind]) or ""),), raw=raw)
        return Chunk(raw=raw)

    def _last(self, response: Json, raw: bytes) -> Chunk:
        finish, usage = _finish(response, calls=bool(self._items)), _usage(response.get("usage"))
        self.ended, self.thinking = "here", False
        return Chunk(finish_reason=finish, usage=usage, model=response.get("model"), raw=raw)

    def _refused(self, data: Json, raw: bytes) -> ProviderError:
        """An error event nests its words, or does not; a failed response has them in one of its many fields."""
        error = data.get("error")
        body = encoded({"error": error}) if isinstance(error, dict) else raw
        return refusal(self._provider, 200, {}, body, self._scrub)


def _finish(response: Json, *, calls: bool) -> str | None:
    """Why it stopped, in the words of Chat Completions; None while it has not."""
    status = response.get("status")
    if status == "incomplete":
        reason = (response.get("incomplete_details") or {}).get("reason")
        return _FINISH.get(reason, reason) if reason else "length"
    if status not in (None, "completed"):
        return None
    return "tool_calls" if calls else "stop"


def _usage(usage: Json | None) -> Usage | None:
    if not usage:
        return None
    read, written = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=count(read.get("cached_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
    )


def _texts(output: list[Json], kind: str) -> Iterator[str]:
    """The texts of messages, refusals among them, or those of reasoning and its summaries."""
    for item in output:
        if item["type"] == kind:
            for part in (*(item.get("summary") or ()), *(item.get("content") or ())):
                yield part.get("text") or part.get("refusal") or ""


dialect = Responses()
