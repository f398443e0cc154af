"""Single flight across processes: of identical calls in several of them one goes to the provider, for all.

Whoever finds no answer on the server tries to take the key's lease there. The one who gets it calls, and keeps the
lease alive until the answer is written; the others look for the answer until it is there. The server's clock is the
only one. A holder that dies, or sleeps longer than its lease lasts, makes a second call happen, never a wrong answer;
and whenever the server fails, everybody goes alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from random import uniform
from typing import NamedTuple

from fastclient.cache.entry import Entry
from fastclient.cache.redis.shelf import Shelf
from fastclient.cache.store import Found, Replayer
from fastclient.engine.hop import Away, on_engine
from fastclient.engine.seam import engine, running_engine
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.types import CacheInfo, Call, Chunk

__all__ = ["Lease", "leased"]

_LASTS = 4.0  # seconds: what a holder that dies costs the others
_GO = 1.0  # seconds for which a lease is waived when its holder had nothing to write
_FIRST, _LONGEST = 0.025, 0.2  # seconds from one look to the next: a part of the time it has taken so far
_TOO_LONG = 5.0  # seconds after a call's deadline when nobody renews its lease any more
_LEAST = 0.005  # seconds for another look
_ENTRIES = 3  # entries a call looks at: too old ones count as none

_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], 'go', 'PX', ARGV[2])
return 1
"""


def leased(store: Shelf, replay: Replayer, tag_of_call: Callable[[Call], bytes], *, lasts: float = _LASTS) -> Layer:
    """The layer that looks for an answer on the server, and lets one process at a time go and get it.

    `replay` makes a stream of an entry, or None if that is too old; it may raise the error the entry stands for.
    """

    def layer(handler: Handler) -> Handler:
        async def leasing(call: Call) -> Stream:
            if call.key is None:
                return await handler(call)
            turn = Turn()
            skip = call.request.cache == "refresh"
            left = call.deadline - call.record.clock()
            visit = Visit(store, call.key, tag_of_call(call), skip=skip, left=left, lasts=lasts)
            for _ in range(_ENTRIES):
                try:
                    turn = await on_engine(visit.turn, _unused)
                except Away:
                    turn = Turn()
                call.record.looked = call.record.clock()
                if turn.entry is None:
                    break
                stream = _replayed(replay, call, Found(turn.entry, "redis"), turn)
                if stream is not None:
                    store.count(hits=1)
                    return stream
            store.count(misses=1)
            if turn.lease is None:
                return await handler(call)
            return await _holding(turn.lease, handler, call)

        return leasing

    return layer


def _replayed(replay: Replayer, call: Call, found: Found, turn: Turn) -> Stream | None:
    record = call.record
    try:
        return replay(call, found)
    finally:
        if turn.waited and record.cache.state == "hit":
            record.cache = CacheInfo(state="shared", source="redis", age=record.cache.age)


async def _holding(lease: Lease, handler: Handler, call: Call) -> Stream:
    try:
        return LeasedStream(await handler(call), lease)
    except BaseException:
        lease.end()
        raise


class Turn(NamedTuple):
    """What a call does next: replay an entry, call with a lease, or call without one."""

    entry: Entry | None = None
    lease: Lease | None = None
    waited: bool = False  # for somebody else's call


def _unused(turn: Turn) -> None:
    if turn.lease is not None:
        turn.lease.end()


class Visit:
    """One call's dealings with the server, until it knows what to do. Lives on the engine's loop."""

    def __init__(self, store: Shelf, key: bytes, tag: bytes, *, skip: bool, left: float, lasts: float) -> None:
        self._store = store
        self._key = key
        self._tag = tag
        self._skip = skip
        self._left = left  # seconds until the call's deadline
        self._lasts = lasts
        self._spent = 0.0  # seconds, of those a call may be late because of us
        self._until = 0.0  # when it waits no more
        self._known = b""  # the entry that was no good
        self._token = os.urandom(16).hex().encode()

    async def turn(self) -> Turn:
        """An entry, or the lease, or neither. Waits for who has the lease, for half of the time there is."""
        now = asyncio.get_running_loop().time
        began, waited, fooled = now(), False, False
        self._until = until = self._until or began + self._left / 2
        while True:
            seen = await self._store.look(
                *(self._key, self._tag),
                token=self._token,
                lasts=self._lasts,
                known=self._known,
                skip=self._skip,
                patience=None if waited else max(_LEAST, self._store.link().patience - self._spent),
                late=self._late,
            )
            self._known = seen.mark or self._known
            if not waited:
                self._spent += now() - began
            if seen.entry is not None:
                return Turn(seen.entry, waited=waited)
            if seen.state == "mine":
                lease = Lease(self._store, self._key, self._token, self._lasts)
                lease.begin(self._left + _TOO_LONG)
                return Turn(lease=lease)
            if seen.state == "go" or self._skip or fooled or now() >= until:
                return Turn()
            if seen.state == "bad":
                fooled = True
                continue
            waited = True
            pause = min(max(_FIRST, (now() - began) / 8), _LONGEST) * uniform(0.5, 1)
            await asyncio.sleep(min(pause, max(0.0, until - now())))

    def _late(self, answer: object) -> None:
        """An answer came after the call had gone on: if it is a lease, nobody uses it."""
        if isinstance(answer, list) and answer and answer[0] == b"mine":
            name = self._store.lease_name(self._key)
            self._store.link().lookups.send("EVAL", _RELEASE, 1, name, self._token, 0)


class Lease:
    """The right to make the call for all. It is renewed until it ends, and given back once the answer is written."""

    def __init__(self, store: Shelf, key: bytes, token: bytes, lasts: float) -> None:
        self._store = store
        self._key = key
        self._name = store.lease_name(key)
        self._token = token
        self._lasts = lasts
        self._process = os.getpid()
        self._over = asyncio.Event()
        self._writes = store.watch(key)

    def begin(self, longest: float) -> None:
        """Keep the lease from now on, at most for so many seconds."""
        engine().start(lambda: self._keep(longest))

    def end(self) -> None:
        """The call is over. Returns at once, from any thread; may be called again."""
        home = running_engine()
        if home is not None and os.getpid() == self._process:  # a forked child has a copy, but not the lease
            home.call(self._over.set)

    async def _keep(self, longest: float) -> None:
        loop = asyncio.get_running_loop()
        until, held = loop.time() + longest, True
        written = False
        try:
            while held and not await self._waited(min(self._lasts / 4, until - loop.time())):
                held = loop.time() < until and await self._renewed()
            await self._waited(until - loop.time())
            written = await self._writes.settled()
        finally:  # also if the interpreter is exiting
            self._store.unwatch(self._key, self._writes)
            await self._ask(_RELEASE, 0 if written else int(_GO * 1000))

    async def _waited(self, patience: float) -> bool:
        """Whether the call is over within some seconds."""
        try:
            async with asyncio.timeout(max(0.0, patience)):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    async def _renewed(self) -> bool:
        """Whether the lease may still be ours."""
        return await self._ask(_RENEW, int(self._lasts * 1000)) != 0

    async def _ask(self, script: str, argument: int) -> object:
        try:
            answer: object = await self._store.link().ask("EVAL", script, 1, self._name, self._token, argument)
        except Away:
            return None
        return answer


class LeasedStream(Stream):
    """An answer under way, whose end ends the lease."""

    __slots__ = ("_inner", "_lease")

    def __init__(self, inner: Stream, lease: Lease) -> None:
        self._inner = inner
        self._lease = lease

    async def pull(self) -> Sequence[Chunk]:
        try:
            batch = await self._inner.pull()
        except BaseException:
            self._lease.end()
            raise
        if not batch:
            await self.aclose()
        return batch

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._lease.end()

    def __del__(self) -> None:
        self._lease.end()
