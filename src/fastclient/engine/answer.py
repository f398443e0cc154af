"""Putting an answer together from its chunks."""

from __future__ import annotations

from collections.abc import Sequence

from fastclient.types import Chunk, ToolCall, ToolCallDelta, Usage

__all__ = ["Answer"]


class Answer:
    """What has arrived so far. Pieces are kept in lists and joined on demand, so the cost stays linear."""

    __slots__ = ("_raw", "_reasoning", "_texts", "_tools", "finish_reason", "model", "usage")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._raw: list[bytes] = []
        self._tools: dict[int, tuple[str, str, list[str]]] = {}
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.usage = Usage()

    def add(self, batch: Sequence[Chunk]) -> None:
        texts, raws = self._texts, self._raw
        for chunk in batch:
            raws.append(chunk.raw)
            if chunk.text:
                texts.append(chunk.text)
            if chunk.reasoning:
                self._reasoning.append(chunk.reasoning)
            for delta in chunk.tool_calls:
                self._add_tool(delta)
            if chunk.finish_reason is not None:
                self.finish_reason = chunk.finish_reason
            if chunk.usage is not None:
                self.usage = self.usage.updated(chunk.usage)
            if self.model is None:
                self.model = chunk.model

    def _add_tool(self, delta: ToolCallDelta) -> None:
        index = delta.index
        known = self._tools.get(index)
        if known is not None and delta.id and known[0] and delta.id != known[0]:
            known = None  # some servers send every parallel call under index 0
            index = next((i for i, tool in self._tools.items() if tool[0] == delta.id), max(self._tools) + 1)
            known = self._tools.get(index)
        if known is None:
            self._tools[index] = (delta.id, delta.name, [delta.arguments])
            return
        known[2].append(delta.arguments)
        if not (known[0] and known[1]) and (delta.id or delta.name):
            self._tools[index] = (known[0] or delta.id, known[1] or delta.name, known[2])

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def raw(self) -> bytes:
        return b"".join(self._raw)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(id=id_, name=name, arguments="".join(pieces))
            for _, (id_, name, pieces) in sorted(self._tools.items())
        )
