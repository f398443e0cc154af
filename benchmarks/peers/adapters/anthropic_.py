"""The anthropic SDK as it comes; the server answers it in Anthropic's format."""

from __future__ import annotations

from collections.abc import Callable

import anthropic

__all__ = ["Async", "Blocking"]


def _asked(prompt: str) -> dict:
    return {"model": "m", "max_tokens": 1024, "messages": [{"role": "user", "content": prompt}]}


class Async:
    def __init__(self, root: str, option: str) -> None:
        self._client = anthropic.AsyncAnthropic(base_url=root, api_key="any")

    async def ask(self, prompt: str) -> str:
        return (await self._client.messages.create(**_asked(prompt))).content[0].text

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async for event in await self._client.messages.create(**_asked(prompt), stream=True):
            if event.type == "content_block_delta":
                take(event.delta.text)

    async def close(self) -> None:
        await self._client.close()


class Blocking:
    def __init__(self, root: str, option: str) -> None:
        self._client = anthropic.Anthropic(base_url=root, api_key="any")

    def ask(self, prompt: str) -> str:
        return self._client.messages.create(**_asked(prompt)).content[0].text

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        for event in self._client.messages.create(**_asked(prompt), stream=True):
            if event.type == "content_block_delta":
                take(event.delta.text)

    def close(self) -> None:
        self._client.close()
