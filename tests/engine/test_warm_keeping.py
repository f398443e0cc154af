"""Keeping warm: when something is sent, what traffic saves, what bounds it, and where it ends."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastclient as fc
from fastclient.keep_warm import Allowance, Rhythm
from fastclient.testing import Answer, FakeProvider, ProviderServer, Wait
from fastclient.testing.script import Finish
from fastclient.wire.port import WireRequest
from tests.engine.virtual import virtual_backend

anyio_backend = virtual_backend

LONG = "Everything there is to know about pumps. " * 30


class Line(FakeProvider):
    """Notes when it is pinged; `works` says whether such a request gets through."""

    def __init__(self, *script: Any, works: Callable[[int], bool] = lambda _: True) -> None:
        super().__init__(*script)
        self.pings: list[float] = []
        self.works = works

    async def send(self, request: WireRequest, *args: Any) -> Any:
        if request.method == "GET":
            self.pings.append(anyio.current_time())
            if not self.works(len(self.pings)):
                raise OSError("the line is dead")
        return await super().send(request, *args)

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in pairwise(self.pings)]


def client(wire: Line, **policy: Any) -> fc.AsyncClient:
    return fc.AsyncClient("openai:m", wire=wire, policy=fc.Policy(**{"retry": None, **policy}))


# --- when -------------------------------------------------------------------------------------------------------------


async def test_a_ping_now_and_one_each_interval() -> None:
    """The first opens the connection at once, the others follow about every so many seconds, not in step."""
    line = Line()
    async with client(line) as made, made.keep_warm(30) as keeper:
        await anyio.sleep(3600)
        assert len(line.pings) == keeper.pings and 95 < keeper.pings < 155
        assert all(24 <= pause <= 36.1 for pause in line.pauses) and len(set(line.pauses)) > 50
        assert (keeper.errors, keeper.ended, made.stats().calls) == (0, None, 0)


async def test_what_calls_keep_warm_is_left_alone() -> None:
    """As long as there is a call in each interval nothing is sent; afterwards it goes on."""
    line = Line()
    async with client(line) as made, made.keep_warm(40) as keeper:
        for _ in range(300):
            await anyio.sleep(25)
            await made.chat("Hi")
        assert keeper.pings == 1
        await anyio.sleep(600)
        assert 12 < keeper.pings < 21


async def test_a_call_under_way_uses_its_connection() -> None:
    """A connection that carries a long answer needs no ping; of three, the other two do."""
    slow = (Wait(1000), Finish())
    one, three = Line(slow), Line(slow)
    policy = {"timeouts": fc.Timeouts(total=1e6, first_token=1e6, liveness=1e6)}
    async with client(one, **policy) as first, client(three, **policy) as second, anyio.create_task_group() as tasks:
        for made in (first, second):
            tasks.start_soon(made.chat, "Hi")
        await anyio.sleep(1)
        with first.keep_warm(50), second.keep_warm(50, connections=3):
            await anyio.sleep(900)
        assert one.pings == []
        assert len(set(three.pings)) * 2 == len(three.pings) > 25


async def test_several_connections_are_used_at_the_same_time() -> None:
    """One after the other, all pings would use the same connection."""
    line = Line()
    async with client(line) as made, made.keep_warm(10, connections=4):
        await anyio.sleep(100)
    assert len(line.pings) == 4 * len(set(line.pings)) and len(set(line.pings)) > 7


async def test_cached_answers_warm_nothing() -> None:
    """A call that sends nothing is no reason to leave the ping out."""
    line = Line("Hello")
    async with client(line, cache=fc.Cache(ttl=1e6)) as made:
        await made.chat("Hi")
        with made.keep_warm(20):
            for _ in range(100):
                await anyio.sleep(5)
                assert (await made.chat("Hi")).cache.state == "hit"
    assert 19 < len(line.pings) < 33


async def test_after_failures_the_pauses_grow() -> None:
    """Each failure in a row doubles the pause, up to 32 intervals; the first success puts an end to that."""
    line = Line(works=lambda number: number > 8)
    async with client(line) as made, made.keep_warm(10) as keeper:
        await anyio.sleep(3000)
        assert keeper.errors == 8 and keeper.pings > 30
    for number, pause in enumerate(line.pauses, 1):
        steps = min(2**number, 32) if number <= 8 else 1
        assert 0.8 * steps * 10 <= pause <= 1.2 * steps * 10 + 0.1


@given(every=st.floats(1, 1e5), chance=st.floats(0, 1), moves=st.lists(st.booleans(), max_size=60))
def test_a_rhythm_never_rests_and_never_rushes(every: float, chance: float, moves: list[bool]) -> None:
    """Whatever happens, what comes next is due after 0.8 intervals at the earliest, and 1.2 times 32 at the latest."""
    rhythm = Rhythm(every, 100.0, lambda: chance)
    assert rhythm.due == 100.0
    now = 100.0
    for good in moves:
        (rhythm.used if good else rhythm.failed)(now)
        longest = 1.2 if good else 1.2 * 32
        assert 0.79 * every <= rhythm.due - now <= (longest + 0.01) * every
        now = rhythm.due


# --- a prompt ---------------------------------------------------------------------------------------------------------


async def test_a_prompt_is_read_again_before_it_is_forgotten() -> None:
    """At its own pace, with as good as no answer; what the provider counted is told."""
    line = Line()
    async with client(line) as made, made.keep_warm(60, prompt=LONG, prompt_every=240, temperature=0.5) as keeper:
        await anyio.sleep(3600)
        times = [exchange.started for exchange in line.exchanges]
        assert 12 < len(times) == keeper.prompts < 20
        assert all(190 <= after - before <= 290 for before, after in pairwise(times))
        assert all(request.json["temperature"] == 0.5 for request in line.requests)
        assert keeper.tokens == sum(request.input_tokens for request in line.requests)


async def test_a_prompt_has_so_many_tokens_a_day() -> None:
    """When they are spent, connections are still kept; the next day has as many again."""
    line = Line()
    async with client(line) as made:
        size = made.count(LONG).n
        with made.keep_warm(600, prompt=LONG, prompt_every=600, daily_tokens=10 * size, for_=1e6) as keeper:
            await anyio.sleep(80_000)
            today = keeper.prompts
            assert 5 <= today <= 12 and keeper.tokens <= 10 * size * 1.2 and keeper.pings > 50
            await anyio.sleep(80_000)
            assert 5 <= keeper.prompts - today <= 12


@given(daily=st.integers(1, 1000), asked=st.lists(st.tuples(st.integers(1, 300), st.floats(0, 5000)), max_size=200))
def test_an_allowance_is_never_exceeded(daily: int, asked: list[tuple[int, float]]) -> None:
    """Of whatever is asked for, what was allowed adds up to no more than a day's tokens in any day."""
    allowance, now = Allowance(daily, 0.0), 0.0
    spent: dict[int, int] = {}
    for tokens, pause in asked:
        now += pause
        if allowance.allows(tokens, now):
            allowance.spend(tokens)
            spent[int(now // 86_400)] = spent.get(int(now // 86_400), 0) + tokens
        else:
            assert spent.get(int(now // 86_400), 0) + tokens > daily
    assert all(total <= daily for total in spent.values())


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound, ended", [({"most": 7}, "most"), ({"for_": 100}, "time")])
async def test_it_is_bounded(bound: dict[str, Any], ended: str) -> None:
    """After so many requests, or so many seconds, no more are sent."""
    line = Line()
    async with client(line) as made:
        keeper = made.keep_warm(10, connections=2, **bound)
        await anyio.sleep(10_000)
        assert keeper.ended == ended and keeper.pings == len(line.pings)
    assert len(line.pings) == 7 if ended == "most" else 14 < len(line.pings) <= 26


async def test_a_forgotten_one_ends_after_a_day() -> None:
    """Nobody holds the keeper, and nobody calls."""
    line = Line()
    async with client(line) as made:
        made.keep_warm(600)
        await anyio.sleep(86_400 * 3)
    assert 100 < len(line.pings) < 200


async def test_it_ends_with_the_client() -> None:
    """A closed client sends nothing more, and a keeper cannot be had of it."""
    line = Line()
    async with client(line) as made:
        keeper = made.keep_warm(10)
        await anyio.sleep(100)
    sent = len(line.pings)
    await anyio.sleep(100)
    assert (keeper.ended, len(line.pings)) == ("closed", sent)
    with pytest.raises(fc.ConfigError, match="closed"):
        made.keep_warm(10)


async def test_a_dropped_client_is_gone() -> None:
    """Keeping it warm keeps it no longer than its owner does."""
    line = Line()
    made = client(line)
    keeper = made.keep_warm(10)
    await anyio.sleep(25)
    core = weakref.ref(made._core)
    gc.disable()
    try:
        del made
        assert core() is None
    finally:
        gc.enable()
    sent = len(line.pings)
    await anyio.sleep(100)
    assert (keeper.ended, len(line.pings)) == ("closed", sent)


@pytest.mark.parametrize("rest", [0, 25])
async def test_it_can_be_stopped(rest: int) -> None:
    """By a word or by the end of its block, also before it has begun."""
    line = Line()
    async with client(line) as made:
        with made.keep_warm(10) as keeper:
            if rest:
                await anyio.sleep(rest)
        sent = len(line.pings)
        await anyio.sleep(100)
        assert (keeper.ended, len(line.pings), sent > 0) == ("stopped", sent, rest > 0)


async def test_a_stop_gives_up_what_is_under_way() -> None:
    """A ping that hangs does not hold it."""

    class Hanging(Line):
        async def send(self, *args: Any) -> Any:
            await anyio.sleep_forever()

    async with client(Hanging()) as made, made.keep_warm(10) as keeper:
        await anyio.sleep(1)
        keeper.stop()
        await anyio.sleep(1)
        assert (keeper.pings, keeper.errors) == (1, 0)


@pytest.mark.parametrize(
    "name, value", [("every", 0.5), ("connections", 0), ("prompt_every", -1), ("daily_tokens", 0), ("most", 0)]
)
async def test_what_cannot_be_is_an_error(name: str, value: Any) -> None:
    """It is told off before anything is sent."""
    line = Line()
    async with client(line) as made:
        with pytest.raises(fc.ConfigError, match=name):
            made.keep_warm(**{name: value})
    assert not line.pings


def test_an_async_client_needs_its_event_loop() -> None:
    """Without one there is no place to do it; that is said at once."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        client(Line()).keep_warm()


# --- over sockets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(answer=Answer("Hello")) as running:
        yield running


def test_threads_keep_their_connections(server: ProviderServer) -> None:
    """In real time: as many connections as were asked for, pinged again and again, and used by the next call."""
    threads = threading.active_count()  # of whatever ran before
    with fc.Client("openai:m", base_url=server.base_url, wire="direct") as made:
        with made.keep_warm(1, connections=3) as keeper:
            until = time.monotonic() + 20
            while keeper.pings < 9 and time.monotonic() < until:
                time.sleep(0.02)
        assert keeper.pings >= 9 and keeper.errors == 0
        assert (server.counters.connections, server.counters.accepted) == (3, 0)
        assert made.chat("Hi").timings.reused
    assert threading.active_count() <= threads + 3


def test_it_does_not_keep_the_process_alive(server: ProviderServer) -> None:
    """An interpreter with a keeper at work ends when its program does."""
    code = (
        "import fastclient as fc, time\n"
        f"made = fc.Client('openai:m', base_url={server.base_url!r})\n"
        "keeper = made.keep_warm(1)\nmade.chat('Hi')\nprint(keeper.ended)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=os.environ)
    assert (done.stdout, done.stderr, done.returncode) == ("None\n", "", 0)
