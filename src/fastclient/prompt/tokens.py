"""How many tokens a prompt has. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastclient.types import Message

__all__ = ["estimated"]

_CHARACTERS = 4  # per token, in English prose; near enough to tell a long prompt from a short one
_FRAME = 4  # tokens around each message


def estimated(messages: Sequence[Message]) -> int:
    """About how many tokens the texts of these messages have. Costs a fraction of a microsecond per message."""
    characters = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            characters += len(content)
        elif isinstance(content, Sequence):
            characters += sum(len(text) for part in content if isinstance(text := _text(part), str))
    return characters // _CHARACTERS + _FRAME * len(messages)


def _text(part: object) -> object:
    return part.get("text") if isinstance(part, Mapping) else None
