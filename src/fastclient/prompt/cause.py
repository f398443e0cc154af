"""Why a prompt does not continue the one before it: what differs first is looked at until it has a name. Pure.

Where parts moved, vanished or came in between, their order tells; where one took another's place, their texts do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import orjson

from fastclient.prompt.difference import Difference, canonical, difference

__all__ = ["HISTORY", "SYSTEM", "TOOLS", "Cause", "Segment", "area", "cause_of"]

Cause = Literal[
    "append_only",
    "tail_replaced",
    "shortened",
    "model_changed",
    "param_changed",
    "tools_reordered",
    "tool_set_changed",
    "tools_reserialised",
    "tool_definition_changed",
    "blocks_reordered",
    "system_whitespace",
    "system_reserialised",
    "system_timestamp",
    "system_random_id",
    "system_text_changed",
    "message_inserted",
    "history_trimmed",
    "history_whitespace",
    "history_reserialised",
    "history_timestamp",
    "history_random_id",
    "history_edited",
]
"""What became of a prompt in the next request of the same conversation."""


class Segment(NamedTuple):
    """One part of a prompt, with its place in the body: `tools[3]`, `system[1]`, `messages[4].content[0]`."""

    path: str
    role: str
    text: str

    @property
    def holder(self) -> str:
        """The tool, message or system prompt it is a part of."""
        return "system" if self.path.startswith("system") else self.path.partition(".")[0]


TOOLS, SYSTEM, HISTORY = range(3)
"""The areas of a prompt, from the front. System and developer messages that come after others are history."""

_SYSTEM_ROLES = ("system", "developer")
_INSERTED = 5  # parts of new messages between old ones that are looked for
_NAMED = 5  # tools that are named
_NAME = re.compile(r"[\w.:/-]{1,100}")

_Part: TypeAlias = tuple[str, ...]  # role and text: what of a segment is compared

_IN_SYSTEM: Final[Mapping[Difference, Cause]] = {
    "whitespace": "system_whitespace",
    "reserialised": "system_reserialised",
    "timestamp": "system_timestamp",
    "random_id": "system_random_id",
    "changed": "system_text_changed",
}
_IN_HISTORY: Final[Mapping[Difference, Cause]] = {
    "whitespace": "history_whitespace",
    "reserialised": "history_reserialised",
    "timestamp": "history_timestamp",
    "random_id": "history_random_id",
    "changed": "history_edited",
}


def cause_of(before: Sequence[Segment], after: Sequence[Segment], at: int) -> tuple[Cause, str]:
    """Why two prompts differ from this segment on, which both have; with the names or numbers that belong to it."""
    where = min(area(before, at), area(after, at))
    if where == TOOLS:
        return _tools(before, after)
    was, now = _siblings(before, at), _siblings(after, at)
    if len(was) > 1 and Counter(was) == Counter(now):
        return "blocks_reordered", ""
    if where == SYSTEM:
        return _IN_SYSTEM[_difference(before, after, at, min(_begin(before), _begin(after)))], ""
    return _history(before, after, at)


def area(segments: Sequence[Segment], at: int) -> int:
    """Where in its prompt a segment stands: TOOLS, SYSTEM or HISTORY."""
    if segments[at].path.startswith("tools"):
        return TOOLS
    return SYSTEM if at < _begin(segments) else HISTORY


def _tools(before: Sequence[Segment], after: Sequence[Segment]) -> tuple[Cause, str]:
    was, now = ([one.text for one in side if one.path.startswith("tools")] for side in (before, after))
    if Counter(was) == Counter(now):
        return "tools_reordered", ""
    old, new = Counter(map(_tool_name, was)), Counter(map(_tool_name, now))
    if old != new:
        return "tool_set_changed", "; ".join(filter(None, (_named("added", new - old), _named("removed", old - new))))
    if Counter(map(canonical, was)) == Counter(map(canonical, now)):
        return "tools_reserialised", ""
    return "tool_definition_changed", _named("changed", map(_tool_name, Counter(was) - Counter(now)))


def _history(before: Sequence[Segment], after: Sequence[Segment], at: int) -> tuple[Cause, str]:
    if _is_tail(before, after, at):
        return "tail_replaced", ""
    was, now = _parts(before[at:]), _parts(after[at:])
    missing = (Counter(was) - Counter(now[: len(was)])).total()
    if not missing:
        return "blocks_reordered", ""
    if dropped := _dropped(was, now):
        return "history_trimmed", _messages("dropped", _index(before[at + dropped]) - _index(after[at]))
    if added := _added(was, now):
        return "message_inserted", _messages("inserted", _index(after[at + added]) - _index(before[at]))
    if missing == 1 and was[0] in now[: len(was)]:
        return "blocks_reordered", ""
    return _IN_HISTORY[_difference(before, after, at, len(before))], ""


def _is_tail(before: Sequence[Segment], after: Sequence[Segment], at: int) -> bool:
    """Whether what differs is a later part of the newest message, or a system message behind it, and now gone."""
    old, new = before[at], after[at]
    added = old.role in _SYSTEM_ROLES or (at > 0 and before[at - 1].holder == old.holder)
    return added and old.holder == before[-1].holder and (old.holder, old.role) != (new.holder, new.role)


def _dropped(was: Sequence[_Part], now: Sequence[_Part]) -> int:
    """How many parts must be left out for the rest to go on as it does now, for two parts or to its end; 0 if none."""
    pairs = ((count, was[count : count + 2]) for count in range(1, len(was)))
    return next((count for count, pair in pairs if pair == now[: len(pair)]), 0)


def _added(was: Sequence[_Part], now: Sequence[_Part]) -> int:
    """How many parts came in between, before it goes on as it did; 0 if it does not."""
    return next((count for count in range(1, _INSERTED + 1) if now[count : count + 2][: len(was)] == was[:2]), 0)


def _siblings(segments: Sequence[Segment], at: int) -> list[_Part]:
    """The parts of the message, or of the system prompt, that this segment is a part of."""
    holder = segments[at].holder
    return _parts(one for one in segments if one.holder == holder)


def _parts(segments: Iterable[Segment]) -> list[_Part]:
    return [segment[1:] for segment in segments]


def _begin(segments: Sequence[Segment]) -> int:
    """Where the history begins."""
    others = (n for n, one in enumerate(segments) if one.role not in _SYSTEM_ROLES and not one.path.startswith("tools"))
    return next(others, len(segments))


def _index(segment: Segment) -> int:
    """The number of its message."""
    return int(segment.holder.removeprefix("messages[").removesuffix("]"))


def _messages(what: str, count: int) -> str:
    return f"{count} message{'s' * (count > 1)} {what}" if count > 0 else ""


def _named(what: str, names: Iterable[str]) -> str:
    shown = sorted(name if _NAME.fullmatch(name) else "?" for name in names)
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return f"{what} {', '.join(shown[:_NAMED])}{more}" if shown else ""


def _tool_name(text: str) -> str:
    try:
        tool = orjson.loads(text)
    except ValueError:
        return ""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else ""


def _difference(before: Sequence[Segment], after: Sequence[Segment], at: int, end: int) -> Difference:
    """How the texts from here on differ; the first that does so in more than white space tells.

    An edit may happen to add or remove nothing but a blank, so one text by itself would not.
    """
    if before[at].role != after[at].role:
        return "changed"
    for was, now in zip(before[at:end], after[at:end], strict=False):
        if was.role == now.role and was.text != now.text and (found := difference(was.text, now.text)) != "whitespace":
            return found
    return "whitespace"
