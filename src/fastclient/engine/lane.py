"""Threads for plain functions that race: each run has one to itself, so that all its steps happen on one thread.

They are daemons: a loser cannot be stopped, and must not keep the interpreter from ending. They are lent without a
limit, so functions that call each other never wait for each other's threads.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import TypeVar

from fastclient.engine.errand import Errand
from fastclient.locks import Locked

__all__ = ["Lane", "Strays"]

logger = logging.getLogger("fastclient")

_IDLE = 5.0  # seconds after which a thread that nobody needs ends
_T = TypeVar("_T")


class Strays(Locked):
    """How many threads are busy with what nobody waits for any more."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def add(self, change: int) -> None:
        with self.lock:
            self.count += change


class _Idle(Locked):
    """The threads that have nothing to do, the one that has been used last at the end."""

    __slots__ = ("threads",)

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[_Thread] = []


class _Thread:
    """A thread that does what it is given, in that order."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], object]] = SimpleQueue()
        threading.Thread(target=self._serve, name="fastclient lane", daemon=True).start()

    def put(self, work: Callable[[], object]) -> None:
        self._queue.put(work)

    def rest(self) -> None:
        with _idle.lock:
            _idle.threads.append(self)

    def _serve(self) -> None:
        while True:
            try:
                work = self._queue.get(timeout=_IDLE)
            except Empty:
                if self._retires():
                    return
                continue
            try:
                work()
            except BaseException as error:
                logger.debug("work on a thread of ours ended with %s", type(error).__name__)
            del work  # it holds a caller's values

    def _retires(self) -> bool:
        with _idle.lock:
            if self not in _idle.threads:
                return False
            _idle.threads.remove(self)
            return True


_idle = _Idle()


def _thread() -> _Thread:
    with _idle.lock:
        if _idle.threads:
            return _idle.threads.pop()
    return _Thread()


class Lane:
    """A thread for the steps of one run, in a copy of the context it is begun in."""

    __slots__ = ("_context", "_strays", "_thread")

    def __init__(self, strays: Strays) -> None:
        self._strays = strays
        self._context = copy_context()
        self._thread: _Thread | None = _thread()

    async def do(self, work: Callable[[], _T]) -> _T:
        """Do one step. When the wait for it is cancelled, the thread is left to itself."""
        if self._thread is None:
            raise RuntimeError("this run was left")
        errand = Errand(lambda: self._context.run(work))
        self._thread.put(lambda: errand.run() if errand.claim() else None)
        try:
            value: _T = await errand.result()
        except BaseException:
            if not (errand.settled or errand.claim()):
                self._stray()
            raise
        return value

    def _stray(self) -> None:
        if self._thread is not None:
            self._strays.add(1)
            self._thread.put(lambda: self._strays.add(-1))

    def leave(self, last: Callable[[], object] | None = None) -> None:
        """Nothing more is to be done but this last step, for which nobody waits."""
        thread, self._thread = self._thread, None
        if thread is not None:
            if last is not None:
                thread.put(lambda: self._context.run(last))
            thread.put(thread.rest)


def _forked() -> None:
    _idle.threads = []  # they are not here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
