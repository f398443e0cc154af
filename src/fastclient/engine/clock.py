"""Which clock a call is timed by: the event loop's own, so that virtual time in tests is virtual here too."""

from __future__ import annotations

import asyncio
import sys

from fastclient.observe.timing import Clock

__all__ = ["running_clock"]


def running_clock() -> Clock:
    """The clock of the event loop running now."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        clock: Clock = trio.current_time
        return clock
    return asyncio.get_running_loop().time
