"""Gemini over our transport, asked with plain HTTP clients: what they get is what the provider sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import httpx2
import pytest

import fastclient as fc
from fastclient.testing import Answer, ErrorEvent, ProviderServer, Role, Tokens, ToolCall, Wait, faults
from tests.doors.sdks import STYLES
from tests.doors.styles import run, settled

FAMILIES = {"httpx": httpx, "httpx2": httpx2}
WEATHER = Answer(
    "Let me see.",
    reasoning="They ask for the weather.",
    tool_calls=(ToolCall("weather", {"city": "Oslo"}), ToolCall("weather", {"city": "Bergen"})),
)
LONG = "It will rain all day and all night."
OURS = ("x-fastclient-", "x-should-retry", "transfer-encoding")  # what we add, and how the bytes were framed

styles = pytest.mark.parametrize("style", STYLES)
families = pytest.mark.parametrize("family", FAMILIES)
ways = pytest.mark.parametrize("family, style", [*(("httpx2", style) for style in STYLES), ("httpx", "threads")])
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

Calls = Sequence[Mapping[str, Any]]


def client(family: str, style: str, policy: fc.Policy | None, **options: Any) -> Any:
    module = FAMILIES[family]
    if style == "threads":
        return module.Client(transport=fc.Transport(policy) if policy else None, **options)
    return module.AsyncClient(transport=fc.AsyncTransport(policy) if policy else None, **options)


def asked(
    family: str, style: str, server: ProviderServer, policy: fc.Policy | None, calls: Calls, **options: Any
) -> list[Any]:
    """Some calls of one client, one after the other: responses, or exceptions. The client is closed then."""
    return run(style, _asked, client(family, style, policy, **options), server.gemini_url, calls)


async def _asked(http: Any, origin: str, calls: Calls) -> list[Any]:
    found: list[Any] = []
    for call in calls:
        said = dict(call)
        streamed = said.pop("stream", False)
        verb = said.pop("verb", "streamGenerateContent?alt=sse" if streamed else "generateContent")
        text = said.pop("text", "Will it rain in Oslo?")
        body = {"contents": [{"role": "user", "parts": [{"text": text}]}], **said}
        url = f"{origin}/v1beta/models/gemini-test:{verb}"
        try:
            found.append(await settled(http.post(url, json=body, headers={"x-goog-api-key": "any"})))
        except (httpx.HTTPError, httpx2.HTTPError) as error:
            found.append(error)
    await settled(http.aclose() if hasattr(http, "aclose") else http.close())
    return found


def seen(response: Any) -> tuple[int, dict[str, str], bytes]:
    """What came, but for how long it took."""
    headers = {name: value for name, value in response.headers.items() if not name.startswith(OURS)}
    return response.status_code, headers | {"server-timing": ""}, response.content


def alike(
    family: str, style: str, policy: fc.Policy, script: Any = None, *, answer: Any = WEATHER, **call: Any
) -> tuple[int, dict[str, str], bytes]:
    """What came, after a look that it is the same as without our transport, from servers that do the same."""
    found = []
    for each in (None, policy):
        with ProviderServer(script=script, answer=answer) as server:
            found += asked(family, style, server, each, [call])
    own, through = map(seen, found)
    assert through == own
    return through


@ways
@both
class TestTheSame:
    """Equal responses: status, headers and bytes."""

    def test_where_no_lever_touches_it(self, family: str, style: str, stream: bool) -> None:
        """Thoughts, text and calls."""
        assert alike(family, style, fc.Policy(), stream=stream)[0] == 200

    def test_a_refusal(self, family: str, style: str, stream: bool) -> None:
        """A 429 is handed on, with the provider's words and the wait it asks for."""
        script = [faults.status(429, retry_after="7", message="slow down")]
        status, headers, body = alike(family, style, fc.Policy(retry=None), script, stream=stream)
        assert (status, headers["retry-after"]) == (429, "7")
        assert b"RESOURCE_EXHAUSTED" in body


@styles
@both
def test_after_a_failure_that_passes(style: str, stream: bool) -> None:
    """A 503 is tried again, and the answer is that of the second try."""
    with ProviderServer(script=[faults.status(503, retry_after="0")], answer=LONG) as server:
        [found] = asked("httpx2", style, server, fc.Policy(), [{"stream": stream}])
    assert found.status_code == 200
    assert found.headers["x-fastclient-attempts"] == "2"


@ways
@both
def test_a_hit(family: str, style: str, stream: bool) -> None:
    """The second time the answer is there already, and is the same to the byte."""
    with ProviderServer(answer=WEATHER) as server:
        first, second = asked(family, style, server, fc.Policy.recommended(), [{"stream": stream}] * 2)
    states = [response.headers["x-fastclient-state"] for response in (first, second)]
    assert states == ["miss", "hit"]
    assert second.content == first.content
    assert len(server.exchanges) == 1


@both
def test_other_questions_are_no_hits(stream: bool) -> None:
    """Contents, configuration and model are part of the question."""
    calls = [{"stream": stream}, {"stream": stream, "text": "?"}, {"stream": stream, "generationConfig": {"topP": 0.5}}]
    with ProviderServer(answer=WEATHER) as server:
        found = asked("httpx2", "threads", server, fc.Policy.recommended(), calls)
    assert [response.headers["x-fastclient-state"] for response in found] == ["miss"] * 3


@styles
@pytest.mark.parametrize(
    "answer",
    [
        Answer(LONG),
        Answer(LONG, reasoning="Hm."),
        Answer(LONG, finish_reason="length"),
        WEATHER,
    ],
    ids=["text", "thoughts", "cut off", "calls"],
)
def test_a_whole_answer_that_is_fetched_as_a_stream(style: str, answer: Answer) -> None:
    """With hedging it is, so that it can be overtaken; put together it is what the provider would have sent."""
    found = []
    for policy in (None, fc.Policy(hedge=fc.Hedge())):
        with ProviderServer(answer=answer) as server:
            found += asked("httpx2", style, server, policy, [{"stream": False}])
    assert ":streamGenerateContent" in server.exchanges[0].request.path
    assert found[1].json() == found[0].json()


@ways
@both
def test_a_copy_wins(family: str, style: str, stream: bool) -> None:
    """A straggler is overtaken by its copy: one that is silent, and one that sent a piece with nothing in it."""
    quick = 45
    stragglers = {(quick, 0): faults.silent(20.0), (quick + 1, 0): (Role(), Wait(10.0))}
    script = {(number, 0): faults.silent(0.01) for number in range(quick)} | stragglers
    calls = [{"stream": stream, "text": f"Number {n}?"} for n in range(quick + 2)]
    with ProviderServer(script=script, answer=LONG) as server:
        *_, silent, empty = asked(family, style, server, fc.Policy(hedge=fc.Hedge(budget=0.1)), calls)
    for response in (silent, empty):
        assert response.headers["x-fastclient-attempts"] == "2"
        assert response.content.count(b"STOP") == 1


@ways
@pytest.mark.parametrize(
    "fault, name",
    [(faults.reset(4), "ReadError"), (faults.closed(4), "RemoteProtocolError"), (faults.stall(4), "ReadTimeout")],
    ids=["reset", "closed", "stall"],
)
def test_a_stream_that_breaks(family: str, style: str, fault: Any, name: str) -> None:
    """The exception is the one that the asking library raises by itself."""
    kinds = []
    for policy in (None, fc.Policy(retry=None)):
        with ProviderServer(script=[fault], answer=LONG) as server:
            [error] = asked(family, style, server, policy, [{"stream": True}], timeout=0.3)
        kinds.append((type(error).__module__, type(error).__name__))
    assert kinds[0] == kinds[1] == (family, name)


@styles
def test_an_error_event_behind_content(style: str) -> None:
    """The provider's own bytes go on up to the error, and then the body ends."""
    script = [(Tokens(3), ErrorEvent(message="too busy"), faults.truncated(0)[1])]
    status, _, body = alike("httpx2", style, fc.Policy(), script, stream=True, answer=LONG)
    assert status == 200 and b"too busy" in body


@families
@both
def test_the_server_gets_the_same_bytes(family: str, stream: bool) -> None:
    """Where no lever touches a call, body, path and headers are those of the asking library."""
    found: list[Any] = []
    for policy in (None, fc.Policy()):
        with ProviderServer(answer=WEATHER) as server:
            asked(family, "threads", server, policy, [{"stream": stream}])
        request = server.exchanges[0].request
        hop = ("accept-encoding", "host", "connection")
        sent = {name: value for name, value in request.headers.items() if name not in hop}
        found.append((request.body, request.path, sent))
    assert found[0] == found[1]


@styles
def test_a_list_in_pieces_passes_through(style: str) -> None:
    """A stream that is not one of events is none of our calls, and comes as it is."""
    with ProviderServer(answer=LONG) as server:
        [response] = asked("httpx2", style, server, fc.Policy.recommended(), [{"verb": "streamGenerateContent"}])
    assert response.json()[0]["candidates"][0]["content"]["parts"] == [{"text": LONG}]
    assert "x-fastclient-state" not in response.headers
