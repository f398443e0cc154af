"""A real redis-server on a free port of this machine, which can be killed, paused and started again.

And a pretend client that shares its answers there, for tests of many of them. Programs load this file: it is light.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import redis

from fastclient.cache.entry import Entry
from fastclient.cache.redis.leased import leased
from fastclient.cache.redis.store import RedisStore
from fastclient.cache.store import Found
from fastclient.engine.stack import Handler, stack
from fastclient.engine.stream import Stream
from fastclient.errors import ServerFailed
from fastclient.observe.timing import CallRecord
from fastclient.target import Target
from fastclient.types import CacheInfo, Call, Chunk, Request

__all__ = ["KEY", "TAG", "Provider", "RedisServer", "a_call", "free_port", "program", "read", "until"]

KEY, TAG = b"k" * 32, b"namespce"


def program() -> str:
    """Where redis-server is; the test is skipped without it, or fails where everything is required."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        assert not os.environ.get("FASTCLIENT_REQUIRE_ALL"), "redis-server is not installed"
        import pytest

        pytest.skip("redis-server is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(check: Callable[[], object], within: float = 5.0) -> bool:
    """Whether something comes true within some seconds."""
    end = time.monotonic() + within
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


class RedisServer:
    """Runs until it is killed. Keeps nothing on disk: started again it is empty."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder))
        command = [program(), *where, "--save", "", "--appendonly", "no", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert until(self._answers), "redis-server did not start"

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
            probe.sendall(b"PING\r\n")
            return probe.recv(64)[:1] in (b"+", b"-")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @contextmanager
    def raw(self) -> Iterator[Any]:
        """A client of redis-py's own."""
        client = redis.Redis(port=self.port, protocol=2)
        try:
            yield client
        finally:
            client.close()

    def do(self, *command: Any) -> Any:
        """One command, and what the server says."""
        with self.raw() as client:
            return client.execute_command(*command)

    def names(self, pattern: str = "*") -> list[str]:
        """The names of the keys there are."""
        return sorted(name.decode() for name in self.do("KEYS", pattern))


def a_call(clock: Callable[[], float], *, key: bytes | None = KEY, within: float = 20.0, cache: Any = "use") -> Call:
    record = CallRecord(clock, clock())
    request = Request(messages=({"role": "user", "content": "Hi"},), cache=cache)
    return Call(id="1", request=request, target=Target("openai:m"), deadline=clock() + within, record=record, key=key)


class Words(Stream):
    """An answer of some pieces. Kept in a store at its end, if there is one."""

    def __init__(
        self, pieces: Sequence[str], gap: float, keep: Callable[[], object] | None, error: Exception | None
    ) -> None:
        self.pieces, self.gap, self.keep, self.error = list(pieces), gap, keep, error
        self.closed = 0

    async def pull(self) -> Sequence[Chunk]:
        if self.pieces:
            await anyio.sleep(self.gap)
            return [Chunk(self.pieces.pop(0), model="m")]
        if self.error is not None:
            raise self.error
        if self.keep is not None:
            keep, self.keep = self.keep, None
            keep()
        return ()

    async def aclose(self) -> None:
        self.closed += 1


class Provider:
    """A client's stack around a pretend provider; counts the calls that reach it."""

    def __init__(
        self, url: str, *, keeps: bool = True, gap: float = 0.0, error: Exception | None = None, lasts: float = 4.0
    ) -> None:
        self.store = RedisStore(url, memory=None)
        self.calls = 0
        self.keeps, self.gap, self.error, self.oldest = keeps, gap, error, 60.0
        self.streams: list[Words] = []
        self.layer = leased(self.store, self.replay, lambda _: TAG, lasts=lasts)
        self.handler: Handler = stack(self.layer, around=self.answer)

    async def answer(self, call: Call) -> Stream:
        self.calls += 1
        await anyio.sleep(self.gap)
        if isinstance(self.error, ServerFailed):
            raise self.error
        text = f"answer {self.calls}"
        entry = Entry(stored=time.time(), text=text)
        keep = (lambda: self.store.put(call.key or KEY, entry, tag=TAG, lifetime=60)) if self.keeps else None
        self.streams.append(Words([text], self.gap, keep, self.error))
        return self.streams[-1]

    def replay(self, call: Call, found: Found) -> Stream | None:
        age = time.time() - found.entry.stored
        if age > self.oldest:
            return None
        call.record.cache = CacheInfo(state="hit", source=found.source, age=age)
        if found.entry.problem is not None:
            raise found.entry.error()
        return Words([found.entry.text], 0.0, None, None)


async def read(handler: Handler, call: Call) -> str:
    stream = await handler(call)
    try:
        said = ""
        while batch := await stream.pull():
            said += "".join(chunk.text for chunk in batch)
        return said
    finally:
        await stream.aclose()
