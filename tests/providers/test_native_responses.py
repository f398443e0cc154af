"""OpenAI's Responses as its SDK writes and reads them: recognised, looked at, and put together from a stream."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from fastclient.prompt.tokens import estimated, size_of
from fastclient.providers.native.original import Asked
from fastclient.providers.native.responses import form
from fastclient.target import Target
from fastclient.types import Request
from tests.providers.test_responses import FULL, OPENING, done, event, response

PATH = "/v1/responses"


def document(**more: Any) -> dict[str, Any]:
    return {"model": "m", "input": "hi", **more}


def asked(body: dict[str, Any]) -> Asked:
    found = form.asked(PATH, body, exact=True)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/responses/r1/cancel", document()),
        ("/v1/responses/compact", document()),
        ("/v1/chat/completions", document()),
        (PATH, {"model": "m"}),
        (PATH, {"input": "hi"}),
        (PATH, document(input={"a": 1})),
        (PATH, document(stream=0.5)),
    ],
)
def test_what_is_not_of_this_form(path: str, body: dict[str, Any]) -> None:
    """Other paths and malformed bodies are left to the provider."""
    assert form.asked(path, body, exact=True) is None


def test_words_are_for_looking_at_only() -> None:
    """Instructions and input as messages, all else as parameters; nothing of it can be changed."""
    found = asked(document(instructions="be brief", stream=True, store=False, reasoning={"effort": "low"}))
    assert found.messages == ({"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"})
    assert found.params == {"store": False, "reasoning": {"effort": "low"}}
    assert (found.model, found.streamed, found.rigid) == ("m", True, True)


def test_a_request_stays_as_it_is() -> None:
    """Whatever a layer has changed: what is sent is what the caller wrote."""
    body = document()
    assert form.rewritten(body, Request(messages=(), params={"a": 1}), None) is body


items = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "developer"]), "content": st.text()}),
    st.fixed_dictionaries({"type": st.just("function_call"), "name": st.text(), "arguments": st.text()}),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": st.text(), "output": st.text()}),
    st.fixed_dictionaries({"type": st.just("item_reference"), "id": st.text()}),
    st.none() | st.integers(-9, 9) | st.text(),
)


@given(st.lists(items), st.lists(items))
def test_requests_are_told_apart(one: list[Any], other: list[Any]) -> None:
    """Two inputs that differ have messages that differ, whatever their items are; all of them can be measured."""
    first, second = asked(document(input=one)).messages, asked(document(input=other)).messages
    assert (first == second) == (one == other)
    assert estimated(first) >= 0
    assert all(size_of(message).n > 0 for message in first)


@pytest.mark.parametrize(
    "more, streamable", [({}, True), ({"background": True}, False), ({"stream_options": {}}, False)]
)
def test_what_can_be_fetched_as_a_stream(more: dict[str, Any], streamable: bool) -> None:
    """What runs in the background is answered at once, with nothing in it yet."""
    assert form.streamable(document(**more)) is streamable


def test_streaming_and_another_target() -> None:
    """The same request for a stream, and for another model elsewhere."""
    assert form.streaming("u", document()) == ("u", document(stream=True))
    url, body = form.elsewhere(document(), "https://a.test/v1/responses", Target("openai-responses:x"))
    assert (url, body["model"]) == ("https://api.openai.com/v1/responses", "x")


MESSAGE = {
    "type": "message",
    "id": "i",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}],
}
CALL = {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}
WHOLE = response(output=[MESSAGE, CALL], parallel_tool_calls=True, tool_choice="auto", tools=[])


@pytest.mark.parametrize("kind, status", [("completed", "completed"), ("incomplete", "incomplete")])
def test_the_last_event_has_the_whole_answer(kind: str, status: str) -> None:
    """It is the answer, field by field, and one for the SDK's strict class."""
    whole = WHOLE | {"status": status}
    made = orjson.loads(form.gathered(OPENING + event(kind, response=whole)))
    assert made == whole
    assert Response.model_validate(made).output_text == "hello"


@pytest.mark.parametrize("output", [{}, {"output": None}])
def test_servers_that_do_not_say_it_again(output: dict[str, Any]) -> None:
    """Where the last event has no output, that is what the finished items add up to, in their order."""
    last = {name: value for name, value in WHOLE.items() if name != "output"} | output
    stream = OPENING + done(1, **CALL) + done(0, **MESSAGE) + event("completed", response=last)
    assert orjson.loads(form.gathered(stream)) == WHOLE


def test_the_stream_that_the_reader_reads() -> None:
    """A stream with everything in it ends in its own response."""
    assert orjson.loads(form.gathered(FULL)) == response()


def test_a_document_stays_as_it_is() -> None:
    """A server that ignored `stream` has sent the whole answer already."""
    assert form.gathered(b'{"object":  "response"}') == b'{"object":  "response"}'


def test_refusals_read_like_openais() -> None:
    """An error body has the words under the names the SDK looks for."""
    assert orjson.loads(form.refused(429, "no", "rate_limit_exceeded"))["error"]["code"] == "rate_limit_exceeded"
