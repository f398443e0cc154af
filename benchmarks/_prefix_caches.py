"""Providers' prefix caches as their documents describe them, answering to bodies as they go over the wire.

Simulated, not measured: no routing misses, no eviction but vLLM's, one cache for the whole app whatever its keys, what
a request writes can be read at once, and one minimum for all models. Answers are not added to what is cached.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple, Protocol

from benchmarks._prefix_bodies import WIDTH, Kind, Prompt, leading, parsed

__all__ = ["MINIMUM", "Anthropic", "Automatic", "Breakpoints", "DeepSeek", "LlamaCpp", "PrefixCache", "Read", "VLLM"]

MINIMUM = 1024
"""The shortest prefix OpenAI and Anthropic cache, in tokens."""

_ASKED: frozenset[Kind] = frozenset(("user", "result"))


class Read(NamedTuple):
    """What a cache made of one request, in tokens; `cost` in tokens of plain input."""

    read: int
    written: int
    plain: int
    cost: float

    @classmethod
    def of(cls, size: int, read: int, until: int, *, price: float, write: float = 1.0) -> Read:
        """`read` tokens at `price`, from there `until` there at `write`, the rest as it is."""
        written = max(0, until - read)
        plain = size - read - written
        return cls(read, written, plain, price * read + write * written + plain)

    @property
    def size(self) -> int:
        return self.read + self.written + self.plain

    @property
    def prefill(self) -> int:
        """Tokens the model had to work through."""
        return self.written + self.plain


class PrefixCache(Protocol):
    """One provider's cache during one simulated run."""

    def answer(self, body: bytes, at: float) -> Read:
        """Take a request at this time, in seconds; times never go back."""
        ...


# --- OpenAI and Anthropic ---------------------------------------------------------------------------------------------


class Automatic:
    """OpenAI up to 5.5: the longest prefix in steps of 128 tokens that was seen in the last ten minutes."""

    STEP, LIFE = 128, 600.0

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}

    def answer(self, body: bytes, at: float) -> Read:
        prompt = parsed(body)
        chain = prompt.chain(self.STEP)
        known = self.STEP * leading(at - self._seen.get(key, -inf) <= self.LIFE for key in chain)
        if prompt.size >= MINIMUM:
            self._seen.update(dict.fromkeys(chain, at))
        return Read.of(prompt.size, known if known >= MINIMUM else 0, 0, price=0.1)


class Breakpoints:
    """OpenAI from 5.6: exactly at breakpoints of this request that an earlier one wrote in the last half hour.

    In implicit mode every end of a user or tool message is looked up and the last one is written. `lenient` does the
    same for the end of the system text, which some reports suggest.
    """

    LIFE, LATEST, WRITTEN = 1800.0, 80, 4

    def __init__(self, *, lenient: bool = False) -> None:
        self._until: dict[int, float] = {}
        self._lenient = lenient

    def answer(self, body: bytes, at: float) -> Read:
        prompt = parsed(body)
        looked, written = self._places(prompt)
        hit = max((end for end in looked if self._until.get(prompt.keys[end], -inf) >= at), default=None)
        for end in (*written, *(() if hit is None else (hit,))):
            self._until[prompt.keys[end]] = at + self.LIFE
        read = 0 if hit is None else prompt.ends[hit]
        return Read.of(prompt.size, read, max((prompt.ends[end] for end in written), default=0), price=0.1, write=1.25)

    def _places(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """Blocks at whose ends is looked, and is written."""
        marked = [number for number, block in enumerate(prompt.blocks) if block.mark]
        if any(prompt.blocks[number].kind in ("tool", "assistant", "call") for number in marked):
            raise ValueError("400: only what is said to the model can hold a breakpoint")
        looked, written = marked[-self.LATEST :], marked[-self.WRITTEN :]
        if not prompt.explicit:
            ends = [number for number, block in enumerate(prompt.blocks) if block.closes and block.kind in _ASKED]
            heads = [prompt.head] if self._lenient and prompt.head >= 0 else []
            looked = sorted({*ends, *marked, *heads})[-self.LATEST :]
            written = sorted({*ends[-1:], *marked[-self.WRITTEN + 1 :], *heads})
        return _long(prompt, looked), _long(prompt, written)


def _long(prompt: Prompt, places: Iterable[int]) -> list[int]:
    return [place for place in places if prompt.ends[place] >= MINIMUM]


class Anthropic:
    """At most four markers, each looking back 20 blocks for what an earlier request wrote, for 5 minutes or an hour."""

    LIVES: Mapping[str, float] = {"5m": 300.0, "1h": 3600.0}
    BACK, MOST = 20, 4

    def __init__(self) -> None:
        self._entries: dict[int, tuple[float, float]] = {}  # prefix -> how long it lives, until when

    def answer(self, body: bytes, at: float) -> Read:
        prompt = parsed(body)
        marks = self._marks(prompt)
        looked = {back for number in marks for back in range(max(0, number - self.BACK), number + 1)}
        hit = max((end for end in looked if self._life(prompt.keys[end], at)), default=None)
        for end in (*marks, *(() if hit is None else (hit,))):
            life = max(self._life(prompt.keys[end], at), marks.get(end, 0.0))
            self._entries[prompt.keys[end]] = (life, at + life)
        read = 0 if hit is None else prompt.ends[hit]
        written = max((prompt.ends[end] for end in marks), default=0)
        longer = max((prompt.ends[end] for end, life in marks.items() if life == self.LIVES["1h"]), default=0)
        base = Read.of(prompt.size, read, written, price=0.1, write=1.25)
        return base._replace(cost=base.cost + 0.75 * max(0, longer - read))  # for an hour: 2 instead of 1.25

    def _marks(self, prompt: Prompt) -> dict[int, float]:
        """The marked blocks that are far enough behind, and how long each asks its entry to live."""
        marks = [(number, block.mark) for number, block in enumerate(prompt.blocks) if block.mark]
        if len(marks) > self.MOST:
            raise ValueError(f"400: {len(marks)} markers, at most {self.MOST} are allowed")
        lives = [self.LIVES[mark] for _, mark in marks]
        if lives != sorted(lives, reverse=True):
            raise ValueError("400: a marker for an hour behind one for five minutes")
        return {number: self.LIVES[mark] for number, mark in marks if prompt.ends[number] >= MINIMUM}

    def _life(self, key: int, at: float) -> float:
        life, until = self._entries.get(key, (0.0, -inf))
        return life if until >= at else 0.0


# --- others -----------------------------------------------------------------------------------------------------------


class VLLM:
    """Full blocks of 16 tokens; beyond `room` tokens the least recently used leave. The last token is never read."""

    STEP = 16

    def __init__(self, room: int = 400_000) -> None:
        self._room = room
        self._known: dict[int, None] = {}  # the least recently used first

    def answer(self, body: bytes, at: float) -> Read:
        prompt = parsed(body)
        chain = prompt.chain(self.STEP)
        known = self.STEP * leading(key in self._known for key in chain[: (prompt.size - 1) // self.STEP])
        for key in reversed(chain):  # a tail leaves before what it hangs on
            self._known.pop(key, None)
            self._known[key] = None
        while len(self._known) > self._room // self.STEP:
            del self._known[next(iter(self._known))]
        return Read.of(prompt.size, known, 0, price=0.0)


class DeepSeek:
    """Whole units: a request's end, and what it had in common with one of the last 64, which the third one can read."""

    LIFE, LAST, LEAST = 3 * 3600.0, 64, 64

    def __init__(self) -> None:
        self._units: dict[int, float] = {}
        self._last: deque[list[int]] = deque(maxlen=self.LAST)

    def answer(self, body: bytes, at: float) -> Read:
        prompt = parsed(body)
        live = (end for end, key in enumerate(prompt.keys) if at - self._units.get(key, -inf) <= self.LIFE)
        hit = max(live, default=None)
        common = {_common(prompt.keys, keys) - 1 for keys in self._last} - {-1}
        for end in (len(prompt.keys) - 1, *common, *(() if hit is None else (hit,))):
            if prompt.ends[end] >= self.LEAST:
                self._units[prompt.keys[end]] = at
        self._last.append(prompt.keys)
        return Read.of(prompt.size, 0 if hit is None else prompt.ends[hit], 0, price=0.1)


class LlamaCpp:
    """A server with slots: the one that holds most of the prompt (above a tenth), else a free one, else the oldest."""

    ALIKE = 0.1

    def __init__(self, slots: int = 1) -> None:
        self._slots = [b""] * slots  # the least recently used first

    def answer(self, body: bytes, at: float) -> Read:
        prompt = parsed(body)
        shared = [_common(slot, prompt.stream) // WIDTH for slot in self._slots]
        best = max(range(len(shared)), key=shared.__getitem__)
        if shared[best] <= self.ALIKE * prompt.size:
            best = self._slots.index(b"") if b"" in self._slots else 0
        known = min(shared[best], prompt.size - 1)
        del self._slots[best]
        self._slots.append(prompt.stream)
        return Read.of(prompt.size, known, 0, price=0.0)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    return bisect_left(range(min(len(one), len(other))), True, key=lambda at: one[: at + 1] != other[: at + 1])
