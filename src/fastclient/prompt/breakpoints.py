"""Where to put breakpoints for a provider's prompt cache: only where what is written will be read again. Pure.

Writing costs more than plain input (`w` instead of 1 per token), reading less (`r`), so a write pays if it is read more
than (w - 1) / (1 - r) times while it lives: 0.28 times at 1.25 / 0.1, 1.11 times at 2 / 0.1. How often a beginning of
a prompt comes again can be seen whether it was marked or not, so nothing has to be tried out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import NamedTuple

from fastclient.prompt.rules import Lifetime, Rules

__all__ = ["Line", "Plan", "Planner"]

_PRIORS = {"static": (3.0, 2.0), "hist": (1.2, 1.0), "inner": (1.0, 1.0), "doc": (0.2, 1.0), "tail": (0.1, 1.0)}
_FORGET = 0.98  # of what was learned, with each new observation
_MOST_READS = 20  # of one observation that count: a fleet's first request must not drown all others
_SHARED = 2.0  # how many of a family's own observations what is known of all families is worth
_BACK = 15  # blocks between two markers in a long history, so that the older one is within reach later
_LONG = 18
_DOCUMENTS = 4  # of which the ends may be marked
_STRANGERS = 3  # requests in a row that begin like none before: from then on, less and less is expected of new ones
_NODES = 50_000


class Line(NamedTuple):
    """One prompt from front to back. Position i ends at token `ends[i]`; `chain[i]` is a fingerprint of all before it.

    `blocks[i]` counts content blocks so far. Up to position `static` everything is as in other requests, behind
    `history` it changes with every request; `documents` are positions where a document ends. A marker may stand at
    positions from `first` on that are `markable`. `family` names what the static part has in common.
    """

    ends: Sequence[float]
    chain: Sequence[int]
    blocks: Sequence[int]
    static: int
    history: int
    documents: Sequence[int] = ()
    markable: Callable[[int], bool] = lambda _: True
    first: int = 0
    family: int = 0


Kind = tuple[str, int, int]  # where it stands, which document it is, how often it was seen before


class Plan(NamedTuple):
    """The positions to mark, those of them that are written or refreshed, and the tokens that will be read."""

    marks: Sequence[int]
    written: Sequence[int]
    read: float


class _Node:
    """A beginning of prompts: how often it came, and when last."""

    __slots__ = ("count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0


class _Came(NamedTuple):
    """A request began like this; whether others will within the lifetime is not known yet."""

    at: float
    beginning: int
    family: int
    kind: Kind
    times: int


@dataclass(slots=True)
class _Seen:
    """What was learned of one kind of position: how often it was read again, out of how many times."""

    again: float = 0.0
    times: float = 0.0

    def add(self, again: float) -> None:
        self.again = self.again * _FORGET + again
        self.times = self.times * _FORGET + 1


class Planner:
    """Plans the breakpoints of all requests to one target."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._live: dict[int, float] = {}  # beginning: when its entry ends
        self._nodes: dict[int, _Node] = {}
        self._seen: dict[tuple[int | None, Kind], _Seen] = {}
        self._strangers = 0  # requests in a row that began like none before
        self._open: dict[float, deque[_Came]] = {}  # by how long they live
        self._longest = max(lifetime.seconds for lifetime in rules.lifetimes)

    def plan(self, line: Line, now: float, lifetime: Lifetime, most: int) -> Plan:
        """Where to mark this prompt: at most `most` new breakpoints, and those that must be marked to be found."""
        self._settle(now)
        hit = self._hit(line, now)
        candidates = self._candidates(line, hit)
        worth = self._observed(line, candidates, now, lifetime.seconds)
        chosen, read = self._best(line, candidates, worth, hit, now, lifetime.write, most)
        if not self._rules.live:
            return Plan(chosen, chosen, read)
        marks = self._with_earlier(line, chosen, hit, now, lifetime.seconds)
        refreshed = {*marks[-self._rules.most :], *(() if hit is None else (hit,))}
        return Plan(marks, sorted(refreshed), 0.0 if hit is None else line.ends[hit])

    def _with_earlier(
        self, line: Line, chosen: Sequence[int], hit: int | None, now: float, ttl: float
    ) -> Sequence[int]:
        """The chosen positions and those of which entries live: a provider finds only what is marked in the request.

        It writes the deepest few. So when the static part's entry is getting old, only few are marked, and it is one of
        them; otherwise it would be gone when the history in front of all others is cut.
        """
        found = () if hit is None else (hit,)
        marks = {*chosen, *found}
        static = line.static
        if static in marks and self._live.get(line.chain[static], now) - now < ttl / 2:
            first = {static, *found}
            return sorted([*first, *sorted(marks - first)[len(first) - self._rules.most :]])
        marks.update(p for p, beginning in enumerate(line.chain) if self._live.get(beginning, 0.0) > now)
        return sorted(marks)[-self._rules.live - 1 :]

    def wrote(self, beginnings: Sequence[int], until: float) -> None:
        """These beginnings are in the provider's cache now."""
        if len(self._live) > _NODES:
            for oldest in [*islice(self._live, _NODES // 2)]:
                del self._live[oldest]
        self._live.update(dict.fromkeys(beginnings, until))

    def lost(self, beginnings: Sequence[int]) -> None:
        """The provider does not have these after all."""
        for beginning in beginnings:
            self._live.pop(beginning, None)

    def longest(self, line: Line, now: float) -> float:
        """Tokens of the longest beginning that was written, for providers that find it without markers."""
        hit = self._hit(line, now)
        return 0.0 if hit is None else line.ends[hit]

    def _hit(self, line: Line, now: float, last: int | None = None) -> int | None:
        """The deepest position, up to `last`, of which an entry is alive."""
        live = self._live.get
        for position in range(len(line.chain) - 1 if last is None else last, -1, -1):
            if live(line.chain[position], 0.0) > now:
                return position
        return None

    def _candidates(self, line: Line, hit: int | None) -> list[int]:
        last = len(line.ends) - 1
        wanted = {line.static, _at_most(line, line.history), last, *line.documents[:_DOCUMENTS]}
        if hit is not None:
            wanted.add(hit)
        if self._rules.reach and line.blocks[line.history] - line.blocks[line.static] > _LONG:
            wanted.add(_at_most(line, _before(line, line.history, _BACK)))
        least = self._rules.minimum
        return sorted(p for p in wanted if p >= line.first and line.ends[p] >= least and line.markable(p))

    def _observed(self, line: Line, candidates: Sequence[int], now: float, ttl: float) -> list[float]:
        """Note that these beginnings came; return how often each is expected to be read again while it lives."""
        nodes = self._nodes
        if candidates and candidates[0] <= line.static:
            self._strangers = 0 if line.chain[candidates[0]] in nodes else self._strangers + 1
        trust = 0.5 ** max(0, self._strangers - _STRANGERS)
        kinds: dict[int, Kind] = {}
        for position in candidates:
            node = nodes.get(line.chain[position])
            fresh = node is not None and now - node.last <= ttl
            kinds[position] = (*_kind(line, position), min(3, node.count) if node is not None and fresh else 0)
            if node is None:
                nodes[line.chain[position]] = _Node()
        for beginning in line.chain:
            node = nodes.get(beginning)
            if node is not None:
                node.count += 1
                node.last = now
        worth, most = [], 0.0
        for position in reversed(candidates):  # a longer beginning that comes again brings the shorter ones
            most = max(most, self._expected(line.family, kinds[position]))
            worth.append(most * trust)
            beginning = line.chain[position]
            came = _Came(now, beginning, line.family, kinds[position], nodes[beginning].count)
            self._open.setdefault(ttl, deque()).append(came)
        return worth[::-1]

    def _expected(self, family: int, kind: Kind) -> float:
        """How often a position of this kind is read again: the family's own record, over that of all."""
        again, times = _PRIORS[kind[0]]
        everywhere, own = self._seen.get((None, kind)), self._seen.get((family, kind))
        again += 0.5 * kind[2]
        if everywhere is not None:
            again, times = again + everywhere.again, times + everywhere.times
        if own is None:
            return again / times
        return (_SHARED * again / times + own.again) / (_SHARED + own.times)

    def _settle(self, now: float) -> None:
        """Learn from what has lived its time."""
        for ttl, pending in self._open.items():
            while pending and pending[0].at < now - ttl:
                self._learn(pending.popleft(), now)
        if max(len(self._seen), len(self._nodes), *map(len, self._open.values()), 0) > _NODES:
            self._forget(now)

    def _learn(self, came: _Came, now: float) -> None:
        node = self._nodes.get(came.beginning)
        again = 0.0 if node is None else min(_MOST_READS, node.count - came.times)
        for key in ((None, came.kind), (came.family, came.kind)):
            self._seen.setdefault(key, _Seen()).add(again)
        if node is not None and node.last < now - self._longest:
            del self._nodes[came.beginning]

    def _forget(self, now: float) -> None:
        """Too much is remembered: keep what is recent, or else only what holds for all families."""
        self._nodes = {own: node for own, node in self._nodes.items() if node.last >= now - self._longest}
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] is None}
        if max(len(self._nodes), *map(len, self._open.values()), 0) > _NODES // 2:
            self._nodes.clear()
            self._open.clear()

    def _best(
        self,
        line: Line,
        candidates: Sequence[int],
        worth: Sequence[float],
        hit: int | None,
        now: float,
        write: float,
        most: int,
    ) -> tuple[list[int], float]:
        """The set of positions that saves most, and what it reads. Marking a shallower position too costs nothing."""
        saved_per_read = 1 - self._rules.read
        reads = [self._read(line, position, hit, now) for position in candidates]
        best, chosen, read = 0.0, [], 0.0
        for marks in _sets(len(candidates), most):
            found = max(reads[i] for i in marks)
            value, before = saved_per_read * found, 0.0
            for i in marks:
                end = line.ends[candidates[i]]
                value += saved_per_read * (end - before) * worth[i]
                before = end
            value -= (write - 1) * max(0.0, before - found)
            if value > best:
                best, chosen, read = value, [candidates[i] for i in marks], found
        return chosen, read

    def _read(self, line: Line, position: int, hit: int | None, now: float) -> float:
        """Tokens a marker here would find."""
        reach = self._rules.reach
        if hit is not None and hit > position:
            hit = self._hit(line, now, position)
        if hit is None or (reach is not None and line.blocks[position] - line.blocks[hit] > reach):
            return 0.0
        return line.ends[hit]


def _kind(line: Line, position: int) -> tuple[str, int]:
    if position <= line.static:
        return "static", 0
    if position > line.history:
        return "tail", 0
    if position in line.documents:
        return "doc", min(line.documents.index(position), _DOCUMENTS)
    return ("hist" if position == line.history else "inner"), 0


def _before(line: Line, position: int, blocks: int) -> int:
    """The position so many blocks in front of another."""
    wanted = line.blocks[position] - blocks
    while position > 0 and line.blocks[position] > wanted:
        position -= 1
    return position


def _at_most(line: Line, position: int) -> int:
    """The last position of the history, up to this one, that can be marked."""
    while position > line.static and not line.markable(position):
        position -= 1
    return position


def _sets(count: int, most: int) -> Iterator[tuple[int, ...]]:
    """For each deepest member, the largest sets that end there: smaller ones are never better."""
    for last in range(count if most > 0 else 0):
        for others in combinations(range(last), min(last, most - 1)):
            yield (*others, last)
