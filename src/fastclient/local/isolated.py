"""A model in a process of its own: when native code ends that process, calls fail and the next one gets a new one."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

import orjson

from fastclient.errors import LocalUnavailable, StreamCut
from fastclient.local.ask import Ask
from fastclient.local.message import answered, asking, settings
from fastclient.local.port import Begun, Ended, Piece, Sink
from fastclient.local.settings import Local
from fastclient.local.speed import Known, LocalState, Prediction, Speed
from fastclient.locks import Locked

__all__ = ["Isolated"]

logger = logging.getLogger("fastclient.local")

_PATIENCE = 10.0  # seconds the process has to end by itself


class _Errand:
    """A request that the other process works on."""

    def __init__(self, ask: Ask | None, sink: Sink, child: _Child, number: int) -> None:
        self.ask = ask
        self.sink = sink
        self.told = False
        self.begun: Begun | None = None
        self.first = 0.0
        self._child = child
        self._number = number

    def cancel(self) -> None:
        self._child.cancel(self._number)


class Isolated(Locked):
    """A `Host` that keeps another process."""

    def __init__(self, local: Local) -> None:
        super().__init__()
        self._local = local
        self._child: _Child | None = None
        self._closed = False
        self._pid = os.getpid()
        self._speed = Speed()
        self._texts: deque[Known] = deque(maxlen=local.slots)  # the latest, which is what the slots hold

    def submit(self, ask: Ask | None, sink: Sink) -> _Errand:
        """Have a request answered. Raises LocalUnavailable if it is not even taken."""
        with self.lock:
            if self._closed:
                raise LocalUnavailable("the local model is closed")
            if os.getpid() != self._pid:  # the parent's process is the parent's
                self._pid, self._child = os.getpid(), None
            if self._child is None or self._child.ended:
                self._child = _Child(self._local, self._ended)
            child = self._child
        if len(child.errands) >= self._local.slots + self._local.max_queue:
            raise LocalUnavailable(f"{self._local.max_queue} requests are waiting for the local model already")
        return child.ask(ask, sink)

    def state(self) -> LocalState:
        """What it is doing now, as far as that is seen from here."""
        child = self._child
        count = len(child.errands) if child else 0
        busy = min(count, self._local.slots)
        return LocalState(
            loaded=child is not None and child.loaded and not child.ended,
            queue=count - busy,
            busy=busy,
            slots=self._local.slots,
            cached=tuple([known.tokens for known in self._texts]),
            prefill=self._speed.prefill,
            decode=self._speed.decode,
        )

    def predict(self, texts: Sequence[str], limit: int | None) -> Prediction | None:
        """How long a request would take."""
        child = self._child
        waiting = max(0, (len(child.errands) if child else 0) + 1 - self._local.slots)
        return self._speed.predict(texts, list(self._texts), limit, waiting, self._local.slots)

    def close(self, *, wait: bool) -> None:
        """End the process: what is being answered ends with an error."""
        with self.lock:
            self._closed = True
            child, self._child = self._child, None
        if child is not None and os.getpid() == self._pid:
            child.close(wait=wait)

    def _ended(self, errand: _Errand, ended: Ended) -> None:
        """An answer is whole: what that says of the speed."""
        begun, ask = errand.begun, errand.ask
        if begun is None or ask is None:
            return
        texts = tuple([text for _, text in ask.messages])
        self._texts.append(Known(texts, begun.prompt + ended.written))
        self._speed.characters.add(sum(map(len, texts)) / max(1, begun.prompt))
        if begun.prompt - begun.cached >= 16:
            self._speed.read.add(ended.prefill / (begun.prompt - begun.cached))
        if ended.written > 1 and errand.first:
            self._speed.write.add((monotonic() - errand.first) / (ended.written - 1))
            self._speed.service.add(ended.prefill + monotonic() - errand.first)
        self._speed.written.add(ended.written)


class _Child:
    """The other process, and the thread that hears it."""

    def __init__(self, local: Local, told: Callable[[_Errand, Ended], None]) -> None:
        self.errands: dict[int, _Errand] = {}
        self.ended = self.loaded = False
        self._told = told
        self._numbers = itertools.count()
        self._writing = threading.Lock()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fastclient.local.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # else a crash starts a debugger
            )
        except OSError as error:
            raise LocalUnavailable(f"no process for the local model ({error.strerror})") from None
        self._write(settings(local))
        self._thread = threading.Thread(target=self._hear, name="fastclient local", daemon=True)
        self._thread.start()

    def ask(self, ask: Ask | None, sink: Sink) -> _Errand:
        number = next(self._numbers)
        errand = self.errands[number] = _Errand(ask, sink, self, number)
        self._write(asking(number, ask))
        if self.ended and self.errands.pop(number, None) is not None:
            raise LocalUnavailable("the local model's process has ended")
        return errand

    def cancel(self, number: int) -> None:
        if self.errands.pop(number, None) is not None:
            self._write(orjson.dumps(["cancel", number]) + b"\n")

    def _write(self, line: bytes) -> None:
        pipe = self._process.stdin
        try:
            with self._writing:
                if pipe is not None and not pipe.closed:
                    pipe.write(line)
                    pipe.flush()
        except OSError:
            return  # it has ended, as the thread will hear

    def _hear(self) -> None:
        pipe = self._process.stdout
        try:
            for line in pipe or ():
                kind, number, *fields = orjson.loads(line)
                if kind == "log":
                    logger.log(number, "%s", fields[0])
                else:
                    self._heard(kind, number, fields)
        finally:
            self._over()

    def _heard(self, kind: str, number: int, fields: list[object]) -> None:
        errand, item = self.errands.get(number), answered(kind, fields)
        if errand is None or item is None:
            return
        self.loaded = True
        if isinstance(item, Begun):
            errand.begun = item
        elif isinstance(item, (str, Piece)):
            if not errand.told:
                errand.told, errand.first = True, monotonic()
        else:
            self.errands.pop(number, None)
            if isinstance(item, Ended):
                self._told(errand, item)
        errand.sink.put(item)

    def _over(self) -> None:
        """It has ended, by itself or not."""
        self.ended = True
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        code = self._process.wait()
        problem = f"the local model's process ended ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
        while self.errands:
            _, errand = self.errands.popitem()
            errand.sink.put(StreamCut(problem) if errand.told else LocalUnavailable(problem))

    def close(self, *, wait: bool) -> None:
        with self._writing:
            if self._process.stdin is not None:
                try:
                    self._process.stdin.close()
                except OSError:
                    pass
        if wait and threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                self._process.kill()
                self._thread.join(_PATIENCE)
