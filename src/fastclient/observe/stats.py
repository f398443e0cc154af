"""Counts and percentiles over all calls of a client."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from threading import RLock
from typing import Any
from weakref import WeakSet

from fastclient.observe.events import CallFinished
from fastclient.observe.sketch import Sketch

__all__ = ["Stats", "StatsRecorder"]

_COUNTS = {"retry": "retries", "fallback": "fallbacks", "hedge": "hedges"}
_recorders: WeakSet[StatsRecorder] = WeakSet()


def _forked() -> None:
    """In a child: a lock may be held by a thread that is not here."""
    for recorder in list(_recorders):
        recorder.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a client has done so far. Percentiles are in seconds, within 1 %, and None before the first call."""

    calls: int
    errors: int
    cancelled: int
    in_flight: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    wasted_tokens: int
    attempts: int
    retries: int
    fallbacks: int
    hedges: int
    hedges_won: int
    ttft_p50: float | None
    ttft_p95: float | None
    ttft_p99: float | None
    total_p50: float | None
    total_p95: float | None
    total_p99: float | None

    @property
    def hedge_effectiveness(self) -> float | None:
        """The share of copies that answered first; None before there was one."""
        return self.hedges_won / self.hedges if self.hedges else None


class StatsRecorder:
    """Adds up finished calls; safe from any thread, also from a finaliser that interrupts it (hence the RLock)."""

    def __init__(self) -> None:
        self.lock = RLock()
        _recorders.add(self)
        self._ttft, self._total = Sketch(), Sketch()
        self._counts = {field.name: 0 for field in fields(Stats) if "_p" not in field.name}

    def started(self) -> None:
        with self.lock:
            self._counts["in_flight"] += 1

    def finished(self, call: CallFinished, *, cancelled: bool) -> None:
        counts = self._counts
        with self.lock:
            counts["in_flight"] -= 1
            counts["calls"] += 1
            counts["cancelled"] += cancelled
            counts["errors"] += call.error is not None and not cancelled
            counts["attempts"] += len(call.attempts)
            for attempt in call.attempts:
                counts["hedges_won"] += attempt.role == "hedge" and attempt.outcome == "won"
                if attempt.role != "primary":
                    counts[_COUNTS[attempt.role]] += 1
            counts["wasted_tokens"] += call.usage.wasted_tokens
            for name in ("input_tokens", "output_tokens", "cache_read_tokens"):
                counts[name] += getattr(call.usage, name) or 0
            if call.error is None and not cancelled:
                self._total.add(call.timings.total)
                if call.timings.ttft is not None:
                    self._ttft.add(call.timings.ttft)

    def snapshot(self) -> Stats:
        with self.lock:
            shares: dict[str, Any] = {
                f"{name}_p{round(share * 100)}": sketch.percentile(share)
                for name, sketch in (("ttft", self._ttft), ("total", self._total))
                for share in (0.5, 0.95, 0.99)
            }
            return Stats(**self._counts, **shares)
