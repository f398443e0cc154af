"""A local model as a handler, in a provider's place: one for all clients of a process that say the same of it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import finalize

import anyio.to_thread

from fastclient.engine.stream import Stream
from fastclient.errors import ConfigError, LocalUnavailable
from fastclient.local.ask import asked, refusal, texts_of
from fastclient.local.engine import Engine
from fastclient.local.line import Line
from fastclient.local.port import Begun, Ended, Host, Piece
from fastclient.local.settings import Local
from fastclient.local.speed import LocalState, Prediction
from fastclient.local.stream import LocalStream
from fastclient.locks import Locked
from fastclient.types import Call, Request

if TYPE_CHECKING:
    from fastclient.cache.embedders.vectors import Vectors
    from fastclient.local.vectors import TextVectors

__all__ = ["LocalHandler", "handler_of"]

logger = logging.getLogger("fastclient.local")


class _Hosts(Locked):
    """What runs in this process, by what was said of it, and how many use it."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[Local, tuple[Host, int]] = {}

    def lease(self, local: Local) -> Host:
        with self.lock:
            host, users = self.running.get(local) or (_host(local), 0)
            self.running[local] = host, users + 1
            return host

    def release(self, local: Local, host: Host, *, wait: bool) -> None:
        """One user less; the last one ends it."""
        with self.lock:
            found, users = self.running.get(local, (None, 0))
            if found is not host:
                return
            if users > 1:
                self.running[local] = host, users - 1
                return
            del self.running[local]
        host.close(wait=wait)

    def close(self) -> None:
        """A thread that is inside of native code when the interpreter ends can take the process down: wait for it."""
        with self.lock:
            running, self.running = list(self.running.values()), {}
        for host, _ in running:
            host.close(wait=False)
        for host, _ in running:
            host.close(wait=True)


_hosts = _Hosts()
atexit.register(_hosts.close)


def _host(local: Local) -> Host:
    if local.isolation == "process":
        from fastclient.local.isolated import Isolated

        return Isolated(local)
    return Engine(local)


def handler_of(local: Local) -> LocalHandler:
    """The handler for these settings. Nothing is loaded yet. Close it; the last one that is closed ends the model."""
    if local.engine != "llama_cpp":
        raise LocalUnavailable(f"{local.engine} is a server: its address is the target, and not a handler")
    return LocalHandler(local, _hosts.lease(replace(local, name=None, path=os.path.abspath(local.path))))


class LocalHandler:
    """Answers calls with a local model. Callable from any event loop."""

    def __init__(self, local: Local, host: Host) -> None:
        self.local = local
        self._host = host
        shared = replace(local, name=None, path=os.path.abspath(local.path))
        self._release = finalize(self, _hosts.release, shared, host, wait=False)
        self._release.atexit = False
        self._shared = shared
        self._loading = threading.Lock()
        self._texts: TextVectors | None = None

    async def __call__(self, call: Call) -> Stream:
        """Answer a call. Returns with its first content in hand."""
        record = call.attempt or call.record.attempt(call.role, call.target.name)
        record.price, record.destination = call.target.price, call.target
        try:
            ask = asked(call.request)
            line = Line()
            job = self._open().submit(ask, line)
        except Exception as error:
            record.marks.note("ended")
            record.outcome, record.error = "failed", error
            raise
        line.lost = job.cancel
        return await LocalStream(line, job, call, record, self.local.model).open()

    def able(self, request: Request) -> str | None:
        """Why this request cannot be answered here; None if it can. Says nothing of queues and of lengths."""
        return refusal(request)

    async def warm(self, prompt: Request | None = None) -> int | None:
        """Load the model, and have it read a prompt; returns how many tokens that were. Raises what goes wrong."""
        ask = None if prompt is None else replace(asked(prompt), limit=1, grammar=None, stops=())
        line, read = Line(), None
        job = self._open().submit(ask, line)
        line.lost = job.cancel
        try:
            while True:
                for item in line.take():
                    if isinstance(item, Begun):
                        read = item.prompt
                    elif isinstance(item, Ended):
                        return read
                    elif not isinstance(item, (str, Piece)):
                        raise item
                await line.wait(float("inf"))
        finally:
            job.cancel()

    async def vectors(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text, from a context of its own. Needs `embeddings=True`."""
        if not self.local.embeddings:
            raise ConfigError.at("local.embeddings", "is off, and vectors were asked for")
        self._open()
        return await anyio.to_thread.run_sync(self._embed, list(texts), abandon_on_cancel=True)

    def _embed(self, texts: list[str]) -> Vectors:
        from fastclient.local.vectors import TextVectors

        local = self.local
        with self._loading:
            if self._texts is None:
                size = max(1, local.context // local.slots)
                self._texts = TextVectors(
                    os.fspath(local.path), tokens=size, gpu_layers=local.gpu_layers, threads=local.threads
                )
        return self._texts.of(texts)

    def state(self) -> LocalState:
        """What the model is doing, and how fast it was so far."""
        return self._host.state()

    def predict(self, request: Request) -> Prediction | None:
        """How long this request would take now; None while too little is known. Takes some microseconds."""
        params = request.params
        limit = params.get("max_completion_tokens", params.get("max_tokens")) if params else None
        return self._host.predict(texts_of(request.messages), limit if isinstance(limit, int) else None)

    def close(self) -> None:
        """Let go of the model. The last one to do so waits for the step under way."""
        if self._release.detach() is not None:
            _hosts.release(self._shared, self._host, wait=True)
            if self._texts is not None:
                self._texts.close()

    def _open(self) -> Host:
        if not self._release.alive:
            raise LocalUnavailable("the local model is closed")
        return self._host
