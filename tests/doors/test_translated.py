"""A fallback to another provider under an SDK: its answer comes in the SDK's own format."""

from __future__ import annotations

from typing import Any

import pytest

import fastclient as fc
from fastclient.testing import Answer, ProviderServer, ToolCall, faults
from tests.doors.sdks import SDKS, STYLES, TOOLS, asked, sdk_client

DOWN = [faults.status(503)] * 50
ANSWER = Answer(
    "It rains.", tool_calls=(ToolCall("weather", {"city": "Oslo"}), ToolCall("weather", {"city": "Bergen"}))
)


def fallback(up: ProviderServer) -> fc.Policy:
    claude = fc.Target("anthropic:claude", base_url=up.anthropic_url, api_key="its own")
    return fc.Policy(retry=None, route=fc.Route(fallback=(claude,)))


@pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2?)[.]:ResourceWarning")
@pytest.mark.parametrize("style", STYLES)
def test_claude_answers_an_openai_client(style: str) -> None:
    """Text, tool calls, finish reason and usage, whole and streamed; the request was translated too."""
    with ProviderServer(script=DOWN) as down, ProviderServer(answer=ANSWER) as up:
        sdk = sdk_client("openai", style, down, fallback(up))
        said: dict[str, Any] = {"tools": TOOLS["openai"]}
        calls = [{"stream": False, **said}, {"stream": True, "stream_options": {"include_usage": True}, **said}]
        whole, streamed = asked(sdk, style, calls)
    (reply,) = whole.items
    message = reply["choices"][0]["message"]
    assert (message["content"], reply["choices"][0]["finish_reason"]) == ("It rains.", "tool_calls")
    arguments = [call["function"]["arguments"] for call in message["tool_calls"]]
    assert arguments == ['{"city":"Oslo"}', '{"city":"Bergen"}']
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"] > 0
    deltas = [chunk["choices"][0]["delta"]["content"] or "" for chunk in streamed.items if chunk["choices"]]
    assert "".join(deltas) == "It rains." and streamed.items[-1]["usage"] == reply["usage"]
    request = up.exchanges[0].request
    assert request.dialect == "anthropic" and request.headers["x-api-key"] == "its own"
    assert "authorization" not in request.headers


def test_an_answer_that_breaks_off() -> None:
    """A cut is a cut, also in translation."""
    with ProviderServer(script=DOWN) as down, ProviderServer(script=[faults.reset(3)], answer="word " * 30) as up:
        (found,) = asked(sdk_client("openai", "threads", down, fallback(up)), "threads", [{"stream": True}])
    assert found.items and found.error


def test_what_cannot_be_asked_there() -> None:
    """A request with a parameter that the other provider has no word for stays with the failure it met."""
    with ProviderServer(script=DOWN) as down, ProviderServer() as up:
        sdk = sdk_client("openai", "threads", down, fallback(up))
        (found,) = asked(sdk, "threads", [{"stream": False, "seed": 1}])
    assert found.error[2] == "503" and not up.exchanges


@pytest.mark.skipif("anthropic" not in SDKS, reason="no anthropic SDK here")
def test_providers_an_sdk_cannot_be_told_of_are_left_out() -> None:
    """Anthropic's SDK reads no other format: such a fallback is no fallback."""
    with ProviderServer(script=DOWN) as down, ProviderServer() as up:
        policy = fc.Policy(retry=None, route=fc.Route(fallback=(fc.Target("openai:m", base_url=up.base_url),)))
        (found,) = asked(sdk_client("anthropic", "threads", down, policy), "threads", [{"stream": False}])
    assert found.error[2] == "503" and not up.exchanges
