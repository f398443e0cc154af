"""The net below every other limit: whatever a layer waits for, the call ends by its deadline.

The layers below watch the deadline themselves, because they know what they wait for and can say so.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

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

    def bounding(call: Call) -> Coroutine[Any, Any, Stream]:
        call.loop = running_loop()
        # A call that may be shared only waits for its flight, which has its own end. But a thread ends when it likes.
        return handler(call) if call.key is not None and call.request.work is None else bounded(call)

    async def bounded(call: Call) -> Stream:
        with stoppable(call.loop, call.deadline + _GRACE):
            return await handler(call)
        phase = call.record.attempts[-1].marks.phase if call.record.attempts else "queue"
        raise DeadlineExceeded(f"the call's deadline passed while waiting for {phase}", phase=phase)

    return bounding
