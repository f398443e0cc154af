"""Putting an answer together from its chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from fastclient.types import Chunk, ToolCall, ToolCallDelta, Usage

__all__ = ["Answer"]

_NOTHING = Usage()
_raw_of, _text_of = attrgetter("raw"), attrgetter("text")


@dataclass(slots=True)
class _Tool:
    """A tool call under way."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class Answer:
    """What has arrived so far. Pieces are kept in lists and joined on demand, so the cost stays linear."""

    __slots__ = ("_current", "_kept", "_raw", "_reasoning", "_texts", "_tools", "finish_reason", "model", "usage")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._raw: list[bytes] = []
        self._kept: list[Mapping[str, object]] = []
        self._tools: list[tuple[int, _Tool]] = []
        self._current: dict[int, _Tool] = {}  # by index
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.usage = _NOTHING

    def add(self, batch: Sequence[Chunk]) -> None:
        if batch and batch[0].restarted:
            self.__init__()  # type: ignore[misc]  # as good as new
        self._raw += map(_raw_of, batch)
        self._texts += map(_text_of, batch)
        for _, reasoning, calls, finish_reason, usage, model, _, _, blocks, _ in batch:
            if reasoning:
                self._reasoning.append(reasoning)
            for delta in calls:
                self._add_tool(delta)
            if blocks:
                self._kept += blocks
            if finish_reason is not None:
                self.finish_reason = finish_reason
            if usage is not None:
                self.usage = usage if self.usage is _NOTHING else self.usage.updated(usage)
            if self.model is None:
                self.model = model

    def _add_tool(self, delta: ToolCallDelta) -> None:
        """Servers differ: some repeat the id, some the name, some count every parallel call as index 0."""
        tool = self._current.get(delta.index)
        begins = tool is None or (delta.name and tool.name and delta.id and delta.id != tool.id)
        if tool is None or begins:
            tool = self._current[delta.index] = _Tool(delta.id, delta.name)
            self._tools.append((delta.index, tool))
        tool.id = tool.id or delta.id
        tool.name = tool.name or delta.name
        tool.arguments.append(delta.arguments)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def reasoned(self) -> bool:
        """Whether there was any reasoning to be seen."""
        return bool(self._reasoning)

    @property
    def blocks(self) -> tuple[Mapping[str, object], ...]:
        return tuple(self._kept)

    @property
    def raw(self) -> bytes:
        return b"".join(self._raw)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        if not self._tools:
            return ()
        tools = (tool for _, tool in sorted(self._tools, key=lambda item: item[0]))
        return tuple(ToolCall(id=tool.id, name=tool.name, arguments="".join(tool.arguments)) for tool in tools)
