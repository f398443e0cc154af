"""A test server on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading

from fastclient.testing.connection import Connection
from fastclient.testing.provider import Provider, Setup
from fastclient.testing.record import Counters, Exchange

__all__ = ["ThreadBackend"]


class ThreadBackend:
    """A daemon thread that serves until told to stop."""

    def __init__(self, setup: Setup, per_event: bool) -> None:
        self._provider = Provider(setup)
        self._per_event = per_event
        self._ready = threading.Event()
        self._port: int | None = None

    def start(self) -> int:
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="ProviderServer", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._port is None:
            raise OSError("ProviderServer could not listen on 127.0.0.1")
        return self._port

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=5)

    def counters(self) -> Counters:
        return self._provider.counters

    def exchanges(self) -> list[Exchange]:
        return self._provider.exchanges

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        open_ones: set[Connection] = set()
        try:
            listener = await self._loop.create_server(
                lambda: Connection(self._provider, open_ones, per_event=self._per_event), "127.0.0.1", 0, backlog=1024
            )
            self._port = int(listener.sockets[0].getsockname()[1])
        finally:
            self._ready.set()
        await self._stopping.wait()
        listener.close()
        for connection in [*open_ones]:
            connection.abort()
        await asyncio.sleep(0)  # connection_lost runs, and cancels what was being answered
