"""The seal on an entry outside of this process: it holds only for the key it was made for. Pure.

A store may hand back anything: half a write, flipped bits, another entry's bytes, or what somebody put there. Opening
returns exactly what was sealed under this very key, or nothing. Without a secret that guards against accidents and
against swapping entries; with one, nobody who does not know it can make an entry that opens.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest

from fastclient.cache.entry import Entry
from fastclient.errors import ConfigError

__all__ = ["SEALED_MAX", "opened", "sealed", "secret_of"]

SEALED_MAX = 64 * 2**20  # bytes; whatever is longer was not written by us
_MARK = 16  # bytes


def secret_of(field: str, secret: object) -> bytes:
    """A store's secret as bytes. Raises ConfigError, which does not show it."""
    if secret is None:
        return b""
    if not isinstance(secret, (str, bytes)) or not secret:
        raise ConfigError.at(field, "must be text or bytes, and not empty")
    return secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret


def sealed(key: bytes, entry: Entry, secret: bytes = b"") -> bytes:
    """The bytes to give away for this entry."""
    data = entry.encoded()
    return _mark(key, data, secret) + data


def opened(key: bytes, given: object, secret: bytes = b"") -> Entry | None:
    """The entry in bytes that came back; None if they are not what was sealed under this key with this secret."""
    if not isinstance(given, bytes) or not _MARK < len(given) <= SEALED_MAX:
        return None
    data = given[_MARK:]
    if not compare_digest(given[:_MARK], _mark(key, data, secret)):
        return None
    try:
        return Entry.decoded(data)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        return None


def _mark(key: bytes, data: bytes, secret: bytes) -> bytes:
    if len(secret) > 64:
        secret = blake2b(secret).digest()
    mark = blake2b(key, digest_size=_MARK, key=secret, person=b"fastclient entry")
    mark.update(data)
    return mark.digest()
