"""How the parts of a prompt are said: documents each once and in order, what changes each time at the very end. Pure.

Only what the caller marked is touched. The end is a late system message where the model takes one, a turn of its own
where providers join turns of one role anyway, else more text of the last user turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from fastclient.locks import Locked
from fastclient.parts import untagged
from fastclient.prompt.rules import Rules
from fastclient.types import Documents, Message, Request, Shape

__all__ = ["Arrangement", "parts_of"]

_POPULAR = 20_000  # documents whose finds are counted


class Arrangement(Locked):
    """Arranges the prompts of one target, and counts which documents are found often. Safe from any thread."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self._rules = rules
        self._found: Counter[bytes] = Counter()

    def ranked(self, request: Request) -> tuple[Sequence[Message], Shape]:
        """The messages with each document once and in order, and what they are."""
        shape = request.shape
        return self._ranked(request.messages, shape) if shape.documents else (request.messages, shape)

    def late(self, tail: Sequence[Message]) -> Sequence[Message]:
        """What changes with each request, in the form that the model takes best at the end."""
        if self._rules.late_system:
            return [{"role": "system", "content": untagged(each)} for each in tail]
        return tail

    def joined(self, turn: Message, tail: Sequence[Message]) -> Message | None:
        """The last turn and what changes in one message; None where they may follow each other.

        Templates of open models often take no two user turns in a row.
        """
        if self._rules.late_system or self._rules.marking is not None or turn.get("role") != "user":
            return None
        texts = [str(each["content"]) for each in tail]
        content = turn.get("content")
        if isinstance(content, str):
            return {**turn, "content": "\n\n".join((content, *texts))}
        return {**turn, "content": [*parts_of(turn), *({"type": "text", "text": text} for text in texts)]}

    def _ranked(self, messages: Sequence[Message], shape: Shape) -> tuple[Sequence[Message], Shape]:
        """Each document once, and where popularity decides, those found most often first."""
        changed, groups = list(messages), []
        for group in shape.documents:
            parts = parts_of(messages[group.message])
            found = {orjson.dumps(part): part for part in parts[: group.parts]}
            order: Iterable[bytes] = found
            if group.order == "popular":
                order = self._by_popularity(found)
            documents = [found[key] for key in order]
            content = [*documents, *parts[group.parts :]]
            changed[group.message] = {**messages[group.message], "content": content}
            groups.append(Documents(group.message, len(documents), group.order))
        return changed, shape._replace(documents=tuple(groups))

    def _by_popularity(self, found: Mapping[bytes, object]) -> list[bytes]:
        """Those found more often before first, the others in the order given."""
        with self.lock:
            order = sorted(found, key=lambda key: -self._found[key])
            if len(self._found) > _POPULAR:
                self._found = Counter(dict(self._found.most_common(_POPULAR // 2)))
            self._found.update(order)
        return order


def parts_of(message: Message) -> Sequence[Any]:
    """The parts of a message's content; none if it is a text."""
    content = message.get("content")
    return content if isinstance(content, (list, tuple)) else ()
