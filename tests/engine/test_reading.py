"""A stream in the hands of its user: closed while it opens, read by two, asked for a reply it cannot give."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync

import fastclient as fc
from fastclient.testing import Answer, FakeProvider, ProviderServer, ToolCall, World, faults


async def closed_at_the_server(server: ProviderServer) -> bool:
    return await run_sync(server.wait_for, lambda counters: (counters.live, counters.cut_early) == (0, 1), 0.25)


async def test_closing_while_opening_stops_the_server(provider_server: Any) -> None:
    """A stop before the first token reaches the server at once; whoever waits for the stream finds it at its end."""
    server = provider_server(script=[faults.headers_then_silence(30)])
    async with fc.AsyncClient("openai:m", base_url=server.base_url) as client:
        stream = client.stream("Hi")
        pieces: list[str] = []

        async def read() -> None:
            pieces.extend([text async for text in stream.text])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await run_sync(server.wait_for, lambda counters: counters.live == 1)
            await stream.aclose()
            assert await closed_at_the_server(server)
        assert pieces == []
        assert client.stats().in_flight == 0


def test_closing_while_opening_from_another_thread(provider_server: Any) -> None:
    """The same for threads."""
    server = provider_server(script=[faults.headers_then_silence(30)])
    with fc.Client("openai:m", base_url=server.base_url) as client, ThreadPoolExecutor(1) as pool:
        stream = client.stream("Hi")
        reading = pool.submit(list, stream.text)
        assert server.wait_for(lambda counters: counters.live == 1)
        stream.close()
        assert server.wait_for(lambda counters: (counters.live, counters.cut_early) == (0, 1), 0.25)
        assert reading.result(2) == []
        assert client.stats().in_flight == 0


def test_closing_from_another_thread_wakes_the_reader(provider_server: Any) -> None:
    """A thread that waits for the next piece does not wait for ever, and neither does the one that closes."""
    server = provider_server(script=[faults.stall(2)])
    with fc.Client("openai:m", base_url=server.base_url) as client:
        for _ in range(20):
            stream = client.stream("Hi")
            first = threading.Event()

            def read(stream: fc.ReplyStream = stream, first: threading.Event = first) -> None:
                for _text in stream.text:
                    first.set()

            reader = threading.Thread(target=read)
            reader.start()
            assert first.wait(2)
            began = time.monotonic()
            stream.close()
            reader.join(2)
            assert not reader.is_alive()
            assert time.monotonic() - began < 0.9


async def test_two_readers_make_one_call() -> None:
    """A second task on a stream that is being read is told so; there is one request, not two."""
    fake = FakeProvider(faults.slow(0.05))
    async with fc.AsyncClient("openai:m", wire=fake) as client, client.stream("Hi") as stream:
        errors: list[Exception] = []

        async def read() -> None:
            try:
                async for _ in stream:
                    pass
            except fc.ConfigError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(read)
        assert ["another task" in str(error) for error in errors] == [True]
        assert len(fake.requests) == 1


@pytest.mark.parametrize("plan", [faults.truncated(3), faults.reset(3), None], ids=["truncated", "reset", "left"])
def test_a_reply_is_a_whole_answer(plan: Any, provider_server: Any) -> None:
    """After a cut, or a loop left early, `reply()` raises what happened; half an answer is never a reply."""
    server = provider_server(script=[plan], answer="one two three four")
    with fc.Client("openai:m", base_url=server.base_url) as client:
        stream = client.stream("Hi")
        try:
            for _ in stream.text:
                if plan is None:
                    break
        except fc.StreamCut:
            assert plan is not None
        with pytest.raises(fc.StreamCut) as caught:
            stream.reply()
        assert caught.value.partial_text
        assert caught.value.tokens or plan is None


def test_a_reply_goes_back_into_the_conversation() -> None:
    """`reply.message` is the assistant's turn, tool calls included."""
    answer = Answer("Let me look.", tool_calls=(ToolCall("weather", {"city": "Oslo"}, id="c1"),))
    with fc.Client("openai:m", wire=FakeProvider(answer)) as client:
        message = client.chat("Rain?").message
    assert message["content"] == "Let me look."
    assert message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    ]
    with fc.Client("openai:m", wire=FakeProvider("Yes.")) as client:
        assert client.chat("Rain?").message == {"role": "assistant", "content": "Yes."}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_leaving_in_the_parent_while_a_child_lives(provider_server: Any) -> None:
    """A forked child holds no copy of the connection: the parent's leaving reaches the server."""
    server = provider_server(world=World(gap=0.05), answer="word " * 400)
    with fc.Client("openai:m", base_url=server.base_url) as client, client.stream("Hi") as stream:
        next(iter(stream))
        child = os.fork()
        if child == 0:
            time.sleep(3)
            os._exit(0)
        stream.close()
        assert server.wait_for(lambda counters: (counters.live, counters.cut_early) == (0, 1), 0.25)
    os.kill(child, 9)
    os.waitpid(child, 0)


async def test_pings_between_tokens_do_not_hide_the_gap() -> None:
    """`itl_max` is the wait between two pieces of content, however many pings came in between."""
    plan = (
        faults.Tokens(1),
        *(step for _ in range(4) for step in (faults.Wait(0.05), faults.Ping())),
        faults.Tokens(1),
    )
    async with fc.AsyncClient("openai:m", wire=FakeProvider(plan)) as client:
        timings = (await client.chat("Hi")).timings
    assert timings.itl_max is not None
    assert timings.itl_max > 0.19


def test_values_travel_between_processes(provider_server: Any) -> None:
    """Replies and errors can be pickled, so that a pool of processes returns the real thing."""
    server = provider_server(script=[None, faults.status(429, retry_after="5"), faults.reset(2)])
    with fc.Client("openai:m", base_url=server.base_url, policy=fc.Policy(retry=None)) as client:
        reply = client.chat("Hi")
        assert ForkingPickler.loads(ForkingPickler.dumps(reply)) == reply
        for kind in (fc.RateLimited, fc.StreamCut):
            with pytest.raises(kind) as caught:
                client.chat("Hi")
            again = ForkingPickler.loads(ForkingPickler.dumps(caught.value))
            assert (type(again), str(again), again.timings) == (kind, str(caught.value), caught.value.timings)


async def test_a_second_reader_while_it_opens() -> None:
    """A stream that another task is still opening is no empty answer."""
    fake = FakeProvider(faults.silent(0.1))
    async with fc.AsyncClient("openai:m", wire=fake) as client:
        stream = client.stream("Hi")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.__aenter__)
            await anyio.sleep(0.02)
            with pytest.raises(fc.ConfigError, match="another task"):
                async for _ in stream:
                    pass
        assert (await stream.reply()).text
        await stream.aclose()


def test_what_failed_fails_again(provider_server: Any) -> None:
    """A loop over a stream that broke raises what happened, each time; it does not look like an empty answer."""
    server = provider_server(script=[faults.reset(2)])
    with fc.Client("openai:m", base_url=server.base_url) as client:
        stream = client.stream("Hi")
        for _ in range(2):
            with pytest.raises(fc.StreamCut) as caught:
                list(stream.text)
        assert caught.value.call_id
