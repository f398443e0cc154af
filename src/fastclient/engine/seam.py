"""Where a blocking caller meets the one asynchronous engine.

Every layer is written once, as async code. Layers above the seam never wait, so a blocking caller can run them on its
own thread: `drive` takes one step, and that step is the last. The `seam` layer is where it stops being true: it hands
the call to an event loop on a background thread and blocks on a queue through which batches of chunks come back.

The engine is asynchronous also for blocking callers because a blocking socket read cannot be cancelled: a call given up
would go on costing tokens.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeAlias, TypeVar, cast

from fastclient.engine.complete import Complete
from fastclient.engine.errand import CLOSING, Desk, Errand, Work
from fastclient.engine.stack import Handler
from fastclient.engine.stream import Stream
from fastclient.errors import ConfigError, StreamCut
from fastclient.types import Call, Chunk

__all__ = ["Engine", "drive", "engine", "running_engine", "seam"]

logger = logging.getLogger("fastclient")

_ITSELF = "a blocking call from the engine's own thread would wait for itself"
_CLOSE = 1.0  # seconds a caller waits for a stream it leaves to be closed at the server
_LOOK_UP = 1.0  # seconds between two looks up from a wait: a signal in the instant a thread lies down wakes nobody
_T = TypeVar("_T")
_Item: TypeAlias = "Sequence[Chunk] | Complete | BaseException | Errand"


def _taken(queue: SimpleQueue[_T]) -> _T:
    """The next item, whenever it comes. Signals are heard meanwhile."""
    while True:
        try:
            return queue.get(timeout=_LOOK_UP)
        except Empty:
            continue


def drive(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that never waits for an event loop, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: _T = finished.value
        return result
    coroutine.close()
    raise RuntimeError("a layer above the seam waited for an event loop")


class Engine:
    """An event loop on a daemon thread, started once per process and ended at interpreter exit."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly
        self.stopping = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fastclient", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # from Python 3.12 on no thread starts any more
            self._loop.close()
            raise ConfigError.at("client", "first used while the interpreter is exiting") from None

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the engine's own thread, where waiting for it would never end."""
        return threading.current_thread() is self._thread

    @property
    def ended(self) -> bool:
        """Whether the interpreter is exiting and has taken the loop with it."""
        return self._loop.is_closed()

    def start(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        on_start: Callable[[asyncio.Task[None]], None] | None = None,
    ) -> None:
        """Run `work` as a task on the loop, in the caller's context; `on_start` gets the task, on the loop's thread."""
        if self.ended:
            raise ConfigError.at("client", "used after its event loop ended with the interpreter")
        self._loop.call_soon_threadsafe(self._begin, work, on_start, _context())

    def _begin(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        on_start: Callable[[asyncio.Task[None]], None] | None,
        context: Context,
    ) -> None:
        task = self._loop.create_task(work(), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if on_start is not None:
            on_start(task)

    def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine on the loop and block for its result. An interrupt while waiting cancels it."""
        if self.is_current:
            raise ConfigError.at("client", _ITSELF)
        outcome: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

        async def answer() -> None:
            try:
                outcome.put((await work(), None))
            except BaseException as error:
                outcome.put((None, error))

        tasks: list[asyncio.Task[None]] = []
        self.start(answer, tasks.append)
        try:
            result, error = _taken(outcome)
        except BaseException:
            self.call(lambda: [task.cancel() for task in tasks])
            raise
        if error is not None:
            raise error
        return cast(_T, result)  # without an error there is a result, which may itself be None

    def call(self, function: Callable[[], object]) -> None:
        """Run a plain function on the loop's thread, soon."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Cancel what runs, and end the thread."""
        self.stopping = True
        self.call(self._loop.stop)
        if not self.is_current:
            self._thread.join(_CLOSE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            while True:
                try:
                    self._loop.run_forever()
                    break
                except (SystemExit, KeyboardInterrupt) as error:  # of a user's function: it ends its task, not all
                    logger.warning("work in the background raised %s", type(error).__name__)
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                self._loop.run_until_complete(asyncio.wait(tuple(self._tasks), timeout=_CLOSE))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


def _context() -> Context:
    """A copy of the caller's context, without the word for the event loop the caller may be on."""
    context = copy_context()
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, None)
    return context


_engines: dict[int, Engine] = {}  # by process: after a fork the parent's entry is kept, untouched, and never used
_lock = threading.Lock()


def engine() -> Engine:
    """This process's engine."""
    running = _engines.get(os.getpid())
    if running is not None:
        return running
    with _lock:
        if os.getpid() not in _engines:
            _engines[os.getpid()] = Engine()
        return _engines[os.getpid()]


def running_engine() -> Engine | None:
    """This process's engine, if a call has started it and the interpreter's exit has not ended it."""
    running = _engines.get(os.getpid())
    return None if running is None or running.ended else running


def _forked() -> None:
    global _lock
    _lock = threading.Lock()  # the old one may be held by a thread that is not here


def _at_exit() -> None:
    running = running_engine()
    if running is not None:
        running.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(_at_exit)


def seam(handler: Handler) -> Handler:
    """The layer that lets a blocking thread use an asynchronous handler. Its coroutine blocks and never waits."""

    async def crossing(call: Call) -> Stream:
        flight = Flight(engine(), handler, call)
        call.record.leave = flight.leave
        try:
            return await flight.open()
        finally:
            call.record.leave = None

    return crossing


class Crew:
    """The engine's side of a call: it runs the handler and sends batches across.

    It knows nothing of the caller's side, so that dropping that one ends the call.
    """

    def __init__(self, engine: Engine, handler: Handler, call: Call) -> None:
        self.inbox: SimpleQueue[_Item] = SimpleQueue()
        self._engine = engine
        self._handler = handler
        self._call = call
        self._task: asyncio.Task[None] | None = None
        self._given_up = False
        engine.start(self._run, self._started)

    def cancel(self) -> None:
        """Stop the call, from any thread; something final will come into the inbox."""
        self._given_up = True
        self._engine.call(self._cancel)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """Open the stream and send its batches across, then an empty one or what went wrong."""
        last: Sequence[Chunk] | BaseException = ()
        work = self._call.request.work
        hands = work.hands(self._call) if isinstance(work, Work) else None
        try:
            if hands is not None:
                hands.join(self.inbox)
            stream = await self._handler(self._call)
            if isinstance(stream, Complete):
                self.inbox.put(stream)
            else:
                await self._read(stream)
        except BaseException as error:
            if self._engine.stopping and not self._given_up:
                return  # the interpreter is exiting: whoever still waits is a daemon thread, and dies as it is
            last = error
        finally:
            if hands is not None:
                hands.leave(self.inbox)
        self.inbox.put(last)

    async def _read(self, stream: Stream) -> None:
        try:
            while batch := await stream.pull():
                self.inbox.put(batch)
        finally:
            await stream.aclose()


class Flight(Stream):
    """The caller's side of a call that runs on the engine: it blocks on the other end of the queue."""

    _over = True  # until there is something to end

    def __init__(self, engine: Engine, handler: Handler, call: Call) -> None:
        if engine.is_current:
            raise ConfigError.at("client", _ITSELF)
        self._engine = engine
        self._process = os.getpid()
        self._ahead: Sequence[Chunk] = ()
        self._desk = Desk()
        self._crew = Crew(engine, handler, call)
        self._over = False

    async def open(self) -> Stream:
        """Wait for the first content. An answer that came whole is handed over as such."""
        first = self._take()
        if isinstance(first, Complete):
            return first
        self._ahead = first
        return self

    async def pull(self) -> Sequence[Chunk]:
        if self._ahead:
            ahead, self._ahead = self._ahead, ()
            return ahead
        if self._over:
            return ()
        batch = self._take()
        return batch.chunks if isinstance(batch, Complete) else batch

    def _take(self) -> Sequence[Chunk] | Complete:
        """Block for the next batch, or for all of an answer. An interrupt stops the call upstream, then goes on up."""
        if os.getpid() != self._process:
            raise ConfigError.at("stream", "was opened before a fork, in the parent process")
        try:
            batch = self._next()
        except BaseException:
            self.leave()
            raise
        if isinstance(batch, Complete):
            self._over = True
            return batch
        if batch and not isinstance(batch, BaseException):
            self._desk.had(len(batch))
            return batch
        self._over = True
        self._crew.inbox.put(batch)  # another thread may be waiting for the end too
        if isinstance(batch, asyncio.CancelledError):
            raise StreamCut("the call was cancelled while it was being read")
        if isinstance(batch, BaseException):
            raise batch
        return batch

    def _next(self) -> Sequence[Chunk] | Complete | BaseException:
        """What comes next. Errands that are due are done on the way."""
        while True:
            errand = self._desk.due()
            if errand is not None:
                errand.run()
                continue
            item = _taken(self._crew.inbox)
            if not isinstance(item, Errand):
                return item
            self._desk.add(item)

    async def aclose(self) -> None:
        if not self._over:
            self.leave()

    def leave(self) -> None:
        """Stop the call, and wait for a moment until the server was told. Any thread may do this."""
        if os.getpid() != self._process:
            self._over = True
            return
        self._crew.cancel()
        self._over = True
        if self._engine.is_current or self._engine.ended:  # a finaliser that happens to run there, or at the very end
            return
        inbox, until = self._crew.inbox, monotonic() + _CLOSE
        try:
            last = inbox.get(timeout=_CLOSE)
            while isinstance(last, Errand) or (last and not isinstance(last, BaseException)):
                if isinstance(last, Errand) and last.number == CLOSING and last.claim():
                    last.run()
                last = inbox.get(timeout=max(0.0, until - monotonic()))
        except Empty:
            return
        inbox.put(last)  # for another thread that may be waiting

    def __del__(self) -> None:
        if not self._over and os.getpid() == self._process:
            self._crew.cancel()
