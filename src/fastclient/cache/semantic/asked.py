"""Which requests may be answered by what was said to others, and which part of them is the question. Pure.

Only the words of the last user turn may differ; everything else has to be the same. And an answer is for others only if
it does not depend on who asks, or when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from fastclient.cache.semantic.signs import momentary, personal
from fastclient.types import Message, Request

__all__ = ["Asked", "Unfit", "asked"]

Unfit = Literal["tools", "media", "personal", "time", "form", "length"]
"""Why a request is not for the semantic cache: it may call tools, holds more than texts, is about the one who asks or
about the moment, has no question at its end, or one too long to be compared."""

_LONGEST: Final = 2_000  # characters of a question
_CALLING: Final = ("tools", "functions", "tool_choice")
_LOOKING_UP: Final = (
    *("web_search_options", "web_search", "search_parameters", "enable_search", "plugins", "data_sources"),
    *("mcp_servers", "container"),
)  # tools of the provider's own, in one or another's words; an empty mapping asks for them too
_MARK: Final = "\0the question"
_TEXTS: Final = ("text", "input_text")


class Asked(NamedTuple):
    """The question, the conversation with a mark in its place, and the instructions, which tell routes apart."""

    question: str
    rest: tuple[Message, ...]
    instructions: tuple[Message, ...]


def asked(request: Request) -> Asked | Unfit:
    """The question of a request, or why it is not for the semantic cache. Costs some 20 microseconds."""
    if _tooled(request.params):
        return "tools"
    if request.shape.tail is not None:
        return "time"  # the caller says that something at its end changes with every request
    if not request.messages or _whole(request):
        return "form"
    *before, last = request.messages
    if not all(map(_plain, before)):
        return "tools" if any(map(_calls, before)) else "media"
    if last.get("role") != "user":
        return "form"
    found = _question(last)
    if found is None:
        return "media"
    question, rest = found
    if not question.strip():
        return "form"
    if len(question) > _LONGEST:
        return "length"
    if personal(question):
        return "personal"
    if momentary(question):
        return "time"
    instructions = tuple(each for each in before if each.get("role") in ("system", "developer"))
    return Asked(question, (*before, rest), instructions)


def _tooled(params: Mapping[str, object]) -> bool:
    if not params:
        return False
    return any(params.get(name) for name in _CALLING) or any(
        params.get(name) not in (None, False, []) for name in _LOOKING_UP
    )


def _whole(request: Request) -> bool:
    """Whether it came in a form whose answers belong to all of its words: no other request has the same around it."""
    original = request.original
    return original is not None and bool(original.variant) and bool(original.variant[-1])


def _question(message: Message) -> tuple[str, Message] | None:
    """The text of a user turn, and the turn without it: where it has several parts, the last one is the question."""
    content = message.get("content")
    if isinstance(content, str):
        return content, {**message, "content": _MARK}
    if not isinstance(content, Sequence) or not content or not all(map(_is_text, content)):
        return None
    *others, last = content
    return str(last["text"]), {**message, "content": [*others, {**last, "text": _MARK}]}


def _plain(message: Message) -> bool:
    content = message.get("content")
    texts = isinstance(content, str) or (isinstance(content, Sequence) and all(map(_is_text, content)))
    return texts and not _calls(message)


def _calls(message: Message) -> bool:
    told = message.get("tool_calls") or message.get("function_call")
    return bool(told or message.get("role") in ("tool", "function"))


def _is_text(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)
