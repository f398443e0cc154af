"""liter-llm, a client written in Rust. It is asynchronous only."""

from __future__ import annotations

from collections.abc import Callable

import liter_llm

__all__ = ["Async"]


def _asked(prompt: str) -> liter_llm.ChatCompletionRequest:
    return liter_llm.ChatCompletionRequest(model="m", messages=[{"role": "user", "content": prompt}])


class Async:
    def __init__(self, root: str, option: str) -> None:
        self._client = liter_llm.create_client("any", base_url=f"{root}/v1", model_hint="openai")

    async def ask(self, prompt: str) -> str:
        return str((await liter_llm.chat(self._client, _asked(prompt))).choices[0].message.content)

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async for chunk in liter_llm.chat_stream(self._client, _asked(prompt)):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                take(text)

    async def close(self) -> None:
        pass
