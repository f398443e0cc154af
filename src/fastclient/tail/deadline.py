"""The net below every other limit: whatever a layer waits for, the call ends by its deadline.

The layers below watch the deadline themselves, because they know what they wait for and can say so.
"""

from __future__ import annotations

from fastclient.engine.clock import running_loop
from fastclient.engine.stack import Handler
from fastclient.engine.stream import Stream
from fastclient.errors import DeadlineExceeded
from fastclient.tail.stop import stoppable
from fastclient.types import Call

__all__ = ["deadline"]

_GRACE = 0.05  # seconds the layers below have to notice by themselves


def deadline(handler: Handler) -> Handler:
    """The layer that ends what is still being opened when the call's time is up."""

    async def bounding(call: Call) -> Stream:
        loop = call.loop = running_loop()
        with stoppable(loop, call.deadline + _GRACE):
            return await handler(call)
        phase = call.record.attempts[-1].marks.phase if call.record.attempts else "queue"
        raise DeadlineExceeded(f"the call's deadline passed while waiting for {phase}", phase=phase)

    return bounding
