"""The in-process provider, driven as an engine drives a wire; on trio in virtual time."""

import json
from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio
from trio.testing import MockClock

from fastclient.config import Timeouts
from fastclient.errors import ConnectFailed, StreamCut
from fastclient.observe.timing import Marks
from fastclient.testing import Answer, FakeProvider, Wait, World, faults
from fastclient.wire.port import WireRequest

URLS = {
    "openai": "https://api.test/v1/chat/completions",
    "openai-responses": "https://api.test/v1/responses",
    "anthropic": "https://api.test/v1/messages",
    "gemini": "https://api.test/v1beta/models/m:streamGenerateContent?alt=sse",
}
LAST = {
    "openai": "[DONE]",
    "openai-responses": "response.completed",
    "anthropic": '{"type":"message_stop"}',
    "gemini": '"finishReason":"STOP"',
}


async def opened(fake: FakeProvider, prompt: str = "hello", dialect: str = "openai", stream: bool = True):
    body = {"model": "m", "stream": stream, "max_tokens": 64, "messages": [{"role": "user", "content": prompt}]}
    request = WireRequest(method="POST", url=URLS[dialect], headers={"X-Test": "1"}, body=json.dumps(body).encode())
    return await fake.send(request, Timeouts(), Marks(anyio.current_time, 0.0))


async def all_of(response) -> bytes:
    pieces = []
    while piece := await response.read():
        pieces.append(piece)
    await response.aclose()
    return b"".join(pieces)


def virtual(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("dialect", URLS)
async def test_it_answers_in_the_dialect_of_the_url(dialect: str) -> None:
    """Each dialect streams the text and ends with its own last event."""
    fake = FakeProvider("Hello")
    response = await opened(fake, dialect=dialect)
    body = await all_of(response)
    assert (response.status, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert LAST[dialect] in body.decode().split("data: ")[-1]
    assert fake.requests[0].dialect == dialect
    assert (fake.live, fake.cut_early, fake.counters.completed) == (0, 0, 1)


async def test_the_script_goes_on_with_its_last_entry() -> None:
    """Arguments are used in order of arrival; the last one is repeated."""
    fake = FakeProvider("one", Answer("two"), lambda request: f"{request.text}!")
    bodies = [await all_of(await opened(fake, prompt)) for prompt in ("a", "b", "c", "d")]
    for body, text in zip(bodies, (b"one", b"two", b"c!", b"d!"), strict=True):
        assert b'"%b"' % text in body
    assert [request.text for request in fake.requests] == ["a", "b", "c", "d"]
    assert fake.requests[0].headers["x-test"] == "1"


async def test_without_a_script_it_makes_text_up() -> None:
    """The same prompt gets the same made-up text."""
    one, other = FakeProvider(), FakeProvider()
    assert await all_of(await opened(one)) == await all_of(await opened(other))


async def test_one_event_per_read_and_split_on_request() -> None:
    """Every event is a read of its own; `split` cuts them into single bytes of the same answer."""
    whole, cut = await opened(FakeProvider("Hello")), await opened(FakeProvider(faults.split(1), world=World()))
    assert (await whole.read()).count(b"\n\n") == 1
    assert len(await cut.read()) == 1
    await whole.aclose()
    await cut.aclose()


async def test_a_whole_answer_without_stream() -> None:
    """A request that did not ask for a stream gets one JSON body."""
    reply = json.loads(await all_of(await opened(FakeProvider("Hello"), stream=False)))
    assert reply["choices"][0]["message"]["content"] == "Hello"


async def test_leaving_early_is_seen() -> None:
    """Closing a response before its end counts as cut early, once."""
    fake = FakeProvider("Hello world")
    response = await opened(fake)
    await response.read()
    assert fake.live == 1
    await response.aclose()
    await response.aclose()
    assert (fake.live, fake.cut_early) == (0, 1)
    assert await response.read() == b""


async def test_stopping_at_the_terminal_event_is_not_early() -> None:
    """A reader that has the terminal event has the whole answer, whether or not it read on."""
    fake = FakeProvider("Hello")
    response = await opened(fake)
    while b"[DONE]" not in await response.read():
        pass
    await response.aclose()
    assert (fake.cut_early, fake.counters.completed) == (0, 1)


async def test_a_cancelled_send_is_seen() -> None:
    """A request cancelled before its headers leaves nothing live."""
    fake = FakeProvider(faults.unanswered())
    with anyio.move_on_after(0.01) as scope:
        await opened(fake)
    assert scope.cancelled_caught
    assert (fake.live, fake.cut_early) == (0, 1)


async def test_broken_connections_are_our_errors() -> None:
    """A reset before the headers is `ConnectFailed`, one in the body `StreamCut`; given exceptions are raised."""
    error = ConnectFailed("mine")
    fake = FakeProvider(faults.reset(0), faults.reset(2), error)
    with pytest.raises(ConnectFailed):
        await opened(fake)
    response = await opened(fake)
    with pytest.raises(StreamCut):
        await all_of(response)
    with pytest.raises(ConnectFailed) as caught:
        await opened(fake)
    assert caught.value is error
    assert (fake.live, fake.cut_early) == (0, 0)


async def test_what_is_no_entry_is_refused() -> None:
    """A bare step is not a plan."""
    with pytest.raises(TypeError, match="a plan is a sequence of steps"):
        FakeProvider(Wait(1))


def test_an_hour_of_silence_takes_no_time() -> None:
    """Waits are virtual under trio's MockClock, and exact."""

    async def test() -> None:
        fake = FakeProvider(faults.headers_then_silence(3600), world=World())
        response = await opened(fake)
        assert trio.current_time() == pytest.approx(0)
        assert response.status == 200
        await response.read()
        assert trio.current_time() == pytest.approx(3600)
        await response.aclose()

    virtual(test)


def test_the_world_paces_in_virtual_time() -> None:
    """Queue, prefill and gaps are those of the world; a slow reader does not push the schedule back."""

    async def test() -> None:
        fake = FakeProvider("x" * 40, world=World(base=2.0, gap=0.5))
        response = await opened(fake)
        assert trio.current_time() == pytest.approx(2.0)
        for _ in range(2):
            await response.read()
        await trio.sleep(1.0)
        await all_of(response)
        assert trio.current_time() == pytest.approx(2.0 + 9 * 0.5)
        assert fake.exchanges[0].first_token == pytest.approx(2.0)

    virtual(test)


def test_marks_are_noted() -> None:
    """The fake notes the moments a wire notes, on the marks' own clock."""

    async def test() -> None:
        request = WireRequest(method="POST", url=URLS["openai"], headers={}, body=b'{"stream":true}')
        marks = Marks(lambda: 1000 + trio.current_time(), 1000.0)
        response = await FakeProvider(faults.silent(7), rtt=0.03).send(request, Timeouts(), marks)
        await response.aclose()
        assert (marks.sent, marks.headers) == (pytest.approx(1000.0), pytest.approx(1007.0))
        assert (marks.rtt, response.rtt) == (0.03, 0.03)

    virtual(test)


async def test_the_fixture_makes_fakes(fake_provider) -> None:
    """The pytest fixture `fake_provider` takes the same arguments."""
    assert b'"Hi"' in await all_of(await opened(fake_provider("Hi")))
