"""What a client adds to a call, on loopback, against an answer that is there at once: per call and per chunk.

Every peer asks for the same streamed answer over a kept connection and puts its text together. `httpx` and `httpx2` are
used by hand, with a line parser and `json`, as someone without an SDK would write it. In each group the ratio to
`httpx2` or to `openai` is the figure to read; the absolute times are this machine's. `pytest benchmarks/test_calls.py
--benchmark-only`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from importlib import import_module
from typing import Any

import pytest

import fastclient as fc

PROMPT = [{"role": "user", "content": "Say something."}]
BODY = {"model": "m", "messages": PROMPT, "stream": True, "stream_options": {"include_usage": True}}

Ask = Callable[[], str]


def lines_to_text(lines: Iterator[str]) -> str:
    """The text of a stream, parsed by hand."""
    pieces = []
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            choices = json.loads(line[6:])["choices"]
            if choices:
                pieces.append(choices[0]["delta"].get("content") or "")
    return "".join(pieces)


def fastclient_blocking(url: str, cleanup: list[Callable[[], object]]) -> Ask:
    client = fc.Client("openai:m", base_url=url, api_key="none")
    cleanup.append(client.close)
    return lambda: client.chat(PROMPT).text


def httpx_blocking(url: str, cleanup: list[Callable[[], object]], family: str = "httpx") -> Ask:
    client = import_module(family).Client(headers={"accept-encoding": "identity"})
    cleanup.append(client.close)

    def ask() -> str:
        with client.stream("POST", f"{url}/chat/completions", json=BODY) as response:
            return lines_to_text(response.iter_lines())

    return ask


def httpx2_blocking(url: str, cleanup: list[Callable[[], object]]) -> Ask:
    return httpx_blocking(url, cleanup, "httpx2")


def openai_blocking(url: str, cleanup: list[Callable[[], object]]) -> Ask:
    import openai

    client = openai.OpenAI(base_url=url, api_key="none")
    cleanup.append(client.close)

    def ask() -> str:
        chunks = client.chat.completions.create(
            model="m", messages=PROMPT, stream=True, stream_options={"include_usage": True}
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    return ask


def _looped(runner: asyncio.Runner, ask: Callable[[], Coroutine[Any, Any, str]]) -> Ask:
    return lambda: runner.run(ask())


def fastclient_async(url: str, cleanup: list[Callable[[], object]]) -> Ask:
    runner = asyncio.Runner()
    client = fc.AsyncClient("openai:m", base_url=url, api_key="none")
    cleanup += [lambda: runner.run(client.aclose()), runner.close]

    async def ask() -> str:
        return (await client.chat(PROMPT)).text

    return _looped(runner, ask)


def httpx_async(url: str, cleanup: list[Callable[[], object]], family: str = "httpx") -> Ask:
    runner = asyncio.Runner()
    client = import_module(family).AsyncClient(headers={"accept-encoding": "identity"})
    cleanup += [lambda: runner.run(client.aclose()), runner.close]

    async def ask() -> str:
        async with client.stream("POST", f"{url}/chat/completions", json=BODY) as response:
            return lines_to_text(iter([line async for line in response.aiter_lines()]))

    return _looped(runner, ask)


def httpx2_async(url: str, cleanup: list[Callable[[], object]]) -> Ask:
    return httpx_async(url, cleanup, "httpx2")


def openai_async(url: str, cleanup: list[Callable[[], object]]) -> Ask:
    import openai

    runner = asyncio.Runner()
    client = openai.AsyncOpenAI(base_url=url, api_key="none")
    cleanup += [lambda: runner.run(client.close()), runner.close]

    async def ask() -> str:
        chunks = await client.chat.completions.create(
            model="m", messages=PROMPT, stream=True, stream_options={"include_usage": True}
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    return _looped(runner, ask)


BLOCKING = (fastclient_blocking, httpx_blocking, httpx2_blocking, openai_blocking)
ASYNC = (fastclient_async, httpx_async, httpx2_async, openai_async)


def _measure(benchmark: Any, peer: Callable[..., Ask], url: str, tokens: int, rounds: int) -> None:
    cleanup: list[Callable[[], object]] = []
    ask = peer(url, cleanup)
    try:
        assert ask() == "word" * tokens
        benchmark.extra_info["tokens"] = tokens
        benchmark.pedantic(ask, rounds=rounds, warmup_rounds=rounds // 10)
    finally:
        for step in cleanup:
            step()


@pytest.mark.parametrize("peer", BLOCKING, ids=lambda peer: peer.__name__)
@pytest.mark.benchmark(group="a call of 16 tokens, blocking")
def test_call_blocking(benchmark: Any, peer: Callable[..., Ask], short_url: str) -> None:
    """A short call from a plain thread."""
    _measure(benchmark, peer, short_url, 16, rounds=300)


@pytest.mark.parametrize("peer", ASYNC, ids=lambda peer: peer.__name__)
@pytest.mark.benchmark(group="a call of 16 tokens, asyncio")
def test_call_async(benchmark: Any, peer: Callable[..., Ask], short_url: str) -> None:
    """A short call from an event loop."""
    _measure(benchmark, peer, short_url, 16, rounds=300)


@pytest.mark.parametrize("peer", BLOCKING, ids=lambda peer: peer.__name__)
@pytest.mark.benchmark(group="an answer of 2,000 chunks, blocking")
def test_chunks_blocking(benchmark: Any, peer: Callable[..., Ask], long_url: str) -> None:
    """The cost of chunks: divide by 2,000."""
    _measure(benchmark, peer, long_url, 2000, rounds=20)


@pytest.mark.parametrize("peer", ASYNC, ids=lambda peer: peer.__name__)
@pytest.mark.benchmark(group="an answer of 2,000 chunks, asyncio")
def test_chunks_async(benchmark: Any, peer: Callable[..., Ask], long_url: str) -> None:
    """The cost of chunks: divide by 2,000."""
    _measure(benchmark, peer, long_url, 2000, rounds=20)
