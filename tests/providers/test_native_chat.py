"""Chat Completions as its SDK writes and reads them: recognised, looked at, and put back."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.prompt.layout import Layout, Place
from fastclient.providers.native.chat import form
from fastclient.target import Target
from fastclient.types import Request

PATH = "/v1/chat/completions"
HI = {"role": "user", "content": "hi"}


def document(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [HI], **more}


@pytest.mark.parametrize(
    "path, body, model",
    [
        (PATH, document(), "m"),
        ("/api/v1/chat/completions?x=1", document(), "m"),
        ("/openai/deployments/my%20gpt/chat/completions?api-version=1", {"messages": [HI]}, "my gpt"),
        ("/openai/deployments/other/chat/completions", document(), "m"),
    ],
)
def test_requests_are_recognised(path: str, body: dict[str, Any], model: str) -> None:
    """By the end of the path and the shape of the body; Azure's may name the model in the path only."""
    asked = form.asked(path, body, exact=True)
    assert asked is not None
    assert (asked.model, asked.messages, asked.rigid) == (model, (HI,), False)


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/completions", document()),
        ("/v1/chat/completions/c1", document()),
        (PATH, {"messages": [HI]}),
        (PATH, document(model=3)),
        (PATH, document(messages=[])),
        (PATH, document(messages="hi")),
        (PATH, document(messages=["hi"])),
        (PATH, document(messages=[{"content": "hi"}])),
        (PATH, document(stream="yes")),
    ],
)
def test_what_is_not_of_this_form(path: str, body: dict[str, Any]) -> None:
    """Other paths and malformed bodies are left to the provider."""
    assert form.asked(path, body, exact=True) is None


def test_how_the_answer_comes_is_no_parameter() -> None:
    """Parameters are what the answer depends on: neither the stream nor its options."""
    asked = form.asked(PATH, document(stream=True, stream_options={"include_usage": True}, seed=1), exact=True)
    assert asked is not None
    assert asked.streamed
    assert asked.params == {"seed": 1}


@pytest.mark.parametrize("content", [3, {"text": "x"}, ["x"]])
def test_odd_content_is_not_touched(content: object) -> None:
    """Messages that cannot be looked into are sent as they are."""
    asked = form.asked(PATH, document(messages=[{"role": "user", "content": content}]), exact=True)
    assert asked is not None
    assert asked.rigid


@pytest.mark.parametrize(
    "more, streamable",
    [
        ({}, True),
        ({"n": 1, "modalities": ["text"], "logprobs": True, "audio": None}, True),
        ({"n": 2}, False),
        ({"modalities": ["text", "audio"]}, False),
        ({"audio": {"voice": "x"}}, False),
        ({"stream_options": {}}, False),
    ],
)
def test_what_can_be_fetched_as_a_stream(more: dict[str, Any], streamable: bool) -> None:
    """One answer in text; options of a stream without a stream are an error that must stay one."""
    assert form.streamable(document(**more)) is streamable


def test_streaming_asks_for_usage_too() -> None:
    """The same request for a stream, with the counts that a whole answer has."""
    body = document(stream=False, seed=1)
    assert form.streaming("u", body) == ("u", body | {"stream": True, "stream_options": {"include_usage": True}})


def test_changes_are_put_back_in_place() -> None:
    """The original order stays; what is gone is left out, what is new comes last; the stream is as it was."""
    body = {"stream": True, "seed": 1, "messages": [HI], "model": "m", "tools": [1, 2], "stream_options": {"a": 1}}
    request = Request(messages=(HI, HI), params={"tools": [2, 1], "prompt_cache_key": "k"})
    changed = form.rewritten(body, request, None)
    expected = {"stream": True, "messages": [HI, HI], "model": "m", "tools": [2, 1], "stream_options": {"a": 1}}
    assert list(changed.items()) == [*expected.items(), ("prompt_cache_key", "k")]


def test_breakpoints_are_written_where_they_were_planned() -> None:
    """A layout's parameters and marks go into the body, as where fastclient writes it itself."""
    target = Target("openai:m")
    places = (Place(0),)
    nobody = cast(Any, None)
    layout = Layout(
        target=target, prepared=nobody, marking="prompt_cache_breakpoint", places=places, params={"a": 1}
    )  # fmt: skip
    changed = form.rewritten(document(), Request(messages=(HI,)), layout)
    assert changed["a"] == 1
    assert changed["messages"][0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.dictionaries(st.text(min_size=1), json), st.booleans())
def test_nothing_changed_is_the_same_document(more: dict[str, Any], exact: bool) -> None:
    """What was taken apart and put together without a change is equal, in the same order."""
    body = {"model": "m", "messages": [HI]} | {name: more[name] for name in more if name not in ("model", "messages")}
    asked = form.asked(PATH, body, exact=exact)
    if asked is not None:
        changed = form.rewritten(body, Request(messages=asked.messages, params=asked.params), None)
        assert orjson.dumps(changed) == orjson.dumps(body)


def test_another_target() -> None:
    """Its URL and model; OpenAI's own server gets the name of the limit that it knows."""
    url, body = form.elsewhere(document(max_tokens=5), "https://a.test/v1/chat/completions", Target("openai:other"))
    assert url == "https://api.openai.com/v1/chat/completions"
    assert (body["model"], body["max_completion_tokens"]) == ("other", 5)
    url, body = form.elsewhere(document(max_tokens=5), "", Target("openai:x", base_url="https://b.test/v1"))
    assert (url, body) == ("https://b.test/v1/chat/completions", document(model="x", max_tokens=5))


@pytest.mark.parametrize("status, kind", [(429, "rate_limit_exceeded"), (400, "context_length_exceeded")])
def test_refusals_read_like_openais(status: int, kind: str) -> None:
    """An error body has the words under the names the SDK looks for."""
    error = orjson.loads(form.refused(status, "no", kind))["error"]
    assert (error["message"], error["code"], error["param"]) == ("no", kind, None)
