"""A pydantic-ai agent without tools, on its OpenAI chat model."""

from __future__ import annotations

from collections.abc import Callable

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

__all__ = ["Async", "Blocking"]


class _Both:
    def __init__(self, root: str, option: str) -> None:
        self._agent = Agent(OpenAIChatModel("m", provider=OpenAIProvider(base_url=f"{root}/v1", api_key="any")))


class Async(_Both):
    async def ask(self, prompt: str) -> str:
        return (await self._agent.run(prompt)).output

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async with self._agent.run_stream(prompt) as run:
            async for text in run.stream_text(delta=True, debounce_by=None):
                take(text)

    async def close(self) -> None:
        pass


class Blocking(_Both):
    def ask(self, prompt: str) -> str:
        return self._agent.run_sync(prompt).output

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        for text in self._agent.run_stream_sync(prompt).stream_text(delta=True, debounce_by=None):
            take(text)

    def close(self) -> None:
        pass
