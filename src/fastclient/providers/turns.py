"""Messages in OpenAI's words as Anthropic's turns: system apart, tool calls and results as blocks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from fastclient.errors import ConfigError
from fastclient.providers.dialect import Json, marker
from fastclient.types import Message

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["CALL_EXTRAS", "RESULT_EXTRAS", "THOUGHTS", "Marks", "translating", "turned"]

_SHAPE = (KeyError, TypeError, AttributeError, ValueError)
THOUGHTS = ("thinking", "redacted_thinking")
CALL_EXTRAS = ("cache_control", "caller", "toolset_name")
RESULT_EXTRAS = ("cache_control", "is_error", "toolset_name")
"""What Anthropic's blocks say beyond OpenAI's calls and results: kept where a caller has written it there."""


class translating:  # noqa: N801  # used like a function
    """Whatever has not the shape it should have is a ConfigError that names its place, and does not quote it."""

    __slots__ = ("_place",)

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, _SHAPE) and not isinstance(error, ConfigError):
            raise ConfigError.at(self._place, f"cannot be translated for Anthropic ({type(error).__name__})") from None


class Marks:
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
            last = (at for at in range(len(blocks) - 1, -1, -1) if blocks[at].get("type") not in THOUGHTS)
            at = next(last, None) if part is None else part
            if at is not None and at < len(blocks):
                blocks[at] = {"cache_control": self._marker, **blocks[at]}


class _Text(Json):
    """A block that came as a mere text."""


def turned(messages: tuple[Message, ...], marks: Marks, *, plain: bool = False) -> tuple[list[Json] | str, list[Json]]:
    """Split off the system parts, and merge neighbours of one role: tool results are user content here.

    With `plain`, what came as a mere text stays one, where it stands alone and is not marked.
    """
    system: list[Json] = []
    turns: list[Json] = []
    for number, message in enumerate(messages):
        role = message["role"]
        if role in ("system", "developer"):
            blocks = _content(message.get("content"), number)
            marks.put(blocks, number)
            system += blocks
            continue
        if role in ("tool", "function"):
            blocks = _result(message, number, plain=plain)
        else:
            blocks = _content(message.get("content"), number)
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
    if not plain:
        return system, turns
    for turn in turns:
        turn["content"] = _unwrapped(turn["content"])
    return _unwrapped(system), turns


def _unwrapped(blocks: list[Json]) -> list[Json] | str:
    return blocks[0]["text"] if len(blocks) == 1 and type(blocks[0]) is _Text else blocks


def _content(content: object, number: int) -> list[Json]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [_Text(type="text", text=content)]
    with translating(f"messages[{number}].content"):
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


def _result(message: Message, number: int, *, plain: bool) -> list[Json]:
    identity = message.get("tool_call_id")
    if not isinstance(identity, str):
        raise ConfigError.at(f"messages[{number}].tool_call_id", "must name the tool call it answers")
    content = message.get("content")
    result: Json = {"type": "tool_result", "tool_use_id": identity}
    if not plain or "content" in message:
        result["content"] = content if plain and isinstance(content, str) else _content(content, number)
    return [result | {name: message[name] for name in RESULT_EXTRAS if name in message}]


def _use(call: Any, number: int) -> Json:
    with translating(f"messages[{number}].tool_calls"):
        function = call["function"]
        arguments = orjson.loads(function.get("arguments") or "{}")
        use = {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}
        return use | {name: call[name] for name in CALL_EXTRAS if name in call}


def _sequence(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
