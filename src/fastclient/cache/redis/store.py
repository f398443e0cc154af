"""Answers in Redis or Valkey, shared by processes and machines, behind a small memory of this process's own.

All traffic is asyncio code on the process's one background event loop: the client library knows asyncio only, its
connections belong to one loop, and callers come from threads, asyncio and trio.
"""

from __future__ import annotations

import atexit
import logging
import re
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from fastclient.cache.entry import Entry
from fastclient.cache.key import tag_of
from fastclient.cache.memory import Tier, tier
from fastclient.cache.redis.address import public
from fastclient.cache.redis.leased import leased
from fastclient.cache.redis.link import EXCHANGE
from fastclient.cache.redis.shelf import Shelf
from fastclient.cache.seal import secret_of
from fastclient.cache.store import Found, Replayer, StoreStats
from fastclient.engine.hop import Away, on_engine, start_on, the_engine
from fastclient.engine.seam import engine, running_engine
from fastclient.engine.stack import Layer
from fastclient.errors import ConfigError, ConnectFailed
from fastclient.types import Call
from fastclient.wire.sockets import closed_in_children

__all__ = ["RedisStore"]

logger = logging.getLogger("fastclient")
_stores: WeakSet[RedisStore] = WeakSet()


class RedisStore(Shelf):
    """Keeps answers in a Redis or Valkey that many processes share, and in `memory` what this process used lately.

    With a `secret`, entries that were not written by somebody who knows it are not believed. Without one, whoever may
    write to the server may change answers. `prefix` begins the names of all keys.
    """

    def __init__(
        self,
        url: str,
        *,
        memory: Tier = "own",
        secret: str | bytes | None = None,
        prefix: str = "fastclient",
    ) -> None:
        front = tier("redis.memory", memory)
        if not isinstance(prefix, str) or not re.fullmatch(r"[\w.:/-]{1,64}", prefix, re.ASCII):
            raise ConfigError.of("redis.prefix", prefix, "must be 1 to 64 letters, digits or any of _.:/-")
        known = secret_of("redis.secret", secret)
        make, server = _connector(url)
        super().__init__(
            make,
            server,
            memory=front,
            secret=known,
            prefix=prefix,
        )
        _stores.add(self)

    def layer(self, replay: Replayer, tag_of_call: Callable[[Call], bytes]) -> Layer:
        """What asks the server for a call that is not in memory, and lets one process go for all."""
        return leased(self, replay, tag_of_call)

    def open(self) -> None:
        """Begin to connect, in the background."""
        try:
            start_on(the_engine(), self.link().warm)
        except Away:
            return

    def get(self, key: bytes) -> Found | None:
        """The entry under this key, if this process has it in memory."""
        found = None if self._memory is None else self._memory.get(key)
        if found is not None:
            self.count(hits=1)
        return found

    async def fetch(self, key: bytes, tag: bytes) -> Entry | None:
        """The entry under this key on the server, if it is there and the server answers soon."""
        try:
            entry = (await on_engine(lambda: self.look(key, tag))).entry
        except Away:
            entry = None
        self.count(hits=entry is not None, misses=entry is None)
        return entry

    def put(self, key: bytes, entry: Entry, *, tag: bytes, lifetime: float) -> None:
        """Keep an entry: in memory at once, on the server soon."""
        if self._memory is not None:
            self._memory.put(key, entry)
        self.send(key, entry, tag, lifetime)

    def purge(self, namespace: str) -> int:
        """Remove a namespace's answers from the server, and all from this process's memory. Returns their number.

        Blocks. Other processes may find what they have in memory until it is too old for them. Raises ConnectFailed if
        the server does not answer.
        """
        if self._memory is not None:
            self._memory.clear()
        try:
            return engine().run(lambda: self.remove(f"{self._prefix}:{tag_of(namespace).hex()}:*"))
        except Away as error:
            raise ConnectFailed(f"redis at {self._server}: {error}") from None
        except (TypeError, ValueError):
            raise ConnectFailed(f"redis at {self._server} answers nonsense") from None

    def close(self) -> None:
        """Write what is waiting to be written, and let go of idle connections. It opens again when it is used."""
        home, link = running_engine(), self.opened()
        if home is None or link is None:
            return
        try:
            if home.is_current:
                home.start(link.rest)
            else:
                home.run(link.rest)
        except Exception as error:
            logger.debug("closing redis failed with %s", type(error).__name__)

    def stats(self) -> StoreStats:
        """What was counted; entries and bytes are those in memory."""
        held = StoreStats() if self._memory is None else self._memory.stats()
        with self.lock:
            counts = self._counts
            return StoreStats(
                entries=held.entries,
                bytes=held.bytes,
                evicted=held.evicted,
                hits=counts.hits,
                misses=counts.misses,
                stored=counts.stored,
                rejected=counts.rejected,
                dropped=counts.dropped,
                failures=counts.failures,
            )

    def __repr__(self) -> str:
        return f"RedisStore({self._server!r}, prefix={self._prefix!r})"


def _connector(url: object) -> tuple[Callable[[], tuple[Any, Any]], str]:
    """What makes a pool of connections and a client that uses it, and how to call the server in public."""
    try:
        from redis import asyncio as library
        from redis.asyncio.connection import parse_url
    except ImportError:
        raise ConfigError.at("redis", 'is not installed: pip install "fastclient[redis]"') from None
    server = public(url)
    kind: Any = library.Connection
    options: dict[str, Any] = {}
    usable = True
    try:
        options = {**parse_url(str(url))}
        kind = _abrupt(options.pop("connection_class", kind))
        kind(**options)
    except Exception:  # its text may quote the URL: it must not be in the chain of ours
        usable = False
    if not usable:
        raise ConfigError.at("redis.url", "has options that do not fit")
    # No time limits but our own, and no retries: they back off, and multiply the time.
    options |= {"protocol": 2, "socket_timeout": None, "socket_connect_timeout": EXCHANGE}

    def make() -> tuple[Any, Any]:
        pool: Any = library.ConnectionPool(connection_class=kind, **options)
        return pool, library.Redis(connection_pool=pool)

    return make, server


def _abrupt(kind: Any) -> Any:
    """A kind of connection that is dropped without waiting for the other side, and that forked children give up."""

    class Abrupt(kind):  # type: ignore[misc]
        async def _connect(self) -> None:
            await super()._connect()
            closed_in_children(self._writer.get_extra_info("socket"))

        async def disconnect(self, nowait: bool = True, **options: Any) -> None:  # noqa: ARG002
            if self._writer is not None:
                self._writer.transport.abort()
            await super().disconnect(nowait=True, **options)

    return Abrupt


def _at_exit() -> None:
    """What was put in the last moment is written still, if the server takes it at once."""
    home = running_engine()
    for link in [store.opened() for store in list(_stores)]:
        if home is not None and link is not None and link.waiting:
            home.run(link.flush)


atexit.register(_at_exit)  # before the engine's own, which was registered before
