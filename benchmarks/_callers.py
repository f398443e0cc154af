"""Who makes the calls of `hedge_live.py`: this package on either event loop and in threads, and hedge-python.

Each asks, reads the answer to its end, and returns the moment its first content was in the caller's hands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Literal, Protocol

import httpx
import orjson

import fastclient as fc

__all__ = ["BUDGETS", "Caller", "Setting", "settings"]


class Caller(Protocol):
    """On an event loop both are awaited, in threads not."""

    def ask(self, prompt: str) -> Any: ...

    def close(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `needs` is a module that may be missing."""

    open: Callable[[str], Caller]
    home: Literal["asyncio", "trio", "threads"] = "asyncio"
    needs: str = "fastclient"


BUDGETS = {"2 %": 0.02, "5 %": 0.05, "10 %": 0.10, "5 %, trio": 0.05, "5 %, threads": 0.05}
"""The settings of this package, and what their copies may cost."""


def settings(rate: float) -> dict[str, Setting]:
    """By name; `rate` is how many calls per second one rival is told to expect."""
    rival = partial(HedgePython, budget_percent=5.0, estimated_rps=rate)
    return {
        "no copies": Setting(Looped),
        **{name: Setting(partial(Looped, budget=budget)) for name, budget in BUDGETS.items()},
        "5 %, trio": Setting(partial(Looped, budget=0.05), "trio"),
        "5 %, threads": Setting(partial(Blocking, budget=0.05), "threads"),
        "hedge-python, defaults": Setting(HedgePython, needs="hedge"),
        "hedge-python, 5 %, true rate": Setting(rival, needs="hedge"),
    }


def _policy(budget: float) -> fc.Policy:
    return fc.Policy(hedge=fc.Hedge(budget=budget) if budget else None)


class Looped:
    """fastclient on an event loop."""

    def __init__(self, url: str, budget: float = 0.0) -> None:
        self._client = fc.AsyncClient("openai:m", base_url=url, policy=_policy(budget))

    async def ask(self, prompt: str) -> float:
        async with self._client.stream(prompt) as stream:
            return await _read(stream.text)

    async def close(self) -> None:
        await self._client.aclose()


class Blocking:
    """fastclient in plain threads."""

    def __init__(self, url: str, budget: float = 0.0) -> None:
        self._client = fc.Client("openai:m", base_url=url, policy=_policy(budget))

    def ask(self, prompt: str) -> float:
        with self._client.stream(prompt) as stream:
            pieces = stream.text
            next(pieces)
            first = monotonic()
            for _ in pieces:
                pass
        return first

    def close(self) -> None:
        self._client.close()


class HedgePython:
    """httpx over the transport of hedge-python, read by hand. It copies GET only, so it is given GETs."""

    def __init__(self, url: str, **options: float) -> None:
        from hedge import HedgeConfig
        from hedge.transport import HedgedHttpxTransport

        # httpx loses places in its pool when a copy or a request is cancelled: without a limit that costs nothing.
        inner = _AsPost(limits=httpx.Limits(max_connections=None, max_keepalive_connections=100))
        self._client = httpx.AsyncClient(transport=HedgedHttpxTransport(inner, HedgeConfig(**options)), timeout=60)
        self._url = f"{url}/chat/completions"

    async def ask(self, prompt: str) -> float:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": True}
        body["stream_options"] = {"include_usage": True}
        async with self._client.stream("GET", self._url, content=orjson.dumps(body)) as response:
            return await _read(_texts(response.aiter_lines()))

    async def close(self) -> None:
        await self._client.aclose()


class _AsPost(httpx.AsyncHTTPTransport):
    """Sends whatever it is given as a POST."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await super().handle_async_request(
            httpx.Request(
                "POST", request.url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        )


async def _texts(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The pieces of text of an answer in OpenAI's format."""
    async for line in lines:
        if line.startswith("data: {"):
            for choice in orjson.loads(line[6:])["choices"]:
                if text := choice["delta"].get("content"):
                    yield text


async def _read(pieces: AsyncIterator[str]) -> float:
    await anext(pieces)
    first = monotonic()
    async for _ in pieces:
        pass
    return first
