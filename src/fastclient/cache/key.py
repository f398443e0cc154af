"""The key of a request: 32 bytes over everything that can change its answer. Pure.

Two requests have one key exactly if the same target is asked the same with the same parameters, by the same
credential, in the same namespace; the order of a dict's entries does not matter, nor whether the answer is streamed.
The key's own bytes tell nothing: prompts and credentials go through a hash, credentials first through one of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b, sha256

import orjson

from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.target import Target
from fastclient.types import Call, Message, Request

__all__ = ["Keys", "keyed", "tag_of"]

_VERSION = "fastclient answer 1"  # part of every key: a change of what is hashed makes all old entries misses
_CREDENTIAL = b"fastclient credential"


class Keys:
    """Makes the keys of one target's requests. A request without a namespace of its own is in `namespace`."""

    __slots__ = ("_namespace", "_target")

    def __init__(self, target: Target, namespace: str) -> None:
        self._namespace = namespace
        self._target = orjson.dumps(
            [
                _VERSION,
                target.provider,
                target.base_url,
                target.model,
                _digest(target.key),
                sorted((name.lower(), _digest(value)) for name, value in target.headers.items()),
            ]
        )

    def key(self, request: Request, sample: int = 0, *, messages: Sequence[Message] | None = None) -> bytes | None:
        """The key of one of the answers this request may have; None for what JSON cannot say, which is not cached.

        With `messages`, that of the same request with these instead.

        Costs about a microsecond, and one more for each KB of prompt: canonical JSON (RFC 8785 in spirit: sorted keys,
        no spaces), then SHA-256, which today's processors have built in.
        """
        namespace = self._namespace if request.namespace is None else request.namespace
        said: list[object] = [namespace, sample, request.messages if messages is None else messages, request.params]
        if request.original is not None:
            said.append(request.original.variant)
        try:
            words = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        except TypeError:
            return None
        digest = sha256(self._target)
        digest.update(words)
        return digest.digest()


def keyed(keys: Keys) -> Layer:
    """The layer that gives calls their keys where no cache does, so that they can be shared."""

    def layer(handler: Handler) -> Handler:
        async def keying(call: Call) -> Stream:
            keyed = call.copy()
            keyed.key = call.record.key = keys.key(call.request)
            return await handler(keyed)

        return keying

    return layer


def tag_of(namespace: str) -> bytes:
    """What an entry's namespace is called in a store, so that all of it can be found and removed: a hash of it."""
    return blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=8, person=b"fc namespace").digest()


def _digest(secret: str) -> str:
    return blake2b(secret.encode(), digest_size=16, key=_CREDENTIAL).hexdigest()
