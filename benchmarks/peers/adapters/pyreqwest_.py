"""pyreqwest (Rust's reqwest) by hand: one client, JSON by orjson, chunks cut into lines."""

from __future__ import annotations

from collections.abc import Callable

from pyreqwest.client import ClientBuilder, SyncClientBuilder

from benchmarks.peers.adapters._events import HEADERS, body, said, text_in

__all__ = ["Async", "Blocking"]


class Async:
    def __init__(self, root: str, option: str) -> None:
        self._client = ClientBuilder().error_for_status().default_headers(HEADERS).build()
        self._url = f"{root}/v1/chat/completions"

    async def ask(self, prompt: str) -> str:
        response = await self._client.post(self._url).body_bytes(body(prompt, False)).build().send()
        return said(memoryview(await response.bytes()))

    async def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        asked = self._client.post(self._url).body_bytes(body(prompt, True)).streamed_read_buffer_limit(0)
        async with asked.build_streamed() as response:
            rest = b""
            while (chunk := await response.body_reader.read_chunk()) is not None:
                rest = _lines(rest + bytes(chunk), take)

    async def close(self) -> None:
        await self._client.close()


class Blocking:
    def __init__(self, root: str, option: str) -> None:
        self._client = SyncClientBuilder().error_for_status().default_headers(HEADERS).build()
        self._url = f"{root}/v1/chat/completions"

    def ask(self, prompt: str) -> str:
        response = self._client.post(self._url).body_bytes(body(prompt, False)).build().send()
        return said(memoryview(response.bytes()))

    def stream(self, prompt: str, take: Callable[[str], object]) -> None:
        asked = self._client.post(self._url).body_bytes(body(prompt, True)).streamed_read_buffer_limit(0)
        with asked.build_streamed() as response:
            rest = b""
            while (chunk := response.body_reader.read_chunk()) is not None:
                rest = _lines(rest + bytes(chunk), take)

    def close(self) -> None:
        self._client.close()


def _lines(text: bytes, take: Callable[[str], object]) -> bytes:
    """What is left after the last whole line."""
    *lines, rest = text.split(b"\n")
    for line in lines:
        if said := text_in(line):
            take(said)
    return rest
