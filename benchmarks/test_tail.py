"""What the tail layers cost a call that needs none of them, and what the hedging policy costs by itself.

`pytest benchmarks/test_tail.py --benchmark-only`. The layers are measured around a handler that answers at once, on one
event loop, next to the bare handler in the same group; the policy by the request, with a refit every 32 samples in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from fastclient.config import Hedge, Limits, Policy
from fastclient.engine.stack import Handler, stack
from fastclient.engine.stream import Stream
from fastclient.observe.timing import CallRecord
from fastclient.tail.hedge import Hedging
from fastclient.tail.latency import Latency
from fastclient.tail.layers import layers
from fastclient.tail.upstream import Upstreams
from fastclient.target import Target
from fastclient.types import Call, Chunk, Request

TARGET = Target("openai:m", base_url="http://127.0.0.1:1/v1")
REQUEST = Request(messages=({"role": "user", "content": "Say something."},))
BATCH = (Chunk(text="word"),)
CALLS = 200


class OneBatch(Stream):
    """An answer of one batch."""

    def __init__(self) -> None:
        self._ahead: Sequence[Chunk] = BATCH

    async def pull(self) -> Sequence[Chunk]:
        ahead, self._ahead = self._ahead, ()
        return ahead

    async def aclose(self) -> None:
        pass


async def answered(call: Call) -> Stream:
    """The bare handler: it waits for the loop once, as any that uses the network would."""
    await asyncio.sleep(0)
    return OneBatch()


STACKS = {
    "bare": None,
    "retry": Policy(),
    "retry, hedge": Policy(hedge=Hedge(budget=0.02)),
    "retry, hedge, limits": Policy(hedge=Hedge(budget=0.02), limits=Limits()),
}


@pytest.mark.benchmark(group="tail layers around an instant answer, 200 calls")
@pytest.mark.parametrize("name", STACKS)
def test_layers(benchmark: Any, name: str) -> None:
    policy = STACKS[name]
    loop = asyncio.new_event_loop()
    upstreams = Upstreams(None)
    handler: Handler = answered

    async def calls(count: int) -> None:
        for _ in range(count):
            record = CallRecord(loop.time, loop.time())
            call = Call(id="x", request=REQUEST, target=TARGET, deadline=loop.time() + 60, record=record, tokens=8)
            stream = await handler(call)
            while await stream.pull():
                pass
            await stream.aclose()

    try:
        if policy is not None:
            handler = stack(*layers(policy, upstreams, lambda target: target), around=answered)
        loop.run_until_complete(calls(200))  # enough to set timers from here on
        benchmark.pedantic(lambda: loop.run_until_complete(calls(CALLS)), rounds=20, warmup_rounds=2)
    finally:
        loop.close()


@pytest.fixture
def samples() -> list[float]:
    """Times to the first token with a tail, in seconds."""
    rng = Random(7)
    return [0.45 * rng.lognormvariate(0, 0.5) * (8 if rng.random() < 0.02 else 1) for _ in range(20_000)]


@pytest.mark.benchmark(group="policy, 20,000 requests")
def test_policy(benchmark: Any, samples: list[float]) -> None:
    def run() -> None:
        latency = Latency()
        hedging = Hedging(0.02, latency)
        now = 0.0
        for seconds in samples:
            ticket = hedging.start(now, tokens=300)
            now += 0.05
            hedging.first_content(ticket, now)
            latency.observe(300, seconds, now)

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="refit")
def test_refit(benchmark: Any, samples: list[float]) -> None:
    latency = Latency()
    for number, seconds in enumerate(samples):
        latency.observe(300, seconds, number * 0.05)
    hedging = Hedging(0.02, latency)

    def refit() -> None:
        latency._refit()
        hedging._retune()

    benchmark(refit)
