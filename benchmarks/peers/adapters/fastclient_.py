"""fastclient, with the policy and the wire that the option names."""

from __future__ import annotations

from collections.abc import Callable

import fastclient as fc

__all__ = ["Async", "Blocking"]

_POLICIES = {"recommended": fc.Policy.recommended, "plain": fc.Policy, "plain on httpx2": fc.Policy}


def _wire(option: str) -> str:
    return "httpx2" if option.endswith("httpx2") else "direct"


class Async:
    def __init__(self, root: str, option: str) -> None:
        policy = _POLICIES[option]()
        self._client = fc.AsyncClient(
            "openai:m", base_url=f"{root}/v1", api_key="any", policy=policy, wire=_wire(option)
        )

    async def ask(self, prompt: str) -> str:
        return (await self._client.chat(prompt)).text

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        async with self._client.stream(prompt) as stream:
            async for text in stream.text:
                take(text)

    async def close(self) -> None:
        await self._client.aclose()


class Blocking:
    def __init__(self, root: str, option: str) -> None:
        policy = _POLICIES[option]()
        self._client = fc.Client("openai:m", base_url=f"{root}/v1", api_key="any", policy=policy, wire=_wire(option))

    def ask(self, prompt: str) -> str:
        return self._client.chat(prompt).text

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        with self._client.stream(prompt) as stream:
            for text in stream.text:
                take(text)

    def close(self) -> None:
        self._client.close()
