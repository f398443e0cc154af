"""An answer that came compressed though plain bytes were asked for, as plain bytes. Brotli and zstd are not known."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from math import inf

from fastclient.errors import StreamCut
from fastclient.wire.port import WireResponse

__all__ = ["Inflated", "coding_of"]

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 47}  # of zlib; 47: with or without its own header, or gzip's


def coding_of(headers: Mapping[str, str]) -> str:
    """How the body is compressed; empty if it is not."""
    coding = headers.get("content-encoding")
    if coding is None:
        return ""
    coding = coding.strip().lower()
    return "" if coding == "identity" else coding


class Inflated:
    """A response whose body is unpacked as it is read."""

    known = tuple(_WINDOWS)

    def __init__(self, inner: WireResponse, coding: str) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self.rtt = inner.rtt
        self._inner = inner
        self._expander = zlib.decompressobj(_WINDOWS[coding])

    @property
    def complete(self) -> bool:
        return self._inner.complete

    async def read(self, until: float = inf) -> bytes:
        """The next bytes. Raises StreamCut for what cannot be unpacked."""
        while piece := await self._inner.read(until):
            try:
                plain = self._expander.decompress(piece, _LARGEST)
            except zlib.error as error:
                raise StreamCut("the answer is compressed, and cannot be unpacked") from error
            if self._expander.unconsumed_tail:
                raise StreamCut("the answer is compressed, and far larger than it came")
            if plain:
                return plain
        return b""

    async def aclose(self) -> None:
        await self._inner.aclose()


_LARGEST = 64 * 2**20  # bytes that one read may become
