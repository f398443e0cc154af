"""Anthropic Messages: requests translated from OpenAI's words, answers read from its typed events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from fastclient.errors import ConfigError
from fastclient.providers.dialect import Json, count, encoded, headers, marker, prefilled
from fastclient.providers.refusal import Scrub, refusal, scrubber
from fastclient.providers.sse import Event
from fastclient.target import Target
from fastclient.types import Chunk, Message, Request, ToolCallDelta, Usage
from fastclient.wire.port import WireRequest

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["dialect"]

_VERSION = "2023-06-01"
_STOP = (b'{"type":"message_stop"', b'{"type": "message_stop"')  # from gateways that drop the event names
_VERSION_IN_NAME = re.compile(r"-(\d{1,2})(?:[-.](\d{1,2}))?(?=-|@|$)")  # claude-3-5-haiku-20241022, claude-opus-4-6
_MAX_TOKENS = 4096  # the API demands a number; callers who care give one
_THOUGHTS = ("thinking", "redacted_thinking")
_UNKNOWN = ("seed", "response_format", "reasoning_effort", "logit_bias", "frequency_penalty", "presence_penalty")
_FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


class Anthropic:
    shortest = 0  # the prompt is read, and written to the cache
    base_url = "https://api.anthropic.com"
    key_variable = "ANTHROPIC_API_KEY"
    url_variable = "ANTHROPIC_BASE_URL"

    def write(self, request: Request, target: Target, layout: Layout | None = None) -> WireRequest:
        marks = _Marks(layout)
        system, messages = _messages(request.messages, marks)
        if not messages:
            raise ConfigError.at("messages", "must hold more than system messages for Anthropic")
        body: Json = {"model": target.model, **({"system": system} if system else {}), "messages": messages}
        body |= _params(request.params) | {"stream": True}
        marks.put(body.get("tools") or [], None)
        return WireRequest(
            method="POST",
            url=f"{_root(target)}/v1/messages",
            headers=headers(target, self._authentication(target), layout),
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
        authentication = headers(target, self._authentication(target), content=False)
        return WireRequest(method="GET", url=f"{_root(target)}/v1/models?limit=1", headers=authentication)

    def _authentication(self, target: Target) -> dict[str, str]:
        return {"x-api-key": target.key, "anthropic-version": _VERSION}


def _root(target: Target) -> str:
    """The base URL without a trailing /v1, which users of other providers are used to write."""
    return (target.base_url or "").removesuffix("/v1")


class AnthropicReader:
    """Reads typed events up to `message_stop`."""

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
            blocks=tuple(block for block in blocks if block["type"] in _THOUGHTS),
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
        self.thinking = kind in _THOUGHTS
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
        with _translating("tools"):
            out["tools"] = [_tool(tool, number) for number, tool in enumerate(out["tools"])]
    parallel = out.pop("parallel_tool_calls", None)
    with _translating("tool_choice"):
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


@contextmanager
def _translating(place: str) -> Iterator[None]:
    """Whatever has not the shape it should have is a ConfigError that names its place, and does not quote it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError.at(place, f"cannot be translated for Anthropic ({type(error).__name__})") from None


def _tool(tool: Any, number: int) -> Json:
    with _translating(f"tools[{number}]"):
        function = tool.get("function")
        if function is None:
            return dict(tool)
        translated = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
        if function.get("description"):
            translated["description"] = function["description"]
        if "cache_control" in tool:
            translated["cache_control"] = tool["cache_control"]
        return translated


class _Marks:
    """The breakpoints planned for one request: behind a message (None: behind the tools), or behind a part of it."""

    def __init__(self, layout: Layout | None) -> None:
        self._parts: dict[int | None, list[int | None]] = {}
        if layout is not None and layout.marking == "cache_control":
            self._marker = marker(layout.lifetime)
            for message, part in layout.places:
                self._parts.setdefault(message, []).append(part)

    def put(self, blocks: list[Json], message: int | None) -> None:
        """Mark the blocks of a message where that was planned; thinking takes no marker, so the block before does."""
        for part in self._parts.get(message, ()):
            last = (at for at in range(len(blocks) - 1, -1, -1) if blocks[at].get("type") not in _THOUGHTS)
            at = next(last, None) if part is None else part
            if at is not None and at < len(blocks):
                blocks[at] = {"cache_control": self._marker, **blocks[at]}


def _messages(messages: tuple[Message, ...], marks: _Marks) -> tuple[list[Json], list[Json]]:
    """Split off the system parts, and merge neighbours of one role: tool results are user content here."""
    system: list[Json] = []
    turns: list[Json] = []
    for number, message in enumerate(messages):
        role = message["role"]
        if role in ("system", "developer"):
            blocks = _content(message.get("content"), number)
            marks.put(blocks, number)
            system += blocks
            continue
        blocks = _result(message, number) if role in ("tool", "function") else _content(message.get("content"), number)
        if role == "assistant":
            blocks += [_use(call, number) for call in _sequence(message.get("tool_calls"))]
        if not blocks:
            continue  # an empty turn is an error there
        marks.put(blocks, number)
        their_role = "assistant" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == their_role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": their_role, "content": blocks})
    return system, turns


def _content(content: object, number: int) -> list[Json]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    with _translating(f"messages[{number}].content"):
        return [_part(part) for part in _sequence(content)]


def _part(part: Any) -> Json:
    """One content part; Anthropic's own kinds pass unchanged."""
    if part.get("type") != "image_url":
        return dict(part)
    image = part["image_url"]
    translated = {"type": "image", "source": _source(image if isinstance(image, str) else image["url"])}
    return translated | {"cache_control": part["cache_control"]} if "cache_control" in part else translated


def _source(url: str) -> Json:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    kind, separator, data = url[5:].partition(";base64,")
    if not separator:
        raise ValueError("a data URL that is not base64")
    return {"type": "base64", "media_type": kind, "data": data}


def _result(message: Message, number: int) -> list[Json]:
    identity = message.get("tool_call_id")
    if not isinstance(identity, str):
        raise ConfigError.at(f"messages[{number}].tool_call_id", "must name the tool call it answers")
    return [{"type": "tool_result", "tool_use_id": identity, "content": _content(message.get("content"), number)}]


def _use(call: Any, number: int) -> Json:
    with _translating(f"messages[{number}].tool_calls"):
        function = call["function"]
        arguments = orjson.loads(function.get("arguments") or "{}")
        return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}


def _sequence(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


dialect = Anthropic()
