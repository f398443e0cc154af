"""What the server writes in OpenAI's dialect is what OpenAI's own SDK reads."""

from collections.abc import Callable, Iterator

import openai
import pytest

from fastclient.testing import Answer, ProviderServer, ToolCall, faults

HELLO = [{"role": "user", "content": "hello"}]
TOOLS = Answer(
    "Let me look.",
    reasoning="They ask for the weather.",
    tool_calls=(ToolCall("weather", {"city": "Zürich", "days": 3}), ToolCall("clock", "{}", id="call_x")),
)


@pytest.fixture
def sdk() -> Iterator[Callable[[ProviderServer], openai.OpenAI]]:
    clients: list[openai.OpenAI] = []

    def connect(server: ProviderServer) -> openai.OpenAI:
        clients.append(openai.OpenAI(base_url=server.base_url, api_key="key", max_retries=0))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def test_text_streams(provider_server, sdk) -> None:
    """Deltas arrive piece by piece after a role-only chunk, and end with `stop`."""
    client = sdk(provider_server(answer="Hello, wörld!"))
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(texts) == "Hello, wörld!"
    assert len([text for text in texts if text]) == 4
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_text_in_one_piece(provider_server, sdk) -> None:
    """Without `stream` the answer is one `chat.completion` with usage."""
    reply = sdk(provider_server(answer="Hello")).chat.completions.create(model="m", messages=HELLO)
    assert reply.choices[0].message.content == "Hello"
    assert reply.model == "m"
    assert reply.usage.completion_tokens == 2


def test_usage_comes_when_asked_for(provider_server, sdk) -> None:
    """The last chunk holds usage with its details if `include_usage` is set, and no chunk holds it otherwise."""
    answer = Answer("Yes", input_tokens=900, cached_tokens=512, output_tokens=40, reasoning_tokens=30)
    client = sdk(provider_server(answer=answer))
    asked = list(
        client.chat.completions.create(model="m", messages=HELLO, stream=True, stream_options={"include_usage": True})
    )
    usage = asked[-1].usage
    assert (asked[-1].choices, usage.prompt_tokens, usage.completion_tokens) == ([], 900, 40)
    assert usage.prompt_tokens_details.cached_tokens == 512
    assert usage.completion_tokens_details.reasoning_tokens == 30
    plain = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert all(chunk.usage is None for chunk in plain)


def test_tool_calls_stream_in_pieces(provider_server, sdk) -> None:
    """The SDK's own accumulator puts the split tool calls together."""
    client = sdk(provider_server(answer=TOOLS))
    with client.chat.completions.stream(model="m", messages=HELLO) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["weather", "clock"]
    assert message.tool_calls[0].function.arguments == '{"city":"Zürich","days":3}'
    assert message.tool_calls[1].id == "call_x"


def test_tool_calls_in_one_piece(provider_server, sdk) -> None:
    """Without `stream` the message holds text, reasoning and tool calls."""
    choice = sdk(provider_server(answer=TOOLS)).chat.completions.create(model="m", messages=HELLO).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert choice.message.reasoning_content == "They ask for the weather."
    assert choice.message.tool_calls[0].function.name == "weather"


def test_provider_extras_are_in_the_last_chunk(provider_server, sdk) -> None:
    """Timings of llama.cpp and the like ride on the last JSON object."""
    answer = Answer("Hi", extra={"timings": {"prompt_ms": 12.5}, "x_groq": {"usage": {"queue_time": 0.01}}})
    client = sdk(provider_server(answer=answer))
    last = list(client.chat.completions.create(model="m", messages=HELLO, stream=True))[-1]
    assert last.timings == {"prompt_ms": 12.5}
    assert last.x_groq["usage"]["queue_time"] == 0.01


@pytest.mark.parametrize(
    "status, kind",
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_errors_have_the_providers_shape(provider_server, sdk, status: int, kind: type[openai.APIStatusError]) -> None:
    """The SDK raises its own class and finds message, headers and body."""
    client = sdk(provider_server(script=[faults.status(status, retry_after="5", message="No.")]))
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="m", messages=HELLO)
    assert caught.value.body["message"] == "No."
    assert caught.value.response.headers["retry-after"] == "5"


def test_an_error_inside_the_stream(provider_server, sdk) -> None:
    """An error event is raised by the SDK while it reads."""
    client = sdk(provider_server(script=[faults.overloaded_event(after_tokens=2)]))
    stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="Overloaded"):
        list(stream)


def test_a_wrong_key_is_refused(provider_server, sdk) -> None:
    """With `api_key` set, another key gets a 401."""
    with pytest.raises(openai.AuthenticationError):
        sdk(provider_server(api_key="right")).chat.completions.create(model="m", messages=HELLO)


def test_models_are_listed(provider_server, sdk) -> None:
    """`GET /v1/models` answers."""
    assert sdk(provider_server()).models.list().data[0].object == "model"


def test_embeddings(provider_server, sdk) -> None:
    """The same text has the same vector, as numbers or as bytes (which the SDK asks for by itself); no model calls."""
    server = provider_server()
    client, texts = sdk(server), ["one", "two", "one"]
    numbers = client.embeddings.create(model="m", input=texts, encoding_format="float")
    one, two, again = (each.embedding for each in numbers.data)
    assert one == again != two
    assert sum(number * number for number in one) == pytest.approx(1.0)
    assert client.embeddings.create(model="m", input=texts).data[1].embedding == two
    assert (numbers.usage.prompt_tokens, len(server.exchanges)) == (3, 0)


def test_embeddings_of_nothing_are_refused(provider_server, sdk) -> None:
    """Without input there is nothing to be found."""
    with pytest.raises(openai.NotFoundError):
        sdk(provider_server()).embeddings.create(model="m", input=[])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK drops generators; trio says so
async def test_the_async_sdk_reads_the_same(provider_server) -> None:
    """The asynchronous SDK accepts stream and whole answer."""
    server = provider_server(answer="Hello")
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="key", max_retries=0) as client:
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Hello"
        whole = await client.chat.completions.create(model="m", messages=HELLO)
    assert whole.choices[0].message.content == "Hello"
