"""A test server in a child process: both ends of the pipe.

The parent writes lines of JSON to the child's stdin, the child answers each on stdout. The end of stdin ends the child,
so it cannot outlive its parent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

from fastclient.testing.codec import packed, unpacked
from fastclient.testing.provider import Setup
from fastclient.testing.record import Counters, Exchange
from fastclient.testing.threaded import ThreadBackend

__all__ = ["Child", "main"]


class Child:
    """The parent's end."""

    def __init__(self, setup: Setup, per_event: bool) -> None:
        self._setup = {"setup": setup, "per_event": per_event}
        self._lock = threading.Lock()
        self._last = Counters()
        self._kept: list[Exchange] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        command = [sys.executable, "-m", "fastclient.testing.server"]
        paths = os.pathsep.join(path for path in sys.path if path)  # the child imports what the parent does
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
        )
        return int(self._ask(self._setup))

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        self.counters()  # both stay readable after the end
        self.exchanges()
        self._process = None
        with process:  # closes the pipes: that is what stops it
            assert process.stdin is not None  # noqa: S101
            process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()

    def counters(self) -> Counters:
        if self._process is not None:
            self._last = self._ask("counters")
        return self._last

    def exchanges(self) -> list[Exchange]:
        if self._process is not None:
            self._kept = list(self._ask("exchanges"))
        return self._kept

    def _ask(self, question: object) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None  # noqa: S101
        with self._lock:
            process.stdin.write(packed(question))
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the ProviderServer process ended with code {process.wait()}")
        return unpacked(line)


def main() -> None:
    """The child's end: one server, steered from stdin until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    first = unpacked(sys.stdin.buffer.readline())
    server = ThreadBackend(first["setup"], first["per_event"])
    _say(server.start())
    for line in sys.stdin.buffer:
        match unpacked(line):
            case "counters":
                _say(server.counters())
            case "exchanges":
                _say(server.exchanges())
    server.stop()


def _say(value: object) -> None:
    sys.stdout.buffer.write(packed(value))
    sys.stdout.buffer.flush()
