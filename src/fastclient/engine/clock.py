"""Which clock a call is timed by: the event loop's own, so that virtual time in tests is virtual here too."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from fastclient.observe.timing import Clock

__all__ = ["running_clock", "running_loop"]


def running_clock() -> Clock:
    """The clock of the event loop running now."""
    trio = _trio()
    if trio is not None:
        clock: Clock = trio.current_time
        return clock
    return asyncio.get_running_loop().time


def running_loop() -> Any:
    """What stands for the event loop running now: the same object throughout its life."""
    trio = _trio()
    return asyncio.get_running_loop() if trio is None else trio.lowlevel.current_trio_token()


def _trio() -> Any:
    """The trio module, if it runs the current task."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_run() else None
