"""Messages as Anthropic's SDK writes and reads them: in OpenAI's words and back."""

from __future__ import annotations

from time import perf_counter
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.prompt.layout import Layout, Place
from fastclient.providers.native.messages import form
from fastclient.providers.native.original import Asked
from fastclient.target import Target
from fastclient.types import Request

PATH = "/v1/messages"
HI = {"role": "user", "content": "hi"}


def document(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": list(turns) or [HI], **more}


def asked(body: dict[str, Any], *, exact: bool = True) -> Asked:
    found = form.asked(PATH, body, exact=exact)
    assert found is not None
    return found


def again(body: dict[str, Any]) -> dict[str, Any]:
    """The document taken apart and written again without a change."""
    found = asked(body)
    return form.rewritten(body, Request(messages=found.messages, params=found.params), None)


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def use(identity: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "f", "input": {"b": 1, "a": [None, 2.5]}, **more}


def result(identity: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, **more}


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/threads/t1/messages", {"role": "user", "content": "hi"}),
        ("/v1/threads/t1/messages", {"model": "m", "messages": [HI]}),
        ("/v1/messages/count_tokens", document()),
        (PATH, document() | {"messages": []}),
        (PATH, document() | {"model": None}),
        (PATH, document(stream=1.5)),
    ],
)
def test_what_is_not_of_this_form(path: str, body: dict[str, Any]) -> None:
    """Other paths, OpenAI's threads and malformed bodies are left to the provider."""
    assert form.asked(path, body, exact=True) is None


def test_a_conversation_in_openais_words() -> None:
    """System, calls and results have words there; all other blocks stay parts, tools and parameters as they are."""
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    body = document(
        HI,
        {"role": "assistant", "content": [thought, text("calling"), use("t1")]},
        {"role": "user", "content": [result("t1", content="no", is_error=True), text("and?")]},
        system=[text("be brief")],
        tools=tools,
    )
    found = form.asked("/v1/messages?beta=true", body, exact=True)
    assert found is not None
    function = {"name": "f", "arguments": '{"b":1,"a":[null,2.5]}'}
    assert found.messages == (
        {"role": "system", "content": [text("be brief")]},
        HI,
        {
            "role": "assistant",
            "content": [thought, text("calling")],
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "no", "is_error": True},
        {"role": "user", "content": [text("and?")]},
    )
    assert found.params == {"max_tokens": 9, "tools": tools}
    assert not found.rigid


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
inputs = st.dictionaries(st.text(max_size=5), st.recursive(scalars, lambda inner: st.lists(inner, max_size=3)))
said = st.text(min_size=1, max_size=8)
mark = st.fixed_dictionaries({}, optional={"cache_control": st.just({"type": "ephemeral"})})
image = st.just({"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}})
textual = st.builds(lambda words, marked: text(words, **marked), said, mark)
thinking = st.builds(lambda words: {"type": "thinking", "thinking": words, "signature": "s"}, said)
served = st.builds(lambda value: {"type": "server_tool_use", "id": "s", "name": "web_search", "input": value}, inputs)
using = st.builds(lambda value, marked: use("t") | {"input": value} | marked, inputs, mark)
answered = st.builds(
    lambda more, marked: result("t", **more, **marked),
    st.fixed_dictionaries(
        {},
        optional={
            "content": st.text(max_size=5) | st.lists(textual | image, max_size=2),
            "is_error": st.booleans(),
        },
    ),
    mark,
)
user_turns = said | st.lists(textual | image | answered, min_size=1, max_size=4)
assistant_turns = said | st.lists(textual | thinking | served | using, min_size=1, max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> dict[str, Any]:
    turns = [
        {"role": role, "content": draw(user_turns if role == "user" else assistant_turns)}
        for role in ["user", "assistant"] * draw(st.integers(1, 4))
    ]
    optional = {"system": said | st.lists(textual, min_size=1, max_size=3), "stream": st.booleans(), "top_k": scalars}
    return document(*turns, **draw(st.fixed_dictionaries({}, optional=optional)))


@given(conversations())
def test_nothing_changed_is_the_same_document(body: dict[str, Any]) -> None:
    """A conversation of any shape the API takes can be changed, and without a change it is written as it was."""
    assert not asked(body).rigid
    assert orjson.loads(orjson.dumps(again(body))) == orjson.loads(orjson.dumps(body))


odd = st.sampled_from([[], "", None, 3, [3], [{"text": "x"}], [{"type": "image_url", "image_url": {"url": "u"}}]])


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), user_turns | assistant_turns | odd)))
def test_what_is_not_rigid_is_written_as_it_was(turns: list[tuple[str, Any]]) -> None:
    """Whatever the turns hold: either they are only looked at, or nothing of them is lost."""
    body = document(*({"role": role, "content": content} for role, content in turns), {"role": "user", "content": "x"})
    assert asked(body).rigid or again(body) == body


@pytest.mark.parametrize(
    "body",
    [
        document(HI, HI),
        document(HI | {"name": "x"}),
        document({"role": "user", "content": ""}),
        document(HI, {"role": "assistant", "content": "x"}, {"role": "system", "content": "late"}),
        document({"role": "user", "content": [result("t", content=None)]}),
        document(system=[]),
        document(tools={"a": 1}),
    ],
)
def test_what_cannot_be_put_back_is_only_looked_at(body: dict[str, Any]) -> None:
    """Rigid, if changes are wanted; without that nobody looks, but the words are there either way."""
    assert asked(body).rigid
    assert asked(body).messages
    assert not asked(body, exact=False).rigid


@pytest.mark.parametrize("turn", [{"role": "user"}, {"content": "x"}, {"role": "user", "content": [1]}, 7])
def test_turns_without_words(turn: Any) -> None:
    """Where words cannot be found at all, there are none."""
    found = asked(document(turn), exact=False)
    assert (found.rigid, found.messages) == (True, ())


def test_changes_are_put_back() -> None:
    """Messages, system and tools are replaced; the model and the stream stay, and so do texts that are mere texts."""
    body = document(HI, system="old", stream=True, tools=[{"name": "a"}, {"name": "b"}], top_k=3)
    messages = ({"role": "system", "content": "new"}, {"role": "user", "content": "ho"})
    params = {"max_tokens": 9, "tools": [{"name": "b"}, {"name": "a"}], "metadata": {}}
    changed = form.rewritten(body, Request(messages=messages, params=params), None)
    expected = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "ho"}],
        "system": "new",
        "stream": True,
        "tools": [{"name": "b"}, {"name": "a"}],
        "metadata": {},
    }
    assert list(changed.items()) == list(expected.items())


def test_breakpoints_are_written_where_they_were_planned() -> None:
    """Behind the tools, the system text and a turn: those become blocks, and the given document stays as it was."""
    body = document(HI, system="s", tools=[{"name": "a"}])
    before = orjson.dumps(body)
    found = asked(body)
    places = (Place(None), Place(0), Place(1))
    target = Target("anthropic:m")
    layout = Layout(
        target=target, prepared=cast(Any, None), marking="cache_control", places=places, lifetime="5m"
    )  # fmt: skip
    changed = form.rewritten(body, Request(messages=found.messages, params=found.params), layout)
    marker = {"cache_control": {"type": "ephemeral"}}
    assert changed["tools"] == [{"name": "a"} | marker]
    assert changed["system"] == [text("s") | marker]
    assert changed["messages"] == [{"role": "user", "content": [text("hi") | marker]}]
    assert orjson.dumps(body) == before


def test_a_long_conversation_is_cheap() -> None:
    """100 turns with tools are understood and checked in about the time it takes to read and write 15 such bodies."""
    turns = []
    for n in range(25):
        turns += [
            {"role": "user", "content": "please do this " * 20},
            {"role": "assistant", "content": [text("I will " * 30), use(f"t{n}")]},
            {"role": "user", "content": [result(f"t{n}", content="a line\n" * 100)]},
            {"role": "assistant", "content": "done " * 20},
        ]
    body = document(*turns)

    def quickest(work: Any) -> float:
        times = []
        for _ in range(20):
            start = perf_counter()
            work()
            times.append(perf_counter() - start)
        return min(times)

    assert quickest(lambda: asked(body)) < 15 * quickest(lambda: orjson.loads(orjson.dumps(body)))


def test_another_target() -> None:
    """Its URL and model; what the query asks for is asked there too."""
    target = Target("anthropic:other", base_url="https://b.test/v1")
    url, body = form.elsewhere(document(), "https://a.test/v1/messages?beta=true", target)
    assert (url, body["model"]) == ("https://b.test/v1/messages?beta=true", "other")


@pytest.mark.parametrize(
    "more, streamable",
    [
        ({"tools": [{"name": "f"}, {"type": "web_search_20250305", "name": "web_search"}]}, True),
        ({"tools": [{"name": "f", "eager_input_streaming": True}]}, False),
        ({"something_new": True}, False),
    ],
)
def test_what_can_be_fetched_as_a_stream(more: dict[str, Any], streamable: bool) -> None:
    """What is known; a parameter that is not may have answers that cannot be put together."""
    assert form.streamable(document(**more)) is streamable
