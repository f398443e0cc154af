"""Which requests may be answered by what was said to others, and which part of them is the question. Pure.

Only the words of the last user turn may differ; everything else has to be the same. And an answer is for others only if
it does not depend on who asks, or when.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from fastclient.types import Message, Request

__all__ = ["Asked", "Unfit", "asked"]

Unfit = Literal["tools", "media", "personal", "time", "form", "length"]
"""Why a request is not for the semantic cache: it may call tools, holds more than texts, is about the one who asks or
about the moment, has no question at its end, or one too long to be compared."""

_LONGEST: Final = 2_000  # characters of a question
_TOOLS: Final = ("tools", "functions", "tool_choice", "web_search_options")
_MARK: Final = {"role": "user", "content": "\0the question"}

_ONE_PERSON: Final = re.compile(
    r"[\w.+-]+@[\w-]+\.\w"  # an e-mail address
    r"|(?<!\w)\+?\d(?:[ ()/-]*\d){6,}"  # a telephone, account or card number
    r"|\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,}"  # an IBAN
    r"|\b(?:my name is|this is my|i am called|i'm called)\b"
    r"|\b(?:where|when|what|how (?:much|many|long|far)|why|has|have|is|are|was|were|did|does|do)\b[^.?!]{0,24}?\bmy"
    r" (?:\w+ )?(?:order|orders|parcel|package|delivery|shipment|refund|return|balance|invoice|bill|ticket|booking"
    r"|reservation|flight|appointment|application|claim|case|salary|payslip|results?|prescription|score|name|birthday"
    r"|age|address)\b",
    re.IGNORECASE,
)
_MOMENT: Final = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|now|nowadays|currently|at the moment|these days|latest|newest|up to date"
    r"|this (?:morning|afternoon|evening|week|weekend|month|quarter|year)"
    r"|(?:last|next) (?:week|weekend|month|quarter|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
    r"|(?:what|which) (?:time|day|date|year) is it"
    r"|what(?:'s| is) the (?:time|date|weather|news)"
    r"|weather|forecast|headlines?|recent|recently|live|breaking|so far)\b",
    re.IGNORECASE,
)
_TEXTS: Final = ("text", "input_text")


class Asked(NamedTuple):
    """The question, the conversation with a mark in its place, and the instructions, which tell routes apart."""

    question: str
    rest: tuple[Message, ...]
    instructions: tuple[Message, ...]


def asked(request: Request) -> Asked | Unfit:
    """The question of a request, or why it is not for the semantic cache. Costs some 10 microseconds."""
    if any(request.params.get(name) for name in _TOOLS):
        return "tools"
    if request.shape.tail is not None:
        return "time"  # the caller says that something at its end changes with every request
    *before, last = request.messages
    if not all(map(_plain, before)):
        return "tools" if any(_calls(message) for message in before) else "media"
    found = _question(last)
    if found is None:
        return "media" if last.get("role") == "user" else "form"
    question, rest = found
    if not question.strip():
        return "form"
    if len(question) > _LONGEST:
        return "length"
    if _ONE_PERSON.search(question):
        return "personal"
    if _MOMENT.search(question):
        return "time"
    instructions = tuple(each for each in before if each.get("role") in ("system", "developer"))
    return Asked(question, (*before, rest), instructions)


def _question(message: Message) -> tuple[str, Message] | None:
    """The text of a user turn, and the turn without it: where it has several parts, the last one is the question."""
    if message.get("role") != "user" or not set(message) <= {"role", "content"}:
        return None
    content = message.get("content")
    if isinstance(content, str):
        return content, _MARK
    if not isinstance(content, Sequence) or not content or not all(map(_is_text, content)):
        return None
    *others, last = content
    return str(last["text"]), {**_MARK, "content": [*others, {"type": "text", "text": _MARK["content"]}]}


def _plain(message: Message) -> bool:
    content = message.get("content")
    texts = isinstance(content, str) or (isinstance(content, Sequence) and all(map(_is_text, content)))
    return texts and not _calls(message)


def _calls(message: Message) -> bool:
    return bool(message.get("role") in ("tool", "function") or message.get("tool_calls"))


def _is_text(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)
