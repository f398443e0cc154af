"""Test your app's LLM calls without a key: a scripted provider, a loopback server, faults and latency worlds.

Names are imported on first use, so that the pytest plugin costs next to nothing to load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastclient.testing import faults as faults
    from fastclient.testing.answer import Answer, ServerRequest, ToolCall
    from fastclient.testing.fake import FakeProvider
    from fastclient.testing.record import Counters, Exchange
    from fastclient.testing.script import (
        Close,
        Comment,
        EndBody,
        ErrorEvent,
        Event,
        Finish,
        Hang,
        Malformed,
        Ping,
        Plan,
        Reset,
        Role,
        Send,
        Split,
        Status,
        Step,
        Tokens,
        Wait,
    )
    from fastclient.testing.server import ProviderServer
    from fastclient.testing.stable import assert_stable
    from fastclient.testing.unreachable import blackhole
    from fastclient.testing.worlds import Pace, World

__all__ = [
    "Answer", "Close", "Comment", "Counters", "EndBody", "ErrorEvent", "Event", "Exchange", "FakeProvider", "Finish",
    "Hang", "Malformed", "Pace", "Ping", "Plan", "ProviderServer", "Reset", "Role", "Send", "ServerRequest", "Split",
    "Status", "Step", "Tokens", "ToolCall", "Wait", "World", "assert_stable", "blackhole", "faults",
]  # fmt: skip

_HOMES = {
    "answer": ("Answer", "ServerRequest", "ToolCall"),
    "fake": ("FakeProvider",),
    "record": ("Counters", "Exchange"),
    "server": ("ProviderServer",),
    "stable": ("assert_stable",),
    "unreachable": ("blackhole",),
    "worlds": ("Pace", "World"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "faults":
        return importlib.import_module(f"{__name__}.faults")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'script')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
