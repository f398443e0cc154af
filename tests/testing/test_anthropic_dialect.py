"""What the server writes in Anthropic's dialect is what Anthropic's own SDK reads."""

from collections.abc import Callable, Iterator

import anthropic
import pytest

from fastclient.testing import Answer, ProviderServer, ToolCall, faults

HELLO = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
TOOLS = Answer(
    "Let me look.",
    reasoning="They ask for the weather.",
    tool_calls=(ToolCall("weather", {"city": "Zürich", "days": 3}), ToolCall("clock", "{}", id="toolu_x")),
)


@pytest.fixture
def sdk() -> Iterator[Callable[[ProviderServer], anthropic.Anthropic]]:
    clients: list[anthropic.Anthropic] = []

    def connect(server: ProviderServer) -> anthropic.Anthropic:
        clients.append(anthropic.Anthropic(base_url=server.anthropic_url, api_key="key", max_retries=0))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def test_text_streams(provider_server, sdk) -> None:
    """The SDK's own stream helper rebuilds the message."""
    with sdk(provider_server(answer="Hello, wörld!")).messages.stream(**HELLO) as stream:
        assert "".join(stream.text_stream) == "Hello, wörld!"
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 4


def test_the_order_of_raw_events(provider_server, sdk) -> None:
    """Raw events come in Anthropic's order, each block closed before the next opens."""
    events = list(sdk(provider_server(answer=Answer("Hello", reasoning="Hm"))).messages.create(**HELLO, stream=True))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[3].delta.type == "signature_delta"


@pytest.mark.parametrize("stream", [True, False])
def test_thinking_and_tools(provider_server, sdk, stream: bool) -> None:
    """Thinking, text and tool calls arrive whole, streamed or not."""
    client = sdk(provider_server(answer=TOOLS))
    if stream:
        with client.messages.stream(**HELLO) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**HELLO)
    thinking, text, weather, clock = message.content
    assert (thinking.thinking, text.text) == ("They ask for the weather.", "Let me look.")
    assert thinking.signature
    assert (weather.name, weather.input) == ("weather", {"city": "Zürich", "days": 3})
    assert (clock.id, clock.input) == ("toolu_x", {})
    assert message.stop_reason == "tool_use"
    assert message.usage.output_tokens_details.thinking_tokens == 7


def test_marked_prefixes_are_written_then_read(provider_server, sdk) -> None:
    """A prefix marked with `cache_control` is written by the first call and read by the second; others are not."""
    client = sdk(provider_server())
    system = [{"type": "text", "text": "rule " * 400, "cache_control": {"type": "ephemeral"}}]
    first = client.messages.create(**HELLO, system=system).usage
    second = client.messages.create(**HELLO, system=system).usage
    unmarked = client.messages.create(**HELLO, system="rule " * 400).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (448, 0)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 448)
    assert (unmarked.cache_creation_input_tokens, unmarked.cache_read_input_tokens) == (0, 0)
    assert first.input_tokens + 448 == second.input_tokens + 448 == unmarked.input_tokens


@pytest.mark.parametrize(
    "status, kind, name",
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (529, anthropic.APIStatusError, "overloaded_error"),
    ],
)
def test_errors_have_the_providers_shape(provider_server, sdk, status: int, kind: type[Exception], name: str) -> None:
    """The SDK raises its own class and finds the error type."""
    with pytest.raises(kind) as caught:
        sdk(provider_server(script=[faults.status(status)])).messages.create(**HELLO)
    assert caught.value.body["error"]["type"] == name


def test_an_error_inside_the_stream(provider_server, sdk) -> None:
    """An `error` event is raised by the SDK while it reads."""
    client = sdk(provider_server(script=[faults.overloaded_event(after_tokens=2)]))
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        list(client.messages.create(**HELLO, stream=True))


def test_models_are_listed(provider_server, sdk) -> None:
    """`GET /v1/models` answers in Anthropic's shape when Anthropic's SDK asks."""
    assert sdk(provider_server()).models.list().data[0].type == "model"


async def test_the_async_sdk_reads_the_same(provider_server) -> None:
    """The asynchronous SDK accepts stream and whole answer."""
    server = provider_server(answer="Hello")
    async with anthropic.AsyncAnthropic(base_url=server.anthropic_url, api_key="key", max_retries=0) as client:
        async with client.messages.stream(**HELLO) as stream:
            assert "".join([text async for text in stream.text_stream]) == "Hello"
        assert (await client.messages.create(**HELLO)).content[0].text == "Hello"
