"""From making a client to letting it go: sharing, closing, warming, statistics, and timings that add up."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import os
import socket
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
import trio
from anyio.to_thread import run_sync
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

import fastclient as fc
from fastclient.observe.events import CallFinished, Event
from fastclient.observe.sketch import Sketch
from fastclient.observe.timing import AttemptRecord, CallRecord, Marks
from fastclient.testing import Answer, FakeProvider, ProviderServer, Tokens, Wait, World, faults
from fastclient.types import PARTS

ANSWER = "word" * 12


def adds_up(timings: fc.Timings | None) -> bool:
    """The parts add up to the total, none is negative, and every known value says where it comes from."""
    assert timings is not None
    assert math.isclose(sum(timings.parts().values()), timings.total, abs_tol=1e-6), timings
    assert all(value >= 0 for value in timings.parts().values()), timings
    numbers = [field.name for field in dataclasses.fields(timings) if field.name not in ("basis", "reused")]
    known = {name for name in numbers if getattr(timings, name) is not None}
    assert set(timings.basis) == known
    return set(timings.basis.values()) <= {"measured", "reported", "inferred"}


def both_add_up(error_or_reply: Any) -> bool:
    return all(adds_up(one.timings) for one in (error_or_reply, *error_or_reply.attempts))


@pytest.fixture
async def client() -> AsyncIterator[Callable[..., fc.AsyncClient]]:
    made: list[fc.AsyncClient] = []

    def make(server: ProviderServer, **options: Any) -> fc.AsyncClient:
        made.append(fc.AsyncClient("openai:m", base_url=server.base_url, **options))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


# copies


async def test_a_copy_shares_connections_and_statistics(client: Any) -> None:
    """`with_` gives another policy over the same pool; both count into the same statistics."""
    with ProviderServer() as server:
        original = client(server)
        copy = original.with_(policy=fc.Policy(retry=None, timeouts=fc.Timeouts(first_token=1)))
        await original.chat("one")
        reply = await copy.chat("two")
        assert reply.timings.reused
        assert server.counters.connections == 1
    assert original.stats().calls == copy.stats().calls == 2


async def test_a_copy_follows_its_own_policy(client: Any) -> None:
    """The copy's timeouts and observers are its own; the original's do not change."""
    heard: list[Event] = []
    with ProviderServer(world=World(base=0.3)) as server:
        original = client(server)
        copy = original.with_(
            policy=fc.Policy(retry=None, timeouts=fc.Timeouts(first_token=0.1), observers=(heard.append,))
        )
        with pytest.raises(fc.FirstTokenTimeout):
            await copy.chat("Hi")
        assert (await original.chat("Hi")).text
    assert len(heard) == 1


async def test_closing_a_copy_leaves_the_original_usable(client: Any) -> None:
    """Only who opened the pool closes it."""
    with ProviderServer() as server:
        original = client(server)
        async with original.with_(policy=fc.Policy()) as copy:
            await copy.chat("Hi")
        assert (await original.chat("Hi")).timings.reused
        assert server.counters.connections == 1


async def test_closing_the_original_closes_its_copies(client: Any) -> None:
    """A copy has no connections of its own, so it says that it is closed instead of opening some unseen."""
    with ProviderServer() as server:
        original = client(server)
        copy = original.with_(policy=fc.Policy())
        await original.aclose()
        with pytest.raises(fc.ConfigError, match="closed"):
            await copy.chat("Hi")


def test_blocking_copies_behave_the_same() -> None:
    """The same for the blocking door."""
    with ProviderServer() as server, fc.Client("openai:m", base_url=server.base_url) as original:
        with original.with_(policy=fc.Policy()) as copy:
            copy.chat("Hi")
        assert isinstance(copy, fc.Client)
        assert original.chat("Hi").timings.reused
        assert original.stats().calls == 2


# closing


async def test_a_closed_client_refuses_everything(client: Any) -> None:
    """Calls raise ConfigError; closing again does nothing; statistics can still be read."""
    with ProviderServer() as server:
        made = client(server)
        await made.chat("Hi")
        for _ in range(3):
            await made.aclose()
        assert await run_sync(server.wait_for, lambda counters: counters.open_connections == 0)
        for call in (lambda: made.chat("Hi"), lambda: made.stream("Hi").reply()):
            with pytest.raises(fc.ConfigError, match="closed"):
                await call()
        assert made.stats().calls == 1
        assert server.counters.accepted == 1


async def test_a_stream_made_before_the_end_does_not_open_afterwards(client: Any) -> None:
    """A stream that was not started yet finds the client closed, and opens no connection behind its back."""
    with ProviderServer() as server:
        made = client(server)
        stream = made.stream("Hi")
        await made.aclose()
        with pytest.raises(fc.ConfigError, match="closed"):
            await stream.reply()
        assert server.counters.connections == 0


async def test_warming_a_closed_client_opens_nothing(client: Any) -> None:
    """After the end `warm` does not open a connection that nobody will close."""
    with ProviderServer() as server:
        made = client(server)
        await made.aclose()
        try:
            warmed = await made.warm()
        except fc.ConfigError:
            pass
        else:
            assert not warmed.ready
        assert server.counters.connections == 0


def test_a_blocking_client_closes_twice() -> None:
    """Double close, and close inside `with`, are harmless."""
    with ProviderServer() as server:
        with fc.Client("openai:m", base_url=server.base_url) as made:
            made.chat("Hi")
            made.close()
        made.close()
        assert server.wait_for(lambda counters: counters.open_connections == 0)
        with pytest.raises(fc.ConfigError, match="closed"):
            made.chat("Hi")


async def test_a_stream_can_be_closed_at_any_time(client: Any) -> None:
    """Before it was opened, in the middle, at the end, and again: and then it gives nothing more."""
    with ProviderServer(answer=ANSWER) as server:
        made = client(server)
        never = made.stream("Hi")
        await never.aclose()
        assert [chunk async for chunk in never] == []
        stream = made.stream("Hi")
        async with stream:
            await stream.aclose()
            await stream.aclose()
            assert [chunk async for chunk in stream] == []
        async with made.stream("Hi") as whole:
            assert (await whole.reply()).text == (await whole.reply()).text == ANSWER
        assert server.counters.accepted == 2


# several loops


@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
def test_one_client_over_several_loops(wire: str) -> None:
    """An AsyncClient may be used in one event loop after another; each has connections of its own, and none is left."""
    with ProviderServer() as server:
        client = fc.AsyncClient("openai:m", base_url=server.base_url, wire=wire)

        async def twice() -> list[bool | None]:
            try:
                return [(await client.chat("Hi")).timings.reused for _ in range(2)]
            finally:
                await client._core._wire.aclose()

        assert [asyncio.run(twice()) for _ in range(3)] == [[False, True]] * 3
        assert trio.run(twice) == [False, True]
        assert server.wait_for(lambda counters: counters.open_connections == 0)
        assert client.stats().calls == 8


@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
def test_loops_that_end_with_open_connections(wire: str) -> None:
    """Even where nothing was closed before a loop ended, the next loop works and no warning is heard."""
    with ProviderServer() as server:
        client = fc.AsyncClient("openai:m", base_url=server.base_url, wire=wire)
        for _ in range(3):
            assert asyncio.run(client.chat("Hi")).timings.reused is False
        del client
        gc.collect()
        assert server.wait_for(lambda counters: counters.open_connections == 0)


# dropped without a word


@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
async def test_a_dropped_client_leaves_no_connection(wire: str) -> None:
    """A client nobody closed is closed by the collector: no warning, and the server sees its connections go."""
    with ProviderServer() as server:
        client = fc.AsyncClient("openai:m", base_url=server.base_url, wire=wire)
        await client.chat("Hi")
        del client
        gc.collect()
        assert await run_sync(server.wait_for, lambda counters: counters.open_connections == 0)
    gc.collect()


def test_a_dropped_blocking_client_leaves_no_connection() -> None:
    """The same for the blocking door, also when the client is part of a cycle."""
    with ProviderServer() as server:
        client: Any = fc.Client("openai:m", base_url=server.base_url)
        client.me = client
        client.chat("Hi")
        assert server.counters.open_connections == 1
        del client
        gc.collect()
        assert server.wait_for(lambda counters: counters.open_connections == 0)


async def test_a_dropped_stream_is_closed(client: Any) -> None:
    """A stream dropped in the middle stops the server, tells the observers, and counts as cancelled."""
    events: list[Event] = []
    with ProviderServer(world=World(gap=0.05), answer=ANSWER) as server:
        made = client(server, policy=fc.Policy(observers=(events.append,)))
        pieces = made.stream("Hi").text
        assert await anext(pieces) == "word"
        del pieces
        gc.collect()
        assert await run_sync(server.wait_idle)
        await anyio.sleep(0.05)
    assert [type(event).__name__ for event in events] == ["StreamAbandoned", "CallFinished"]
    assert (made.stats().cancelled, made.stats().in_flight) == (1, 0)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux counts descriptors there")
def test_many_clients_cost_no_descriptors() -> None:
    """Clients made, used and dropped leave no sockets behind."""
    with ProviderServer() as server:
        counts = []
        for _ in range(3):
            for _ in range(20):
                fc.Client("openai:m", base_url=server.base_url).chat("Hi")
            gc.collect()
            assert server.wait_for(lambda counters: counters.open_connections == 0)
            counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[0]


# warming


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_warmed_connection_is_used(provider: str) -> None:
    """After `warm` the next call finds an open connection; no model was asked."""
    with ProviderServer() as server:
        url = server.base_url if provider == "openai" else server.anthropic_url
        async with fc.AsyncClient(f"{provider}:m", base_url=url, api_key="k") as made:
            warmed = await made.warm()
            assert (warmed.ready, warmed.error, warmed.target) == (True, None, f"{provider}:m")
            assert 0 < warmed.seconds < 5
            assert server.counters.accepted == 0
            assert (await made.chat("Hi")).timings.reused
            assert server.counters.connections == 1
            assert made.stats().calls == 1


def test_a_blocking_client_warms() -> None:
    """The same for the blocking door."""
    with ProviderServer() as server, fc.Client("openai:m", base_url=server.base_url) as made:
        assert made.warm().ready
        assert made.chat("Hi").timings.reused


async def test_warming_a_dead_port_reports() -> None:
    """`warm` never raises: what went wrong is in the report."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with fc.AsyncClient("openai:m", base_url=f"http://127.0.0.1:{port}/v1") as made:
        warmed = await made.warm()
    assert (warmed.ready, warmed.error) == (False, "ConnectFailed")


async def test_warming_where_the_connection_is_not_kept(client: Any) -> None:
    """A server that closes after each answer is not ready: the next call will have to connect."""
    with ProviderServer(headers={"connection": "close"}) as server:
        assert not (await client(server).warm()).ready


async def test_warming_a_silent_server_ends() -> None:
    """A server that accepts and says nothing is given up within the stated patience."""

    async def main() -> None:
        client = fc.AsyncClient(
            "openai:m", wire=Silent(), policy=fc.Policy(retry=None, timeouts=fc.Timeouts(connect=1))
        )
        start = trio.current_time()
        warmed = await client.warm()
        assert (warmed.ready, warmed.error) == (False, "DeadlineExceeded")
        assert trio.current_time() - start == pytest.approx(7)

    await run_sync(lambda: trio.run(main, clock=MockClock(autojump_threshold=0)))


class Silent:
    """A wire that never gets its headers."""

    async def send(self, *_: object) -> Any:
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        pass


# statistics


async def test_stats_count_what_happened(client: Any) -> None:
    """Calls, errors, cancellations, tokens, attempts and percentiles are those of the calls made."""
    plans = [None, faults.status(500), (Tokens(2), Wait(30)), (Tokens(2), Wait(30))]
    with ProviderServer(script=plans, answer=Answer("word" * 4, cached_tokens=1)) as server:
        made = client(server, policy=fc.Policy(retry=None))
        assert made.stats() == fc_empty(made)
        first = await made.chat("one")
        with pytest.raises(fc.ServerFailed):
            await made.chat("two")
        with anyio.move_on_after(0.2):
            await made.chat("three")
        async with made.stream("four") as stream:
            await anext(stream.text)
            assert made.stats().in_flight == 1
    stats = made.stats()
    assert (stats.calls, stats.errors, stats.cancelled, stats.in_flight) == (4, 1, 2, 0)
    assert stats.attempts == 4
    assert stats.input_tokens >= first.usage.input_tokens
    assert stats.output_tokens >= 4
    assert stats.cache_read_tokens >= 1
    assert stats.total_p50 == pytest.approx(first.timings.total, rel=0.0101)
    assert stats.ttft_p99 == pytest.approx(first.timings.ttft, rel=0.0101)


def fc_empty(made: fc.AsyncClient) -> Any:
    """What a client that has done nothing reports."""
    kind = type(made.stats())
    return kind(**{f.name: None if "_p" in f.name else 0 for f in dataclasses.fields(kind)})


async def test_a_stream_left_after_its_last_token_counts_as_answered(client: Any) -> None:
    """Reading every chunk and then leaving is no cancellation."""
    with ProviderServer(answer=ANSWER) as server:
        made = client(server)
        async with made.stream("Hi") as stream:
            assert "".join([text async for text in stream.text]) == ANSWER
    assert (made.stats().calls, made.stats().cancelled, made.stats().errors) == (1, 0, 0)


# observers


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyError(), fc.ConfigError("x"), StopIteration(), TimeoutError()])
async def test_an_observer_that_raises_changes_nothing(client: Any, error: Exception) -> None:
    """What an observer raises neither reaches the caller nor keeps other observers from hearing."""
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise error

    with ProviderServer(answer=ANSWER, script=[None, faults.status(500)]) as server:
        made = client(server, policy=fc.Policy(retry=None, observers=(broken, heard.append, broken)))
        assert (await made.chat("Hi")).text == ANSWER
        with pytest.raises(fc.ServerFailed):
            await made.chat("Hi")
        async with made.stream("Hi") as stream:
            assert (await stream.reply()).text == ANSWER
    assert [event.error for event in heard if isinstance(event, CallFinished)] == [None, "ServerFailed", None]
    assert made.stats().in_flight == 0


async def test_every_call_is_told_once(client: Any) -> None:
    """One event per call, with the numbers of its reply, however it is read and closed."""
    heard: list[Any] = []
    with ProviderServer(answer=ANSWER) as server:
        made = client(server, policy=fc.Policy(observers=(heard.append,)))
        reply = await made.chat("Hi", metadata={"user": "u1"})
        stream = made.stream("Hi")
        async with stream:
            later = await stream.reply()
        await stream.aclose()
    assert [event.call_id for event in heard] == [reply.call_id, later.call_id]
    assert heard[0].timings == reply.timings
    assert heard[0].usage == reply.usage
    assert heard[0].metadata == {"user": "u1"}
    assert heard[0].attempts == reply.attempts


# timings


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_timings_of_a_chat_add_up(provider: str) -> None:
    """Fresh and reused connections, both formats: parts add up to the total, for the call and for its attempt."""
    with ProviderServer(world=World(base=0.03, gap=0.02), answer=ANSWER) as server:
        url = server.base_url if provider == "openai" else server.anthropic_url
        async with fc.AsyncClient(f"{provider}:m", base_url=url, api_key="k") as made:
            for _ in range(2):
                reply = await made.chat("Hi")
                assert both_add_up(reply)
                assert reply.timings.ttft >= 0.03
                assert reply.timings.decode > 0
                assert reply.timings.ttft + reply.timings.decode >= 0.04  # a late read moves time from one to the other
                assert reply.timings.consumer is None
                assert set(reply.timings.parts()) <= set(PARTS)


async def test_timings_of_a_slow_consumer_add_up(client: Any) -> None:
    """Time the caller keeps a chunk is the caller's: it is `consumer`, and neither decode nor overhead."""
    with ProviderServer(world=World(gap=0.005), answer=ANSWER) as server:
        async with client(server).stream("Hi") as stream:
            async for _ in stream.text:
                await anyio.sleep(0.02)
            reply = await stream.reply()
    assert both_add_up(reply)
    assert reply.timings.consumer >= 0.05
    assert reply.timings.consumer > reply.timings.total / 2
    assert reply.timings.overhead < 0.1


def test_timings_of_a_slow_blocking_consumer_add_up() -> None:
    """The same across the seam, where the answer goes on arriving while the caller sleeps."""
    server = ProviderServer(world=World(gap=0.005), answer=ANSWER)
    with server, fc.Client("openai:m", base_url=server.base_url) as made, made.stream("Hi") as stream:
        pieces = stream.text
        next(pieces)
        time.sleep(0.2)
        rest = "".join(pieces)
        reply = stream.reply()
    assert len(rest) == len(ANSWER) - 4
    assert both_add_up(reply)
    assert reply.timings.consumer >= 0.19
    assert reply.timings.decode < 0.1


@pytest.mark.parametrize(
    "plan",
    [
        faults.status(500),
        faults.status(429, retry_after="1"),
        faults.reset(0),
        faults.reset(3),
        faults.closed(2),
        faults.truncated(2),
        faults.truncated(0),
        faults.overloaded_event(0),
        faults.overloaded_event(3),
        faults.html_page(),
        faults.silent(5),
        faults.headers_then_silence(5),
        faults.role_then_silence(5),
        faults.stall(2),
        faults.never_ending_error(),
    ],
    ids=lambda plan: str(plan)[:40],
)
async def test_timings_of_errors_add_up(client: Any, plan: Any) -> None:
    """An error's timings add up as well, whatever phase it came in; so do those of its attempt."""
    with ProviderServer(script=[plan]) as server:
        timeouts = fc.Timeouts(first_token=0.15, progress=0.15)
        with pytest.raises(fc.FastClientError) as caught:
            await client(server, policy=fc.Policy(retry=None, timeouts=timeouts)).chat("Hi")
    assert caught.value.call_id
    assert len(caught.value.attempts) == 1
    assert both_add_up(caught.value)


@pytest.mark.parametrize("pause", [0.0, 0.1])
async def test_timings_of_an_empty_answer_add_up(client: Any, pause: float) -> None:
    """An answer without a word has no first token to part the time at; nothing is counted twice all the same."""
    with ProviderServer(answer=Answer(""), world=World(base=0.02)) as server:
        async with client(server).stream("Hi") as stream:
            await anyio.sleep(pause)
            reply = await stream.reply()
    assert reply.text == ""
    assert both_add_up(reply)


async def test_timings_of_a_refused_connection_add_up() -> None:
    """Nothing was sent, and the time is all accounted for."""
    async with fc.AsyncClient("openai:m", base_url="http://127.0.0.1:9/v1") as made:
        with pytest.raises(fc.ConnectFailed) as caught:
            await made.chat("Hi")
    assert both_add_up(caught.value)
    assert caught.value.timings.send is None


async def test_timings_of_an_early_break_add_up(client: Any) -> None:
    """A stream left in the middle has timings up to that moment."""
    events: list[Any] = []
    with ProviderServer(world=World(gap=0.02), answer=ANSWER) as server:
        async with client(server, policy=fc.Policy(observers=(events.append,))).stream("Hi") as stream:
            async for _ in stream.text:
                break
    assert both_add_up(events[0])
    assert events[0].timings.total < 0.2


async def test_timings_of_a_cancelled_call_add_up(client: Any) -> None:
    """Cancelled before the first token: the waiting so far is prefill or headers, and nothing is lost."""
    events: list[Any] = []
    with ProviderServer(world=World(base=5)) as server:
        made = client(server, policy=fc.Policy(observers=(events.append,)))
        with anyio.move_on_after(0.1):
            await made.chat("Hi")
    assert both_add_up(events[0])
    assert events[0].timings.total == pytest.approx(0.1, abs=0.09)
    assert events[0].attempts[0].outcome == "cancelled"


def test_timings_are_exact_in_virtual_time() -> None:
    """On a clock that only moves when everybody waits, each part is to the millisecond what the provider took."""

    async def main() -> fc.Reply:
        fake = FakeProvider("word" * 5, world=World(base=60, gap=2), rtt=0.5)
        client = fc.AsyncClient(
            "openai:m", wire=fake, policy=fc.Policy(retry=None, timeouts=fc.Timeouts(first_token=90))
        )
        async with client, client.stream("Hi") as stream:
            async for _ in stream.text:
                await trio.sleep(10)
            return await stream.reply()

    timings = trio.run(main, clock=MockClock(autojump_threshold=0)).timings
    assert adds_up(timings)
    assert timings.ttft == pytest.approx(60)
    assert (timings.network, timings.prefill) == (pytest.approx(0.5), pytest.approx(59.5))
    assert timings.consumer == pytest.approx(50)
    assert timings.total == pytest.approx(110, abs=8)


MOMENTS = ("dequeued", "connect_started", "connected", "secured", "send_started", "sent", "headers", "first_content")
SECONDS = st.floats(0, 1e5, allow_nan=False)
GAP = st.floats(0, 1e3) | st.just(0.0)


@st.composite
def calls(draw: st.DrawFn) -> CallRecord:
    """A call that got as far as it got: its moments in order, the last ones missing, a connection opened or not."""
    now = draw(SECONDS)
    clock = [now]

    def step() -> float:
        clock[0] += draw(GAP)
        return clock[0]

    record = CallRecord(lambda: clock[0], now, consumer=draw(st.none() | st.just(0.0)))
    record.prepared = step()
    for _ in range(draw(st.integers(0, 2))):
        marks = Marks(lambda: clock[0], step())
        passed = list(MOMENTS[: draw(st.integers(0, len(MOMENTS)))])
        if draw(st.booleans()):  # a connection that was open already
            passed = [one for one in passed if one not in ("connect_started", "connected", "secured")]
        elif draw(st.booleans()) and "secured" in passed:
            passed.remove("secured")
        for moment in passed:
            setattr(marks, moment, step())
        attempt = AttemptRecord("primary", "openai:m", marks, outcome=draw(st.sampled_from(["won", "failed", "lost"])))
        if marks.first_content is not None:
            marks.last_content, marks.gaps = marks.first_content, draw(st.lists(GAP, max_size=5))
        marks.rtt = draw(st.none() | st.floats(0, 10))
        names = st.sampled_from(["prefill", "server_queue"])
        attempt.reported = draw(st.dictionaries(names, st.floats(0, 1e4), max_size=2))
        marks.ended = draw(st.none() | st.just(step()))
        record.attempts.append(attempt)
    opener = record.opener()
    begun = opener is None or opener.marks.first_content is not None
    if begun and draw(st.booleans()):  # a handler returns with its first content, or with an answer from a cache
        record.returned = clock[0]
        record.decode = draw(GAP)
        clock[0] += record.decode
        if record.consumer is not None:
            record.consumer = draw(GAP)
            clock[0] += record.consumer
    record.ended = step()
    return record


@settings(max_examples=200, deadline=None)
@given(calls(), st.none() | st.integers(0, 1000))
def test_timings_add_up_for_every_call(record: CallRecord, tokens: int | None) -> None:
    """Whatever happened and whatever the provider reported, no part is negative and their sum is the total."""
    record.output_tokens = tokens
    timings = record.timings()
    assert timings.total == pytest.approx(record.ended - record.started)
    assert sum(timings.parts().values()) == pytest.approx(timings.total, rel=1e-9, abs=1e-6)
    assert adds_up_loosely(timings)
    assert all(adds_up_loosely(attempt.finished().timings) for attempt in record.attempts)
    assert str(timings)


def adds_up_loosely(timings: fc.Timings) -> bool:
    """As `adds_up`, for clocks far from zero, where a float has no microseconds left."""
    parts = timings.parts()
    assert sum(parts.values()) == pytest.approx(timings.total, rel=1e-9, abs=1e-6)
    assert all(value >= 0 for value in parts.values()), parts
    known = [f.name for f in dataclasses.fields(timings) if f.name not in ("basis", "reused")]
    return set(timings.basis) == {name for name in known if getattr(timings, name) is not None}


# percentiles


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=300), st.floats(0, 1))
def test_percentiles_are_within_one_percent(values: list[float], share: float) -> None:
    """For any values and any share the sketch is within 1 % of the nearest-rank percentile."""
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    assert sketch.percentile(share) == pytest.approx(exact, rel=0.0101)
    assert sketch.count == len(values)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e4), max_size=50), st.lists(st.floats(0, 1e4), max_size=50))
def test_merging_is_adding(one: list[float], other: list[float]) -> None:
    """Two merged sketches say what one sketch of all values says; an empty one says nothing."""
    left, right, both = Sketch(), Sketch(), Sketch()
    for sketch, values in ((left, one), (right, other), (both, one + other)):
        for value in values:
            sketch.add(value)
    left.merge(right)
    for share in (0.0, 0.5, 0.99, 1.0):
        assert left.percentile(share) == both.percentile(share)
    assert (left.percentile(0.5) is None) == (not one and not other)


async def test_warming_a_broken_wire_is_reported() -> None:
    """Whatever a wire raises, `warm` names its class; no exception and no group of them comes out."""

    class Broken:
        async def send(self, *_: Any) -> Any:
            raise OSError("no network today")

        async def aclose(self) -> None:
            pass

    async with fc.AsyncClient("openai:m", wire=Broken()) as made:
        warmed = await made.warm(connections=3)
    assert (warmed.ready, warmed.error) == (0, "OSError")


def test_a_dropped_client_ends_at_once() -> None:
    """No lever ties a client into a knot: dropped, it is gone with its connections, without a collection."""
    policy = fc.Policy(hedge=fc.Hedge(), limits=fc.Limits(), route=fc.Route(recover="restart"))
    gc.disable()
    try:
        client = fc.AsyncClient("openai:m", wire=FakeProvider("Hello"), policy=policy)
        assert asyncio.run(client.chat("Hi")).text == "Hello"
        core = weakref.ref(client._core)
        del client
        assert core() is None
    finally:
        gc.enable()
