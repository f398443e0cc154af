"""What the server writes in the dialect of OpenAI's Responses is what OpenAI's own SDK reads."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from fastclient.testing import Answer, EndBody, Ping, ProviderServer, Role, Tokens, ToolCall, Wait, World, faults

TOOLS = Answer(
    "Let me look.",
    reasoning="They ask for the weather.",
    tool_calls=(ToolCall("weather", {"city": "Zürich", "days": 3}), ToolCall("clock", "{}", id="call_x")),
)
ASKED = {
    "model": "m",
    "input": "hello",
    "instructions": "be brief",
    "tools": [{"type": "function", "name": "clock", "parameters": {}, "strict": True}],
    "reasoning": {"effort": "low"},
}


@pytest.fixture
def sdk() -> Iterator[Callable[[ProviderServer], openai.OpenAI]]:
    clients: list[openai.OpenAI] = []

    def connect(server: ProviderServer) -> openai.OpenAI:
        clients.append(openai.OpenAI(base_url=server.base_url, api_key="key", max_retries=0))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def written(server: ProviderServer, **more: Any) -> list[dict[str, Any]]:
    """The data of all events of a stream, as they stand on the wire."""
    body = httpx2.post(f"{server.base_url}/responses", json={**ASKED, "stream": True, **more}).text
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def strangers(value: object) -> set[str]:
    """The fields, however deep, that the SDK's classes have no name for."""
    if isinstance(value, list):
        return {name for item in value for name in strangers(item)}
    if not isinstance(value, pydantic.BaseModel):
        return set()
    inner = {name for field in type(value).model_fields for name in strangers(getattr(value, field))}
    return {*(value.model_extra or ()), *inner}


@pytest.mark.parametrize("answer", [TOOLS, Answer("Cut o", finish_reason="length"), Answer("")])
def test_all_fields_are_the_sdks(provider_server, answer: Answer) -> None:
    """Each event, and the whole answer, fits the SDK's strict classes, and has no field they do not know but one."""
    server = provider_server(answer=answer)
    strict = pydantic.TypeAdapter(ResponseStreamEvent)
    for event in written(server):
        assert strangers(strict.validate_python(event)) <= {"store"}  # sent, and in nobody's class
    whole = httpx2.post(f"{server.base_url}/responses", json=ASKED).json()
    assert strangers(Response.model_validate(whole)) <= {"store"}


def test_the_order_of_events(provider_server) -> None:
    """Each item opens, is said in pieces, said again and closed; then the next one; all of them numbered."""
    server = provider_server(answer=Answer("Hi", reasoning="Hm", tool_calls=(ToolCall("clock"),)))
    events = written(server)
    assert kinds(events) == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(19))


def test_text_streams(provider_server, sdk) -> None:
    """Deltas arrive piece by piece, and the SDK's own accumulator has the same text as the last event."""
    with sdk(provider_server(answer="Hello, wörld!")).responses.stream(model="m", input="hello") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert deltas == ["Hell", "o, w", "örld", "!"]
    assert (final.output_text, final.status, final.usage.output_tokens) == ("Hello, wörld!", "completed", 4)


@pytest.mark.parametrize("stream", [True, False])
def test_reasoning_and_tools(provider_server, sdk, stream: bool) -> None:
    """Reasoning, text and tool calls arrive whole, streamed or not."""
    client = sdk(provider_server(answer=TOOLS))
    if stream:
        with client.responses.stream(model="m", input="hello") as events:
            response = events.get_final_response()
    else:
        response = client.responses.create(model="m", input="hello")
    thought, text, weather, clock = response.output
    assert (thought.summary[0].text, text.content[0].text) == ("They ask for the weather.", "Let me look.")
    assert (weather.name, json.loads(weather.arguments)) == ("weather", {"city": "Zürich", "days": 3})
    assert (clock.call_id, clock.arguments) == ("call_x", "{}")
    assert response.usage.output_tokens_details.reasoning_tokens == 7


def test_a_stream_adds_up_to_the_whole(provider_server) -> None:
    """The response in the last event is the one that a request without `stream` gets."""
    server = provider_server(answer=TOOLS)
    last = written(server)[-1]["response"]
    whole = httpx2.post(f"{server.base_url}/responses", json=ASKED).json()
    assert last | {"id": "", "output": 0} == whole | {"id": "", "output": 0}
    assert kinds(last["output"]) == kinds(whole["output"])


def test_a_response_repeats_what_was_asked(provider_server, sdk) -> None:
    """Instructions, tools and options come back, over the usual ones."""
    response = sdk(provider_server(answer="Hi")).responses.create(**ASKED, temperature=0.5, max_output_tokens=99)
    assert (response.instructions, response.tools[0].name) == ("be brief", "clock")
    assert (response.temperature, response.max_output_tokens, response.top_p) == (0.5, 99, 1.0)
    assert (response.reasoning.effort, response.text.format.type) == ("low", "text")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("finish, reason", [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_answers_that_are_incomplete(provider_server, stream: bool, finish: str, reason: str) -> None:
    """An answer that was cut off says why, and its last item says so too."""
    server = provider_server(answer=Answer("Hello", finish_reason=finish))
    if stream:
        last = written(server)[-1]
        assert last["type"] == "response.incomplete"
        response = last["response"]
    else:
        response = httpx2.post(f"{server.base_url}/responses", json=ASKED).json()
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["output"][-1]["status"] == "incomplete"


def test_max_output_tokens_are_respected(provider_server, sdk) -> None:
    """Made-up text ends where it was told to."""
    response = sdk(provider_server()).responses.create(model="m", input="hello", max_output_tokens=3)
    assert (response.usage.output_tokens, response.incomplete_details.reason) == (3, "max_output_tokens")


def test_prompts_that_begin_alike_are_cached(provider_server, sdk) -> None:
    """The second request with the same long instructions reads them from the cache; usage says how many tokens."""
    client = sdk(provider_server())
    said = {"model": "m", "instructions": "rule " * 400, "input": [{"role": "user", "content": "hello"}]}
    first, second = (client.responses.create(**said, user=user).usage for user in "ab")
    assert (first.input_tokens_details.cached_tokens, second.input_tokens_details.cached_tokens) == (0, 448)
    assert first.input_tokens == second.input_tokens > 448


def test_an_answer_function_sees_the_last_message(provider_server, sdk) -> None:
    """Text input, messages and parts are what `request.text` shows."""
    client = sdk(provider_server(answer=lambda request: request.text))
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "two"}]}]
    assert client.responses.create(model="m", input="one").output_text == "one"
    assert client.responses.create(model="m", input=parts).output_text == "two"


def test_what_precedes_content(provider_server) -> None:
    """`Role` sends everything up to the still empty text, and no piece of it."""
    server = provider_server(script=[(Role(), EndBody())], answer="Hello")
    assert kinds(written(server)) == ["created", "in_progress", "output_item.added", "content_part.added"]


def test_a_call_is_content_from_its_name_on(provider_server) -> None:
    """The name of a tool is the first thing that the model writes: `Role` does not send it."""
    server = provider_server(
        script=[(Role(), EndBody()), (Tokens(2), EndBody())], answer=Answer(tool_calls=(ToolCall("f"),))
    )
    assert kinds(written(server)) == ["created", "in_progress"]
    assert kinds(written(server))[2:4] == ["output_item.added", "function_call_arguments.delta"]


def test_keep_alives(provider_server, sdk) -> None:
    """They are OpenAI's undocumented event, and the SDK goes on."""
    server = provider_server(script=[(Role(), Ping(), Wait(0.01))] * 2, answer="Hello")
    assert [event["sequence_number"] for event in written(server) if event["type"] == "keepalive"] == [4]
    events = list(sdk(server).responses.create(model="m", input="hello", stream=True))
    assert events[-1].response.output_text == "Hello"


def test_a_truncated_stream_has_no_last_event(provider_server) -> None:
    """The tokens asked for, and then the body ends."""
    events = written(provider_server(script=[faults.truncated(2)], answer="Hello, world"))
    assert [event["delta"] for event in events[4:]] == ["Hell", "o, w"]


@pytest.mark.parametrize(
    "status, kind",
    [(400, openai.BadRequestError), (401, openai.AuthenticationError), (429, openai.RateLimitError)],
)
def test_errors_have_the_providers_shape(provider_server, sdk, status: int, kind: type[openai.APIStatusError]) -> None:
    """The SDK raises its own class and finds message, headers and body."""
    client = sdk(provider_server(script=[faults.status(status, retry_after="5", message="No.")]))
    with pytest.raises(kind) as caught:
        client.responses.create(model="m", input="hello")
    assert caught.value.body["message"] == "No."
    assert caught.value.response.headers["retry-after"] == "5"


def test_an_error_inside_the_stream(provider_server, sdk) -> None:
    """The SDK raises for the error event; after it the response comes once more, as a failed one."""
    server = provider_server(script=[faults.overloaded_event(after_tokens=2)] * 2, answer="Hello, world")
    with pytest.raises(openai.APIError, match="Overloaded"):
        list(sdk(server).responses.create(model="m", input="hello", stream=True))
    error, failed = written(server)[-2:]
    assert (error["type"], error["sequence_number"], failed["sequence_number"]) == ("error", 6, 7)
    assert (failed["response"]["status"], failed["response"]["error"]["message"]) == ("failed", "Overloaded")


def test_a_world_paces_the_tokens(provider_server) -> None:
    """The record has the times that were drawn: one gap less than tokens."""
    server = provider_server(world=World(gap=0.0001), answer=TOOLS)
    written(server)
    [exchange] = server.exchanges
    assert len(exchange.pace.gaps) == exchange.tokens_sent - 1 == 19
    assert exchange.dialect == "openai-responses"


def test_nothing_is_kept(provider_server, sdk) -> None:
    """A response cannot be asked for again; that is no model call either."""
    server = provider_server()
    with pytest.raises(openai.NotFoundError):
        sdk(server).responses.retrieve("resp_000000_0")
    assert not server.exchanges


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK drops generators; trio says so
async def test_the_async_sdk_reads_the_same(provider_server) -> None:
    """The asynchronous SDK accepts stream and whole answer."""
    server = provider_server(answer="Hello")
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="key", max_retries=0) as client:
        stream = await client.responses.create(model="m", input="hello", stream=True)
        assert [event async for event in stream][-1].response.output_text == "Hello"
        assert (await client.responses.create(model="m", input="hello")).output_text == "Hello"
