"""Cancel storms: however many calls are given up at whatever moment, no connection is lost and no answer crossed."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync

import fastclient as fc
from fastclient.testing import ProviderServer, ServerRequest, World
from fastclient.wire.direct.wire import DirectWire

POOL = 10
AT_ONCE = 40
PROBES = 20
WORLD = World(base=0.01, sigma=0.4, gap=0.001, gap_sigma=0.3)
"""A call takes some 10 ms to its first token and 20 ms in all, and as long in line: cancels hit every phase of it."""


@pytest.fixture(params=["httpx2", "httpx", "direct"])
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


def client_for(server: ProviderServer, wire: str, **timeouts: float) -> fc.AsyncClient:
    policy = fc.Policy(limits=fc.Limits(concurrency=POOL), timeouts=fc.Timeouts(**{"total": 30.0, **timeouts}))
    return fc.AsyncClient("openai:m", base_url=server.base_url, wire=wire, policy=policy)


def said(request: ServerRequest) -> str:
    """The answer to a nonce: itself, in several tokens."""
    return f"<{request.text}>" * 3


class Storm:
    """Calls that are given up after a random while, some by `chat`, some in the middle of a stream."""

    def __init__(self, client: fc.AsyncClient, seed: int) -> None:
        self.client, self.rng = client, random.Random(seed)
        self.cancelled = self.finished = 0
        self.crossed: list[str] = []

    async def run(self, calls: int) -> None:
        """All calls, `AT_ONCE` at a time."""
        todo = iter([(number, self.rng.expovariate(1 / 0.1), self.rng.random()) for number in range(calls)])

        async def worker() -> None:
            for number, patience, kind in todo:
                with anyio.move_on_after(patience) as scope:
                    await self._call(f"nonce-{number}-{self.rng.random()}", kind)
                self.cancelled += scope.cancelled_caught
                self.finished += not scope.cancelled_caught

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(worker)

    async def _call(self, nonce: str, kind: float) -> None:
        if kind < 0.5:
            self._check(nonce, (await self.client.chat(nonce)).text, whole=True)
            return
        got, most = "", int(kind * 20) if kind < 0.75 else 1000
        async with self.client.stream(nonce) as stream:
            async for text in stream.text:
                got += text
                most -= 1
                if not most:
                    break
        self._check(nonce, got, whole=most > 0)

    def _check(self, nonce: str, got: str, *, whole: bool) -> None:
        right = f"<{nonce}>" * 3
        if got != right if whole else not right.startswith(got):
            self.crossed.append(f"{nonce} got {got}")


async def probed(client: fc.AsyncClient) -> float:
    """All probes at once; how long they took. Each must be answered, and by its own answer."""
    replies: dict[str, str] = {}

    async def probe(name: str) -> None:
        replies[name] = (await client.chat(name)).text

    start = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for number in range(PROBES):
            tasks.start_soon(probe, f"probe-{number}")
    assert replies == {name: f"<{name}>" * 3 for name in replies}
    assert len(replies) == PROBES
    return time.monotonic() - start


def broken(client: fc.AsyncClient) -> list[Any]:
    """Connections in the library's pools that are neither idle nor closed, and requests still in line."""
    if isinstance(client._core._wire, DirectWire):
        return [one for pool in client._core._wire._pools.values() for one in pool.busy]
    pools = [transport._pool for pool in client._core._wire._pools.values() for transport in pool._transports.values()]
    busy = [one for pool in pools for one in pool.connections if not (one.is_idle() or one.is_closed())]
    return busy + [request for pool in pools for request in pool._requests]


async def settled(server: ProviderServer, client: fc.AsyncClient) -> None:
    """A quarter of a second after the last call nothing may be under way: not at the server, not in the pool.

    httpx lets a request it was told to give up run to its headers; the worlds here send them sooner than that.
    """
    end = time.monotonic() + 0.25
    while time.monotonic() < end and (server.counters.live or broken(client)):
        await anyio.sleep(0.005)
    assert server.counters.live == 0, server.counters
    assert broken(client) == []


async def stormed(wire: str, calls: int, seed: int) -> None:
    """One storm and what must hold after it."""
    with ProviderServer(world=WORLD, answer=said, seed=seed, keep=100) as server:
        async with client_for(server, wire) as client:
            storm = Storm(client, seed)
            await storm.run(calls)
            for _ in range(9):  # on a slow machine patience runs out more often
                if storm.finished <= calls / 50:
                    await storm.run(calls)
            await settled(server, client)
            assert storm.crossed == []
            assert storm.cancelled > calls / 5, "this was no storm"
            assert storm.finished > calls / 50, "nothing got through"
            assert server.counters.open_connections <= POOL
            assert await probed(client) < 1.5
            assert client.stats().in_flight == 0
        assert await run_sync(server.wait_for, lambda counters: counters.open_connections == 0, 0.5)


async def test_a_cancel_storm_costs_no_slot(wire: str) -> None:
    """After 400 random cancels over a pool of 10, nothing is live, nothing is stuck, and 20 calls succeed at once."""
    await stormed(wire, 400, seed=11)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_long_cancel_storm_costs_no_slot(wire: str, seed: int) -> None:
    """The same after 10,000."""
    await stormed(wire, 10_000, seed)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancels_cost_no_slot(wire: str) -> None:
    """`task.cancel()` and `asyncio.timeout` know nothing of shields, and strike in the middle of a clean-up too."""
    rng = random.Random(7)
    with ProviderServer(world=WORLD, answer=said, keep=10) as server:
        async with client_for(server, wire) as client:

            async def one(name: str) -> None:
                stream = client.stream(name)
                async with stream:
                    async for _ in stream.text:
                        pass

            for round_ in range(8):
                makers = [one if rng.random() < 0.5 else client.chat for _ in range(2 * POOL)]
                tasks = [asyncio.create_task(make(f"{round_} {at}")) for at, make in enumerate(makers)]
                await asyncio.sleep(0.01)
                while tasks:
                    await asyncio.sleep(rng.random() * 0.003)
                    tasks.pop(rng.randrange(len(tasks))).cancel()
            await settled(server, client)
            assert await probed(client) < 1.5


async def test_cancels_while_connecting_cost_no_slot(wire: str) -> None:
    """Calls given up within their first milliseconds, when sockets are being opened and requests written."""
    with ProviderServer(world=World(base=0.05), answer=said) as server:
        async with client_for(server, wire) as client:
            rng = random.Random(3)
            for _ in range(8):
                async with anyio.create_task_group() as tasks:
                    for _ in range(POOL):
                        tasks.start_soon(given_up, client, rng.random() * 0.006)
            await settled(server, client)
            assert await probed(client) < 1.5


async def given_up(client: fc.AsyncClient, patience: float) -> None:
    with anyio.move_on_after(patience):
        await client.chat("never mind")


async def test_cancelling_a_whole_group_costs_no_slot(wire: str) -> None:
    """All calls of a task group end together when it is cancelled, in line and on the wire alike."""
    with ProviderServer(world=World(base=0.1), answer=said) as server:
        async with client_for(server, wire) as client:
            for _ in range(3):
                async with anyio.create_task_group() as tasks:
                    for number in range(AT_ONCE):
                        tasks.start_soon(client.chat, f"call {number}")
                    await anyio.sleep(0.03)
                    tasks.cancel_scope.cancel()
            await settled(server, client)
            assert await probed(client) < 1.5


async def test_timeouts_cost_no_slot(wire: str) -> None:
    """Calls that end by their own deadline free their connection as cancelled ones do."""
    with ProviderServer(world=World(base=0.08), answer=said) as server:
        async with client_for(server, wire) as client:

            async def late() -> None:
                with pytest.raises(fc.DeadlineExceeded):
                    await client.chat("too slow", timeout=0.03)

            for _ in range(5):
                async with anyio.create_task_group() as tasks:
                    for _ in range(POOL):
                        tasks.start_soon(late)
            await settled(server, client)
            assert await probed(client) < 1.5
            assert (client.stats().errors, client.stats().cancelled) == (50, 0)


async def test_streams_dropped_in_the_middle_cost_no_slot(wire: str) -> None:
    """A bare `break` out of many streams at once leaves the pool as it was."""
    with ProviderServer(world=World(gap=0.01), answer=said) as server:
        async with client_for(server, wire) as client:

            async def glance(name: str) -> None:
                async for _ in client.stream(name):
                    break

            for round_ in range(2):
                async with anyio.create_task_group() as tasks:
                    for number in range(AT_ONCE):
                        tasks.start_soon(glance, f"glance {round_} {number}")
            await settled(server, client)
            assert await probed(client) < 1.5


async def test_no_answers_are_crossed(wire: str) -> None:
    """Every call gets its own nonce back, whole or as the beginning, while others are cancelled around it."""
    with ProviderServer(world=WORLD, answer=said, seed=5, keep=10) as server:
        async with client_for(server, wire) as client:
            storm = Storm(client, seed=5)
            for _ in range(20):  # on a busy machine few come to their end before they are cancelled
                await storm.run(120)
                if storm.finished > 4:
                    break
    assert storm.crossed == []
    assert storm.finished > 4


def test_no_answers_are_crossed_between_threads(wire: str) -> None:
    """The same for the blocking client: threads leave their streams at random points, and each sees only its own."""
    from concurrent.futures import ThreadPoolExecutor

    def call(number: int) -> bool:
        nonce, rng = f"nonce-{number}", random.Random(number)
        right = f"<{nonce}>" * 3
        if rng.random() < 0.5:
            return client.chat(nonce).text == right
        got, most = "", rng.randint(1, 8)
        with client.stream(nonce) as stream:
            for text in stream.text:
                got += text
                most -= 1
                if not most:
                    break
        return right.startswith(got)

    policy = fc.Policy(limits=fc.Limits(concurrency=POOL))
    with (
        ProviderServer(world=WORLD, answer=said, keep=10) as server,
        fc.Client("openai:m", base_url=server.base_url, wire=wire, policy=policy) as client,
    ):
        with ThreadPoolExecutor(AT_ONCE) as threads:
            assert all(threads.map(call, range(200)))
        assert server.wait_for(lambda counters: counters.live == 0 and not broken(client), 0.25)
