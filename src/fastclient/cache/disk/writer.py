"""Writing to a store on disk: one thread that takes batches from a queue, and mends what is broken."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread, current_thread
from time import monotonic, sleep
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

from fastclient.cache.disk.folder import Broken, Folder, Identity
from fastclient.cache.disk.sqlite import BUSY, Connected, is_broken, park
from fastclient.cache.disk.waiting import Job, Queue, Tally
from fastclient.cache.seal import SEALED_MAX, sealed

__all__ = ["Change", "Table", "Writer"]

_LINGER = 0.005  # seconds before a batch is begun: the answer's way to its reader comes first, and more may follow
_IDLE = 1.0  # seconds until a thread without work ends
_OPENING = 0.25  # seconds to wait while other processes open the same folder
_PAUSE = 0.2  # seconds after the first failure; each further one adds as much
_TRIES = 5  # until what waits is dropped
_ASIDE = 5.0  # seconds between two folders set aside
_EXIT = 1.0  # seconds that the end of the process may be held up


class Change(NamedTuple):
    """A row to be written, or without a value one to be removed."""

    key: bytes
    value: bytes | None
    tag: bytes
    until: float


class Table(Protocol):
    """What the writer needs of a database that is open for writing."""

    identity: Identity | None

    def write(self, changes: Iterable[Change]) -> int:
        """Make all changes or none, and return how many other rows had to go."""
        ...

    def release(self) -> None:
        """Close the connection, undoing what was not finished."""
        ...


T = TypeVar("T", bound=Table)


class Writer(Connected, Generic[T]):
    """Writes what is put into its queue, on a thread that starts when there is work and ends when there is none.

    `make` opens the folder's database, waiting for locks so many seconds each time.
    """

    _table: T | None
    _thread: Thread | None

    def __init__(self, folder: Folder, make: Callable[[float], T], tally: Tally, secret: bytes) -> None:
        self._table = None
        super().__init__()
        self._folder = folder
        self._make = make
        self._tally = tally
        self._secret = secret
        self.written: Callable[[], object] = lambda: None  # is called when there is something new to read
        self._next_aside = 0.0
        self._start()
        _writers.add(self)

    def add(self, key: bytes, job: Job) -> None:
        """Have an entry written soon."""
        if self.queue.add(key, job):
            self._rouse()
        else:
            self._tally.add("dropped")

    def forget(self, key: bytes) -> None:
        """Have what is under this key removed, unless something else waits to be written there."""
        if self.queue.get(key) is None:
            self.add(key, Job(None))

    def suspect(self, identity: Identity | None) -> None:
        """Have this database set aside, if it is still the one in use."""
        self.queue.suspect = identity
        self._rouse()

    def close(self, wait: float) -> None:
        """Write what waits, for so many seconds at most; drop the rest, close the database and end the thread."""
        until = monotonic() + wait
        while self.queue and (left := until - monotonic()) > 0:
            sleep(min(self.step(left), max(0.0, until - monotonic())))
        with self.queue.lock:
            if monotonic() >= until:
                self._drop()
            if not self.queue:
                self._thread = None  # whoever has work from now on starts another
        self._work.set()
        if self.lock.acquire(timeout=max(BUSY, until - monotonic())):
            self.let_go()
            self.lock.release()

    @contextmanager
    def table(self, patience: float) -> Iterator[T]:
        """The database for something else than writing entries, which may wait for locks. Keeps the thread out."""
        with self.lock:
            self.let_go()
            try:
                yield self._opened(patience, patience)
            finally:
                self.let_go()
        self.written()

    def let_go(self) -> None:
        table, self._table = self._table, None
        if table is not None:
            table.release()

    def forked(self) -> None:
        park(self._table)
        self._table = None
        self._start()  # the parent writes what waited

    def _start(self) -> None:
        self.queue = Queue()
        self._work = Event()
        self._thread = None
        self._failures = 0

    # --- the thread --------------------------------------------------------------------------------------------------

    def _rouse(self) -> None:
        with self.queue.lock:
            if self._thread is None:
                self._thread = thread = Thread(target=self._run, name="fastclient disk", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is exiting, or there are too many: the next one tries again
                    self._thread = None
        self._work.set()

    def _run(self) -> None:
        while self._thread is current_thread() and self._awaited():
            sleep(_LINGER)
            while self.queue:
                sleep(self.step())

    def _awaited(self) -> bool:
        """Wait for work; False when there is none for a while."""
        if self._work.wait(_IDLE):
            self._work.clear()
            return True
        with self.lock:
            self.let_go()
        with self.queue.lock:
            if self.queue:
                return True
            if self._thread is current_thread():
                self._thread = None  # whoever has work from now on starts another
        return False

    def step(self, wait: float = 60.0) -> float:
        """Write one batch. Returns the seconds to wait before the next one. Any thread may do this."""
        if not self.lock.acquire(timeout=wait):
            return _PAUSE
        try:
            batch = self.queue.batch(1) if self._failures else self.queue.batch()
            try:
                self._mend()
                if batch:
                    self._write(batch)
            except Exception as error:
                self.queue.postpone(batch)  # perhaps it was one of these, and others have room
                return self._failed(error)
            self.queue.done(batch)
            self._failures = 0
            self.written()
            return 0.0
        finally:
            self.lock.release()

    def _write(self, batch: Mapping[bytes, Job]) -> None:
        changes = [change for key, job in batch.items() if (change := self._change(key, job)) is not None]
        evicted = self._opened().write(changes)
        self._tally.add("stored", sum(change.value is not None for change in changes))
        self._tally.add("evicted", evicted)

    def _change(self, key: bytes, job: Job) -> Change | None:
        if job.entry is None:
            return Change(key, None, job.tag, job.until)
        try:
            value = sealed(key, job.entry, self._secret)
        except Exception:  # an entry with something in it that cannot be written down
            value = b""
        if not value or len(value) > SEALED_MAX:
            self._tally.add("dropped")
            return None
        return Change(key, value, job.tag, job.until)

    def _failed(self, error: Exception) -> float:
        self._tally.add("failures")
        if self._table is not None and is_broken(error):
            self.queue.suspect = self._table.identity
        self.let_go()
        self._failures += 1
        if self._failures == _TRIES:
            self._failures = 0
            self._drop()
        return _PAUSE * max(1, self._failures)

    def _drop(self) -> None:
        self._tally.add("dropped", self.queue.clear())
        self.queue.suspect = None

    # --- opening and mending -----------------------------------------------------------------------------------------

    def _opened(self, wait: float = _OPENING, patience: float = BUSY) -> T:
        if self._table is not None:
            if self._table.identity == self._folder.identity():
                return self._table
            self.let_go()
        os.makedirs(self._folder.path, 0o700, exist_ok=True)
        self._folder.allow()
        with self._folder.locked(wait):
            try:
                self._folder.prepare()
                self._table = self._make(patience)
            except Exception as error:
                if not is_broken(error):
                    raise
                self._set_aside()
                self._folder.prepare()
                self._table = self._make(patience)
        return self._table

    def _mend(self) -> None:
        suspect, self.queue.suspect = self.queue.suspect, None
        if suspect is not None:
            self.let_go()
            with self._folder.locked(_OPENING):
                if self._folder.identity() == suspect:  # else somebody has done it
                    self._set_aside()

    def _set_aside(self) -> None:
        if monotonic() < self._next_aside:
            raise Broken("the store broke again")
        self._next_aside = monotonic() + _ASIDE
        self._folder.set_aside()
        self._tally.add("set_aside")


_writers: WeakSet[Writer[Any]] = WeakSet()


def _at_exit() -> None:
    until = monotonic() + _EXIT
    for each in list(_writers):
        each.close(max(0.0, until - monotonic()))


atexit.register(_at_exit)
