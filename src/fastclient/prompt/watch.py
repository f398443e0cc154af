"""Watching conversations for drift: each request is compared with the one before it, as it stands on the wire."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from fastclient.prompt.drift import Cause, Drift, diagnose
from fastclient.prompt.lineage import Sent
from fastclient.prompt.piece import Prepared

__all__ = ["Watch"]

logger = logging.getLogger("fastclient")

_PARAMS = ("tool_choice", "response_format", "reasoning_effort", "thinking")
_FRONT = ("tools_", "tool_", "system_", "param_")
_TELLING = ("timestamp", "random_id", "whitespace", "reserialised", "reordered")
_REPEATED = 2  # drifts of one cause that make it worth a line in the log


class Watch:
    """Finds the request that each one continues, and says what has changed in it.

    Prompts of fewer than `minimum` tokens are not kept by the provider: there is nothing to lose.
    """

    def __init__(self, minimum: int) -> None:
        self._minimum = minimum
        self._sent = Sent()
        self._causes: Counter[Cause] = Counter()

    def look(self, new: Prepared) -> Drift | None:
        """How this prompt has drifted from the one before it; None if it goes on where that one ended."""
        name = _name(new)
        drift = None
        old = self._sent.continued(new)
        if old is None or (name is None and _params(old) != _params(new)):
            old = (self._sent.named(name) if name is not None else None) or old or self._sent.resembling(new)
        elif name is not None and (earlier := self._sent.named(name)) is not None:
            old = earlier
        if old is not None and old.size >= self._minimum and not new.moved and not _goes_on(old, new):
            drift = self._judged(old, new, sure=name is not None and old is self._sent.named(name))
        self._sent.add(new, name)
        return drift

    def _judged(self, old: Prepared, new: Prepared, *, sure: bool) -> Drift | None:
        drift = diagnose(_body(old), _body(new))
        if not drift.is_drift or drift.cause == "shortened" or not (sure or _credible(drift, old, new)):
            return None
        self._causes[drift.cause] += 1
        if self._causes[drift.cause] == _REPEATED:
            logger.warning("prompts drift again and again (%s at %s): %s", drift.cause, drift.path, drift.advice)
        return drift


def _goes_on(old: Prepared, new: Prepared) -> bool:
    return new.tail >= old.tail and new.chain[old.tail] == old.chain[old.tail] and _params(old) == _params(new)


def _credible(drift: Drift, old: Prepared, new: Prepared) -> bool:
    """Whether two requests that merely look alike are one conversation, and not two that began alike.

    Something that stood behind the change must still be there, or the change must be of a kind that nobody makes on
    purpose.
    """
    if drift.cause.endswith(_TELLING) or drift.cause == "param_changed":
        return True
    there = {piece.print for piece in new.pieces[: new.tail]}
    if drift.cause.startswith(_FRONT):
        # One task is often given to several agents, with instructions of their own.
        turns = (piece.print for piece in old.pieces[old.static : old.tail])
        return any(turn in there for turn in turns if turn != old.task)
    same = next(at for at in range(old.tail + 1) if at == new.tail or new.chain[at + 1] != old.chain[at + 1])
    return any(piece.print in there for piece in old.pieces[same + 1 : old.tail])


def _name(prepared: Prepared) -> object:
    """What the caller calls this conversation, if anything."""
    request = prepared.request
    name = request.params.get("prompt_cache_key") or request.metadata.get("conversation_id")
    return name if isinstance(name, (str, int)) else None


def _params(prepared: Prepared) -> list[object]:
    get = prepared.request.params.get
    return [get(name) for name in _PARAMS]


def _body(prepared: Prepared) -> Mapping[str, object]:
    """What the provider hashes of a request: without what changes each time anyway."""
    request = prepared.request
    return {**request.params, "messages": request.messages[: prepared.tail]}
