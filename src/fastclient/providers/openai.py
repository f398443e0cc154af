"""OpenAI Chat Completions, which is also what nearly every compatible server speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from fastclient.errors import ConfigError, ProviderError
from fastclient.providers.dialect import Ended, Json, count, encoded, headers, marker, prefilled, reasons
from fastclient.providers.refusal import Scrub, refusal, scrubber
from fastclient.providers.reported import REPORTING, reported
from fastclient.providers.sse import Event
from fastclient.target import Target, is_private
from fastclient.types import Chunk, Message, Request, ToolCallDelta, Usage
from fastclient.wire.port import WireRequest

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["dialect", "marked", "renamed"]

_SPECIAL = REPORTING | {"error", "x_groq"}  # what few events have: looked for all at once
_UNUSUAL = frozenset(("refusal", "reasoning_content", "reasoning", "tool_calls"))  # the same in a delta
_COUNTED = {"include_usage": True}
_new = tuple.__new__  # cheaper than the generated constructor, and called once per event


class OpenAI:
    shortest = 1
    base_url = "https://api.openai.com/v1"
    key_variable = "OPENAI_API_KEY"
    url_variable = "OPENAI_BASE_URL"
    _last: _Address | None = None  # most programs have one target

    def write(self, request: Request, target: Target, layout: Layout | None = None) -> WireRequest:
        params = request.params
        messages: Sequence[Message] = request.messages
        last = self._last
        if last is None or last.target is not target:
            url = f"{target.base_url}/chat/completions"
            last = self._last = _Address(target, url, headers(target, self.authentication(target)))
        fields = last.headers
        if layout is not None:
            if layout.params:
                params = {**params, **layout.params}
            if layout.headers:
                fields = headers(target, self.authentication(target), layout)
            messages = marked(messages, layout)
        body: Json = {"model": target.model, "messages": messages}
        if params:
            body |= _asked(params, target)
        else:
            body["stream"], body["stream_options"] = True, _COUNTED
        return WireRequest(method="POST", url=last.url, headers=fields, body=encoded(body, layout))

    def reader(self, request: Request, target: Target) -> OpenAIReader:
        params = request.params
        thinking = (bool(params) and self.thinks(request)) or (
            "reasoning_effort" not in params and reasons(target.model)
        )
        return OpenAIReader(thinking=thinking, provider=target.provider, scrub=scrubber(target, request))

    def thinks(self, request: Request) -> bool:
        return any(request.params.get(name) not in (None, "none") for name in ("reasoning_effort", "reasoning"))

    def continued(self, request: Request, target: Target, text: str) -> Request | None:
        host = urlsplit(target.base_url or "").hostname or ""
        if host.endswith((".deepseek.com", ".mistral.ai")):  # DeepSeek: on its beta URL, elsewhere it refuses
            return prefilled(request, text, prefix=True)
        if not is_private(target.base_url or ""):
            return None  # many ignore what they do not know, and would begin from the start
        goes_on = {"continue_final_message": True, "add_generation_prompt": False}  # vLLM, SGLang, llama.cpp
        return replace(prefilled(request, text), params={**request.params, **goes_on})

    def ping(self, target: Target) -> WireRequest:
        authentication = headers(target, self.authentication(target), content=False)
        return WireRequest(method="GET", url=f"{target.base_url}/models", headers=authentication)

    def authentication(self, target: Target) -> dict[str, str]:
        return {"authorization": f"Bearer {target.key}"} if target.key else {}


class _Address(NamedTuple):
    """What the requests to one target begin with."""

    target: Target
    url: str
    headers: Mapping[str, str]


def _asked(params: Mapping[str, object], target: Target) -> Json:
    """The parameters as they are sent."""
    said = renamed(dict(params), target.base_url)
    options = said.pop("stream_options", {})
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError.of("stream_options", options, "must be a mapping")
    said["stream"] = True
    if options is not None:  # None: a server that does not know them
        said["stream_options"] = {**_COUNTED, **options}
    return said


class OpenAIReader:
    """Reads `chat.completion.chunk` events up to `data: [DONE]`."""

    ended: Ended = ""
    noise = b'"obfuscation":"'  # OpenAI's own, which makes the events of all texts equally long

    def __init__(self, *, thinking: bool, provider: str, scrub: Scrub) -> None:
        self.thinking = thinking
        self.pings = 0
        self.verbatim = True  # until a text comes in parts
        self._provider = provider
        self._scrub = scrub

    def is_end(self, event: Event) -> bool:
        return event.data[:6] == b"[DONE]"

    def chunk(self, data: Json, event: Event) -> Chunk:
        choices = data.get("choices")
        special = not _SPECIAL.isdisjoint(data)
        if not choices or (special and data.get("error")):
            return self._without_choice(data, event)
        choice = choices[0]
        delta = choice.get("delta")
        text, reasoning, calls = self._said(delta) if delta else ("", "", ())
        usage = _usage(data) if special or data.get("usage") else None
        told = reported(data) if special else None
        finish = choice.get("finish_reason")
        return _new(Chunk, (text, reasoning, calls, finish, usage, data.get("model"), event.raw, told, (), False))

    def _said(self, delta: Json) -> tuple[str, str, tuple[ToolCallDelta, ...]]:
        """Text, reasoning and pieces of tool calls."""
        text = delta.get("content") or ""
        if text.__class__ is str and _UNUSUAL.isdisjoint(delta):
            if text:
                self.thinking = False
            return text, "", ()
        text = text or delta.get("refusal") or ""
        reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
        if not isinstance(text, str):
            text, self.verbatim = _joined(text), False
        if not isinstance(reasoning, str):
            reasoning = ""
        calls = delta.get("tool_calls")
        if text or calls:
            self.thinking = False
        elif reasoning:
            self.thinking = True
        return text, reasoning, tuple(map(_call, calls, range(len(calls)))) if calls else ()

    def whole(self, data: Json, raw: bytes) -> Chunk:
        choices = data.get("choices")
        if not choices:
            raise self._refused(raw)
        message = choices[0]["message"]
        as_delta = {**data, "choices": [{**choices[0], "delta": message}]}
        return self.chunk(as_delta, Event(raw, "message", raw))

    def _without_choice(self, data: Json, event: Event) -> Chunk:
        """The closing usage event, or an error the provider sent in the middle of the stream."""
        if data.get("error") or data.get("object") == "error" or event.name == "error":
            raise self._refused(event.data)
        told = reported(data)
        return _new(Chunk, ("", "", (), None, _usage(data), data.get("model"), event.raw, told, (), False))

    def _refused(self, raw: bytes) -> ProviderError:
        return refusal(self._provider, 200, {}, raw, self._scrub)


def renamed(params: Json, base_url: str | None) -> Json:
    """The parameters by the names this server knows.

    OpenAI's own reasoning models refuse the old name; other servers know only the old one.
    """
    if base_url != dialect.base_url or "max_tokens" not in params:
        return params
    known = {name: value for name, value in params.items() if name != "max_tokens"}
    known.setdefault("max_completion_tokens", params["max_tokens"])
    return known


def marked(messages: Sequence[Message], layout: Layout) -> Sequence[Message]:
    """The messages with a breakpoint behind each part where one was planned."""
    if not layout.places:
        return messages
    mark: Json = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    if layout.marking == "cache_control":
        mark = {"cache_control": marker(layout.lifetime)}
    marked = list(messages)
    for number, part in layout.places:
        if number is not None:
            content = marked[number].get("content")
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(_parts(content))
            if parts:
                at = len(parts) - 1 if part is None else part
                parts[at] = {**parts[at], **mark}
                marked[number] = {**marked[number], "content": parts}
    return marked


def _parts(content: object) -> Sequence[Json]:
    return content if isinstance(content, (list, tuple)) else ()


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


def _usage(data: Json) -> Usage | None:
    """The counts of an event; most have none. Servers put the same things in different places."""
    usage = data.get("usage") or (data["x_groq"].get("usage") if data.get("x_groq") else None)
    if not usage:
        return None
    read = written = reasoning = None
    if prompt := usage.get("prompt_tokens_details"):
        read, written = count(prompt.get("cached_tokens")), count(prompt.get("cache_write_tokens"))
    if completion := usage.get("completion_tokens_details"):
        reasoning = count(completion.get("reasoning_tokens"))
    if read is None and "prompt_cache_hit_tokens" in usage:  # DeepSeek
        read = count(usage["prompt_cache_hit_tokens"])
    if read is None and data.get("timings"):  # llama.cpp
        read = count(data["timings"].get("cache_n"))
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


dialect = OpenAI()
