"""Anthropic Messages: requests translated from OpenAI's words, answers read from its typed events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastclient.errors import ConfigError
from fastclient.providers.dialect import Ended, Json, count, encoded, headers, prefilled
from fastclient.providers.refusal import Scrub, refusal, scrubber
from fastclient.providers.sse import Event
from fastclient.providers.turns import THOUGHTS, Marks, translating, turned
from fastclient.target import Target
from fastclient.types import Chunk, Request, ToolCallDelta, Usage
from fastclient.wire.port import WireRequest

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["dialect", "root"]

_VERSION = "2023-06-01"
_STOP = (b'{"type":"message_stop"', b'{"type": "message_stop"')  # from gateways that drop the event names
_VERSION_IN_NAME = re.compile(r"-(\d{1,2})(?:[-.](\d{1,2}))?(?=-|@|$)")  # claude-3-5-haiku-20241022, claude-opus-4-6
_MAX_TOKENS = 4096  # the API demands a number; callers who care give one
_UNKNOWN = ("seed", "response_format", "reasoning_effort", "logit_bias", "frequency_penalty", "presence_penalty")
_FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


class Anthropic:
    shortest = 0  # the prompt is read, and written to the cache
    base_url = "https://api.anthropic.com"
    key_variable = "ANTHROPIC_API_KEY"
    url_variable = "ANTHROPIC_BASE_URL"

    def write(self, request: Request, target: Target, layout: Layout | None = None) -> WireRequest:
        marks = Marks(layout)
        system, messages = turned(request.messages, marks)
        if not messages:
            raise ConfigError.at("messages", "must hold more than system messages for Anthropic")
        body: Json = {"model": target.model, **({"system": system} if system else {}), "messages": messages}
        body |= _params(request.params) | {"stream": True}
        marks.put(body.get("tools") or [], None)
        return WireRequest(
            method="POST",
            url=f"{root(target)}/v1/messages",
            headers=headers(target, self.authentication(target), layout),
            body=encoded(body, layout),
        )

    def reader(self, request: Request, target: Target) -> AnthropicReader:
        return AnthropicReader(thinking=self.thinks(request), provider=target.provider, scrub=scrubber(target, request))

    def thinks(self, request: Request) -> bool:
        thinking = request.params.get("thinking")
        return isinstance(thinking, Mapping) and thinking.get("type") != "disabled"

    def continued(self, request: Request, target: Target, text: str) -> Request | None:
        """Claude up to 4.5 goes on behind a last message of its own, unless it thinks."""
        version = _VERSION_IN_NAME.search(target.model)
        if version is None or self.thinks(request):
            return None
        number = (int(version[1]), int(version[2] or 0))
        return prefilled(request, text) if number <= (4, 5) else None

    def ping(self, target: Target) -> WireRequest:
        authentication = headers(target, self.authentication(target), content=False)
        return WireRequest(method="GET", url=f"{root(target)}/v1/models?limit=1", headers=authentication)

    def authentication(self, target: Target) -> dict[str, str]:
        return {"x-api-key": target.key, "anthropic-version": _VERSION}


def root(target: Target) -> str:
    """The base URL without a trailing /v1, which users of other providers are used to write."""
    return (target.base_url or "").removesuffix("/v1")


class AnthropicReader:
    """Reads typed events up to `message_stop`."""

    ended: Ended = ""
    verbatim = True
    noise = b""

    def __init__(self, *, thinking: bool, provider: str, scrub: Scrub) -> None:
        self.thinking = thinking
        self.pings = 0
        self._provider = provider
        self._scrub = scrub
        self._calls: dict[int, int] = {}  # content block index -> tool call index
        self._thoughts: dict[int, Json] = {}  # thinking blocks under way, to be sent back as they are
        self._usage: Json = {}  # the latest of each count: the closing event may leave some out

    def is_end(self, event: Event) -> bool:
        named = event.name == "message_stop" or (event.name == "message" and event.data.startswith(_STOP))
        return named and event.data.endswith(b"}")  # a cut may have left a beginning of it

    def chunk(self, data: Json, event: Event) -> Chunk:
        raw = event.raw
        match data["type"]:
            case "content_block_delta":
                return self._delta(data["index"], data["delta"], raw)
            case "content_block_start":
                return self._block(data["index"], data["content_block"], raw)
            case "content_block_stop":
                thought = self._thoughts.pop(data["index"], None)
                return Chunk(raw=raw, blocks=(thought,) if thought else ())
            case "message_start":
                message = data["message"]
                return Chunk(model=message.get("model"), usage=self._counted(message.get("usage")), raw=raw)
            case "message_delta":
                reason = data["delta"].get("stop_reason")
                return Chunk(finish_reason=_finish(reason), usage=self._counted(data.get("usage")), raw=raw)
            case "error":
                raise refusal(self._provider, 200, {}, event.data, self._scrub)
            case kind:  # a ping, or whatever comes next year
                self.pings += kind == "ping"
                return Chunk(raw=raw)

    def whole(self, data: Json, raw: bytes) -> Chunk:
        if data["type"] == "error":
            raise refusal(self._provider, 200, {}, raw, self._scrub)
        blocks = data["content"]
        calls = [block for block in blocks if block["type"] == "tool_use"]
        return Chunk(
            "".join(block["text"] for block in blocks if block["type"] == "text"),
            "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
            tuple(
                ToolCallDelta(index, call["id"], call["name"], encoded(call["input"]).decode())
                for index, call in enumerate(calls)
            ),
            _finish(data.get("stop_reason")),
            self._counted(data.get("usage")),
            data.get("model"),
            raw,
            blocks=tuple(block for block in blocks if block["type"] in THOUGHTS),
        )

    def _counted(self, usage: Json | None) -> Usage:
        """Their `input_tokens` leaves cached ones out; ours, like everybody else's, has them in."""
        self._usage |= {name: value for name, value in (usage or {}).items() if value is not None}
        fresh = count(self._usage.get("input_tokens"))
        read, written = (count(self._usage.get(f"cache_{kind}_input_tokens")) for kind in ("read", "creation"))
        return Usage(
            input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
            output_tokens=count(self._usage.get("output_tokens")),
            cache_read_tokens=read,
            cache_write_tokens=written,
        )

    def _block(self, index: int, block: Json, raw: bytes) -> Chunk:
        kind = block["type"]
        self.thinking = kind in THOUGHTS
        if self.thinking:
            self._thoughts[index] = dict(block)
        if kind == "tool_use":
            number = self._calls.setdefault(index, len(self._calls))
            arguments = encoded(block["input"]).decode() if block.get("input") else ""
            return Chunk(tool_calls=(ToolCallDelta(number, block["id"], block["name"], arguments),), raw=raw)
        return Chunk(text=block.get("text") or "", reasoning=block.get("thinking") or "", raw=raw)

    def _delta(self, index: int, delta: Json, raw: bytes) -> Chunk:
        match delta["type"]:
            case "text_delta":
                return Chunk(text=delta["text"], raw=raw)
            case "thinking_delta":
                self._grow(index, "thinking", delta["thinking"])
                return Chunk(reasoning=delta["thinking"], raw=raw)
            case "signature_delta":
                self._grow(index, "signature", delta["signature"])
                return Chunk(raw=raw)
            case "input_json_delta" if index in self._calls:
                call = ToolCallDelta(self._calls[index], arguments=delta["partial_json"])
                return Chunk(tool_calls=(call,) if call.arguments else (), raw=raw)
            case _:
                return Chunk(raw=raw)

    def _grow(self, index: int, part: str, piece: str) -> None:
        thought = self._thoughts.setdefault(index, {"type": "thinking"})
        thought[part] = thought.get(part, "") + piece


def _finish(reason: str | None) -> str | None:
    """Their stop reason in OpenAI's words; reasons OpenAI has no word for stay as they are."""
    return None if reason is None else _FINISH.get(reason, reason)


def _params(params: Mapping[str, object]) -> Json:
    """OpenAI's parameter names in Anthropic's; names they do not share are passed on as they are."""
    out: Json = {name: value for name, value in params.items() if name != "stream_options"}
    for name in _UNKNOWN:
        if name in out:
            raise ConfigError.of(name, out[name], "has no counterpart at Anthropic: leave it out")
    thinking = out.get("thinking")
    budget = count(thinking.get("budget_tokens")) if isinstance(thinking, Mapping) else None
    limit = out.pop("max_completion_tokens", None)
    out.setdefault("max_tokens", _MAX_TOKENS + (budget or 0) if limit is None else limit)
    if "user" in out:
        out["metadata"] = {**out.get("metadata", {}), "user_id": out.pop("user")}
    if "stop" in out:
        stop = out.pop("stop")
        out["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if "tools" in out:
        with translating("tools"):
            out["tools"] = [_tool(tool, number) for number, tool in enumerate(out["tools"])]
    parallel = out.pop("parallel_tool_calls", None)
    with translating("tool_choice"):
        choice = _choice(out.pop("tool_choice", None), parallel if out.get("tools") else None)
    return out if choice is None else out | {"tool_choice": choice}


def _choice(choice: Any, parallel: object) -> Any:
    """Their tool choice for OpenAI's, or None."""
    if isinstance(choice, str):
        choice = {"type": {"required": "any"}.get(choice, choice)}
    elif choice is not None and choice.get("type") == "function":
        choice = {"type": "tool", "name": choice["function"]["name"]}
    if parallel is not False or choice == {"type": "none"}:
        return choice
    return {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}


def _tool(tool: Any, number: int) -> Json:
    with translating(f"tools[{number}]"):
        function = tool.get("function")
        if function is None:
            return dict(tool)
        translated = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
        if function.get("description"):
            translated["description"] = function["description"]
        if "cache_control" in tool:
            translated["cache_control"] = tool["cache_control"]
        return translated


dialect = Anthropic()
