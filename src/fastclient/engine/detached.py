"""Work outside of every task group, on asyncio and trio.

Needed where work outlives the call that began it: closing a stream that the garbage collector found, keeping a library
that cannot bear it from being cancelled, racing without a task group around the many requests that are never copied,
an answer that several callers read, and renewing one that was served stale. What is started here swallows and logs its
own errors: there is nobody to tell.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any, Generic, TypeVar
from weakref import ref

import anyio

__all__ = ["Apart", "Bell", "GivenUp", "Work", "alarm", "behind", "quiet", "spawner"]

_T = TypeVar("_T")
Work = Callable[[], Coroutine[Any, Any, None]]

logger = logging.getLogger("fastclient")
_running: set[asyncio.Task[None] | None] = set()  # the loop itself holds tasks weakly


def spawner() -> Callable[[Work], None]:
    """A function that starts work on the loop running now. Callable from any thread, also after the loop's end."""
    current = _current_loop()
    if current is None:
        return _on_trio()
    loop = ref(current)
    process = os.getpid()

    def spawn(work: Work) -> None:
        running = loop()
        # A forked child has a copy of the loop, but nobody runs it there.
        if running is None or running.is_closed() or os.getpid() != process:
            return
        if _current_loop() is running:
            _start_on_asyncio(running, work)  # at once, so that a run that is ending still waits for it
        else:
            running.call_soon_threadsafe(_start_on_asyncio, running, work)

    return spawn


def _on_trio() -> Callable[[Work], None]:
    import trio

    token = trio.lowlevel.current_trio_token()

    def spawn(work: Work) -> None:
        try:
            token.run_sync_soon(_start_on_trio, work)
        except trio.RunFinishedError:
            return

    return spawn


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _start(work: Work) -> asyncio.Task[None] | None:
    """Start work on the loop running now; returns its task if that is asyncio's."""
    loop = _current_loop()
    if loop is not None:
        return _start_on_asyncio(loop, work)
    _start_on_trio(work)
    return None


def _start_on_asyncio(loop: asyncio.AbstractEventLoop, work: Work) -> asyncio.Task[None]:
    return loop.create_task(_held(work))


async def _held(work: Work) -> None:
    """Do the work quietly; its task is held until it is done, which costs less from within than by a callback."""
    task = asyncio.current_task()
    _running.add(task)
    try:
        await work()
    except Exception as error:
        _hush(error)
    finally:
        _running.discard(task)
        del task  # a cancellation that passes holds this frame, and is held by the task


def _start_on_trio(work: Work) -> None:
    import trio

    try:
        trio.lowlevel.spawn_system_task(quiet, work, context=copy_context())
    except RuntimeError:
        return  # the run is ending, and ends its sockets with it


async def quiet(work: Work) -> None:
    """Do the work; what goes wrong is logged, and nobody told."""
    try:
        await work()
    except Exception as error:
        _hush(error)


def _hush(error: Exception) -> None:
    logger.debug("work in the background failed with %s", type(error).__name__)


def behind(work: Work, loop: object | None = None) -> Callable[[], object]:
    """Start work on the loop running now, and go on at once; returns how to cancel it.

    Whoever says what stands for that loop holds what is returned until the work is over, and it raises no Exception.
    """
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.create_task(work()).cancel
    own = None if loop is not None else _current_loop()
    if own is not None:
        return _start_on_asyncio(own, work).cancel
    scope = anyio.CancelScope()

    async def bounded() -> None:
        with scope:
            await work()

    _start_on_trio(bounded)
    return scope.cancel


def alarm(when: float, work: Work) -> Callable[[], object]:
    """Start work at a moment of the loop's clock; returns how to call that off. Costs asyncio some 2 us."""
    loop = _current_loop()
    if loop is not None:
        return loop.call_at(when, _start_on_asyncio, loop, work).cancel
    scope = anyio.CancelScope()

    async def wait() -> None:
        with scope:
            await anyio.sleep_until(when)
            await work()

    _start_on_trio(wait)
    return scope.cancel


class Bell:
    """What one task waits for and anybody on its loop may ring. Costs a fifth of an event that has room for many.

    `loop` stands for the loop running now, where that is known.
    """

    __slots__ = ("_event", "_future")

    def __init__(self, loop: object | None = None) -> None:
        own = loop if isinstance(loop, asyncio.AbstractEventLoop) else None if loop is not None else _current_loop()
        self._future = None if own is None else own.create_future()
        self._event = anyio.Event() if own is None else None

    def rung(self) -> Awaitable[object]:
        """Wait until it is rung: to be awaited at once."""
        return self._event.wait() if self._future is None else self._future  # type: ignore[union-attr]

    def ring(self) -> None:
        """Wake who waits, now or later. May be done again, and after he has left."""
        if self._event is not None:
            self._event.set()
        elif self._future is not None and not self._future.done():
            self._future.set_result(None)


class GivenUp(RuntimeError):
    """The work was cancelled while somebody waited for it."""


class Apart(Generic[_T]):
    """Work in a task of its own, which no cancellation of its caller reaches: `await Apart(work).result()`.

    When the waiting is cancelled, the work is cancelled too, exactly once, or never begins. With `heir` it goes on to
    its end once it has begun, and the heir gets what it returns. With `must=True` it is done in any case.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[_T]],
        heir: Callable[[_T], Awaitable[None]] | None = None,
        *,
        must: bool = False,
    ) -> None:
        self._work = work
        self._heir = heir
        self._must = must
        self._begun = False
        self._left = False
        self._done = anyio.Event()
        self._scope = anyio.CancelScope()
        self._value: list[_T] = []
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Start the work now, instead of with the wait for its result."""
        if not self._begun:
            self._begun = True
            task = _start(self._run)
            if task is not None:
                task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        """The task is over; on a loop that ends, maybe before its first step."""
        if not self._done.is_set():
            self._error = GivenUp("the event loop is ending")
            self._done.set()

    async def result(self) -> _T:
        self.begin()
        try:
            await self._done.wait()
        except BaseException:
            self._left = True
            if self._heir is None and not self._must:
                self._scope.cancel()
            elif self._value:
                _start(self._hand_over)  # it was done already, and nobody has taken it
            raise
        if self._error is not None:
            raise self._error
        return self._value[0]

    async def cancel(self) -> None:
        """Cancel the work, and wait until it is over."""
        self._scope.cancel()
        await self._done.wait()

    async def _run(self) -> None:
        if self._left and not self._must:
            self._done.set()
            return  # nobody waits any more, and nothing was begun
        try:
            with self._scope:
                self._value.append(await self._work())
            if not self._value:
                self._error = GivenUp("the work was cancelled")
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                self._error = GivenUp("the event loop is ending")
                raise
        finally:
            self._done.set()
        await self._hand_over()

    async def _hand_over(self) -> None:
        """Give the value to whoever cleans up, if its owner has left."""
        if self._left and self._value and self._heir is not None:
            await self._heir(self._value.pop())
