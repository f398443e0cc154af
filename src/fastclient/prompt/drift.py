"""Why the provider's cache no longer holds the beginning of a prompt: compares two request bodies and names the cause.

Bodies are compared as providers hash them: tools, system, messages, each part as it stands on the wire, without cache
markers. Takes bodies of Chat Completions and of Anthropic's Messages, and never raises, whatever stands in them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from fastclient.prompt.cause import Cause, Segment, area, cause_of
from fastclient.prompt.difference import common_prefix
from fastclient.prompt.tokens import estimate, size_of
from fastclient.target import Price

__all__ = ["ADVICE", "Cause", "Drift", "Segment", "diagnose", "segments"]

ADVICE: Final[Mapping[Cause, str]] = {
    "append_only": "nothing to do: the new request continues the old one",
    "tail_replaced": "nothing to do: only what stands at the end and changes with each request was exchanged",
    "shortened": "nothing is read again; make sure that the last messages were taken back on purpose",
    "model_changed": "keep one model per conversation: models do not share their caches",
    "param_changed": "keep these parameters as they are for a whole conversation",
    "tools_reordered": "send the tools in one fixed order, for example sorted by name",
    "tool_set_changed": "send all tools each time, and say by tool_choice which ones may be called",
    "tools_reserialised": "make the tools' JSON once and send it each time; their keys came in another order",
    "tool_definition_changed": "keep what changes out of the tools; say it in the newest message",
    "blocks_reordered": "keep the parts in the order in which they were first sent",
    "system_whitespace": "render the system prompt once and send the same text each time",
    "system_reserialised": "write the JSON in the system prompt once, or always with the same spaces and order of keys",
    "system_timestamp": "move the time out of the system prompt, behind the history",
    "system_random_id": "move the id out of the system prompt, behind the history",
    "system_text_changed": "move what changes out of the system prompt, behind the history",
    "message_inserted": "add messages at the end only; keep passing reminders out of the history",
    "history_trimmed": "trim seldom and much instead of often and little",
    "history_whitespace": "keep each message exactly as it was sent",
    "history_reserialised": "keep tool calls and results as they came instead of writing their JSON anew",
    "history_timestamp": "give a message its time once, when it enters the history",
    "history_random_id": "give a message its id once, when it enters the history",
    "history_edited": "shorten or change a message before it is first sent, not later",
}
"""What to do about each cause, in one line."""

_MARKERS = frozenset(("cache_control", "prompt_cache_breakpoint", "cachePoint"))
_HOLDERS = frozenset(("content", "function"))  # members that may be marked themselves
_KNOWN = _MARKERS | {"role", "content", "tool_calls"}
_TEXT = frozenset(("type", "text"))
_PARAMS = (
    *("reasoning_effort", "reasoning", "thinking", "output_config", "speed"),
    *("tool_choice", "response_format", "prompt_cache_key"),
)
_NESTED = 5  # levels on which markers may stand
_TYPED = '{"type":'  # begins what may be an image, which counts by its pixels and not by its characters
_BEFORE, _BEHIND = 20, 60  # characters of an excerpt on both sides of the difference


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of a prompt in the next request.

    `path` and `offset` (characters into that part, or into its JSON if it is no text) say where they begin to differ.
    `tokens_shared` and `tokens_lost` estimate the old prompt before and behind that place: what is lost could have been
    read from the cache, and is prefilled again. After another model or parameter, that counts as all of it. `details`
    names tools, parameters and numbers of messages. Prompt text is in `before` and `after` only, if it was asked for.
    """

    cause: Cause
    path: str = ""
    offset: int = 0
    tokens_shared: int = 0
    tokens_lost: int = 0
    details: str = ""
    before: str = field(default="", repr=False)
    after: str = field(default="", repr=False)

    @property
    def is_drift(self) -> bool:
        """Whether the new request does not continue the old one. It may exchange a volatile end, as layouts do."""
        return self.cause not in ("append_only", "tail_replaced")

    @property
    def advice(self) -> str:
        """What to do about it, in one line."""
        return ADVICE[self.cause]

    def money_lost(self, price: Price) -> float:
        """What the lost tokens cost more than if they had been read from the cache."""
        paid = price.input if price.cache_write is None else price.cache_write
        cached = price.input if price.cache_read is None else price.cache_read
        return self.tokens_lost * (paid - cached) / 1e6

    def __str__(self) -> str:
        place = f" at {self.path}" if self.path else ""
        offset = f", character {self.offset:,}" if self.offset else ""
        return self.cause + place + offset + (f" ({self.details})" if self.details else "")


def diagnose(old: Mapping[str, object], new: Mapping[str, object], *, excerpts: bool = False) -> Drift:
    """What `new` does to the cached prompt of `old`, the request before it in the same conversation."""
    before, after = segments(old), segments(new)
    sizes = [_tokens(one.text) for one in before]
    if _changed(old, new, ("model",)):
        return Drift("model_changed", "model", tokens_lost=round(sum(sizes)))
    pairs = enumerate(zip(before, after, strict=False))
    at = next((at for at, (was, now) in pairs if was[1:] != now[1:]), min(len(before), len(after)))
    if at < min(len(before), len(after)):
        return _drift(before, after, at, sizes, excerpts)
    if at < len(before):
        return Drift("shortened", before[at].path, tokens_shared=round(sum(sizes[:at])))
    if params := _changed(old, new, _PARAMS):
        return Drift("param_changed", params[0], tokens_lost=round(sum(sizes)), details=", ".join(params))
    return Drift("append_only", tokens_shared=round(sum(sizes)))


def segments(body: Mapping[str, object]) -> tuple[Segment, ...]:
    """The parts of a prompt in the order in which they are hashed; texts as they are, all else as JSON."""
    found: list[Segment] = []
    _add(found, "tools", "tools", _listed(body.get("tools")))
    _add(found, "system", "system", body.get("system"))
    for number, message in enumerate(_listed(body.get("messages"))):
        _add_message(found, f"messages[{number}]", message)
    return tuple(found)


def _drift(
    before: Sequence[Segment], after: Sequence[Segment], at: int, sizes: Sequence[float], excerpts: bool
) -> Drift:
    """The drift of two prompts that differ in this segment first."""
    cause, details = cause_of(before, after, at)
    was, now = before[at], after[at]
    path = was.path if area(before, at) <= area(after, at) else now.path
    offset = common_prefix(was.text, now.text) if was.role == now.role else 0
    shared = sum(sizes[:at]) + sizes[at] * offset / len(was.text)
    shown = slice(max(0, offset - _BEFORE), offset + _BEHIND if excerpts else 0)
    lost = round(sum(sizes) - shared)
    return Drift(cause, path, offset, round(shared), lost, details, was.text[shown], now.text[shown])


def _changed(old: Mapping[str, object], new: Mapping[str, object], names: Sequence[str]) -> list[str]:
    return [name for name in names if _json(old.get(name)) != _json(new.get(name))]


def _tokens(text: str) -> float:
    if text.startswith(_TYPED):
        try:
            return size_of({"content": [orjson.loads(text)]}).n
        except ValueError:
            pass
    return estimate(text)


# --- the parts of a body ----------------------------------------------------------------------------------------------


def _add_message(found: list[Segment], path: str, message: object) -> None:
    if not isinstance(message, Mapping):
        _add(found, path, "", message)
        return
    role = message.get("role")
    role = role if isinstance(role, str) else ""
    _add(found, f"{path}.content", role, message.get("content"))
    _add(found, f"{path}.tool_calls", role, _listed(message.get("tool_calls")))
    for name, value in message.items():
        if name not in _KNOWN:
            _add(found, f"{path}.{name}", role, value)


def _add(found: list[Segment], path: str, role: str, content: object) -> None:
    """One segment for a text, and one for each part of a list; none for what says nothing."""
    if isinstance(content, (list, tuple)):
        for number, part in enumerate(content):
            if text := _text(_bare(part, _NESTED)):
                found.append(Segment(f"{path}[{number}]", role, text))
    elif text := _text(content):
        found.append(Segment(path, role, text))


def _text(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.keys() <= _TEXT and isinstance(text := part.get("text"), str):
        return text
    return "" if part is None or (isinstance(part, dict) and not part) else _json(part)


def _bare(value: object, depth: int) -> object:
    """The value without cache markers, in the places where providers read them."""
    if depth and isinstance(value, Mapping):
        return {
            name: _bare(inner, depth - 1) if name in _HOLDERS else inner
            for name, inner in value.items()
            if name not in _MARKERS
        }
    if depth and isinstance(value, (list, tuple)):
        return [_bare(inner, depth - 1) for inner in value]
    return value


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else () if value is None else (value,)


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # half a surrogate pair, a number beyond 64 bits, a key that is no text, a circle
        pass
    try:
        return repr(value)
    except Exception:  # it was not made to be sent
        return ""
