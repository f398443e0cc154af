"""What the server writes in Gemini's dialect has the shapes that Google documents and sends."""

import json
from typing import Any

import httpx2
import pytest

from fastclient.testing import Answer, EndBody, Ping, ProviderServer, Role, Tokens, ToolCall, World, faults

HELLO = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
TOOLS = Answer(
    "Let me look.",
    reasoning="They ask for the weather.",
    tool_calls=(ToolCall("weather", {"city": "Zürich", "days": 3}), ToolCall("clock", "{}", id="call_x")),
)


def asked(server: ProviderServer, verb: str = "generateContent", **more: Any) -> httpx2.Response:
    url = f"{server.gemini_url}/v1beta/models/gemini-test:{verb}"
    return httpx2.post(url, json={**HELLO, **more}, headers={"x-goog-api-key": "key"})


def streamed(server: ProviderServer, **more: Any) -> list[dict[str, Any]]:
    """The data of all events of a stream."""
    body = asked(server, "streamGenerateContent?alt=sse", **more).text
    return [json.loads(event.removeprefix("data: ")) for event in body.split("\r\n\r\n") if event.startswith("data: ")]


def parts(*pieces: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for piece in pieces for part in piece["candidates"][0]["content"].get("parts", ())]


def test_text_streams(provider_server) -> None:
    """A piece without content, the text token by token, and a last piece with the finish reason and all counts."""
    pieces = streamed(provider_server(answer="Hello, wörld!"))
    assert [[part["text"] for part in parts(piece)] for piece in pieces] == [
        [],
        ["Hell"],
        ["o, w"],
        ["örld"],
        ["!"],
        [""],
    ]
    finishes = [piece["candidates"][0].get("finishReason") for piece in pieces]
    assert finishes == [None] * 5 + ["STOP"]
    assert pieces[-1]["usageMetadata"]["candidatesTokenCount"] == 4
    assert {(piece["modelVersion"], piece["responseId"]) for piece in pieces} == {("gemini-test", "resp_000000_0")}


def test_text_in_one_piece(provider_server) -> None:
    """`generateContent` gets one JSON object."""
    response = asked(provider_server(answer="Hello"))
    assert response.headers["content-type"] == "application/json"
    [candidate] = response.json()["candidates"]
    assert candidate == {
        "content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP", "index": 0,
    }  # fmt: skip


def test_a_stream_that_is_not_one_of_events(provider_server) -> None:
    """Without `alt=sse` the answer is a JSON list."""
    [piece] = asked(provider_server(answer="Hello"), "streamGenerateContent").json()
    assert parts(piece) == [{"text": "Hello"}]


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_and_tools(provider_server, stream: bool) -> None:
    """Thoughts are marked, calls come whole and the first one is signed."""
    server = provider_server(answer=TOOLS)
    found = parts(*streamed(server)) if stream else parts(asked(server).json())
    thought = "".join(part["text"] for part in found if part.get("thought"))
    assert thought == "They ask for the weather."
    assert "".join(part["text"] for part in found if "text" in part and "thought" not in part) == "Let me look."
    weather, clock = (part for part in found if "functionCall" in part)
    assert weather["functionCall"]["args"] == {"city": "Zürich", "days": 3}
    assert clock["functionCall"] == {"id": "call_x", "name": "clock", "args": {}}
    assert ("thoughtSignature" in weather, "thoughtSignature" in clock) == (True, False)


@pytest.mark.parametrize("stream", [True, False])
def test_a_text_after_thoughts_is_signed(provider_server, stream: bool) -> None:
    """Behind its text, where that comes in pieces."""
    server = provider_server(answer=Answer("Yes.", reasoning="Hm."))
    last = parts(*streamed(server))[-1] if stream else parts(asked(server).json())[-1]
    assert last["thoughtSignature"]
    assert last["text"] == ("" if stream else "Yes.")


def test_counts(provider_server) -> None:
    """Thoughts are counted apart from the answer; the total has them all; what did not happen is left out."""
    answer = Answer("Yes", input_tokens=900, cached_tokens=512, output_tokens=40, reasoning_tokens=30)
    usage = asked(provider_server(answer=answer)).json()["usageMetadata"]
    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (900, 512)
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"], usage["totalTokenCount"]) == (10, 30, 940)
    plain = asked(provider_server(answer="Yes")).json()["usageMetadata"]
    assert plain.keys() == {"promptTokenCount", "promptTokensDetails", "candidatesTokenCount", "totalTokenCount"}


@pytest.mark.parametrize(
    "finish, reason",
    [("stop", "STOP"), ("length", "MAX_TOKENS"), ("content_filter", "SAFETY"), ("tool_calls", "STOP")],
)
def test_finish_reasons(provider_server, finish: str, reason: str) -> None:
    """They are Google's words."""
    reply = asked(provider_server(answer=Answer("Hi", finish_reason=finish))).json()
    assert reply["candidates"][0]["finishReason"] == reason


@pytest.mark.parametrize(
    "config", [{"generationConfig": {"maxOutputTokens": 3}}, {"generation_config": {"max_output_tokens": 3}}]
)
def test_the_longest_answer(provider_server, config: dict[str, Any]) -> None:
    """Made-up text ends where it was told to, in either spelling."""
    reply = asked(provider_server(), **config).json()
    assert reply["usageMetadata"]["candidatesTokenCount"] == 3
    assert reply["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_prompts_that_begin_alike_are_cached(provider_server) -> None:
    """The second request with the same long instruction reads it from the cache."""
    server = provider_server()
    system = {"systemInstruction": {"parts": [{"text": "rule " * 400}]}}
    first, second = (asked(server, **system, labels={"n": n}).json()["usageMetadata"] for n in "ab")
    assert "cachedContentTokenCount" not in first
    assert second["cachedContentTokenCount"] == 448
    assert first["promptTokenCount"] == second["promptTokenCount"] > 448


def test_an_answer_function_sees_model_and_message(provider_server) -> None:
    """The model stands in the path, the text in parts."""
    server = provider_server(answer=lambda request: f"{request.model}: {request.text}")
    assert parts(asked(server).json()) == [{"text": "gemini-test: hello"}]
    assert server.exchanges[0].dialect == "gemini"


def test_what_precedes_content(provider_server) -> None:
    """`Role` sends a piece without any part."""
    [piece] = streamed(provider_server(script=[(Role(), EndBody())], answer="Hello"))
    assert parts(piece) == []


def test_keep_alives_are_comments(provider_server) -> None:
    """This format has no ping."""
    server = provider_server(script=[(Role(), Ping())], answer="Hello")
    assert "\r\n\r\n: ping\n\ndata: " in asked(server, "streamGenerateContent?alt=sse").text


def test_a_call_takes_its_tokens_time(provider_server) -> None:
    """A call of five tokens is not there after four; nothing of it counts as sent before."""
    answer = Answer(tool_calls=(ToolCall("weather", {"city": "Oslo"}),))
    server = provider_server(script=[(Tokens(4), EndBody()), (Tokens(5), EndBody())], answer=answer)
    assert parts(*streamed(server)) == []
    assert len(parts(*streamed(server))) == 1
    assert [exchange.tokens_sent for exchange in server.exchanges] == [0, 5]


def test_a_world_paces_the_tokens(provider_server) -> None:
    """The record has the times that were drawn: one gap less than tokens, those of calls included."""
    server = provider_server(world=World(gap=0.0001), answer=TOOLS)
    streamed(server)
    [exchange] = server.exchanges
    assert len(exchange.pace.gaps) == exchange.tokens_sent - 1 == 19


@pytest.mark.parametrize("status, name", [(400, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")])
def test_errors_have_the_providers_shape(provider_server, status: int, name: str) -> None:
    """Code, status and message in one object."""
    response = asked(provider_server(script=[faults.status(status, retry_after="5", message="No.")]))
    assert (response.status_code, response.headers["retry-after"]) == (status, "5")
    assert response.json() == {"error": {"code": status, "message": "No.", "status": name}}


def test_an_error_inside_the_stream(provider_server) -> None:
    """An overloaded server is an unavailable one in Google's words."""
    *_, last = streamed(provider_server(script=[faults.overloaded_event(after_tokens=2)], answer="Hello"))
    assert last == {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "query, headers, status",
    [
        ("", {"x-goog-api-key": "right"}, 200),
        ("?key=right", {}, 200),
        ("", {"authorization": "Bearer right"}, 200),
        ("?key=wrong", {}, 401),
        ("", {}, 401),
    ],
)
def test_keys(provider_server, query: str, headers: dict[str, str], status: int) -> None:
    """In the header, the query, or as a bearer token; others are refused."""
    server = provider_server(api_key="right")
    url = f"{server.gemini_url}/v1beta/models/gemini-test:generateContent{query}"
    assert httpx2.post(url, json=HELLO, headers=headers).status_code == status


def test_models_are_listed(provider_server) -> None:
    """`GET /v1beta/models` answers in Google's shape, and other paths are not found in it."""
    server = provider_server()
    listed = httpx2.get(f"{server.gemini_url}/v1beta/models?pageSize=1").json()
    assert listed["models"][0]["name"].startswith("models/")
    missing = httpx2.post(f"{server.gemini_url}/v1beta/models/gemini-test:countTokens", json=HELLO)
    assert (missing.status_code, missing.json()["error"]["status"]) == (404, "NOT_FOUND")
