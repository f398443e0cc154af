"""Where things stand in a prompt: documents each once and in order, what changes each time at the very end. Pure.

Only what the caller marked is moved. How the end is said depends on the target: as a late system message where the
model takes one, as a turn of its own where turns of one role are joined anyway, else behind the last user turn's text.
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

    def arranged(self, request: Request) -> tuple[Sequence[Message], Shape]:
        """The messages in the order in which they are sent, and what they are."""
        messages: Sequence[Message] = request.messages
        shape = request.shape
        if shape.documents:
            messages, shape = self._ranked(messages, shape)
        if shape.tail is None or shape.tail == len(messages):
            return messages, shape
        body, tail = messages[: shape.tail], messages[shape.tail :]
        if self._rules.late_system:
            return (*body, *({"role": "system", "content": untagged(each)} for each in tail)), shape
        if self._rules.marking is None and body and _is_plain_turn(body[-1]):
            # Templates of open models often take no two user turns in a row.
            texts = (str(each["content"]) for each in (body[-1], *tail))
            joined = {**body[-1], "content": "\n\n".join(texts)}
            return (*body[:-1], joined), shape._replace(tail=len(body) - 1)
        return messages, shape

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


def _is_plain_turn(message: Message) -> bool:
    return message.get("role") == "user" and isinstance(message.get("content"), str)
