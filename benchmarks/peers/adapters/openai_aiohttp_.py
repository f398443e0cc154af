"""The openai SDK over aiohttp, as its extra of that name has it. It is asynchronous only."""

from __future__ import annotations

from collections.abc import Callable

import openai

__all__ = ["Async"]


def _asked(prompt: str) -> dict:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


class Async:
    def __init__(self, root: str, option: str) -> None:
        http = openai.DefaultAioHttpClient()
        self._client = openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="any", http_client=http)

    async def ask(self, prompt: str) -> str:
        answer = await self._client.chat.completions.create(**_asked(prompt))
        return answer.choices[0].message.content

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async for chunk in await self._client.chat.completions.create(**_asked(prompt), stream=True):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                take(text)

    async def close(self) -> None:
        await self._client.close()
