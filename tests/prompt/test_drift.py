"""Drift: each cause is named, located and measured; growth is silent; nothing is told that was not asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import pairwise
from random import Random
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.prompt.difference import common_prefix, difference
from fastclient.prompt.drift import ADVICE, Cause, Drift, diagnose, segments
from fastclient.prompt.tokens import estimate
from fastclient.target import Price

Body = dict[str, Any]

WORDS = ("river", "stone", "lamp", "green", "seven", "quiet", "of", "a", "market", "window", "slow", "bread", "north")
SEEDS = range(4)


def prose(random: Random, words: int = 30) -> str:
    return " ".join(random.choices(WORDS, k=words))


def tool(random: Random, name: str) -> Body:
    properties = {word: {"type": "string", "description": prose(random, 6)} for word in random.sample(WORDS, 4)}
    schema = {"type": "object", "properties": properties, "required": list(properties)[:2]}
    return {"type": "function", "function": {"name": name, "description": prose(random), "parameters": schema}}


def turn(random: Random) -> list[Body]:
    """A question, one or two tool calls with their results, and the answer."""
    ids = [f"call_{random.getrandbits(96):024x}" for _ in range(random.randint(1, 2))]
    arguments = {"city": prose(random, 2), "days": random.randint(1, 9)}
    return [
        {"role": "user", "content": prose(random)},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": name, "type": "function", "function": {"name": "look", "arguments": json.dumps(arguments)}}
                for name in ids
            ],
        },
        *({"role": "tool", "tool_call_id": name, "content": json.dumps({"found": prose(random)})} for name in ids),
        {"role": "assistant", "content": prose(random)},
    ]


def pair(random: Random) -> tuple[Body, Body]:
    """Two requests of one conversation; the second has one turn more."""
    parts = [{"type": "text", "text": f"document {name}: {prose(random)}"} for name in ("one", "two", "three")]
    messages = [{"role": "system", "content": prose(random, 80)}, {"role": "user", "content": parts}]
    messages += [message for _ in range(4) for message in turn(random)]
    tools = [tool(random, f"tool_{name}") for name in "abcdef"]
    body: Body = {"model": "m", "messages": messages, "tools": tools, "prompt_cache_key": "k"}
    return body, {**deepcopy(body), "messages": [*deepcopy(messages), *turn(random)]}


def in_system(text: Callable[[Random], str]) -> Callable[[Random, Body, Body], None]:
    def change(random: Random, old: Body, new: Body) -> None:
        for body in (old, new):
            content = body["messages"][0]["content"]
            body["messages"][0]["content"] = f"{content[:40]} {text(random)} {content[40:]}"

    return change


def spaced_system(random: Random, old: Body, new: Body) -> None:
    new["messages"][0]["content"] = old["messages"][0]["content"].replace(" ", "\n\n", random.randint(1, 9))


def reordered_tools(random: Random, old: Body, new: Body) -> None:
    new["tools"] = new["tools"][1:] + new["tools"][:1]


def added_tool(random: Random, old: Body, new: Body) -> None:
    new["tools"].insert(random.randrange(7), tool(random, "another"))


def removed_tool(random: Random, old: Body, new: Body) -> None:
    del new["tools"][random.randrange(6)]


def reserialised_tools(random: Random, old: Body, new: Body) -> None:
    parameters = random.choice(new["tools"])["function"]["parameters"]
    parameters["properties"] = dict(reversed(parameters["properties"].items()))


def redefined_tool(random: Random, old: Body, new: Body) -> None:
    random.choice(new["tools"])["function"]["description"] += f" It is {prose(random, 3)} now."


def trimmed(random: Random, old: Body, new: Body) -> None:
    del new["messages"][2 : 2 + random.randint(1, 8)]


def slid(random: Random, old: Body, new: Body) -> None:
    new["messages"] = [new["messages"][0], *new["messages"][-6:]]


def shortened_results(random: Random, old: Body, new: Body) -> None:
    for message in new["messages"][: len(old["messages"])]:
        if message["role"] == "tool":
            message["content"] = message["content"][:20] + " [truncated]"


def cut_at_a_blank(random: Random, old: Body, new: Body) -> None:
    for body, cut in ((old, 5), (new, 6)):  # "river" and "river ": only a blank differs in the first one
        body["messages"][2]["content"] = "river stone"[:cut] + " [truncated]"
        body["messages"][-6]["content"] = f"{prose(random)} [truncated]"
    new["messages"][len(old["messages"]) - 6] = {"role": "user", "content": "cut otherwise"}


def inserted(random: Random, old: Body, new: Body) -> None:
    new["messages"].insert(random.randint(2, len(old["messages"]) - 3), {"role": "user", "content": "keep it short"})


def shuffled_blocks(random: Random, old: Body, new: Body) -> None:
    new["messages"][1]["content"].reverse()


def swapped_messages(random: Random, old: Body, new: Body) -> None:
    for body in (old, new):
        body["messages"][2:2] = [{"role": "user", "content": f"document {n}"} for n in range(4)]
    new["messages"][2:6] = new["messages"][4:6] + new["messages"][2:4]


def rewritten_calls(random: Random, old: Body, new: Body) -> None:
    for message in new["messages"]:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = orjson.dumps(json.loads(call["function"]["arguments"])).decode()


def spaced_answers(random: Random, old: Body, new: Body) -> None:
    for message in new["messages"]:
        if message["role"] == "assistant" and message["content"]:
            message["content"] += "\n"


def stamped(random: Random, old: Body, new: Body) -> None:
    for body, minute in ((old, 10), (new, 11)):
        body["messages"][2]["content"] = f"At 2031-05-06 09:{minute}: hello"


def renamed_calls(random: Random, old: Body, new: Body) -> None:
    for message in new["messages"]:
        for call in message.get("tool_calls", ()):
            call["id"] = f"call_{random.getrandbits(96):024x}"


def other_model(random: Random, old: Body, new: Body) -> None:
    new["model"] = "m-mini"


def nothing(random: Random, old: Body, new: Body) -> None:
    pass


def moment(random: Random) -> str:
    return f"Now: 20{random.randint(31, 60)}-11-21T0{random.randint(0, 9)}:{random.randint(10, 59)}:00Z"


def written_moment(random: Random) -> str:
    weekday, day = random.choice(("Monday", "Friday")), random.randint(1, 28)
    return f"Today is {weekday}, November {day}, 2031, {random.randint(1, 12)}:05 PM."


CHANGES: list[tuple[Cause, Callable[[Random, Body, Body], None]]] = [
    ("append_only", nothing),
    ("model_changed", other_model),
    ("tools_reordered", reordered_tools),
    ("tool_set_changed", added_tool),
    ("tool_set_changed", removed_tool),
    ("tools_reserialised", reserialised_tools),
    ("tool_definition_changed", redefined_tool),
    ("system_timestamp", in_system(moment)),
    ("system_timestamp", in_system(written_moment)),
    ("system_timestamp", in_system(lambda random: f"epoch {random.randint(10**9, 10**10 - 1)}")),
    ("system_random_id", in_system(lambda random: f"id {random.getrandbits(128):032x}")),
    ("system_random_id", in_system(lambda random: f"at {moment(random)}, request_{random.getrandbits(96):030d}")),
    ("system_whitespace", spaced_system),
    ("system_text_changed", in_system(lambda random: f" You talk to user number {random.randint(1, 10**6)}. ")),
    ("blocks_reordered", shuffled_blocks),
    ("blocks_reordered", swapped_messages),
    ("history_trimmed", trimmed),
    ("history_trimmed", slid),
    ("message_inserted", inserted),
    ("history_edited", shortened_results),
    ("history_edited", cut_at_a_blank),
    ("history_reserialised", rewritten_calls),
    ("history_whitespace", spaced_answers),
    ("history_timestamp", stamped),
    ("history_random_id", renamed_calls),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cause, change", CHANGES, ids=lambda value: getattr(value, "__name__", value))
def test_each_cause_is_named(cause: Cause, change: Callable[[Random, Body, Body], None], seed: int) -> None:
    """Whatever is changed, and wherever, is called by its name."""
    random = Random(seed)
    old, new = pair(random)
    change(random, old, new)
    drift = diagnose(old, new)
    assert (drift.cause, drift.is_drift) == (cause, cause != "append_only")
    total = sum(estimate(one.text) for one in segments(old))
    assert drift.tokens_shared + drift.tokens_lost == pytest.approx(total, rel=0.1)


@pytest.mark.parametrize(
    "old, new, difference_is",
    [
        ("a  b\n", "a b", "whitespace"),
        ('{"a": "{\\"b\\": 1}", "c": [1, 2]}', '{"c":[1,2],"a":{"b":1}}', "reserialised"),
        ("on 2031-11-21T09:00:00.5+02:00.", "on 2031-11-22.", "timestamp"),
        ("it is 9:05 am UTC", "it is 12:10:59 UTC", "timestamp"),
        ("since 3rd May 2031", "since 21 December 2031", "timestamp"),
        ("Friday, 2031-11-21 09:00", "Saturday, 2031-11-22 10:00", "timestamp"),
        ("at 1900000000.25 s", "at 1900000001 s", "timestamp"),
        ('{"t":"\\n2031-11-21"}', '{"t":"\\n2031-11-22"}', "timestamp"),
        ("db5b5fab-8f4d-4e27-9da1-494c73cf256d", "73ab4876-7734-47c1-87fd-e805ec99108d", "random_id"),
        ("call_378812b6f320", "call_1ed7b36acad2", "random_id"),
        ("req_Ab3dEf6hIj9kLm2nOp", "req_Zb3dEf6hIj9kLm2nOp", "random_id"),
        ("compare_the_pressure_switches", "compare_the_outdoor_switches", "changed"),
        ("version 12", "version 13", "changed"),
        ("", "x", "changed"),
        ("[" * 400, "[" * 399, "changed"),
        ("\ud800 a", "\ud800 b", "changed"),
    ],
)
def test_how_texts_differ(old: str, new: str, difference_is: str) -> None:
    """The least that explains it, in both directions, also in the midst of other text."""
    assert difference(old, new) == difference(new, old) == difference_is
    if difference_is not in ("reserialised", "changed"):
        around = prose(Random(1), 200)
        assert difference(f"{around} {old} {around}", f"{around} {new} {around}") == difference_is


@given(st.text(), st.text(), st.text())
def test_the_common_prefix_is_the_longest(shared: str, old: str, new: str) -> None:
    """Up to there two texts are the same, and the next character differs."""
    old, new = shared + old, shared + new
    at = common_prefix(old, new)
    assert old[:at] == new[:at] and at >= len(shared)
    assert at == min(len(old), len(new)) or old[at] != new[at]


# --- where, and how much ----------------------------------------------------------------------------------------------

texts = st.text(min_size=1, max_size=20)
calls = st.lists(
    st.fixed_dictionaries({"id": texts, "function": st.fixed_dictionaries({"arguments": texts})}), max_size=2
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "assistant", "tool", "developer"))},
        optional={
            "content": st.none() | texts | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts})),
            "tool_calls": calls,
            "reasoning_content": texts,
        },
    ),
    max_size=6,
)
bodies = st.fixed_dictionaries(
    {"messages": messages},
    optional={"tools": st.lists(st.fixed_dictionaries({"name": texts}), max_size=3), "system": texts},
)


@settings(max_examples=50, deadline=None)
@given(bodies, messages)
def test_growth_is_silent(body: Body, more: list[Body]) -> None:
    """A conversation to which messages are added continues itself, whatever it is made of."""
    drift = diagnose(body, {**body, "messages": [*body["messages"], *more]})
    assert (drift.cause, drift.path, drift.tokens_lost, drift.is_drift) == ("append_only", "", 0, False)


@settings(max_examples=50, deadline=None)
@given(bodies.filter(segments), messages, texts, st.randoms())
def test_an_edit_is_located(body: Body, more: list[Body], inserted: str, random: Random) -> None:
    """Where one part was changed, there the drift is: its path, and the first character that is another one."""
    spots = list(places(body))
    path, holder, key = random.choice(spots)
    new = deepcopy(body)
    was = holder[key]
    at = random.randint(0, len(was))
    _, holder, key = next(spot for spot in places(new) if spot[0] == path)
    holder[key] = was[:at] + inserted + was[at:]
    new["messages"] += more
    drift = diagnose(body, new)
    assert drift.path == path and drift.is_drift
    if path.endswith(("content", "]")) and ".tool_calls" not in path and "tools" not in path:
        assert drift.offset == common_prefix(was, holder[key])


def places(body: Body) -> Any:
    """Each text of a body: the path of its segment, and what holds it."""
    for number, one in enumerate(body.get("tools", ())):
        yield f"tools[{number}]", one, "name"
    if "system" in body:
        yield "system", body, "system"
    for number, message in enumerate(body["messages"]):
        path = f"messages[{number}]"
        if isinstance(message.get("content"), str):
            yield f"{path}.content", message, "content"
        else:
            for part, one in enumerate(message.get("content") or ()):
                yield f"{path}.content[{part}]", one, "text"
        for call, one in enumerate(message.get("tool_calls", ())):
            yield f"{path}.tool_calls[{call}]", one, "id"
        if "reasoning_content" in message:
            yield f"{path}.reasoning_content", message, "reasoning_content"


def test_the_order_is_the_providers() -> None:
    """Tools come first, then the system prompt, then the messages; what differs first there is what counts."""
    old: Body = {
        "model": "claude",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}],
        "tools": [{"name": "look"}],
    }
    new = deepcopy(old)
    assert [one.path for one in segments(old)] == ["tools[0]", "system[0]", "system[1]", "messages[0].content[0]"]
    new["messages"][0]["content"][0]["text"] = "bye"
    assert diagnose(old, new).path == "messages[0].content[0]"
    new["system"][1]["text"] = "be kinder"
    assert str(diagnose(old, new)) == "system_text_changed at system[1], character 7"
    new["tools"].append({"name": "listen"})
    assert str(diagnose(old, new)) == "tool_set_changed at tools[1] (added listen)"


def test_results_of_tools_in_blocks() -> None:
    """Anthropic's blocks are compared as JSON, in the order of their own keys."""
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a"}]}
    old = {"messages": [{"role": "user", "content": [result]}]}
    new = {"messages": [{"role": "user", "content": [dict(reversed(result.items()))]}]}
    assert segments(old)[0].text == orjson.dumps(result).decode()
    assert diagnose(old, new).cause == "history_reserialised"


@pytest.mark.parametrize("marker", ["cache_control", "prompt_cache_breakpoint", "cachePoint"])
def test_markers_are_not_part_of_the_prompt(marker: str) -> None:
    """Breakpoints move with each request; providers do not hash them, nor whether one text is a string or a block."""
    mark = {marker: {"type": "ephemeral"}}
    result = {"type": "tool_result", "content": [{"type": "text", "text": "r"}]}
    marked = {**result, "content": [{"type": "text", "text": "r", **mark}], **mark}
    tool = {"type": "function", "function": {"name": "f"}}
    old: Body = {
        "tools": [tool],
        "system": "s",
        "messages": [{"role": "user", "content": "q"}, {"role": "user", "content": [result]}],
    }
    new: Body = {
        "tools": [{**tool, "function": {"name": "f", **mark}, **mark}, mark],
        "system": [{"type": "text", "text": "s", **mark}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q", **mark}, mark], **mark},
            {"role": "user", "content": [marked]},
        ],
    }
    assert diagnose(old, new).cause == diagnose(new, old).cause == "append_only"
    tool["function"] = {"name": "f", "parameters": {"properties": {marker: {}}}}
    assert marker in segments(old)[0].text, "a property of that name is no marker"


@pytest.mark.parametrize("name", ["tool_choice", "reasoning_effort", "response_format", "prompt_cache_key", "thinking"])
def test_parameters_that_matter(name: str) -> None:
    """A parameter that belongs to what is hashed loses all of it, also if only its keys moved; others lose nothing."""
    old, new = pair(Random(1))
    drift = diagnose({**old, name: {"a": 1, "b": 2}}, {**new, name: {"b": 2, "a": 1}})
    assert (drift.cause, drift.path, drift.tokens_shared) == ("param_changed", name, 0)
    assert drift.tokens_lost == diagnose(old, new).tokens_shared
    assert diagnose({**old, "temperature": 1, "stream": True}, {**new, "max_tokens": 5}).cause == "append_only"


def test_a_volatile_end_may_be_exchanged() -> None:
    """What stands behind the newest message and is never stored is where changing values belong."""
    question, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    again = {"role": "user", "content": [{"type": "text", "text": "q2"}, {"type": "text", "text": "now 09:10"}]}
    stored = {"role": "user", "content": "q2"}
    steps = [
        [question, {"role": "system", "content": "now 09:09"}],
        [question, answer, again],
        [question, answer, stored, answer, {"role": "developer", "content": "now 09:11"}],
        [question, answer, stored, answer, question],
    ]
    for old, new in pairwise(steps):
        drift = diagnose({"messages": old}, {"messages": new})
        assert (drift.cause, drift.is_drift) == ("tail_replaced", False)
    assert diagnose({"messages": [question, stored]}, {"messages": [question, answer]}).cause == "history_edited"
    stays = [question, {"role": "system", "content": "now 09:10"}, answer]
    assert diagnose({"messages": steps[0]}, {"messages": stays}).cause == "history_timestamp"


def test_a_prompt_that_got_shorter_loses_nothing() -> None:
    """All that is left of it can be read from the cache."""
    old, new = pair(Random(1))
    drift = diagnose(new, old)
    assert (drift.cause, drift.path, drift.tokens_lost) == ("shortened", "messages[18].content", 0)
    assert drift.tokens_shared == diagnose(old, new).tokens_shared


def test_numbers_of_messages_and_names_of_tools() -> None:
    """The details say how many and which, as far as that says nothing of the prompt."""
    old, new = pair(Random(1))
    del new["messages"][2:7]
    assert diagnose(old, new).details == f"{5} messages dropped"
    old, new = pair(Random(1))
    new["messages"].insert(2, {"role": "user", "content": "by the way"})
    assert diagnose(old, new).details == "1 message inserted"
    old["tools"] = [{"name": "a secret\n"}, *({"name": f"t{n}"} for n in range(9))]
    new["tools"] = [{"name": "new"}, *old["tools"][:3]]
    assert diagnose(old, new).details == "added new; removed t2, t3, t4, t5, t6 and 2 more"
    assert diagnose(new, {**new, "tools": [{"name": "other"}]}).details == "added other; removed ?, new, t0, t1"


def test_what_it_costs() -> None:
    """The difference between a token that is written or prefilled, and one that is read."""
    drift = Drift("history_edited", tokens_lost=500_000)
    assert drift.money_lost(Price(input=2, output=8, cache_read=0.2)) == pytest.approx(0.9)
    assert drift.money_lost(Price(input=2, output=8, cache_read=0.2, cache_write=2.5)) == pytest.approx(1.15)
    assert drift.money_lost(Price(input=2, output=8)) == 0


def test_an_image_is_not_counted_as_text() -> None:
    """Its base64 would be a hundred times as many tokens as its pixels."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'iVBORw0K' * 50_000}"}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    assert diagnose(body, body).tokens_shared < 2000


# --- discretion and robustness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause, change", CHANGES, ids=lambda value: getattr(value, "__name__", value))
def test_prompt_text_is_shown_only_if_asked_for(cause: Cause, change: Callable[[Random, Body, Body], None]) -> None:
    """Neither repr nor str nor details have a word of the prompt; excerpts do, and are short."""
    random = Random(3)
    old, new = pair(random)
    change(random, old, new)
    quiet, shown = diagnose(old, new), diagnose(old, new, excerpts=True)
    assert quiet.before == quiet.after == ""
    assert repr(quiet) == repr(shown) and str(quiet) == str(shown)
    assert not set(WORDS) & set(repr(shown).replace("'", " ").split())
    assert max(len(shown.before), len(shown.after)) <= 80
    inside = cause not in ("append_only", "model_changed")
    assert (shown.before != shown.after) == inside


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("role", "content", "text", "type", "tool_calls", "function", "name", "cachePoint"))
            | st.integers(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
odd_bodies = st.dictionaries(st.sampled_from(("model", "tools", "system", "messages", "tool_choice")), odd)


@settings(max_examples=50, deadline=None)
@given(odd_bodies, odd_bodies)
def test_odd_bodies_do_not_raise(old: Mapping[str, object], new: Mapping[str, object]) -> None:
    """Whatever stands where something else is expected, there is a diagnosis."""
    drift = diagnose(old, new, excerpts=True)
    assert drift.tokens_lost >= 0 and drift.tokens_shared >= 0 and drift.advice and str(drift)


def test_values_that_json_cannot_say() -> None:
    """Circles, depths, surrogates, large numbers and objects are compared as far as they can be."""

    class Sly:
        def __repr__(self) -> str:
            raise ValueError

    circle: list[object] = []
    circle.append({"type": "x", "content": circle})
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    for content in (
        circle,
        deep,
        "\ud800",
        [{"type": "x", "n": 2**70}],
        [{1: 2}],
        Sly(),
        {"content": deep},
        float("nan"),
    ):
        old = {"messages": [{"role": "user", "content": content}], "tools": content}
        new = {"messages": [{"role": "user", "content": "other"}], "tools": [{"name": "f"}]}
        assert diagnose(old, {**old}).cause == "append_only"
        assert diagnose(old, new, excerpts=True).advice
        assert diagnose(new, old, excerpts=True).advice


@pytest.mark.parametrize("unit", ["a", " ", "1", "a1", "-", "[", "2031-", "\\n", "12:", "\0", "May "])
def test_long_runs_are_no_trap(unit: str) -> None:
    """Nothing takes more than linear time: quadratic would be many minutes."""
    run = unit * (100_000 // len(unit))
    for old, new in ((f"x{run}y", f"z{run}y"), (f"{run}x", f"{run}y"), (run, f"y{run}y")):
        body: Body = {"messages": [{"role": "system", "content": old}]}
        assert diagnose(body, {"messages": [{"role": "system", "content": new}]}).path == "messages[0].content"


def test_many_equal_messages_are_no_trap() -> None:
    """A conversation of equal messages is searched for dropped ones in linear time."""
    same = [{"role": "user", "content": "again"}] * 5_000
    body: Body = {"messages": [{"role": "user", "content": "x"}, *same]}
    assert diagnose(body, {"messages": [{"role": "user", "content": "y"}, *same]}).cause == "history_edited"
    assert diagnose(body, {"messages": same}).cause == "history_trimmed"


def test_each_cause_has_an_advice() -> None:
    """One line each, for all causes there are."""
    assert set(ADVICE) == set(get_args(Cause))
    assert all(line and "\n" not in line for line in ADVICE.values())
