"""The exact cache: the same request gets the answer it got before.

Two layers. `cached` looks, above the seam: it never waits, so that a blocking caller finds a hit on its own thread.
`stored` keeps what comes back, below the single flight, so that an answer many wait for is kept once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from fastclient.cache.entry import Entry
from fastclient.cache.freshness import freshness, lifetime
from fastclient.cache.key import Keys, tag_of
from fastclient.cache.labels import Marks
from fastclient.cache.replay import Nap, Replay
from fastclient.cache.store import Found, Store
from fastclient.config import Cache
from fastclient.engine.complete import Complete
from fastclient.engine.overheard import Overheard
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream, unshared
from fastclient.errors import BadRequest, ConfigError, NotFound, ProviderError
from fastclient.providers.repeat import repeatable
from fastclient.request import snapshot
from fastclient.target import Target
from fastclient.types import CacheInfo, Call, Chunk, Message, Request

__all__ = ["Answers", "cached", "stored"]

logger = logging.getLogger("fastclient")

_MISS = CacheInfo(state="miss")
_BY_ITSELF = ("stop", "tool_calls", "function_call")  # how an answer ends that nothing cut short
_LASTING = (400, 404, 405, 410, 413, 414, 415, 422)  # refusals that say: this request, never
_LIMITS = ("max_tokens", "max_completion_tokens")
_TURNS = 10_000  # requests whose turns are remembered

Revive = Callable[[Call], None]
"""Asks again in the background."""


class Answers:
    """What the layers of one client share: which key a request has, what is kept under it, and for how long."""

    def __init__(self, cache: Cache, store: Store, target: Target, nap: Nap, now: Callable[[], float]) -> None:
        self.store = store
        self._cache = cache
        self._keys = Keys(target, cache.namespace)
        self._pause = 1 / cache.pace if cache.pace else 0.0
        self._nap = nap
        self.now = now
        self._marks = Marks(store, now, cache.ttl + cache.stale)
        self._tag = tag_of(cache.namespace)
        self._tags: dict[str, bytes] = {}
        self._turns: dict[bytes, int] = {}
        self.writes = 0

    def key(self, request: Request) -> bytes | None:
        """What this request's answer is kept under; None if it is to be answered anew each time."""
        if request.cache == "off" or not repeatable(request):
            return None
        key = self._keys.key(request)
        samples = self.samples(request)
        if samples == 1 or key is None:
            return key
        turn = self._turns.get(key, 0)
        if len(self._turns) >= _TURNS:
            self._turns.clear()
        self._turns[key] = turn + 1
        return self._keys.key(request, turn % samples)

    def samples(self, request: Request) -> int:
        """How many different answers a request has, which take turns."""
        return request.samples or self._cache.samples

    @property
    def namespace(self) -> str:
        """The one of calls that name none."""
        return self._cache.namespace

    def around(self, request: Request, messages: Sequence[Message]) -> bytes | None:
        """What stands for a request if it had these messages; None for what JSON cannot say."""
        return self._keys.key(request, messages=messages)

    def age(self, call: Call, entry: Entry) -> float | None:
        """How many seconds ago an entry was stored, if it may still be served as fresh."""
        age = max(0.0, self.now() - entry.stored)
        if freshness(entry, age, self._cache) != "hit" or (entry.labels and self._marks.cover(entry, self.tag(call))):
            return None
        return age

    def forget(self, namespace: str | None, labels: Sequence[str]) -> None:
        """Forget what has one of the labels, in one namespace or all of them; without labels, all of a namespace."""
        if labels:
            self._marks.forget(labels, None if namespace is None else tag_of(namespace))
        else:
            purge = getattr(self.store, "purge", None)
            if purge is None:
                raise ConfigError.of("cache.store", self.store, "cannot forget a namespace: it has no purge")
            purge(namespace)

    def lifetime(self, entry: Entry) -> float:
        """Seconds for which an entry is worth keeping."""
        return lifetime(entry, self._cache)

    def tag(self, call: Call) -> bytes:
        """The namespace of a call, as stores know it."""
        namespace = call.request.namespace
        if namespace is None:
            return self._tag
        tag = self._tags.get(namespace)
        if tag is None:
            if len(self._tags) >= _TURNS:
                self._tags.clear()
            tag = self._tags[namespace] = tag_of(namespace)
        return tag

    def replay(self, call: Call, found: Found, revive: Callable[[], None], *, below: bool = False) -> Stream | None:
        """The stored answer as a stream; None if it is too old or unreadable. Raises the error, if it is a refusal.

        Where it is stale, a new one is asked for with `revive`. It is whole only, without chunks, for a caller who is
        not shown any; `below` the seam others may read it too.
        """
        entry, source = found
        age = max(0.0, self.now() - entry.stored)
        state = freshness(entry, age, self._cache)
        if state == "miss" or (entry.labels and self._marks.cover(entry, self.tag(call))):
            return None
        pieces: Sequence[Chunk] = ()
        try:
            error = entry.error() if entry.problem is not None else None
            if error is None and (below or call.record.shown):
                pieces = entry.chunks()
        except Exception as problem:
            logger.warning("reading a stored answer failed with %s", type(problem).__name__)
            return None
        call.record.cache = CacheInfo(state, source, None, age)
        if error is not None:
            raise error
        if state == "stale":
            revive()
        pause = 0.0 if below else self._pause  # others would wait too
        return Replay(entry, pieces, call, self._nap, pause)

    def find(self, key: bytes) -> Found | None:
        """What is at hand under this key. Whatever goes wrong in a store is a miss."""
        try:
            return self.store.get(key)
        except Exception as error:
            logger.warning("looking into the cache failed with %s", type(error).__name__)
            return None

    def keep(self, call: Call, entry: Entry) -> None:
        """Store an entry under the key of a call."""
        if call.key is not None:
            self.writes += 1
            self.store.put(call.key, entry, tag=self.tag(call), lifetime=lifetime(entry, self._cache))
            call.record.kept = entry.problem is None

    def answered(self, call: Call, chunks: Sequence[Chunk]) -> None:
        """Keep an answer that came to its end in these chunks, if it is one that others should get."""
        record = call.record
        winner = record.winner()
        if winner is None or winner.malformed_events or record.recovered:
            return
        if winner.destination is not call.target and winner.destination != call.target:
            return
        ending = _ending(chunks)
        if ending in _BY_ITSELF or (ending == "length" and _limited(call.request)):
            self.keep(call, Entry.of(chunks, stored=self.now(), labels=call.request.labels))

    def refused(self, call: Call, error: ProviderError) -> None:
        """Keep a refusal, if it would come again. A renewal that is refused leaves the old answer where it is."""
        renewal = call.request.cache == "refresh"
        lasting = error.status_code in _LASTING and not error.retryable
        if self._cache.negative and lasting and not renewal and len(call.record.attempts) == 1:
            self.keep(call, Entry.refusing(error, stored=self.now()))


def _ending(chunks: Sequence[Chunk]) -> str | None:
    """The finish reason that came last."""
    for chunk in reversed(chunks):
        if chunk.finish_reason is not None:
            return chunk.finish_reason
    return None


def _limited(request: Request) -> bool:
    """Whether the caller set the limit that an answer was cut by. Without, the cut is an accident of the server's."""
    return not request.params.keys().isdisjoint(_LIMITS)


def cached(answers: Answers, revive: Revive) -> Layer:
    """The layer that answers from the store. It gives every call that may be stored its key."""

    def layer(handler: Handler) -> Handler:
        async def looking(call: Call) -> Stream:
            record = call.record
            key = record.key = call.key or answers.key(call.request)
            record.prepared = record.looked = record.clock()
            if key is None:
                return await handler(call)
            record.cache = _MISS
            if call.request.cache == "use":
                record.writes = answers.writes
                found = answers.find(key)
                record.looked = record.clock()
                if found is not None:
                    stream = answers.replay(call, found, lambda: revive(_owned(call, key)))
                    if stream is not None:
                        return stream
            return await handler(_owned(call, key))

        return looking

    return layer


def _owned(call: Call, key: bytes) -> Call:
    """The call with its key. Its body may be written later, so it is taken out of the caller's reach now."""
    owned = call.copy()
    owned.request, owned.key = snapshot(call.request), key
    return owned


def stored(answers: Answers) -> Layer:
    """The layer that keeps what calls with a key bring."""

    def layer(handler: Handler) -> Handler:
        async def storing(call: Call) -> Stream:
            if call.key is None:
                return await handler(call)
            if call.request.cache == "use" and call.record.writes != answers.writes:
                # A call that asked the same may have ended between the look above the seam and now.
                found = answers.find(call.key)
                late = found and answers.replay(call, found, lambda: None, below=True)
                if late:
                    return late
            try:
                stream = await handler(call)
            except (BadRequest, NotFound) as error:
                _kept(answers.refused, call, error)
                raise
            if isinstance(stream, Complete):
                _kept(answers.answered, call, unshared(stream.chunks))
                return stream
            return Overheard(stream, lambda chunks: _kept(answers.answered, call, chunks))

        return storing

    return layer


def _kept(keep: Callable[..., None], *what: object) -> None:
    """What goes wrong in keeping an answer costs the next call, never this one."""
    try:
        keep(*what)
    except Exception as error:
        logger.warning("keeping an answer failed with %s", type(error).__name__)
