"""What our transport costs under the openai SDK: processor time per call, against the bare SDK in the same run.

The server is a process of its own; both clients take turns, some calls at a time, so that both meet the same machine.
`--calls` per turn (30) and `--turns` (20).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from openai import AsyncOpenAI, OpenAI

import fastclient as fc
from fastclient.testing import ProviderServer

ANSWER = "word " * 64
POLICIES: dict[str, Callable[[], fc.Policy] | None] = {
    "bare SDK": None,
    "Policy()": fc.Policy,
    "recommended()": fc.Policy.recommended,
}


def messages(number: int) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be brief. " * 40}, {"role": "user", "content": f"Question {number}?"}]


class Counting:
    def __init__(self) -> None:
        self.number = 0

    def next(self) -> dict[str, Any]:
        self.number += 1
        return {"model": "m", "messages": messages(self.number)}


def blocking(client: OpenAI, ask: Counting, calls: int, stream: bool) -> float:
    began = time.process_time()
    for _ in range(calls):
        answer = client.chat.completions.create(**ask.next(), stream=stream)
        if stream:
            for _chunk in answer:
                pass
    return (time.process_time() - began) / calls


async def on_loop(client: AsyncOpenAI, ask: Counting, calls: int, stream: bool) -> float:
    began = time.process_time()
    for _ in range(calls):
        answer = await client.chat.completions.create(**ask.next(), stream=stream)
        if stream:
            async for _chunk in answer:
                pass
    return (time.process_time() - began) / calls


def in_threads(url: str, turns: int, calls: int, stream: bool) -> dict[str, float]:
    ask = Counting()
    clients = {}
    for name, policy in POLICIES.items():
        http = None if policy is None else fc.http_client(policy())
        clients[name] = OpenAI(base_url=url, api_key="any", http_client=http)
        blocking(clients[name], ask, 5, stream)
    spent: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(turns):
        for name, client in clients.items():
            spent[name].append(blocking(client, ask, calls, stream))
    for client in clients.values():
        client.close()
    return {name: median(times) for name, times in spent.items()}


async def in_tasks(url: str, turns: int, calls: int, stream: bool) -> dict[str, float]:
    ask = Counting()
    clients = {}
    for name, policy in POLICIES.items():
        http = None if policy is None else fc.async_http_client(policy())
        clients[name] = AsyncOpenAI(base_url=url, api_key="any", http_client=http)
        await on_loop(clients[name], ask, 5, stream)
    spent: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(turns):
        for name, client in clients.items():
            spent[name].append(await on_loop(client, ask, calls, stream))
    for client in clients.values():
        await client.close()
    return {name: median(times) for name, times in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--calls", type=int, default=30)
    options = parser.parse_args()
    print(f"{'processor time per call':32}{'us':>9}{'ratio':>8}")
    with ProviderServer(process=True, answer=ANSWER) as server:
        for stream in (False, True):
            for kind, run in (("threads", in_threads), ("asyncio", in_tasks)):
                found: Any = run(server.base_url, options.turns, options.calls, stream)
                if isinstance(found, Awaitable):
                    found = asyncio.run(found)  # type: ignore[arg-type]
                for name, seconds in found.items():
                    title = f"{kind}, {'stream' if stream else 'whole'}, {name}"
                    print(f"{title:32}{seconds * 1e6:9.0f}{seconds / found['bare SDK']:8.2f}")


if __name__ == "__main__":
    main()
