"""Watching conversations for drift: each request is compared with the one before it, as it stands on the wire.

Nobody has to say which requests belong together, so one that merely looks alike must give more evidence than that.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fastclient.prompt.drift import Cause, Drift, diagnose
from fastclient.prompt.lineage import Sent
from fastclient.prompt.piece import Prepared

__all__ = ["Watch"]

logger = logging.getLogger("fastclient")

_PARAMS = ("tool_choice", "response_format", "reasoning_effort", "thinking", "prompt_cache_key")
_ACCIDENTS = ("timestamp", "random_id", "whitespace", "reserialised", "reordered")  # nobody does these on purpose
_FRONT_ACCIDENTS = (  # ids may be those of users, each with instructions of their own
    *("tools_reordered", "tools_reserialised", "system_timestamp", "system_whitespace", "system_reserialised"),
)
_DEFAULTS = "[]"  # the settings of a request without any
_EVIDENCE = 16  # tokens: what is shorter may be in any conversation
_REPEATED = 2  # drifts of one cause that make it worth a line in the log


class _Pair(NamedTuple):
    """Two requests that may be of one conversation.

    The first `same` messages are, unless they begin differently (`front`). Of the `lost` ones behind that, or of all
    turns, `kept` are still there, and `enough` of them to tell the conversation by.
    """

    old: Prepared
    new: Prepared
    same: int
    front: bool
    lost: int
    kept: int
    enough: bool

    @classmethod
    def of(cls, old: Prepared, new: Prepared) -> _Pair:
        limit = min(old.tail, new.tail)
        same = bisect_left(range(limit), True, key=lambda at: old.chain[at + 1] != new.chain[at + 1])
        front = same < old.static or old.chain[0] != new.chain[0]
        behind = old.pieces[old.static if front else same : old.tail]
        there = {piece.print for piece in new.pieces[new.static if front else same : new.tail]}
        still = [piece.size for piece in behind if piece.print in there]
        enough = not behind or sum(still) >= _EVIDENCE
        return cls(old, new, same, front, len(behind), len(still), enough)

    @property
    def longer(self) -> bool:
        return self.new.tail > self.old.tail

    def is_certain(self) -> bool:
        """Whether the new request is a later turn of the same conversation, whatever has changed."""
        return self.longer and ((self.enough and 2 * self.kept >= self.lost) or self._same_call())

    def is_possible(self) -> bool:
        """Whether a look at what has changed is worth it."""
        return self.front or self.enough or (self.longer and self.lost == 1)

    def is_told_by(self, cause: Cause) -> bool:
        """Whether what has changed tells that it is the same conversation."""
        if self.front:
            return cause in _FRONT_ACCIDENTS
        if cause == "history_trimmed":
            return self.enough
        return self.longer and (self.enough or self.lost == 1) and cause.endswith(_ACCIDENTS)

    def _same_call(self) -> bool:
        """Whether what differs is another result of one call."""
        if self.front or self.same == min(self.old.tail, self.new.tail):
            return False
        was, now = (each.pieces[self.same].message.get("tool_call_id") for each in (self.old, self.new))
        return was is not None and was == now


class Watch:
    """Finds the request that each one continues, and says what has changed in it.

    Prompts of fewer than `minimum` tokens are not kept by the provider: there is nothing to lose.
    """

    def __init__(self, minimum: int) -> None:
        self._minimum = minimum
        self._sent = Sent()
        self._long = False  # whether any request was long enough
        self._causes: Counter[Cause] = Counter()

    def look(self, new: Prepared) -> Drift | None:
        """How this prompt has drifted from the one before it; None if it goes on where that one ended."""
        request = new.request
        name = _name(new) if request.metadata else None
        settings = _settings(new) if request.params else _DEFAULTS
        drift = None if new.moved or not self._long else next(self._drifts(new, name, settings), None)
        if self._is_long(new):
            self._long = True
            self._sent.add(new, name, settings)
        else:
            self._sent.add_short(new, name, settings)
        return drift

    def _is_long(self, prepared: Prepared) -> bool:
        """Whether the provider keeps it, so that something can be lost."""
        return prepared.size >= self._minimum

    def _drifts(self, new: Prepared, name: object, settings: str) -> Iterator[Drift]:
        """What became of requests that may be the one before. One certainly is: what that has is no news."""
        sent, named = self._sent, self._sent.named(name)
        before = sent.continued(new, settings)
        for old in {id(each): each for each in (named, sent.ended(new), sent.began(new)) if each}.values():
            if old is before or old.size < self._minimum:
                continue
            pair = _Pair.of(old, new)
            goes_on = pair.same == old.tail and not pair.front and settings == _settings(old)
            known = before is not None and before.tail > min(pair.same, old.tail - 1)
            if not goes_on and not known and (drift := _drift(pair, sure=old is named and pair.longer)):
                yield self._noted(drift)
        old_front = sent.instructed(new)
        if old_front is not None and old_front.size >= self._minimum and (drift := _front_drift(old_front, new)):
            yield self._noted(drift)

    def _noted(self, drift: Drift) -> Drift:
        self._causes[drift.cause] += 1
        if self._causes[drift.cause] == _REPEATED:
            logger.warning("prompts drift again and again (%s at %s): %s", drift.cause, drift.path, drift.advice)
        return drift


def _drift(pair: _Pair, *, sure: bool) -> Drift | None:
    sure = sure or pair.is_certain()
    if not sure and not pair.is_possible():
        return None
    drift = diagnose(_body(pair.old), _body(pair.new))
    lasting = drift.is_drift and drift.cause != "shortened"
    return drift if lasting and (sure or pair.is_told_by(drift.cause)) else None


def _front_drift(old: Prepared, new: Prepared) -> Drift | None:
    """How the instructions of two requests that share no turn differ, if that is an accident."""
    if old.chain[old.static] == new.chain[new.static]:
        return None
    drift = diagnose(_body(old), _body(new))
    return drift if drift.cause in _FRONT_ACCIDENTS else None


def _name(prepared: Prepared) -> object:
    """What the caller calls this conversation, if anything. A prompt_cache_key is often that of a whole app."""
    metadata = prepared.request.metadata
    name = metadata.get("conversation_id") if metadata else None
    return name if isinstance(name, (str, int)) else None


def _settings(prepared: Prepared) -> str:
    """The parameters under which a prompt is hashed."""
    params = prepared.request.params
    if not params:
        return _DEFAULTS
    get = params.get
    return repr([(name, value) for name in _PARAMS if (value := get(name)) is not None])


def _body(prepared: Prepared) -> Mapping[str, object]:
    """What the provider hashes of a request: without what changes each time anyway."""
    request = prepared.request
    return {**request.params, "messages": request.messages[: prepared.tail]}
