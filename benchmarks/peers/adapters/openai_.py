"""The openai SDK as it comes."""

from __future__ import annotations

from collections.abc import Callable

import openai

__all__ = ["Async", "Blocking"]


def _asked(prompt: str) -> dict:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


class Async:
    def __init__(self, root: str, option: str) -> None:
        self._client = openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="any")

    async def ask(self, prompt: str) -> str:
        answer = await self._client.chat.completions.create(**_asked(prompt))
        return answer.choices[0].message.content

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async for chunk in await self._client.chat.completions.create(**_asked(prompt), stream=True):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                take(text)

    async def close(self) -> None:
        await self._client.close()


class Blocking:
    def __init__(self, root: str, option: str) -> None:
        self._client = openai.OpenAI(base_url=f"{root}/v1", api_key="any")

    def ask(self, prompt: str) -> str:
        return self._client.chat.completions.create(**_asked(prompt)).choices[0].message.content

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        for chunk in self._client.chat.completions.create(**_asked(prompt), stream=True):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                take(text)

    def close(self) -> None:
        self._client.close()
