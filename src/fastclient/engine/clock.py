"""Which clock a call is timed by: the event loop's own, so that virtual time in tests is virtual here too."""

from __future__ import annotations

import asyncio
import sys
from time import monotonic
from typing import Any

from fastclient.observe.timing import Clock

__all__ = ["running_clock", "running_loop"]


def running_clock() -> Clock:
    """The clock of the event loop running now."""
    if "trio" in sys.modules and (trio := _trio()) is not None:
        clock: Clock = trio.current_time
        return clock
    time = asyncio.get_running_loop().time
    # The usual loop's clock is this one behind two calls, and a call looks at it a dozen times.
    return monotonic if getattr(time, "__func__", None) is asyncio.BaseEventLoop.time else time


def running_loop() -> Any:
    """What stands for the event loop running now: the same object throughout its life."""
    if "trio" in sys.modules and (trio := _trio()) is not None:
        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()


def _trio() -> Any:
    """The trio module, if it runs the current task."""
    trio = sys.modules["trio"]
    return trio if trio.lowlevel.in_trio_run() else None
