"""What a store of answers does on a Redis server. Coroutines run on the engine's loop, the rest in any thread."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple
from weakref import finalize

from fastclient.cache.entry import Entry
from fastclient.cache.memory import MemoryStore
from fastclient.cache.redis.link import WRITE, Counts, Link, Writes
from fastclient.cache.seal import opened, sealed
from fastclient.engine.hop import Away, start_on, the_engine
from fastclient.engine.seam import running_engine
from fastclient.locks import Locked

__all__ = ["Seen", "Shelf"]

_WAITING, _WAITING_BYTES = 256, 32 * 2**20  # writes that may wait
_LARGEST = 4 * 2**20  # bytes of an entry: what a network brings within our patience
_FOREVER = 10 * 365 * 86400  # seconds
_MARK = 16  # bytes at the beginning of a sealed entry that tell it from any other

logger = logging.getLogger("fastclient")

# One round trip for all a call wants to know: the entry, unless it is the known one; else the lease, or who has it.
_LOOK = """
local value, bad = '', 0
if ARGV[5] == '1' then
  local size = redis.pcall('STRLEN', KEYS[1])
  if type(size) == 'number' and size <= tonumber(ARGV[3]) then
    value = redis.call('GET', KEYS[1]) or ''
  else
    redis.call('UNLINK', KEYS[1])
    bad = 1
  end
end
if value ~= '' and string.sub(value, 1, 16) ~= ARGV[4] then return {'entry', value, bad} end
if ARGV[1] == '' then return {'none', '', bad} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'mine', '', bad} end
if redis.call('GET', KEYS[2]) == 'go' then return {'go', '', bad} end
return {'held', '', bad}
"""


class Seen(NamedTuple):
    """What one look at the server found: an entry; or that the lease is `mine`, `held` by another, or waived (`go`).

    A `bad` entry is no entry, and has been removed. `mark` tells it, or the entry, from any other.
    """

    state: Literal["entry", "bad", "none", "mine", "held", "go"]
    entry: Entry | None = None
    mark: bytes = b""


class Shelf(Locked):
    """The entries and leases under one prefix of a server. `make` makes the connections of a process."""

    def __init__(
        self,
        make: Callable[[], tuple[Any, Any]],
        server: str,
        *,
        memory: MemoryStore | None,
        secret: bytes,
        prefix: str,
    ) -> None:
        super().__init__()
        self._make = make
        self._server = server
        self._memory = memory
        self._secret = secret
        self._prefix = prefix
        self._counts = Counts()
        self._link: Link | None = None

    def link(self) -> Link:
        """This process's connections; a forked child makes its own."""
        with self.lock:
            link = self.opened()
            if link is None:
                link = self._link = Link(*self._make(), self._server, self._counts)
                finalize(self, _abandoned, link).atexit = False
            return link

    def opened(self) -> Link | None:
        """The same, if it has any."""
        return self._link if self._link is not None and self._link.process == os.getpid() else None

    def name(self, key: bytes, tag: bytes) -> str:
        """What an entry is called on the server."""
        return f"{self._prefix}:{tag.hex()}:{key.hex()}"

    def lease_name(self, key: bytes) -> str:
        """What the lease of a key is called there."""
        return f"{self._prefix}:lease:{key.hex()}"

    async def look(
        self,
        key: bytes,
        tag: bytes,
        *,
        token: bytes = b"",
        lasts: float = 1.0,
        known: bytes = b"",
        skip: bool = False,
        patience: float | None = None,
        late: Callable[[Any], object] | None = None,
    ) -> Seen:
        """Ask for the entry, and with a `token` for the lease if there is none. Runs on the engine's loop. Raises Away.

        An entry with the mark `known` counts as none, and with `skip` any. `late` gets an answer after we have left.
        """
        link = self.link()
        names = (self.name(key, tag), self.lease_name(key))
        wish = (token, int(lasts * 1000), _LARGEST, known, 0 if skip else 1)
        answer = await link.ask("EVAL", _LOOK, 2, *names, *wish, patience=patience, late=late)
        match answer:
            case [b"none" | b"mine" | b"held" | b"go" as state, bytes(), int() as bad]:
                self.count(rejected=bad)
                return Seen(state.decode())
            case [b"entry", bytes() as value, int()]:
                entry = opened(key, value, self._secret)
                if entry is None:
                    self.count(rejected=1)
                    link.lookups.send("UNLINK", names[0])
                    return Seen("bad", None, value[:_MARK])
                if self._memory is not None:
                    self._memory.put(key, entry)
                return Seen("entry", entry, value[:_MARK])
        link.nonsense()
        raise Away("answers nonsense")

    def send(self, key: bytes, entry: Entry, tag: bytes, lifetime: float) -> None:
        """Write an entry soon, if not too much waits already. Returns at once."""
        link = self.link()
        with self.lock:
            writes = link.watched.get(key)
            if link.waiting >= _WAITING or link.waiting_bytes + entry.size > _WAITING_BYTES:
                self._counts.dropped += 1
                return
            link.waiting += 1
            link.waiting_bytes += entry.size

        def started(task: asyncio.Task[None]) -> None:
            for tasks in (link.writing, *(() if writes is None else (writes.tasks,))):
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        try:
            start_on(the_engine(), lambda: self._write(link, key, entry, tag, lifetime, writes), started)
        except Away:
            self._written(link, entry, done=False)

    async def _write(
        self, link: Link, key: bytes, entry: Entry, tag: bytes, lifetime: float, writes: Writes | None
    ) -> None:
        done = False
        try:
            await link.begin()
            link.check()
            value = sealed(key, entry, self._secret)
            if len(value) <= _LARGEST:
                lasts = max(1, int(min(lifetime, _FOREVER) * 1000))
                command = ("SET", self.name(key, tag), value, "PX", lasts)
                await link.ask(*command, lane=link.writes, patience=WRITE)
                done = True
                if writes is not None:
                    writes.written = True
        except Exception as error:
            logger.debug("an answer was not written to redis: %s", type(error).__name__)
        finally:
            self._written(link, entry, done=done)

    def _written(self, link: Link, entry: Entry, *, done: bool) -> None:
        with self.lock:
            link.waiting -= 1
            link.waiting_bytes -= entry.size
            self._counts.stored += done
            self._counts.dropped += not done

    def watch(self, key: bytes) -> Writes:
        """Note from now on what becomes of the writes under this key."""
        with self.lock:
            self.link().watched[key] = writes = Writes()
        return writes

    def unwatch(self, key: bytes, writes: Writes) -> None:
        """Stop noting."""
        with self.lock:
            watched = self.link().watched
            if watched.get(key) is writes:
                del watched[key]

    async def remove(self, pattern: str) -> int:
        """Remove all entries with such names. Returns their number."""
        link = self.link()
        await link.flush()
        removed, cursor = 0, None
        while cursor != 0:
            scan = ("SCAN", cursor or 0, "MATCH", pattern, "COUNT", 500)
            cursor, names = await link.ask(*scan, lane=link.writes, patience=WRITE)
            if names:
                removed += await link.ask("UNLINK", *names, lane=link.writes, patience=WRITE)
        return removed

    def count(self, *, hits: int = 0, misses: int = 0, rejected: int = 0) -> None:
        """Add to the counts."""
        with self.lock:
            self._counts.hits += hits
            self._counts.misses += misses
            self._counts.rejected += rejected


def _abandoned(link: Link) -> None:
    """A store was dropped without having been closed."""
    home = running_engine()
    if home is not None and link.process == os.getpid():
        home.call(lambda: home.start(link.aclose))
