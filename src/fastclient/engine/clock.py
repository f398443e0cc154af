"""Which clock a call is timed by: the event loop's own, so that virtual time in tests is virtual here too."""

from __future__ import annotations

import sys
from time import monotonic

from fastclient.observe.timing import Clock

__all__ = ["running_clock"]


def running_clock() -> Clock:
    """Inside a trio run trio's clock; else the monotonic clock, which is also asyncio's."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        clock: Clock = trio.current_time
        return clock
    return monotonic
