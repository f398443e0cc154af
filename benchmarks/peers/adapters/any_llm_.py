"""any-llm with its OpenAI provider."""

from __future__ import annotations

from collections.abc import Callable

from any_llm import AnyLLM

__all__ = ["Async", "Blocking"]


def _asked(prompt: str) -> dict:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


class _Both:
    def __init__(self, root: str, option: str) -> None:
        self._client = AnyLLM.create("openai", api_key="any", api_base=f"{root}/v1")


class Async(_Both):
    async def ask(self, prompt: str) -> str:
        return (await self._client.acompletion(**_asked(prompt))).choices[0].message.content

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async for chunk in await self._client.acompletion(**_asked(prompt), stream=True):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                take(text)

    async def close(self) -> None:
        pass


class Blocking(_Both):
    def ask(self, prompt: str) -> str:
        return self._client.completion(**_asked(prompt)).choices[0].message.content

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        for chunk in self._client.completion(**_asked(prompt), stream=True):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                take(text)

    def close(self) -> None:
        pass
