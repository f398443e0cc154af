"""Wires by the names that users know them by."""

from __future__ import annotations

from fastclient.config import Policy
from fastclient.errors import ConfigError
from fastclient.wire.port import Wire

__all__ = ["wire_for"]


def wire_for(wire: Wire | str, policy: Policy) -> Wire:
    """The wire of this name, or the one given. Raises ConfigError."""
    if not isinstance(wire, str):
        if isinstance(wire, type) or not callable(getattr(wire, "send", None)) or not hasattr(wire, "aclose"):
            raise ConfigError.of("wire", wire, 'must be "httpx2", "direct", "httpx" or an object with send and aclose')
        return wire
    if wire == "direct":
        from fastclient.wire.direct.wire import DirectWire

        return DirectWire()
    if wire not in ("httpx2", "httpx"):
        raise ConfigError.of("wire", wire, 'must be "httpx2", "direct", "httpx" or a Wire')
    from fastclient.wire.family import FamilyWire

    limit = policy.limits.concurrency if policy.limits and wire == "httpx" else None
    if limit is not None:
        # The gate bounds what is under way at each target; but httpx sends on what was given up: it has to be held too.
        others = (*(policy.route.fallback if policy.route else ()), *(policy.hedge.targets if policy.hedge else ()))
        limit *= 1 + len(others)
    return FamilyWire(wire, concurrency=limit)
