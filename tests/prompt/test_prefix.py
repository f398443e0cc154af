"""Steady bytes: tools and schemas come out the same whichever way they went in, and mean what they meant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.config import Prompt
from fastclient.prompt.prefix import ToolOrder, measured, ordered, steady
from fastclient.prompt.prepare import Preparer
from fastclient.request import checked
from fastclient.target import Target

Json = dict[str, Any]
TARGET = Target("openai:gpt-5.6", base_url="https://api.openai.com/v1", api_key="none")

keys = st.sampled_from(["type", "title", "description", "properties", "items", "anyOf", "default", "$defs", "x"])
schemas = st.recursive(
    st.booleans() | st.integers(0, 9) | st.sampled_from(["string", "object"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def tool(name: str, **properties: Json) -> Json:
    schema = {"type": "object", "properties": properties or {"place": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": f"About {name}.", "parameters": schema}}


def names(tools: Any) -> list[str]:
    return [each["function"]["name"] for each in tools.sent]


def turned(value: Any, rng: Random, *, fixed: bool = False) -> Any:
    """The same JSON with the keys of objects shuffled, but for those that name things."""
    if isinstance(value, dict):
        order = list(value) if fixed else rng.sample(list(value), len(value))
        return {key: turned(value[key], rng, fixed=not fixed and key in ("properties", "$defs")) for key in order}
    return [turned(each, rng) for each in value] if isinstance(value, list) else value


def order_of_properties(value: Any) -> list[list[str]]:
    """The keys under each `properties`, in the order of the document's sorted paths."""
    if isinstance(value, dict):
        own = [list(value["properties"])] if isinstance(value.get("properties"), dict) else []
        return own + [each for key in sorted(value) for each in order_of_properties(value[key])]
    return [each for item in value for each in order_of_properties(item)] if isinstance(value, list) else []


@given(schemas)
def test_ordering_changes_no_value(schema: Any) -> None:
    """It is the same JSON, with each order of properties as it was, and ordering it again changes nothing."""
    done = ordered(schema)
    assert json.dumps(done, sort_keys=True) == json.dumps(schema, sort_keys=True)
    assert orjson.dumps(ordered(done)) == orjson.dumps(done)
    if "default" not in json.dumps(schema):
        assert order_of_properties(done) == order_of_properties(schema)


@given(st.randoms(use_true_random=False))
def test_one_order_of_keys(rng: Random) -> None:
    """Tools that differ in nothing but the order of their keys have the same bytes in every process."""
    one = tool("look", verdict={"type": "string", "description": "last"}, reason={"type": "string", "title": "first"})
    assert orjson.dumps(ordered(turned(one, rng))) == orjson.dumps(ordered(one))
    assert list(ordered(one)["function"]["parameters"]["properties"]) == ["verdict", "reason"]


def test_values_are_left_alone() -> None:
    """Data inside a schema is the caller's: its keys keep their order."""
    given_: Json = {"default": {"b": 1, "a": 2}, "enum": [{"z": 1, "y": 2}], "arguments": {"d": 1, "c": 2}}
    done = ordered(given_)
    assert [list(done["default"]), list(done["enum"][0]), list(done["arguments"])] == [
        ["b", "a"],
        ["z", "y"],
        ["d", "c"],
    ]


def test_deep_nesting_is_no_trouble() -> None:
    """What is nested too deep is passed on as it is."""
    deep: Any = {"b": 1, "a": 2}
    for _ in range(240):
        deep = {"x": deep}
    assert ordered(deep) == deep


def test_parameters_in_one_order() -> None:
    """So is the schema of an answer, but for its properties."""
    schema = {"schema": {"properties": {"why": {}, "what": {}}, "type": "object"}, "name": "answer"}
    params = {"top_p": 1, "response_format": {"json_schema": schema, "type": "json_schema"}, "max_tokens": 5}
    done = steady(params)
    assert list(done) == ["max_tokens", "response_format", "top_p"]
    assert orjson.dumps(done) == orjson.dumps(steady(dict(reversed(params.items()))))
    assert order_of_properties(done) == [["why", "what"]]


@given(st.permutations(["a", "b", "c", "d"]))
def test_tools_are_sorted_by_name(order: list[str]) -> None:
    """Whichever order they come in, their bytes are the same."""
    tools = ToolOrder().tools([tool(name) for name in order])
    assert names(tools) == ["a", "b", "c", "d"]
    assert tools.print == ToolOrder().tools([tool(name) for name in "abcd"]).print


@given(st.lists(st.sets(st.sampled_from("abcdefg"), min_size=1), min_size=1, max_size=5))
def test_known_tools_keep_their_places(steps: list[set[str]]) -> None:
    """In one conversation, tools stand in the order in which they first came, also those that were gone for a while."""
    preparer, first = Preparer(Prompt(), TARGET), []
    for at, step in enumerate(steps):
        tools = [tool(name) for name in sorted(step, reverse=True)]
        ready = preparer.prepare(checked([{"role": "user", "content": "go"}], {"tools": tools}), now=at)
        first += [name for name in sorted(step) if name not in first]
        assert names(ready.tools) == [name for name in first if name in step]


def test_conversations_have_their_own_order() -> None:
    """What one conversation added does not move the tools of another."""
    preparer = Preparer(Prompt(), TARGET)
    for said, offered, expected in (("one", "b", "b"), ("one", "ab", "ba"), ("two", "ab", "ab")):
        request = checked([{"role": "user", "content": said}], {"tools": [tool(name) for name in offered]})
        assert names(preparer.prepare(request, now=0.0).tools) == list(expected)


def test_equal_tools_are_written_as_the_first_time() -> None:
    """Another order of keys does not change the bytes within a process, not even that of properties."""
    order, one = ToolOrder(), {"why": {"type": "string"}, "what": {"type": "string"}}
    first = order.tools([tool("look", **one)])
    later = order.tools([tool("look", **dict(reversed(one.items())))])
    assert orjson.dumps(later.sent) == orjson.dumps(first.sent)
    assert order_of_properties(later.sent) == [["why", "what"]]


def test_the_order_can_be_left_to_the_caller() -> None:
    """Without `stable` tools are sent as they came."""
    preparer = Preparer(Prompt(stable=False), TARGET)
    tools = [tool("b"), tool("a")]
    assert preparer.prepare(checked("hello", {"tools": tools}), now=0.0).request.params["tools"] == tools


def test_breakpoints_are_no_part_of_a_tool() -> None:
    """A caller's breakpoint is counted, and changes no fingerprint."""
    marked = [tool("a"), {**tool("b"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    assert measured(marked).marks == ("1h",)
    assert measured(marked).print == measured([tool("a"), tool("b")]).print


def test_what_is_remembered_is_bounded() -> None:
    """Tools that are new each time do not fill the memory."""
    order = ToolOrder()
    for at in range(1200):
        order.tools([tool("look", **{f"field_{at}": {}})])
    assert len(order._lists) <= 500


def test_odd_tools() -> None:
    """Tools without a name, and names that are no text."""
    tools = ToolOrder().tools([{"type": "web_search"}, {"function": {"name": 5}}, {"function": None, "name": "x"}])
    assert tools.names == ("5", "web_search", "x")


@pytest.mark.parametrize("seed", ["0", "1"])
def test_fingerprints_in_other_processes(seed: str) -> None:
    """Prompts have the same fingerprints in every process."""
    code = (
        "from tests.prompt.test_prefix import *\n"
        "ready = Preparer(Prompt(), TARGET).prepare(checked('hello', {'tools': [tool('b'), tool('a')]}), 0.0)\n"
        "print(ready.linked().chain, ready.head)"
    )
    ready = Preparer(Prompt(), TARGET).prepare(checked("hello", {"tools": [tool("b"), tool("a")]}), 0.0)
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == f"{ready.linked().chain} {ready.head}"
