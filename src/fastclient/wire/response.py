"""One response of the httpx family, read and closed so that no connection is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from math import inf
from typing import Any

import anyio

from fastclient.engine.detached import Apart, GivenUp
from fastclient.errors import StreamCut
from fastclient.wire.home import by

__all__ = ["FamilyResponse"]

_CLOSE = 1.0  # seconds a connection may take to close


class Fields(dict[str, str]):
    """Header fields by lower-case name, repeated ones joined by ", ". `raw` has them as they came.

    The family's own headers take some 3 us for each name that is looked up.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self.raw = raw
        if not raw:
            return
        # All at once, because most heads have some thirty fields. No line end can stand in any of them.
        names, values = zip(*raw, strict=True)
        keys = b"\n".join(names).decode("latin-1").lower().split("\n")
        texts = b"\n".join(values).decode("latin-1").split("\n")
        self.update(zip(keys, texts, strict=True))
        if len(self) < len(keys):
            self.clear()
            for key, text in zip(keys, texts, strict=True):
                self[key] = f"{self[key]}, {text}" if key in self else text


class FamilyResponse:
    """A response of either family. Reading raises StreamCut when the connection breaks."""

    def __init__(
        self, response: Any, family: Any, leave: Callable[[FamilyResponse], None], *, rtt: float | None, fragile: bool
    ) -> None:
        self.status: int = response.status_code
        self.headers = Fields(response.headers.raw)
        self.rtt = rtt
        self._family = family
        self._fragile = fragile
        self._response = response
        self._pieces: AsyncIterator[bytes] = response.stream.__aiter__()
        self._leave: Callable[[FamilyResponse], None] | None = leave
        self.complete = False
        self._reading: Apart[bytes] | None = None

    async def read(self, until: float = inf) -> bytes:
        return await by(until, self._next())

    async def _next(self) -> bytes:
        if not self._fragile:
            return await self._read()
        self._reading = Apart(self._read)
        try:
            return await self._reading.result()
        except GivenUp:
            raise StreamCut("the connection was closed while it was being read") from None

    async def _read(self) -> bytes:
        try:
            async for piece in self._pieces:
                if piece:
                    return piece
        except (self._family.TransportError, anyio.ClosedResourceError) as error:
            raise StreamCut(f"the connection broke ({type(error).__name__})") from error
        self.complete = True
        return b""

    async def aclose(self) -> None:
        if self._leave is not None:
            leave, self._leave = self._leave, None
            if self._fragile:
                await Apart(lambda: self._close(leave), must=True).result()
            else:
                await self._close(leave)

    async def _close(self, leave: Callable[[FamilyResponse], None]) -> None:
        try:
            with anyio.move_on_after(_CLOSE, shield=True):
                if self._reading is not None:
                    await self._reading.cancel()  # one that was left may still be unwinding
                await self._response.stream.aclose()
                if not self.complete:
                    # Unwind the library's nested generators here: dropped ones make trio complain. The connection is
                    # closed, so this ends at once.
                    async for _ in self._pieces:
                        pass
        except (self._family.TransportError, anyio.ClosedResourceError, RuntimeError):
            pass  # it was closed to be gone; how it went does not matter
        finally:
            leave(self)
