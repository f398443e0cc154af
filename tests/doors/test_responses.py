"""OpenAI's SDK asking for Responses over our transport: what its users see is what they would have seen without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import pytest

import fastclient as fc
from fastclient.testing import Answer, ErrorEvent, ProviderServer, Role, Tokens, ToolCall, Wait, faults
from tests.doors import sdks
from tests.doors.sdks import STYLES, Seen, sdk_client
from tests.doors.styles import run, settled

WEATHER = Answer(
    "Let me see.",
    reasoning="They ask for the weather.",
    tool_calls=(ToolCall("weather", {"city": "Oslo"}), ToolCall("weather", {"city": "Bergen"})),
)
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "name": "weather", "parameters": _CITY, "strict": False}]
POLICIES = {"plain": fc.Policy, "recommended": fc.Policy.recommended}
LONG = "It will rain all day and all night."

# On trio openai's own streams leave generators to the garbage collector, with any HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2?)[.]:ResourceWarning")

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
styles = pytest.mark.parametrize("style", STYLES)
policies = pytest.mark.parametrize("policy", POLICIES)

Calls = Sequence[Mapping[str, Any]]


class Forecast(pydantic.BaseModel):
    city: str
    rain: bool


def asked(style: str, server: ProviderServer, policy: fc.Policy | None, calls: Calls, **options: Any) -> list[Seen]:
    """Some calls of one client, one after the other, each read to its end."""
    return run(style, _asked, sdk_client("openai", style, server, policy, **options), calls)


async def _asked(client: Any, calls: Calls) -> list[Seen]:
    seen = []
    for call in calls:
        seen.append(Seen())
        with sdks.noted(seen[-1]):
            await _read(client, {"model": "m", "input": "Will it rain in Oslo?", **call}, seen[-1])
    await settled(client.close())
    return seen


async def _read(client: Any, said: dict[str, Any], seen: Seen) -> None:
    resource = client.responses.with_raw_response
    raw = await settled((resource.parse if "text_format" in said else resource.create)(**said))
    seen.told = sdks.told_by(raw.headers)
    answer = await settled(raw.parse())
    if hasattr(answer, "__anext__"):
        async with answer:
            async for event in answer:
                seen.items.append(event.model_dump())
    elif hasattr(answer, "__next__"):
        with answer:
            for event in answer:
                seen.items.append(event.model_dump())
    else:
        seen.items.append(answer.output_parsed if "text_format" in said else answer.model_dump())


def alike(
    style: str, policy: fc.Policy, script: Any = None, *, answer: Any = WEATHER, options: Any = None, **said: Any
) -> Seen:
    """What both saw, each at a server of its own, after a look that it is the same."""
    found = []
    for each in (None, policy):
        with ProviderServer(script=script, answer=answer) as server:
            found += asked(style, server, each, [said], **(options or {}))
    own, through = found
    assert through == own
    assert not own.told
    return through


@styles
@both
@policies
class TestTheSame:
    """Equal results, whatever levers are on."""

    def test_text(self, style: str, stream: bool, policy: str) -> None:
        """A plain answer, whole or event by event, with its usage."""
        assert alike(style, POLICIES[policy](), stream=stream, answer=LONG).items

    def test_reasoning_and_tool_calls(self, style: str, stream: bool, policy: str) -> None:
        """Reasoning, text and two parallel tool calls."""
        found = alike(style, POLICIES[policy](), stream=stream, tools=TOOLS, instructions="be brief")
        output = (found.items[-1]["response"] if stream else found.items[0])["output"]
        assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]


@styles
@both
def test_after_a_failure_that_passes(style: str, stream: bool) -> None:
    """A 500 first: both try again, and get the same answer."""
    script = [faults.status(500, headers={"retry-after-ms": "5"})]
    assert alike(style, fc.Policy(), script, stream=stream).items


@styles
@policies
def test_structured_output(style: str, policy: str) -> None:
    """`parse` makes an object of the caller's class."""
    answer = '{"city":"Oslo","rain":true}'
    found = alike(style, POLICIES[policy](), answer=answer, text_format=Forecast)
    assert found.items == [Forecast(city="Oslo", rain=True)]


@both
@pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
def test_refusals(stream: bool, status: int) -> None:
    """A refusal is the SDK's own exception, with the provider's body."""
    script = [faults.status(status, headers={"retry-after-ms": "5"}, message="no such thing")] * 9
    assert alike("threads", fc.Policy(), script, stream=stream).error[2] == str(status)


@styles
@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_incomplete_answer_is_an_answer(style: str, finish: str) -> None:
    """`response.incomplete` ends a stream as well as `response.completed` does."""
    answer = Answer(LONG, finish_reason=finish)
    assert alike(style, fc.Policy.recommended(), answer=answer, stream=True).items[-1]["type"] == "response.incomplete"


@styles
@pytest.mark.parametrize("fault", [faults.reset(4), faults.closed(4)], ids=["reset", "closed"])
def test_a_stream_that_is_cut(style: str, fault: Any) -> None:
    """The events that came, then the exception that the SDK raises for a broken connection."""
    found = alike(style, fc.Policy(), [fault], stream=True, answer=LONG)
    assert len(found.items) == 8 and found.error


@styles
def test_a_stream_that_stalls(style: str) -> None:
    """The events that came, then what the SDK raises when it waits too long for the next byte."""
    options = {"timeout": 0.3, "max_retries": 0}
    found = alike(style, fc.Policy(), [faults.stall(3)], stream=True, answer=LONG, options=options)
    assert len(found.items) == 7 and found.error


@styles
def test_an_error_event_behind_content(style: str) -> None:
    """The SDK sees the provider's error event, and raises its own exception for it."""
    found = alike(style, fc.Policy(), [(Tokens(3), ErrorEvent(message="too busy"))], stream=True, answer=LONG)
    assert found.items and "too busy" in str(found.cause)


@styles
@both
def test_a_hit(style: str, stream: bool) -> None:
    """The second time the answer is there already, and is the same."""
    with ProviderServer(answer=WEATHER) as server:
        first, second = asked(style, server, fc.Policy.recommended(), [{"stream": stream}] * 2)
    assert second == first and first.items
    assert (first.told["x-fastclient-state"], second.told["x-fastclient-state"]) == ("miss", "hit")
    assert len(server.exchanges) == 1


@styles
def test_a_stream_answers_for_a_whole(style: str) -> None:
    """With hedging, a whole answer is fetched as a stream; so both kinds of call find each other's answers."""
    with ProviderServer(answer=WEATHER) as server:
        streamed, whole = asked(style, server, fc.Policy.recommended(), [{"stream": True}, {"stream": False}])
    assert whole.told["x-fastclient-state"] == "hit" and len(server.exchanges) == 1
    assert streamed.items[-1]["response"] == whole.items[0]


@styles
@both
def test_a_copy_wins(style: str, stream: bool) -> None:
    """A straggler is overtaken by its copy: one that is silent, and one that said all it could but no content."""
    quick = 45
    stragglers = {(quick, 0): faults.silent(20.0), (quick + 1, 0): (Role(), Wait(10.0))}
    script = {(number, 0): faults.silent(0.01) for number in range(quick)} | stragglers
    calls = [{"stream": stream, "input": f"Number {n}?"} for n in range(quick + 2)]
    with ProviderServer(script=script, answer=LONG) as server:
        *_, silent, empty = asked(style, server, fc.Policy(hedge=fc.Hedge(budget=0.1)), calls)
    for found in (silent, empty):
        assert found.items and not found.error
        assert found.told["x-fastclient-attempts"] == "2"
    kinds = [item.get("type") for item in empty.items]
    assert kinds.count("response.created") == stream


@both
def test_the_bytes_are_the_same(stream: bool) -> None:
    """Where no lever touches a call, the server gets the SDK's very bytes, and the SDK the server's."""
    found: list[Any] = []
    for policy in (None, fc.Policy()):
        with ProviderServer(answer=WEATHER) as server:
            [seen] = asked("threads", server, policy, [{"stream": stream, "tools": TOOLS}])
        request = server.exchanges[0].request
        hop = ("accept-encoding", "host", "connection")
        sent = {name: value for name, value in request.headers.items() if name not in hop}
        found.append((request.body, request.path, sent, seen))
    assert found[0] == found[1]
