"""New attempts after a failure: few, later each time, and never more than other requests have paid for.

There is one retry layer and one budget for each upstream, so that an upstream in trouble is not made worse: when many
calls fail, most of them fail at once, as they would have anyway. The arithmetic of the waits is tenacity's.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random

from fastclient.config import Retry
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import FastClientError, FirstTokenTimeout, Overloaded, ProviderError, RateLimited
from fastclient.providers.repeat import left_no_trace, repeatable
from fastclient.tail.budget import Budget
from fastclient.tail.upstream import Upstreams
from fastclient.types import Call

__all__ = ["Retrial", "retried"]

# A refusal for want of capacity costs the upstream little, a failed attempt costs it an answer: 5 to 14, as in AWS's
# retry rules of 2026.
_COST, _COST_OF_THROTTLE = 1.0, 0.36
_TRANSIENT = (0.05, 2.0)  # seconds of the first wait, which doubles, and of the longest
_THROTTLE = (1.0, 60.0)
_ELSEWHERE = (RateLimited, Overloaded, FirstTokenTimeout)  # reasons not to try here again if there is another place


def retried(retry: Retry, upstreams: Upstreams, rng: Callable[[], float] = random) -> Layer:
    """The layer that tries again, with a new race each time."""

    def layer(handler: Handler) -> Handler:
        async def retrying(call: Call) -> Stream:
            upstream = upstreams.of(call.target, call.loop)
            budget = upstream.retry_budget(retry.budget)
            if call.role != "retry" and not call.request.repeated:  # another's, for a call that has paid
                budget.deposit()
            retrial: Retrial | None = None
            while True:
                try:
                    return await handler(call)
                except FastClientError as error:
                    retrial = retrial or Retrial(retry, budget, call, rng)
                    wait = retrial.wait(error, call.record.clock())
                    if wait is None:
                        raise
                await upstream.sleep(wait)
                call = call.copy()
                call.role = "retry"

        return retrying

    return layer


class Retrial:
    """Whether and when one call is tried again. Pure."""

    def __init__(self, retry: Retry, budget: Budget, call: Call, rng: Callable[[], float]) -> None:
        self._limit = 1 if call.request.repeated else retry.attempts
        self._budget = budget
        self._call = call
        self._rng = rng
        self._tried = 0

    def wait(self, error: FastClientError, now: float) -> float | None:
        """Seconds until the next attempt after this failure; None if there is none."""
        self._tried += 1
        if not self._sensible(error):
            return None
        throttled = isinstance(error, (RateLimited, Overloaded))
        wish = error.retry_after if isinstance(error, ProviderError) else None
        wait = self._backoff(throttled) if wish is None else wish + self._backoff(False)
        if now + wait >= self._call.deadline:
            return None
        if not self._budget.spend(_COST_OF_THROTTLE if throttled else _COST):
            error.retry_budget_exhausted = True
            return None
        return wait

    def _sensible(self, error: FastClientError) -> bool:
        if not error.retryable or self._tried >= self._limit:
            return False
        if isinstance(error, RateLimited) and not error.sent:
            return False  # by our own gate, which knows that waiting is of no use to this call
        if self._call.alternative and isinstance(error, _ELSEWHERE):
            return False
        return repeatable(self._call.request) or left_no_trace(error)

    def _backoff(self, throttled: bool) -> float:
        """Full jitter: anything up to the bound, so that callers who failed together do not come back together."""
        return _bound(self._tried, *(_THROTTLE if throttled else _TRANSIENT)) * self._rng()


def _bound(tried: int, first: float, longest: float) -> float:
    """Seconds to wait at most after so many tries."""
    from tenacity import RetryCallState, Retrying, wait_exponential  # takes long to load, for a rare need

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = tried
    return wait_exponential(multiplier=first, max=longest)(state)
