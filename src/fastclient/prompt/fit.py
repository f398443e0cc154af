"""Fitting a prompt into its budget: documents of the lowest rank are left out first, then the oldest turns."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import ceil

from fastclient.errors import PromptTooLong
from fastclient.prompt.arrange import parts_of
from fastclient.prompt.lineage import Conversation
from fastclient.prompt.piece import Piece, Pieces, Prepared
from fastclient.prompt.tokens import REPLY, SPREAD
from fastclient.prompt.trim import Cut, trim
from fastclient.types import Documents

__all__ = ["Budget"]

_REPORTED = 1.02  # how much an estimate may fall short that is scaled by what a provider reported
_STEP = 64  # tokens
_UNSTEADY = 0.05  # a scale that is further off than this is set anew


@dataclass(frozen=True, slots=True)
class Budget:
    """How long prompts may be, in the provider's tokens.

    `known` says whether estimates are made for the provider's tokenizer. What is reported of its counts scales them,
    once for each conversation: with other sizes the cut would move, and the provider's cache would be lost.
    """

    limit: int
    known: bool
    pieces: Pieces

    def fit(self, ready: Prepared, now: float) -> None:
        """Leave out of a prompt what does not fit. Raises PromptTooLong if what must be sent is too long."""
        cold = _cold(ready, now)
        scale = _settled(ready.conversation)
        sizes, room = self._sizes(ready, scale)
        body = ready.tail
        room -= _reserved(ready.conversation, sum(sizes[body:]))
        if not cold and sum(sizes[:body]) + REPLY <= room:
            return
        full, documents = ready.pieces, ready.documents
        if documents:
            ready.pieces, ready.documents = self._with(full, documents, 1)
            sizes, _ = self._sizes(ready, scale)
        try:
            cut = trim([piece.message for piece in ready.pieces[:body]], sizes[:body], room, cold=cold)
        except PromptTooLong as error:
            raise self._too_long(error, room) from None
        if documents:
            self._fill(ready, full, documents, room - cut.needed)
        if cut.dropped:
            _leave_out(ready, cut)

    def _sizes(self, ready: Prepared, scale: float | None) -> tuple[list[float], float]:
        """What the messages take, and the room they have, both in estimated tokens."""
        if self.known or scale is not None:
            margin = SPREAD if scale is None else scale * _REPORTED
            return [piece.size for piece in ready.pieces], self.limit / margin - ready.tools.size
        return [piece.high for piece in ready.pieces], self.limit - ready.tools.high

    def _with(
        self, pieces: Sequence[Piece], documents: Sequence[Documents], count: int
    ) -> tuple[list[Piece], tuple[Documents, ...]]:
        """The same prompt with only the first `count` documents of each group."""
        changed, groups = list(pieces), []
        for group in documents:
            kept = min(count, group.parts)
            message = pieces[group.message].message
            parts = parts_of(message)
            shorter = {**message, "content": [*parts[:kept], *parts[group.parts :]]}
            changed[group.message] = self.pieces.of([shorter])[0]
            groups.append(group._replace(parts=kept))
        return changed, tuple(groups)

    def _fill(self, ready: Prepared, full: Sequence[Piece], documents: Sequence[Documents], room: float) -> None:
        """Put back as many documents, best first, as there is room for."""
        least = ready.pieces
        for count in range(max(group.parts for group in documents), 1, -1):
            pieces, groups = self._with(full, documents, count)
            more = sum(pieces[group.message].high - least[group.message].high for group in documents)
            if more <= room:
                ready.pieces, ready.documents = pieces, groups
                return

    def _too_long(self, error: PromptTooLong, room: float) -> PromptTooLong:
        """The error in the caller's terms: what everything that must be sent takes, and what it may take."""
        needed = ceil(self.limit + (error.needed or 0) - room)
        told = PromptTooLong(
            f"what must be sent of the prompt takes {needed} tokens, and max_input_tokens is {self.limit}"
        )
        told.needed, told.limit = needed, self.limit
        return told


def _settled(conversation: Conversation) -> float | None:
    """The scale for all of a conversation; None before anything was reported."""
    settled, learned = conversation.scale, conversation.target.mean
    if learned is not None and (settled is None or abs(learned / settled - 1) > _UNSTEADY):
        conversation.scale = settled = learned
    return settled


def _reserved(conversation: Conversation, tail: float) -> float:
    """The room for what changes each time: if it changed with that, so would the cut."""
    conversation.reserved = max(conversation.reserved, ceil(tail / _STEP) * _STEP)
    return conversation.reserved


def _cold(ready: Prepared, now: float) -> AbstractSet[int]:
    """The requests of this conversation that found nothing in the provider's cache: cutting is free there."""
    known = ready.conversation
    if known.sent is not None and now - known.sent > known.lifetime > 0:
        known.cold = known.cold | {ready.tail}
    return known.cold


def _leave_out(ready: Prepared, cut: Cut) -> None:
    """Take out the messages that are not kept; what stands behind them moves up."""
    place = {at: number for number, at in enumerate(cut.kept)}
    ready.documents = tuple(
        group._replace(message=place[group.message]) for group in ready.documents if group.message in place
    )
    ready.pieces = [*(ready.pieces[at] for at in cut.kept), *ready.pieces[ready.tail :]]
    ready.tail, ready.cut, ready.moved = len(cut.kept), cut.dropped, cut.moved
