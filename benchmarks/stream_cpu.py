"""Processor time per chunk of a long streamed answer that arrives in one burst: ours, httpx by hand, the openai SDK.

By hand means httpx's lines and `json.loads`, and nothing else. All read the same answer from one server, a process of
its own, and take turns, so that all meet the same machine; the ratios to `by hand` are the figures to read. The time
includes the request, and for our blocking client the engine's thread. One piece in `--every` (20) holds a line break,
as answers do. `--tokens` per answer (1000), `--turns` (15), `--policy` plain or recommended, `--wire` of ours (direct).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from statistics import median

import httpx
import openai
from openai.types.chat import ChatCompletionMessageParam

import fastclient as fc
from fastclient.testing import Answer, ProviderServer

ASKED = "Write a long answer."
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": ASKED}]
BODY = {"model": "m", "messages": MESSAGES, "stream": True}
BY_HAND = ("httpx by hand", "httpx by hand, blocking")

Readers = dict[str, Callable[[], Awaitable[int]]]


def text_of(line: str) -> str:
    """The text in one line of the body, if there is some."""
    if not line.startswith("data: ") or line == "data: [DONE]":
        return ""
    choices = json.loads(line[6:])["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


def readers(url: str, policy: fc.Policy, wire: str) -> Readers:
    """By name, what reads one answer and returns how many pieces of text it saw."""
    ours = fc.AsyncClient("openai:m", base_url=url, api_key="none", policy=policy, wire=wire)
    blocking = fc.Client("openai:m", base_url=url, api_key="none", policy=policy, wire=wire)
    hand, blocking_hand = httpx.AsyncClient(), httpx.Client()
    sdk = openai.AsyncOpenAI(base_url=url, api_key="none")
    blocking_sdk = openai.OpenAI(base_url=url, api_key="none")
    path = f"{url}/chat/completions"

    async def read_ours() -> int:
        return sum([1 async for chunk in ours.stream(ASKED, cache="off") if chunk.text])

    async def read_ours_blocking() -> int:
        return sum(1 for chunk in blocking.stream(ASKED, cache="off") if chunk.text)

    async def read_by_hand() -> int:
        async with hand.stream("POST", path, json=BODY) as response:
            return sum([1 async for line in response.aiter_lines() if text_of(line)])

    async def read_by_hand_blocking() -> int:
        with blocking_hand.stream("POST", path, json=BODY) as response:
            return sum(1 for line in response.iter_lines() if text_of(line))

    async def read_sdk() -> int:
        stream = await sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return sum([1 async for chunk in stream if chunk.choices and chunk.choices[0].delta.content])

    async def read_sdk_blocking() -> int:
        stream = blocking_sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return sum(1 for chunk in stream if chunk.choices and chunk.choices[0].delta.content)

    return {
        "ours": read_ours,
        BY_HAND[0]: read_by_hand,
        "openai": read_sdk,
        "ours, blocking": read_ours_blocking,
        BY_HAND[1]: read_by_hand_blocking,
        "openai, blocking": read_sdk_blocking,
    }


async def measured(reading: Readers, turns: int, tokens: int) -> dict[str, float]:
    """Microseconds per chunk, the median over the turns."""
    spent: dict[str, list[float]] = {name: [] for name in reading}
    for turn in range(turns + 1):
        for name, read in reading.items():
            began = time.process_time()
            seen = await read()
            if seen != tokens:
                raise SystemExit(f"{name} saw {seen} pieces of {tokens}")
            if turn:  # the first one opens connections
                spent[name].append((time.process_time() - began) / tokens * 1e6)
    return {name: median(took) for name, took in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--every", type=int, default=20, help="one piece in so many holds a line break; 0: none does")
    parser.add_argument("--policy", choices=("plain", "recommended"), default="plain")
    parser.add_argument("--wire", default="direct")
    asked = parser.parse_args()
    policy = fc.Policy() if asked.policy == "plain" else fc.Policy.recommended()
    pieces = tuple("\n\nso" if asked.every and at % asked.every == 7 else "word " for at in range(asked.tokens))
    with ProviderServer(process=True, answer=Answer(pieces=pieces)) as server:
        took = asyncio.run(measured(readers(server.base_url, policy, asked.wire), asked.turns, asked.tokens))
    print(f"{'':24}{'us per chunk':>14}{'by hand = 1':>14}")
    for name, value in took.items():
        print(f"{name:24}{value:14.2f}{value / took[BY_HAND['blocking' in name]]:14.2f}")


if __name__ == "__main__":
    main()
