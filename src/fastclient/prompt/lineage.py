"""Which conversation a request belongs to, and what is remembered of it between its requests.

A conversation is known by its head: what stands in front, up to and with the first user turn. Nobody has to name it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fastclient.locks import Locked
from fastclient.prompt.tokens import Anchor

if TYPE_CHECKING:
    from fastclient.prompt.piece import Prepared

__all__ = ["Conversation", "Conversations", "Sent"]

_K = TypeVar("_K")
_V = TypeVar("_V")

_CONVERSATIONS = 4096
_NEWEST = 0.2  # weight of the newest report
_ABOUT = 100  # tokens by which instructions differ that are not versions of each other
_REQUESTS = 64  # of which the last request is kept whole, to be compared with the next
_ROOM = 32 * 2**20  # bytes of them


class Scale:
    """How many tokens a target counts for an estimated one: a running mean of its reports, None before the first."""

    __slots__ = ("mean",)

    def __init__(self) -> None:
        self.mean: float | None = None

    def add(self, ratio: float) -> None:
        """One more report."""
        self.mean = ratio if self.mean is None else self.mean + _NEWEST * (ratio - self.mean)


@dataclass(slots=True)
class Conversation:
    """What is remembered of one conversation.

    `tools` is their order. `sent` is when its last request went out and `lifetime` how long the provider keeps that, in
    seconds; `tokens` is how long it was and `grown` by how much, `reserved` the room for what changes each time, `cold`
    are the lengths it had when a request came later than that. `anchor` is what the provider counted for the prompt
    that ended in `end` at `length` messages, and in `passing` tokens that are not sent again; `resent` are those of its
    answer. `scale` is its tokens per estimated token, `target` that of all conversations.
    """

    target: Scale
    tools: tuple[str, ...] = ()
    sent: float | None = None
    lifetime: float = 0.0
    tokens: float = 0.0
    grown: float = 0.0
    cold: AbstractSet[int] = frozenset()
    anchor: Anchor | None = None
    resent: int = 0
    reserved: int = 0
    passing: float = 0.0
    end: int = 0
    length: int = 0
    scale: float | None = None


class _Recent(Generic[_K, _V]):
    """A dictionary of the entries used last, at most so many, and so many bytes of them."""

    def __init__(self, most: int, room: int = 0) -> None:
        self._most = most
        self._room = room
        self._known: OrderedDict[_K, _V] = OrderedDict()
        self._lengths: dict[_K, int] = {}
        self._length = 0
        self.get = self._known.get

    def put(self, key: _K, value: _V, length: int = 0) -> _V:
        known, lengths = self._known, self._lengths
        if key in known:
            known.move_to_end(key)
            if key in lengths:
                self._length -= lengths.pop(key)
        known[key] = value
        if length:
            lengths[key] = length
            self._length += length
        while len(known) > self._most or self._length > self._room:
            oldest, _ = known.popitem(last=False)
            if oldest in lengths:
                self._length -= lengths.pop(oldest)
        return value


class Conversations(Locked):
    """The conversations of late; those that were not heard of for the longest time are forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Scale()
        self._known: _Recent[int, Conversation] = _Recent(_CONVERSATIONS)

    def of(self, head: int) -> Conversation:
        """The conversation with this head."""
        with self.lock:
            known = self._known.get(head)
            return self._known.put(head, Conversation(self.scale) if known is None else known)


class Sent:
    """The requests sent last, one of each conversation, to find the one that a new request continues."""

    def __init__(self) -> None:
        self._by_name: _Recent[object, Prepared] = _Recent(_REQUESTS, _ROOM)
        self._by_end: _Recent[tuple[int, str], Prepared] = _Recent(_REQUESTS, _ROOM)
        self._by_task: _Recent[int, Prepared] = _Recent(_REQUESTS, _ROOM)
        self._by_last: _Recent[int, Prepared] = _Recent(_REQUESTS, _ROOM)
        self._by_front: _Recent[object, Prepared] = _Recent(_REQUESTS, _ROOM)

    def continued(self, new: Prepared, settings: str) -> Prepared | None:
        """The longest request of which every message is still there, unchanged and in front, with the same settings."""
        known = self._by_end.get
        return next((old for end in reversed(new.chain[1 : new.tail + 1]) if (old := known((end, settings)))), None)

    def named(self, name: object) -> Prepared | None:
        """The last request of the conversation that the caller gave this name."""
        return None if name is None else self._by_name.get(name)

    def ended(self, new: Prepared) -> Prepared | None:
        """The last request that ended with a message of this one, the newest if there are several."""
        known = self._by_last.get
        return next((old for piece in reversed(new.pieces[: new.tail]) if (old := known(piece.print))), None)

    def began(self, new: Prepared) -> Prepared | None:
        """The last request with the same first turn."""
        return self._by_task.get(new.task)

    def instructed(self, new: Prepared) -> Prepared | None:
        """The last request with one turn, as this one has, and instructions that may be another version of its."""
        return self._by_front.get(_front(new)) if self._by_front._known and new.is_alone else None

    def add(self, new: Prepared, name: object, settings: str) -> None:
        """This request was sent."""
        length = new.length
        self._by_end.put((new.chain[new.tail], settings), new, length)
        if new.tail:
            self._by_last.put(new.pieces[new.tail - 1].print, new, length)
        for table, key in self._places(new, name):
            table.put(key, new, length)

    def add_short(self, new: Prepared, name: object, settings: str) -> None:
        """This request was sent, and is too short to lose anything: it only stands in the way of finding others."""
        tail = new.tail
        self._by_end.put((new.chain[tail], settings), new)
        if tail:
            self._by_last.put(new.pieces[tail - 1].print, new)
        if self._by_task._known:  # else there are no others
            for table, key in self._places(new, name):
                if key in table._known:
                    table.put(key, new)

    def _places(self, new: Prepared, name: object) -> Iterator[tuple[_Recent[Any, Prepared], object]]:
        """Where a request is looked for by what it is, besides by how it ends."""
        yield self._by_task, new.task
        if name is not None:
            yield self._by_name, name
        if new.is_alone:
            yield self._by_front, _front(new)


def _front(prepared: Prepared) -> tuple[int, frozenset[str]]:
    """About how long the instructions are, and the names of the tools: another time of day changes neither."""
    tokens = sum([piece.size for piece in prepared.pieces[: prepared.static]])
    return round(tokens / _ABOUT), frozenset(prepared.tools.names)
