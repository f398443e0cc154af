"""litellm's functions; it keeps HTTP clients of its own, and has none to build or close."""

from __future__ import annotations

from collections.abc import Callable

import litellm

__all__ = ["Async", "Blocking"]

litellm.suppress_debug_info = True


def _asked(root: str, prompt: str) -> dict:
    messages = [{"role": "user", "content": prompt}]
    return {"model": "openai/m", "messages": messages, "api_base": f"{root}/v1", "api_key": "any"}


class Async:
    has_client = False

    def __init__(self, root: str, option: str) -> None:
        self._root = root

    async def ask(self, prompt: str) -> str:
        return (await litellm.acompletion(**_asked(self._root, prompt))).choices[0].message.content

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async for chunk in await litellm.acompletion(**_asked(self._root, prompt), stream=True):
            if text := chunk.choices[0].delta.content:
                take(text)

    async def close(self) -> None:
        pass


class Blocking:
    has_client = False

    def __init__(self, root: str, option: str) -> None:
        self._root = root

    def ask(self, prompt: str) -> str:
        return litellm.completion(**_asked(self._root, prompt)).choices[0].message.content

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        for chunk in litellm.completion(**_asked(self._root, prompt), stream=True):
            if text := chunk.choices[0].delta.content:
                take(text)

    def close(self) -> None:
        pass
