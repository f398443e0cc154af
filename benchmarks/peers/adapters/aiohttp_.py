"""aiohttp as a careful engineer uses it by hand: one session, no limit, no cookies, orjson, events by the line."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from benchmarks.peers.adapters._events import HEADERS, body, said, text_in

__all__ = ["Async"]


class Async:
    def __init__(self, root: str, option: str) -> None:
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=0)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self._url = f"{root}/v1/chat/completions"

    async def ask(self, prompt: str) -> str:
        asked = self._session.post(self._url, data=body(prompt, False), headers=HEADERS, raise_for_status=True)
        async with asked as response:
            return said(await response.read())

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        asked = self._session.post(self._url, data=body(prompt, True), headers=HEADERS, raise_for_status=True)
        async with asked as response:
            async for line in response.content:
                if text := text_in(line):
                    take(text)

    async def close(self) -> None:
        await self._session.close()
