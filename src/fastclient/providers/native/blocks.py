"""Anthropic's message put together from its events: content blocks from their deltas, counts from the latest. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from fastclient.providers.dialect import Json
from fastclient.providers.native.pieces import grow, grown, opened, put

__all__ = ["message_of", "partial"]

_SIGN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)  # a text, maybe cut, or what nests and divides
_CLOSER = {"{": "}", "[": "]"}


def message_of(events: Iterable[Json]) -> Json:
    """The message that a complete stream adds up to. Raises KeyError if the stream has none."""
    message: Json = {}
    blocks: dict[int, _Block] = {}
    for event in events:
        match event.get("type"):
            case "message_start":
                message = dict(event["message"])
            case "content_block_start":
                block = event["content_block"]
                blocks[event["index"]] = _Block(block)
                if block.get("type") == "fallback":  # from here on another model answers
                    message["model"] = block["to"]["model"]
            case "content_block_delta":
                blocks[event["index"]].add(event["delta"])
            case "message_delta":
                _add(message, event)
    message["content"] = [*message.get("content", ()), *(blocks[at].whole() for at in sorted(blocks))]
    return message


def _add(message: Json, event: Json) -> None:
    """What the end of a message says of all of it. Counts are totals, and those left out stay as they were."""
    for name, value in event.items():
        if name == "delta":
            for each, said in value.items():
                put(message, each, said)
        elif name == "usage":
            usage = message[name] = dict(message.get(name) or {})
            for each, said in (value or {}).items():
                put(usage, each, said)
        elif name != "type":
            put(message, name, value)


class _Block:
    """One content block under way."""

    def __init__(self, start: Json) -> None:
        self._fields: Json = opened(start)
        self._json: list[str] = []

    def add(self, delta: Json) -> None:
        match delta.get("type"):
            case "input_json_delta":
                self._json.append(delta["partial_json"])
            case "citations_delta":
                citations = self._fields.get("citations") or []
                self._fields["citations"] = [*citations, delta["citation"]]
            case "signature_delta" | "compaction_delta":  # said whole
                self._fields |= {name: value for name, value in delta.items() if name != "type"}
            case _:  # texts, thoughts, and what comes next year
                grow(self._fields, {name: value for name, value in delta.items() if name != "type"})

    def whole(self) -> Json:
        fields: Json = grown(self._fields)
        if written := "".join(self._json):
            fields["input"] = partial(written)
        return fields


def partial(text: str) -> Any:
    """The value of a JSON text; of one that was cut, as far as it goes, without what is not whole at its end."""
    cut, closing = 0, ""
    closers: list[str] = []
    for match in _SIGN.finditer(text):
        sign = match[0]
        if sign in _CLOSER:
            closers.append(_CLOSER[sign])
        elif sign in ("]", "}"):
            del closers[-1:]
        elif sign != ",":
            continue
        cut, closing = match.end() - (sign == ","), "".join(reversed(closers))
    for candidate in (text, text + closing, text[:cut] + closing):
        try:
            return orjson.loads(candidate)
        except ValueError:
            continue
    return {}
