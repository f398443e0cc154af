"""httpx2 as a careful engineer uses it by hand: one client, no limit on connections, orjson, lines."""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from benchmarks.peers.adapters._events import HEADERS, body, said, text_in

__all__ = ["Async", "Blocking"]

_OPTIONS = {"limits": httpx2.Limits(max_connections=None, max_keepalive_connections=None), "timeout": 60}


class Async:
    def __init__(self, root: str, option: str) -> None:
        self._client = httpx2.AsyncClient(**_OPTIONS)
        self._url = f"{root}/v1/chat/completions"

    async def ask(self, prompt: str) -> str:
        response = await self._client.post(self._url, content=body(prompt, False), headers=HEADERS)
        return said(response.raise_for_status().content)

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        asked = self._client.stream("POST", self._url, content=body(prompt, True), headers=HEADERS)
        async with asked as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if text := text_in(line):
                    take(text)

    async def close(self) -> None:
        await self._client.aclose()


class Blocking:
    def __init__(self, root: str, option: str) -> None:
        self._client = httpx2.Client(**_OPTIONS)
        self._url = f"{root}/v1/chat/completions"

    def ask(self, prompt: str) -> str:
        response = self._client.post(self._url, content=body(prompt, False), headers=HEADERS)
        return said(response.raise_for_status().content)

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        asked = self._client.stream("POST", self._url, content=body(prompt, True), headers=HEADERS)
        with asked as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if text := text_in(line):
                    take(text)

    def close(self) -> None:
        self._client.close()
