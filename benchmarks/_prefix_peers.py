"""What the shipped prompt layer is held against: usual trimmers and markers, and those of someone who knows the end.

Names of marker schemes stand for the rule, not for anybody's code. The clairvoyant bounds know all requests to come:
placement reads the longest prefix there is and writes what will be read again, with as many markers as it likes;
trimming is a dynamic programme over all legal cuts that leave about as much as hysteresis does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import Any

import orjson

from benchmarks._prefix_bodies import WIDTH, Prompt, holders, parsed, tokens
from benchmarks._prefix_caches import MINIMUM, Read
from fastclient.types import Message

__all__ = [
    *("PINNED", "SCHEMES", "Scheme", "Turns", "clairvoyant", "clairvoyant_cuts", "marked", "size", "sliding_cuts"),
    "structural",
]

PINNED = 2
"""The system message and the first user turn, which every trimmer here keeps."""

_READ, _WRITE = 0.1, 1.25
_FRAME = 4


# --- markers ----------------------------------------------------------------------------------------------------------

Scheme = Callable[[Prompt, str], Sequence[int]]
"""The blocks to mark, for a prompt and the kind of marker."""


def marked(body: bytes, blocks: Sequence[int], mark: str, *, explicit: bool = False) -> bytes:
    """The body with markers on these blocks: "5m" and "1h" Anthropic's, "explicit" OpenAI's (with no others)."""
    data = orjson.loads(body)
    parts = [part for _, part, _ in holders(data)]
    for number in blocks:
        if mark == "explicit":
            parts[number]["prompt_cache_breakpoint"] = {"mode": "explicit"}
        else:
            parts[number]["cache_control"] = {"type": "ephemeral", "ttl": mark}
    if explicit:
        data["prompt_cache_options"] = {"mode": "explicit"}
    return orjson.dumps(data)


def none(prompt: Prompt, mark: str) -> Sequence[int]:
    return ()


def last(prompt: Prompt, mark: str) -> Sequence[int]:
    """Providers' automatic markers."""
    return (len(prompt.blocks) - 1,)


def system_and_last(prompt: Prompt, mark: str) -> Sequence[int]:
    """Gateways."""
    return sorted({prompt.head, len(prompt.blocks) - 1})


def frameworks(prompt: Prompt, mark: str) -> Sequence[int]:
    """Tools, system, and the last two things said to the model."""
    kinds = [block.kind for block in prompt.blocks]
    asked = [number for number, kind in enumerate(kinds) if kind in ("user", "result")]
    tools = [kinds.count("tool") - 1] if "tool" in kinds and mark != "explicit" else []
    return sorted({*tools, prompt.head, *asked[-2:]})


SCHEMES: Mapping[str, Scheme] = {
    "none": none,
    "last": last,
    "system + last": system_and_last,
    "tools + system + last 2": frameworks,
}


def structural(prompt: Prompt, mark: str) -> Sequence[int]:
    """Behind the task and behind the history; on OpenAI behind everything said to the model."""
    static, end = prompt.head + 1, len(prompt.blocks) - 2  # in front of the volatile tail
    if mark == "explicit":
        said = (number for number in range(static + 1, end + 1) if prompt.blocks[number].kind in ("user", "result"))
        return [static, *said][-79:]
    return sorted({static, end, *([end - 15] if end - static > 18 else [])})


# --- trimming ---------------------------------------------------------------------------------------------------------


class Turns:
    """A conversation as trimmers see it: units that stay together, behind the pinned messages."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.starts = [at for at, message in enumerate(messages) if at >= PINNED and message["role"] != "tool"]
        sizes = [*accumulate(map(size, messages), initial=0)]
        self.before = [sizes[at] - sizes[PINNED] for at in (*self.starts, len(messages))]
        self.legal = [bool(messages[at]["role"] == "user" or messages[at].get("tool_calls")) for at in self.starts]
        self.points = [self.units(at) for at, each in enumerate(messages) if each["role"] == "assistant"]

    def units(self, messages: int) -> int:
        """How many units the first so many messages have."""
        return bisect_left(self.starts, messages)

    def kept(self, cut: int, point: int) -> int:
        """Tokens of the units between a cut and the newest."""
        return self.before[point] - self.before[cut]

    def cuts(self, point: int) -> Iterator[int]:
        """Where a request with so many units may begin."""
        yield from (unit for unit in range(point) if self.legal[unit])


def size(message: Message) -> int:
    """Tokens of a message with its calls."""
    calls: Any = message.get("tool_calls") or ()
    texts = [str(message.get("content") or ""), *(call["function"][name] for call in calls for name in _CALL)]
    return _FRAME * (1 + len(calls)) + sum(len(tokens(text)) // WIDTH for text in texts)


_CALL = ("name", "arguments")


def sliding_cuts(turns: Turns, budget: float) -> list[int]:
    """The newest units that fit, anew in each request."""
    return [0 if turns.kept(0, point) <= budget else _first(turns, point, budget) for point in turns.points]


def _first(turns: Turns, point: int, room: float) -> int:
    """The first legal cut that leaves no more than `room`, else the last one."""
    cut = 0
    for cut in turns.cuts(point):
        if turns.kept(cut, point) <= room:
            break
    return cut


def clairvoyant_cuts(turns: Turns, budget: float, keep: float, static: int) -> list[int]:
    """The cheapest cuts that are at most one step below the share `keep`, if nothing ever left the cache."""
    costs: dict[int, float] = {0: 0.0}  # of all requests so far, by where the last one was cut
    ways: list[dict[int, int]] = []  # for each request: its cut, and that of the one before
    previous = 0
    for point in turns.points:
        new, deepest = turns.kept(previous, point), _first(turns, point, keep * budget)
        reached: dict[int, tuple[float, int]] = {}
        for cut in {*costs, *turns.cuts(point)}:
            kept = turns.kept(cut, point)
            if kept > budget and cut < deepest:
                continue
            options = [(costs[cut] + _READ * (static + kept - new) + _WRITE * new, cut)] if cut in costs else []
            if cut <= deepest:
                options += [(cost + _READ * static + _WRITE * kept, old) for old, cost in costs.items() if old < cut]
            if options:
                reached[cut] = min(options)
        costs, previous = {cut: cost for cut, (cost, _) in reached.items()}, point
        ways.append({cut: old for cut, (_, old) in reached.items()})
    return _path(ways, min(costs, key=costs.__getitem__))


def _path(ways: Sequence[Mapping[int, int]], end: int) -> list[int]:
    """From each request's cuts, and where they came from, to the cuts that lead to this end."""
    path = [end]
    for way in reversed(ways[1:]):
        path.append(way[path[-1]])
    return path[::-1]


# --- placement by someone who knows all requests ----------------------------------------------------------------------


def clairvoyant(requests: Sequence[tuple[float, bytes]], life: float, write: float) -> list[Read]:
    """Reads the longest prefix seen within `life` seconds, writes the longest one that will be seen again by then."""
    prompts = [(at, parsed(body)) for at, body in requests]
    recurs = [*_recurring(reversed(prompts), life)][::-1]
    return [
        Read.of(prompt.size, read, again, price=_READ, write=write)
        for (_, prompt), read, again in zip(prompts, _recurring(prompts, life), recurs, strict=True)
    ]


def _recurring(prompts: Any, life: float) -> Iterator[int]:
    """For each prompt, the tokens of its longest prefix that one before it had, not longer ago than `life`."""
    seen: dict[int, float] = {}
    for at, prompt in prompts:
        known = (end for key, end in zip(prompt.keys, prompt.ends, strict=True) if abs(at - seen.get(key, inf)) <= life)
        longest = max(known, default=0)
        yield longest if longest >= MINIMUM else 0
        seen.update(dict.fromkeys(prompt.keys, at))
