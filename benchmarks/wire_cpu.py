"""What a call costs on the wire: processor time of ours and of the httpx family, side by side in one run.

Each wire sends the same request and reads a streamed answer of 16 tokens to its end, one call at a time and 64 at once.
The server is a process of its own; the wires take turns, some calls at a time, so that all meet the same machine. The
ratios to `httpx2` are the figures to read. `--calls` per turn (64), `--turns` (20), `--loop` asyncio, uvloop or trio.
`--per-event` has the server write every event by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from statistics import median
from typing import Any

import anyio

import fastclient as fc
from fastclient.config import Timeouts
from fastclient.core import wire_for
from fastclient.engine.clock import running_clock
from fastclient.observe.timing import Marks
from fastclient.testing import Answer, ProviderServer
from fastclient.wire.port import Wire, WireRequest

WIRES = ("httpx2", "httpx", "direct")
AT_ONCE = (1, 64)
BODY = b'{"model":"m","messages":[{"role":"user","content":"Say something."}],"stream":true}'
HEADERS = {
    "accept": "text/event-stream",
    "accept-encoding": "identity",
    "authorization": "Bearer none",
    "cache-control": "no-cache",
    "content-type": "application/json",
    "user-agent": "fastclient/0",
}

Spent = dict[tuple[int, str], list[float]]


async def one(wire: Wire, request: WireRequest, timeouts: Timeouts) -> None:
    clock = running_clock()
    response = await wire.send(request, timeouts, Marks(clock, clock()))
    try:
        while await response.read():
            pass
    finally:
        await response.aclose()


async def turn(wire: Wire, request: WireRequest, calls: int, at_once: int) -> float:
    """Processor seconds per call."""
    timeouts = Timeouts()

    async def worker() -> None:
        for _ in range(calls // at_once):
            await one(wire, request, timeouts)

    began = time.process_time()
    if at_once == 1:
        await worker()
    else:
        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(worker)
    return (time.process_time() - began) / calls


async def measured(url: str, turns: int, calls: int) -> Spent:
    request = WireRequest(method="POST", url=f"{url}/chat/completions", headers=HEADERS, body=BODY)
    wires = {name: wire_for(name, fc.Policy()) for name in WIRES}
    spent: Spent = {}
    for at_once in AT_ONCE:
        for number in range(turns + 1):
            for name, wire in wires.items():
                took = await turn(wire, request, calls, at_once)
                if number:  # the first turn opens connections
                    spent.setdefault((at_once, name), []).append(took)
    for wire in wires.values():
        await wire.aclose()
    return spent


def run(loop: str, work: Callable[[], Coroutine[Any, Any, Spent]]) -> Spent:
    if loop == "trio":
        return anyio.run(work, backend="trio")
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--calls", type=int, default=64)
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "trio"), default="asyncio")
    parser.add_argument("--per-event", action="store_true")
    options = parser.parse_args()
    gc.freeze()
    with ProviderServer(process=True, answer=Answer("word" * 16), per_event=options.per_event) as server:
        spent = run(options.loop, lambda: measured(server.base_url, options.turns, options.calls))
    print(f"{'processor time per call, ' + options.loop:36}{'us':>8}{'ratio':>8}")
    for (at_once, name), times in spent.items():
        middle, base = median(times), median(spent[at_once, "httpx2"])
        print(f"{f'{at_once} at a time, {name}':36}{middle * 1e6:8.0f}{middle / base:8.2f}")


if __name__ == "__main__":
    main()
