"""OpenAI's Responses as its SDK writes and reads them: looked at, and sent on as they came. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastclient.providers.dialect import Json, encoded
from fastclient.providers.native.chat import refused_by_openai
from fastclient.providers.native.original import Asked
from fastclient.providers.native.pieces import events_of
from fastclient.providers.responses import LAST, dialect
from fastclient.target import Target
from fastclient.types import Message, Request

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["form"]

_NOT_PARAMS = frozenset(("model", "input", "instructions", "stream"))


class Responses:
    """The form of `POST .../responses`."""

    provider = "openai-responses"
    verbatim = False

    def asked(self, path: str, document: Json, *, exact: bool) -> Asked | None:  # noqa: ARG002
        model, said, streamed = document.get("model"), document.get("input"), document.get("stream")
        if not path.partition("?")[0].endswith("/responses") or streamed not in (None, True, False):
            return None
        if not isinstance(model, str) or not model or not isinstance(said, (str, list)):
            return None
        params = {name: value for name, value in document.items() if name not in _NOT_PARAMS}
        return Asked(model, tuple(_words(document)), params, streamed is True, rigid=True)

    def streamable(self, document: Json) -> bool:
        return not document.get("background") and document.get("stream_options") is None

    def streaming(self, url: str, document: Json) -> tuple[str, Json]:
        return url, {**document, "stream": True}

    def rewritten(self, document: Json, request: Request, layout: Layout | None) -> Json:  # noqa: ARG002
        return document

    def elsewhere(self, document: Json, url: str, target: Target) -> tuple[str, Json]:  # noqa: ARG002
        return f"{target.base_url or dialect.base_url}/responses", {**document, "model": target.model}

    def gathered(self, events: bytes) -> bytes:
        found = events_of(events)
        if found is None:
            return events
        items: dict[int, Json] = {}
        whole: Json = {}
        for event in found:
            kind = event.get("type")
            if kind == "response.output_item.done":
                items[event["output_index"]] = event["item"]
            elif kind in LAST:
                whole = event["response"]
        if whole.get("output") is None:  # some servers do not say it all again
            whole = {**whole, "output": [items[at] for at in sorted(items)]}
        return encoded(whole)

    def refused(self, status: int, message: str, kind: str) -> bytes:
        return refused_by_openai(status, message, kind)


def _words(document: Json) -> Iterator[Message]:
    """What is said, for estimating and for telling requests apart: whatever is no message counts as one's content."""
    instructions, said = document.get("instructions"), document["input"]
    if instructions is not None:
        yield {"role": "system", "content": instructions if isinstance(instructions, str) else [instructions]}
    if isinstance(said, str):
        yield {"role": "user", "content": said}
        return
    for item in said:
        if not isinstance(item, dict):
            yield {"role": "user", "content": [{"type": "text", "text": item}] if isinstance(item, str) else [item]}
        elif isinstance(item.get("role"), str) and isinstance(item.get("content"), (str, list)):
            yield item
        else:
            yield {"role": "user" if "output" in item else "assistant", "content": [item]}


form = Responses()
