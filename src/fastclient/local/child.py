"""The process that a model with `isolation="process"` runs in: reads requests from its standard input, and answers.

It ends with its input, so it never outlives the process that started it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import BinaryIO

import orjson

from fastclient.errors import FastClientError
from fastclient.local.engine import Engine
from fastclient.local.message import answering, settled, understood
from fastclient.local.port import Begun, Ended, Job, Piece

__all__ = ["serve"]


class _Out:
    """Where answers go: whole lines, from several threads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        try:
            with self._lock:
                self._file.write(line)
        except OSError:
            return  # nobody listens any more, and the input will end too


class _Sink:
    """Sends on what comes of one request."""

    def __init__(self, out: _Out, number: int, jobs: dict[int, Job]) -> None:
        self._out = out
        self._number = number
        self._jobs = jobs

    def put(self, item: Begun | str | Piece | Ended | Exception) -> None:
        if isinstance(item, (Ended, Exception)):
            self._jobs.pop(self._number, None)
        self._out.write(answering(self._number, item))

    def flush(self) -> None:
        """Nothing is held back here."""


class _Log(logging.Handler):
    """Has the other process log what is logged here."""

    def __init__(self, out: _Out) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.write(orjson.dumps(["log", record.levelno, record.getMessage()]) + b"\n")


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    out = _Out(answers)
    logger = logging.getLogger("fastclient.local")
    logger.addHandler(_Log(out))
    logger.propagate = False
    engine = Engine(settled(requests.readline()))
    jobs: dict[int, Job] = {}
    for line in requests:
        kind, number, *rest = orjson.loads(line)
        if kind == "cancel":
            if job := jobs.pop(number, None):
                job.cancel()
            continue
        sink = _Sink(out, number, jobs)
        try:
            job = engine.submit(understood(rest[0]), sink)
        except FastClientError as error:
            sink.put(error)
        else:
            jobs[number] = job
    engine.close(wait=True)


def main() -> None:
    """Keep what the library prints off the answers, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    answers = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    with answers:
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
