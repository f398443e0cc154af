"""What is known about each message, worked out once and kept: how it is sent, how long it is, and its fingerprint.

A conversation sends the same messages again with each turn. Those are found again all at once, by comparing them with
those of the turn before; others one by one, by their content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter, mul
from typing import TYPE_CHECKING, NamedTuple, Self

from fastclient.locks import Locked
from fastclient.prompt.prefix import ordered
from fastclient.prompt.squeeze import SQUEEZED, squeeze, squeezed
from fastclient.prompt.tokens import FRAME, Anchor, size_of, size_of_text, sized
from fastclient.prompt.wire import fingerprint, marks_in, on_the_wire, unmarked, unwritable
from fastclient.request import owned
from fastclient.types import Documents, Message, Request

if TYPE_CHECKING:
    from fastclient.prompt.lineage import Conversation
    from fastclient.prompt.prefix import Tools

__all__ = ["Piece", "Pieces", "Prepared", "chained", "link"]

_MOST = 64 * 2**20  # characters of prompts that are remembered
_ENTRIES = 100_000
_TEXTS = {str}
_PLAIN = ("role", "content")  # all there is to most messages
_SHORT = 4  # messages that are not worth comparing all at once
_CONVERSATIONS = 256  # of which the last turn is compared with the next


class Piece(NamedTuple):
    """One message as it is sent.

    `source` is the message as it was given. `print` is a fingerprint of its bytes on the wire without breakpoints,
    `size` and `high` are tokens, `length` is in bytes, `blocks` its blocks of content, and `marks` the lifetimes of
    breakpoints that the caller has put into it.
    """

    message: Message
    source: Message
    size: float
    high: float
    print: int
    length: int
    blocks: int
    marks: tuple[str, ...] = ()


class Pieces(Locked):
    """Makes pieces, and remembers them, up to some 64 MB of text; then it forgets all. Safe from any thread.

    With `exact` long texts are measured in full, for those who have a limit to keep.
    """

    def __init__(self, *, squeezed: bool, stable: bool, tables: bool = False, exact: bool = False) -> None:
        super().__init__()
        self._measure = size_of_text if exact else sized
        self._squeezed = squeezed
        self._stable = stable
        self._tables = tables
        self._known: dict[object, Piece] = {}
        self._characters = 0
        self._turns: dict[object, tuple[tuple[Message, ...], tuple[Piece, ...]]] = {}

    def of(self, messages: Sequence[Message]) -> list[Piece]:
        """The pieces of these messages."""
        if len(messages) < _SHORT:
            return [*map(self._one, messages)]
        opening = (messages[0].get("content"), messages[1].get("content"))
        if type(opening[0]) is not str or type(opening[1]) is not str:
            return [*map(self._one, messages)]
        sources, begun = self._turns.get(opening, ((), ()))
        if sources != (*messages[: len(sources)],):
            begun = ()
        pieces = [*begun, *map(self._one, messages[len(begun) :])]
        if len(pieces) > len(begun):
            with self.lock:
                if len(self._turns) >= _CONVERSATIONS:
                    self._turns.clear()
                self._turns[opening] = tuple([piece.source for piece in pieces]), tuple(pieces)
        return pieces

    def _one(self, message: Message) -> Piece:
        values = message.values()
        key = (*message, *values) if {*map(type, values)} == _TEXTS else on_the_wire(message)
        piece = self._known.get(key)
        return self._kept(key, self._made(key, message)) if piece is None else piece

    def _made(self, key: object, message: Message) -> Piece:
        if type(key) is tuple and key[:2] == _PLAIN and len(key) == 4:
            return self._plain(key[2], key[3])
        message = source = owned(message)  # the caller may change its own
        if self._squeezed:
            message = squeeze(message, tables=self._tables)
        if self._stable:
            message = ordered(message)
        wire = on_the_wire(message)
        if b"null" in wire and unwritable(message):
            raise TypeError("a value that JSON has no word for")  # as orjson raises for others
        size = size_of(message, self._measure)
        marks = marks_in(message, wire)
        in_parts = isinstance(message.get("content"), (list, tuple))
        own = fingerprint(on_the_wire(unmarked(message)) if marks or in_parts else wire)
        return Piece(message, source, size.n, size.high, own, len(wire), _blocks(message), marks)

    def _plain(self, role: str, text: str) -> Piece:
        """The same for a role and a text: there is nothing in them to be copied, ordered, searched or counted."""
        message: Message = {"role": role, "content": text}
        source = message
        if self._squeezed and role in SQUEEZED and (small := squeezed(text, tables=self._tables)) is not text:
            message = {"role": role, "content": small}
            text = small
        wire = on_the_wire(message)
        n, high = self._measure(text)
        return Piece(message, source, FRAME + n, FRAME + high, fingerprint(wire), len(wire), 1)

    def _kept(self, key: object, piece: Piece) -> Piece:
        with self.lock:
            self._characters += piece.length * 2
            if self._characters > _MOST or len(self._known) >= _ENTRIES:
                self._known.clear()
                self._turns.clear()
                self._characters = piece.length * 2
            self._known[key] = piece
        return piece


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A request as it is sent, and what is known about it.

    `chain[i]` is a fingerprint of the tools and the first i messages, once it was `linked`. `head` is one of the
    messages that name the conversation, `task` that of its first user turn. The first `static` messages are the same in
    every request, from `tail` on they change with each. `cut` messages were left out; `moved`: some of them for the
    first time. `size` is its tokens as estimated, before that is corrected by what was reported.
    """

    request: Request = field(repr=False)
    pieces: Sequence[Piece] = field(repr=False)
    tools: Tools = field(repr=False)
    conversation: Conversation = field(repr=False)
    head: int
    task: int
    static: int
    tail: int
    documents: tuple[Documents, ...]
    cut: int = 0
    moved: bool = False
    chain: Sequence[int] = field(default=(), repr=False)
    size: float = 0.0

    def linked(self) -> Self:
        """The same, with its chain: what is answered from a cache never needs it."""
        if not self.chain:
            self.chain = chained(self.tools.print, self.pieces)
        return self

    @property
    def is_alone(self) -> bool:
        """Whether there is one turn only: it may be the beginning of a conversation, or all there ever is of it."""
        return self.tail <= self.static + 1

    @property
    def length(self) -> int:
        """Its bytes, without the tools."""
        return sum([piece.length for piece in self.pieces])

    @property
    def high(self) -> float:
        """The tokens it hardly exceeds."""
        return self.tools.high + sum([piece.high for piece in self.pieces])

    @property
    def marks(self) -> list[tuple[int, str]]:
        """The caller's own breakpoints: after how many messages, and how long what they mark is to live."""
        pieces = ((at, ttl) for at, piece in enumerate(self.pieces, 1) if piece.marks for ttl in piece.marks)
        return [*((0, ttl) for ttl in self.tools.marks), *pieces]

    def anchor(self, reported: int, resent: int) -> None:
        """Remember for the conversation's next request that this one was reported to have so many tokens."""
        known = self.conversation
        known.anchor = anchor = Anchor.of(reported, self.size)
        known.target.add(anchor.ratio)
        known.end, known.length, known.resent = self.chain[self.tail], self.tail, resent
        known.passing = 0.0
        if self.tail < len(self.pieces):
            known.passing = sum([piece.size for piece in self.pieces[self.tail :]])


def chained(start: int, pieces: Sequence[Piece]) -> list[int]:
    """Fingerprints of all beginnings of a prompt: sums of those of its pieces, each weighted by its place."""
    if len(pieces) == 1:
        return [start, start + pieces[0].print * _WEIGHTS[0]]
    return list(accumulate(map(mul, map(_PRINT, pieces), _weights(len(pieces))), initial=start))


def link(beginning: int, piece: Piece, place: int) -> int:
    """The fingerprint of a beginning with one more piece, which is number `place` of them."""
    return beginning + piece.print * _weights(place + 1)[place]


def _weights(count: int) -> list[int]:
    """At least so many odd numbers of 64 bits without a pattern, the same in every process."""
    if count > len(_WEIGHTS):
        _WEIGHTS[:] = [fingerprint(b"%d" % place) | 1 for place in range(count * 2)]
    return _WEIGHTS


_PRINT = attrgetter("print")
_WEIGHTS: list[int] = []
_weights(500)


def _blocks(message: Mapping[str, object]) -> int:
    """How many blocks of content a provider sees in a message; results side by side count once."""
    content, calls = message.get("content"), message.get("tool_calls")
    parts = len(content) if isinstance(content, (list, tuple)) else bool(content)
    return max(1, parts + (1 if calls else 0))
