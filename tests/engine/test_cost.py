"""What a call costs its process, guarded without a clock that others can disturb.

Function calls, of Python's and of C's, are counted by the profiler: the same work makes the same number on any machine,
busy or not. Processor time is compared with that of a bare socket loop in the same process, the two taking turns; the
best turn of each counts, and the bound is twice what was measured.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import pstats
import time
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import orjson
import pytest

import fastclient as fc
from fastclient.testing import Answer, ProviderServer

WORDS = 8  # of an answer; the server makes an event of each, and some around them
CALLS = 50
LONG = 1000

POLICIES = {"plain": fc.Policy(), "recommended": fc.Policy.recommended()}

Ask = Callable[[fc.AsyncClient, int], Awaitable[object]]


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A process of its own, so that nothing of it is counted."""
    with ProviderServer(process=True, answer=Answer("word " * WORDS)) as server:
        yield server


@pytest.fixture(scope="module")
def long_server() -> Iterator[ProviderServer]:
    with ProviderServer(process=True, answer=Answer("word " * LONG)) as server:
        yield server


async def whole(client: fc.AsyncClient, number: int) -> None:
    await client.chat(f"Question {number}")


async def streamed(client: fc.AsyncClient, number: int) -> None:
    async with client.stream(f"Question {number}") as stream:
        async for _ in stream:
            pass


def counted(url: str, policy: fc.Policy, ask: Ask, calls: int = CALLS) -> float:
    """Function calls for one call of a client that is warm."""

    async def main() -> float:
        async with fc.AsyncClient("openai:m", base_url=url, policy=policy) as client:
            for number in range(70):  # so many until hedging knows what is late
                await ask(client, -number - 1)
            profile = cProfile.Profile()
            with profile:
                for number in range(calls):
                    await ask(client, number)
        return float(pstats.Stats(profile).total_calls) / calls  # type: ignore[attr-defined]

    with asyncio.Runner() as runner:
        return runner.run(main())


@pytest.mark.parametrize("policy, most", [("plain", 530), ("recommended", 920)])
def test_a_call_makes_few_function_calls(server: ProviderServer, policy: str, most: int) -> None:
    """A change that makes every call dearer is seen here, on the busiest machine too."""
    assert counted(server.base_url, POLICIES[policy], whole) < most


@pytest.mark.parametrize("policy, most", [("plain", 10.2), ("recommended", 12)])
def test_a_chunk_makes_few_function_calls(long_server: ProviderServer, policy: str, most: int) -> None:
    """Of a stream that arrives in bursts."""
    assert counted(long_server.base_url, POLICIES[policy], streamed, 5) / LONG < most


def test_a_hit_makes_few_function_calls(server: ProviderServer) -> None:
    """An answer from memory is far cheaper than one from the network."""

    async def again(client: fc.AsyncClient, number: int) -> None:
        await client.chat("The same question")

    assert counted(server.base_url, POLICIES["recommended"], again) < 140


@pytest.mark.parametrize("policy, most", [("plain", 6.0), ("recommended", 10.0)])
def test_a_call_costs_a_few_times_a_bare_socket(server: ProviderServer, policy: str, most: float) -> None:
    """Processor time, beside that of a loop that knows one request by heart and parses each event with orjson."""

    async def main() -> float:
        bare: list[float] = []
        ours: list[float] = []
        loop = asyncio.get_running_loop()
        async with fc.AsyncClient("openai:m", base_url=server.base_url, policy=POLICIES[policy]) as client:
            by_heart = await Bare.connected(loop, server.base_url)
            gc.collect()
            for turn in range(12):
                began = time.process_time()
                for _ in range(CALLS):
                    await by_heart.ask()
                bare.append(time.process_time() - began)
                began = time.process_time()
                for number in range(CALLS):
                    await whole(client, turn * CALLS + number)
                ours.append(time.process_time() - began)
            by_heart.close()
        return min(ours[2:]) / min(bare[2:])

    with asyncio.Runner() as runner:
        assert runner.run(main()) < most


class Bare:
    """The least a client can do: send bytes that are ready, read to the end, parse what came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: object, request: bytes) -> None:
        self._loop = loop
        self._socket = sock
        self._request = request

    @classmethod
    async def connected(cls, loop: asyncio.AbstractEventLoop, url: str) -> Bare:
        import socket

        place = urlsplit(url)
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (place.hostname, place.port))
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True})
        head = f"POST {place.path}/chat/completions HTTP/1.1\r\nhost: {place.netloc}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return cls(loop, sock, head.encode() + body)

    async def ask(self) -> None:
        await self._loop.sock_sendall(self._socket, self._request)  # type: ignore[arg-type]
        got = b""
        while b"[DONE]" not in got or not got.endswith(b"0\r\n\r\n"):
            got += await self._loop.sock_recv(self._socket, 65536)  # type: ignore[arg-type]
        for event in got.split(b"\n\n"):
            at = event.find(b"data: {")
            if at >= 0:
                orjson.loads(event[at + 6 :])

    def close(self) -> None:
        self._socket.close()  # type: ignore[attr-defined]
