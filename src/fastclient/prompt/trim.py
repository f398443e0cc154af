"""Which messages to send where not all of them fit: whole turns, from a cut that moves seldom. Pure.

A provider's cache holds the beginning of the last request, so a window that slides a little each time loses all of it.
Here the cut stays until the budget is exceeded, and then moves far enough to stay again for many requests. It is found
by replaying the conversation from its start: nothing is stored, and it never moves back while messages are added.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from math import ceil, floor
from typing import NamedTuple

from fastclient.checks import share
from fastclient.errors import ConfigError, PromptTooLong
from fastclient.prompt.tokens import REPLY
from fastclient.types import Message

__all__ = ["Cut", "trim"]

_ROUNDING = 1e-6  # tokens; sums of floats depend on the order by less than this


class Cut(NamedTuple):
    """What to send. `needed` is its size with the three tokens that open the answer."""

    kept: tuple[int, ...]  # places of the messages to send, ascending
    needed: float  # tokens
    dropped: int  # messages left out
    moved: bool  # since the request before this one


def trim(
    messages: Sequence[Message],
    sizes: Sequence[float],
    budget: float,
    *,
    keep: float = 0.75,
    cold: Collection[int] = (),
) -> Cut:
    """Choose the messages that fit into `budget` tokens, where each takes as many as `sizes` says, frame included.

    System and developer messages, the first user turn (the task) and the last message are always sent. The rest is sent
    from one place on: a user turn, or an assistant turn with calls, which takes all its results with it. When the rest
    exceeds its room, that place moves on until the rest takes at most the share `keep` of it.

    `cold` holds the places at which a request found no cache, where a place is the number of messages before the
    answer: moving is free there, so it is done as soon as the rest exceeds that share.

    A result whose call does not stand in the assistant turn right before it, and a turn with unanswered calls that is
    not the last, are left out, as providers refuse both; until they are cut off they still count in moving the cut. The
    last message is sent whatever it is. Raises PromptTooLong if what must be sent does not fit.
    """
    share("keep", keep)
    if len(sizes) != len(messages):
        raise ConfigError.at("sizes", f"there are {len(sizes)} for {len(messages)} messages")
    read = _read(messages)
    kept, needed = tuple(range(len(messages))), sum(sizes) + REPLY
    start, moved = 0, False
    if cold or needed > budget + _ROUNDING:
        start, moved = _replayed(read, sizes, budget - REPLY, keep, cold)
    if start or read.broken:
        pinned = [at for at in read.pinned if at < start]
        kept = (*pinned, *[at for at in kept[start:] if at not in read.broken])
        needed = sum([sizes[at] for at in kept]) + REPLY
    if needed > budget + _ROUNDING:
        raise _too_long(needed, budget)
    return Cut(kept, needed, len(messages) - len(kept), moved)


class _Read(NamedTuple):
    """The places in a conversation that matter. What stands after a place changes nothing of it, but for `broken`."""

    pinned: list[int]  # messages always sent
    starts: list[int]  # a cut may come before these
    points: list[int]  # requests were made before these; the last one is made now
    broken: set[int]  # messages that providers refuse


def _replayed(read: _Read, sizes: Sequence[float], room: float, keep: float, cold: Collection[int]) -> tuple[int, bool]:
    """Where the messages that are not pinned begin, and whether that changed at the last request."""
    loose = list(sizes)
    for at in read.pinned:
        loose[at] = 0.0
    rest, total = list(accumulate(loose, initial=0.0)), list(accumulate(sizes, initial=0.0))
    starts = deque(read.starts)
    start, cut, before = 0, 0.0, 0.0
    for point in read.points:
        before = cut
        if total[point] - cut > room or point in cold:
            target = keep * (room - total[point] + rest[point])
            while starts and starts[0] < point and rest[point] - cut > target:
                start = starts.popleft()
                cut = rest[start]
    return start, cut > before


def _read(messages: Sequence[Message]) -> _Read:
    """Find the turns. Messages of other roles than the known ones go with what stands before them."""
    pinned, starts, points, broken = read = _Read([], [], [], set())
    user = pinned  # where the next user turn belongs
    begin = 0  # of the turn that results now belong to
    asked: list[object] = []  # its calls
    waiting: list[object] = []  # those without a result
    for at, message in enumerate(messages):
        role = message.get("role")
        if role == "assistant":
            calls = _calls(message)
            if waiting and points[-1] == at - 1:  # assistant messages in a row are one turn
                asked, waiting = asked + calls, waiting + calls
            else:
                if waiting:
                    broken.update(_parts(messages, begin, at))
                if calls:
                    starts.append(at)
                begin, asked, waiting = at, calls, calls
            points.append(at)
        elif role == "system" or role == "developer":
            pinned.append(at)
        elif results := _results(message, role):
            left = [] if results == waiting else _unanswered(asked, waiting, results)
            if left is None:
                broken.add(at)
            else:
                waiting = left
        elif role == "user":
            if waiting:
                broken.update(_parts(messages, begin, at))
            user.append(at)
            user, asked, waiting = starts, [], []
    points.append(len(messages))
    broken.discard(len(messages) - 1)
    return read


def _parts(messages: Sequence[Message], begin: int, end: int) -> list[int]:
    """The calls and results of a turn, which stand or fall together."""
    parts = []
    for at in range(begin, end):
        message, role = messages[at], messages[at].get("role")
        if _calls(message) if role == "assistant" else _results(message, role):
            parts.append(at)
    return parts


def _unanswered(asked: list[object], waiting: list[object], results: list[object]) -> list[object] | None:
    """The calls still waiting after these results; None if one has no call. Where ids are missing, order decides."""
    left = waiting.copy()
    for result in results:
        if result in left:
            left.remove(result)
        elif None in left:
            left.remove(None)
        elif result is None and asked:
            del left[:1]
        elif result not in asked:
            return None
    return left


def _calls(message: Message) -> list[object]:
    """The ids of an assistant message's calls, in any of the three forms; None stands for one without."""
    calls, content = message.get("tool_calls"), message.get("content")
    ids = [] if content is None or isinstance(content, str) else _ids(content, "tool_use", "id")
    if calls and isinstance(calls, (list, tuple)):
        ids += [call.get("id") if isinstance(call, dict) else None for call in calls]
    elif message.get("function_call"):
        ids.append(None)
    return ids


def _results(message: Message, role: object) -> list[object]:
    """The ids of the calls that a message answers."""
    if role == "tool" or role == "function":
        return [message.get("tool_call_id")]
    content = message.get("content")
    return [] if role != "user" or isinstance(content, str) else _ids(content, "tool_result", "tool_use_id")


def _ids(content: object, kind: str, name: str) -> list[object]:
    """The ids in those parts of a content that are of this kind."""
    if not isinstance(content, (list, tuple)):
        return []
    return [part.get(name) for part in content if isinstance(part, Mapping) and part.get("type") == kind]


def _too_long(needed: float, budget: float) -> PromptTooLong:
    least, limit = ceil(needed - _ROUNDING), floor(budget)
    error = PromptTooLong(f"the messages take at least {least} tokens, and there is room for {limit}")
    error.needed, error.limit = least, limit
    return error
