"""What the engine asks of the network: send one request, read the answer piece by piece, close.

Everything that knows a socket or an HTTP library stands behind these two protocols. A test double needs some ten
lines (`fastclient.testing.FakeProvider` is one); the answer's bytes come in whatever pieces the network had.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fastclient.config import Timeouts
    from fastclient.observe.timing import Marks

__all__ = ["Late", "Wire", "WireRequest", "WireResponse"]


class Late(Exception):
    """The moment to give up came before what was waited for. All such moments are on the clock of the event loop."""


@dataclass(slots=True, kw_only=True)  # not frozen: that takes much longer to make
class WireRequest:
    """One HTTP request, ready to be written. Its repr shows neither headers nor body: both may hold secrets."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


class WireResponse(Protocol):
    """An answer whose headers are in. Closing it twice is allowed; closing it early stops the server."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Header names in lower case; repeated headers joined by ", "."""
        ...

    @property
    def rtt(self) -> float | None:
        """Round-trip time of the connection in seconds, where the platform tells."""
        ...

    @property
    def complete(self) -> bool:
        """Whether all of the body was read. False may also mean that nobody knows yet."""
        ...

    async def read(self, until: float = inf) -> bytes:
        """The next bytes of the body, in the pieces they came in; `b""` once the body is complete. Raises Late when
        none have come by `until`; after that it can only be closed.
        """
        ...

    async def aclose(self) -> None:
        """Free the connection: kept for the next call when the body was read to its end, closed otherwise."""
        ...


class Wire(Protocol):
    """Where requests go. One is shared by all calls of a client and serves one event loop."""

    def send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> Coroutine[Any, Any, WireResponse]:
        """Send one request. Awaited, it returns when the headers are in, with the moments passed noted in `marks`.

        Raises the classes of `fastclient.errors`, and Late at `marks.until`. May be cancelled at any await.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
