"""The way for everything that is no call: straight to the network, as the asking HTTP library would send it itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastclient.wire.sockets import proxy_for, ssl_context

__all__ = ["Passing"]


class Passing:
    """The asking library's own transports, by library and proxy: `kind` is the name of their class there."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._transports: dict[tuple[str, str | None], Any] = {}

    def through(self, family: Any, url: str) -> Any:
        """The transport for a URL: straight, or through the proxy that the environment names for it."""
        key = (family.__name__, proxy_for(url))
        transport = self._transports.get(key)
        if transport is None:
            make: Callable[..., Any] = getattr(family, self._kind)
            limits = family.Limits(max_connections=1000, max_keepalive_connections=100)  # what both SDKs choose
            transport = make(verify=ssl_context(family.__name__), limits=limits, proxy=key[1])
            transport = self._transports.setdefault(key, transport)
        return transport

    def taken(self) -> list[Any]:
        """All transports, to be closed by who asks; there are none left then."""
        transports, self._transports = list(self._transports.values()), {}
        return transports
