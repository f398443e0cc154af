"""The same bytes for the same meaning: tools in a steady order, and JSON objects with their keys in a steady order.

Providers match prompts by their bytes from the front, and tools stand in front of everything. The order of a schema's
`properties` is never changed: models write their answers in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from fastclient.locks import Locked
from fastclient.prompt.tokens import size_of_tool
from fastclient.prompt.wire import fingerprint, marks_in, on_the_wire, unmarked

__all__ = ["NO_TOOLS", "ToolOrder", "Tools", "ordered", "steady"]

_T = TypeVar("_T")
_TOOLS = 10_000  # that are remembered
_LISTS = 500  # of tools: each is known by its bytes

_FIRST = ("role", "type", "id", "function", "name", "title", "description", "content", "text", "parameters")
_RANK = {name: number for number, name in enumerate(_FIRST)}
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # their keys are names
_VALUES = ("default", "const", "enum", "examples", "example", "input", "arguments")  # data: not ours to touch


def ordered(value: _T) -> _T:
    """The same JSON with each object's keys in one order, whichever they came in; the names of `properties` stay."""
    same: _T = _ordered(value, 0)
    return same


def _ordered(value: Any, depth: int) -> Any:
    if depth > 100:
        return value
    if isinstance(value, Mapping):
        return {name: _entry(name, value[name], depth) for name in sorted(value, key=_place)}
    return [_ordered(item, depth + 1) for item in value] if isinstance(value, (list, tuple)) else value


def _entry(name: object, value: Any, depth: int) -> Any:
    if name in _VALUES:
        return value
    if name in _NAMED and isinstance(value, Mapping):
        return {each: _ordered(schema, depth + 1) for each, schema in value.items()}
    return _ordered(value, depth + 1)


def _place(name: object) -> tuple[int, str]:
    return _RANK.get(name, len(_RANK)), str(name)  # type: ignore[call-overload]  # a stray key is no str


def steady(params: Mapping[str, object]) -> dict[str, object]:
    """Parameters in one order, schemas of answers included."""
    steadied = {name: params[name] for name in sorted(params)}
    if "response_format" in steadied:
        steadied["response_format"] = ordered(steadied["response_format"])
    return steadied


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a request as they are sent.

    `print` is a fingerprint of their bytes without breakpoints, sizes are in tokens, and `marks` are the lifetimes of
    breakpoints that the caller has put into them.
    """

    sent: Sequence[Mapping[str, object]] | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    size: float = 0.0
    high: float = 0.0
    print: int = 0
    marks: tuple[str, ...] = ()


NO_TOOLS = Tools()


class ToolOrder(Locked):
    """Gives tools a steady order and steady bytes.

    They are sorted by name, and each is written as it was the first time it meant the same. Within a conversation,
    tools that were there before keep their places and new ones come behind them, so that what stands in front of them
    is found again. Safe from any thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lists: dict[object, Tools] = {}
        self._pinned: dict[bytes, Mapping[str, object]] = {}

    def tools(self, given: Sequence[Mapping[str, object]], before: Sequence[str] = ()) -> Tools:
        """These tools, in the order in which `before` names those that were there before."""
        key = (orjson.dumps(given), before)
        known = self._lists.get(key)
        if known is None:
            known = self._arranged([self._pin(tool) for tool in given], before)
            with self.lock:
                _bounded(self._lists, _LISTS)[key] = known
        return known

    def _arranged(self, tools: list[Mapping[str, object]], before: Sequence[str]) -> Tools:
        place = {name: number for number, name in enumerate(before)}
        tools.sort(key=lambda tool: (place.get(_name(tool), len(place)), _name(tool)))
        return measured(tools)

    def _pin(self, tool: Mapping[str, object]) -> Mapping[str, object]:
        meaning = orjson.dumps(tool, option=orjson.OPT_SORT_KEYS)
        with self.lock:
            return _bounded(self._pinned, _TOOLS).setdefault(meaning, ordered(tool))


def measured(tools: Sequence[Mapping[str, object]]) -> Tools:
    """Tools as they are, with what is known about them."""
    sizes = [size_of_tool(tool) for tool in tools]
    wire = on_the_wire(tools)
    marks = marks_in(tools, wire)
    return Tools(
        sent=tools,
        names=tuple(_name(tool) for tool in tools),
        size=sum(size.n for size in sizes),
        high=sum(size.high for size in sizes),
        print=fingerprint(on_the_wire(unmarked(tools)) if marks else wire),
        marks=marks,
    )


def _name(tool: Mapping[str, object]) -> str:
    """A tool's name; a provider's own tools may have none but their type."""
    function = tool.get("function")
    named = function if isinstance(function, Mapping) else tool
    return str(named.get("name") or tool.get("type") or "")


def _bounded(known: dict[Any, _T], most: int) -> dict[Any, _T]:
    if len(known) >= most:
        known.clear()
    return known
