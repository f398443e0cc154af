"""The official SDKs over our transport: what their users see is what they would have seen without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

import fastclient as fc
from fastclient.testing import Answer, ErrorEvent, ProviderServer, Tokens, ToolCall, faults
from tests.doors.sdks import SDKS, STYLES, TOOLS, Seen, asked, sdk_client

WEATHER = Answer(
    "Let me see.", tool_calls=(ToolCall("weather", {"city": "Oslo"}), ToolCall("weather", {"city": "Bergen"}))
)
POLICIES = {"plain": fc.Policy, "recommended": fc.Policy.recommended}
QUICK = fc.Policy(timeouts=fc.Timeouts(first_token=0.3, progress=0.3, liveness=0.3))

# On trio openai's own streams leave generators to the garbage collector, with any HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|anthropic|httpx2?)[.]:ResourceWarning")

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
sdks = pytest.mark.parametrize("sdk", SDKS)
styles = pytest.mark.parametrize("style", STYLES)
policies = pytest.mark.parametrize("policy", POLICIES)


def seen(
    sdk: str,
    style: str,
    policy: fc.Policy | None,
    script: Any = None,
    *,
    answer: Any = WEATHER,
    options: dict[str, Any] | None = None,
    times: int = 1,
    **said: Any,
) -> tuple[list[Seen], ProviderServer]:
    """The same call, some times, to a server of its own."""
    with ProviderServer(script=script, answer=answer) as server:
        client = sdk_client(sdk, style, server, policy, **(options or {}))
        return asked(client, style, [said] * times), server


def alike(sdk: str, style: str, policy: str | fc.Policy, script: Any = None, **options: Any) -> Seen:
    """What both saw, after a look that it is the same."""
    ours = POLICIES[policy]() if isinstance(policy, str) else policy
    (own,), _ = seen(sdk, style, None, script, **options)
    (through,), _ = seen(sdk, style, ours, script, **options)
    assert through == own
    assert not own.told
    return through


@sdks
@styles
@both
@policies
class TestTheSame:
    """Equal results, whatever levers are on."""

    def test_text(self, sdk: str, style: str, stream: bool, policy: str) -> None:
        """A plain answer, whole or chunk by chunk, with its usage."""
        assert alike(sdk, style, policy, stream=stream, answer="It will rain all day.").items

    def test_tool_calls(self, sdk: str, style: str, stream: bool, policy: str) -> None:
        """Text and two parallel tool calls."""
        assert alike(sdk, style, policy, stream=stream, tools=TOOLS[sdk]).items

    def test_after_a_failure_that_passes(self, sdk: str, style: str, stream: bool, policy: str) -> None:
        """A 500 first: both try again, and get the same answer."""
        script = [faults.status(500, headers={"retry-after-ms": "5"})]
        assert alike(sdk, style, policy, script, stream=stream).items

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
    def test_refusals(self, sdk: str, style: str, stream: bool, policy: str, status: int) -> None:
        """A refusal is the SDK's own exception, with the provider's body."""
        script = [faults.status(status, message="no such thing")] * 3
        assert alike(sdk, style, policy, script, stream=stream).error[2] == str(status)

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_refusals_that_last(self, sdk: str, style: str, stream: bool, policy: str, status: int) -> None:
        """Also one that is tried again: its last response is what the SDK makes its exception of."""
        script = [faults.status(status, headers={"retry-after-ms": "5"})] * 9
        assert alike(sdk, style, policy, script, stream=stream).error[2] == str(status)


class Forecast(BaseModel):
    city: str
    rain: bool


@sdks
@styles
@policies
def test_structured_output(sdk: str, style: str, policy: str) -> None:
    """`parse` gives the same object, made of the same answer."""
    answer = '{"city": "Oslo", "rain": true}'
    found = alike(sdk, style, policy, answer=answer, shape=Forecast)
    assert "Forecast(city='Oslo', rain=True)" in found.items[0]


@sdks
@styles
@both
def test_a_provider_that_does_not_answer(sdk: str, style: str, stream: bool) -> None:
    """Silence beyond the SDK's own timeout is the SDK's own timeout error."""
    options = {"timeout": 0.2, "max_retries": 0}
    found = alike(sdk, style, fc.Policy(retry=None), [faults.silent(30)], stream=stream, options=options)
    assert found.error[1] == "APITimeoutError"


@sdks
@styles
@pytest.mark.parametrize("fault", [faults.reset(4), faults.closed(4)], ids=["reset", "closed"])
def test_a_stream_that_is_cut(sdk: str, style: str, fault: Any) -> None:
    """The chunks that came, then the exception that the SDK raises for a broken connection."""
    found = alike(sdk, style, "plain", [fault], stream=True, answer="It will rain all day and all night.")
    assert found.items and found.error


@sdks
@styles
def test_a_stream_that_stalls(sdk: str, style: str) -> None:
    """The chunks that came, then what the SDK raises when it waits too long for the next byte."""
    options = {"timeout": 0.3, "max_retries": 0}
    found = alike(sdk, style, "plain", [faults.stall(3)], stream=True, answer="It will rain all day.", options=options)
    assert found.items and found.error


@sdks
@styles
def test_keep_alives_do_not_hide_a_stall(sdk: str, style: str) -> None:
    """Where the SDK alone would wait for as long as pings come, ours ends the wait: that is what it is for."""
    script = [faults.pings(0.05, 30.0)] * 3
    (found,), _ = seen(sdk, style, QUICK, script, stream=True, options={"max_retries": 0})
    assert found.error[1] == "APITimeoutError"


@sdks
@styles
def test_an_error_event_behind_content(sdk: str, style: str) -> None:
    """The SDK sees the provider's error event, and raises its own exception for it."""
    script = [(Tokens(3), ErrorEvent("overloaded_error", "too busy"))]
    found = alike(sdk, style, "plain", script, stream=True, answer="It will rain all day.")
    assert found.items and "too busy" in str(found.cause)


@sdks
@styles
def test_an_error_event_instead_of_an_answer(sdk: str, style: str) -> None:
    """One that comes first is tried again like a status, and at last handed on."""
    (found,), server = seen(sdk, style, fc.Policy(), [faults.overloaded_event()] * 9, stream=True)
    assert "verloaded" in str(found.cause)
    assert len(server.exchanges) > 1


@styles
@sdks
def test_an_answer_without_its_last_word(sdk: str, style: str) -> None:
    """A server that never says `[DONE]` is no trouble where the SDK has none; an answer cut in the middle is."""
    script = [faults.truncated(3)]
    (found,), _ = seen(sdk, style, fc.Policy(), script, stream=True, answer="It will rain all day.")
    assert found.items and found.error


@sdks
@styles
@both
def test_a_hit(sdk: str, style: str, stream: bool) -> None:
    """The second time the answer is there already, and is the same."""
    (first, second), server = seen(sdk, style, fc.Policy.recommended(), stream=stream, times=2)
    assert second == first and first.items
    assert (first.told["x-fastclient-state"], second.told["x-fastclient-state"]) == ("miss", "hit")
    assert len(server.exchanges) == 1


@sdks
@styles
def test_a_stream_answers_for_a_whole(sdk: str, style: str) -> None:
    """With hedging, a whole answer is fetched as a stream; so both kinds of call find each other's answers."""
    usage = {"stream_options": {"include_usage": True}} if sdk == "openai" else {}
    with ProviderServer(answer=WEATHER) as server:
        client = sdk_client(sdk, style, server, fc.Policy.recommended())
        streamed, whole = asked(client, style, [{"stream": True, **usage}, {"stream": False}])
    assert whole.told["x-fastclient-state"] == "hit" and len(server.exchanges) == 1
    assert streamed.items and len(whole.items) == 1


@sdks
@styles
@both
def test_a_copy_wins(sdk: str, style: str, stream: bool) -> None:
    """A straggler is overtaken by its copy, and the user sees one clean answer."""
    quick = 60
    script = {(number, 0): faults.silent(0.02) for number in range(quick)} | {(quick, 0): faults.silent(20.0)}
    with ProviderServer(script=script, answer="It will rain.") as server:
        client = sdk_client(sdk, style, server, fc.Policy(hedge=fc.Hedge(budget=0.1)))
        calls = [{"stream": stream, "messages": [{"role": "user", "content": f"Number {n}?"}]} for n in range(quick)]
        *_, found = asked(client, style, [*calls, {"stream": stream}])
    assert found.items and not found.error
    assert found.told["x-fastclient-attempts"] == "2"


@sdks
@styles
def test_leaving_early_stops_the_server(sdk: str, style: str) -> None:
    """Who leaves a stream closes it: the provider stops writing."""
    with ProviderServer(script=[faults.slow(0.05)], answer="word " * 200) as server:
        client = sdk_client(sdk, style, server, fc.Policy())
        (found,) = asked(client, style, [{"stream": True, "take": 3}])
        assert eventually(lambda: server.counters.live == 0)
    assert len(found.items) == 3
    assert server.counters.cut_early == 1


@sdks
@both
def test_the_bytes_are_the_same(sdk: str, stream: bool) -> None:
    """Where no lever touches a call, the server gets the SDK's very bytes, and the SDK the server's."""
    bodies: list[Any] = []
    for policy in (None, fc.Policy()):
        (found,), server = seen(sdk, "threads", policy, stream=stream, tools=TOOLS[sdk])
        request = server.exchanges[0].request
        hop = ("accept-encoding", "host", "connection")
        sent = {name: value for name, value in request.headers.items() if name not in hop}
        bodies.append((request.body, request.path, sent, found))
    assert bodies[0] == bodies[1]


@sdks
@styles
def test_retries_do_not_multiply(sdk: str, style: str, caplog: pytest.LogCaptureFixture) -> None:
    """Three tries of ours are not repeated by the SDK, as far as it listens; where it does not, once each."""
    (found,), server = seen(sdk, style, fc.Policy(), [faults.status(500)] * 20, stream=False)
    assert found.error[2] == "500" and len(server.exchanges) == 3
    (found,), server = seen(sdk, style, QUICK, [faults.silent(30)] * 20, stream=False, options={"timeout": 0.1})
    assert found.error[1] == "APITimeoutError" and len(server.exchanges) == 5
    assert "max_retries=0" in caplog.text


def eventually(happened: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether something came to be in time."""
    import time

    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
