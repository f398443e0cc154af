"""LangChain's ChatOpenAI."""

from __future__ import annotations

from collections.abc import Callable

from langchain_openai import ChatOpenAI

__all__ = ["Async", "Blocking"]


class _Both:
    def __init__(self, root: str, option: str) -> None:
        self._model = ChatOpenAI(model="m", base_url=f"{root}/v1", api_key="any")


class Async(_Both):
    async def ask(self, prompt: str) -> str:
        return (await self._model.ainvoke(prompt)).content

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async for chunk in self._model.astream(prompt):
            if chunk.content:
                take(chunk.content)

    async def close(self) -> None:
        pass


class Blocking(_Both):
    def ask(self, prompt: str) -> str:
        return self._model.invoke(prompt).content

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        for chunk in self._model.stream(prompt):
            if chunk.content:
                take(chunk.content)

    def close(self) -> None:
        pass
