"""Counts and percentiles over all calls of a client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from fastclient.locks import Locked
from fastclient.observe.sketch import Sketch
from fastclient.observe.timing import AttemptRecord, CallRecord
from fastclient.types import Attempt, Usage

if TYPE_CHECKING:
    from fastclient.cache.semantic.report import SemanticStats

__all__ = ["Stats", "StatsRecorder"]

_COUNTS = {"retry": "retries", "fallback": "fallbacks", "hedge": "hedges"}
_BY_STATE = {
    "hit": "cache_hits",
    "stale": "cache_hits",
    "shared": "shared",
    "miss": "cache_misses",
    "bypass": "cache_bypassed",
}
_FREE = ("hit", "stale", "shared")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a client has done so far. Percentiles are in seconds, within 1 %, and None before the first call.

    Tokens are those paid for: an answer from a cache, or shared with another call, adds none. Of the input,
    `cache_expected_tokens` should have been read from the provider's cache and `cache_read_tokens` were, as far as
    reported; `drifts` counts prompts that did not go on where the one before them ended.
    `semantic` is what the semantic cache did, if there is one.
    `stray_threads` are running now: losers of races between plain functions, which cannot be stopped.
    """

    calls: int
    errors: int
    cancelled: int
    in_flight: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_expected_tokens: int
    drifts: int
    wasted_tokens: int
    attempts: int
    retries: int
    fallbacks: int
    hedges: int
    hedges_won: int
    stray_threads: int
    cache_hits: int
    cache_misses: int
    cache_bypassed: int
    shared: int
    ttft_p50: float | None
    ttft_p95: float | None
    ttft_p99: float | None
    total_p50: float | None
    total_p95: float | None
    total_p99: float | None
    semantic: SemanticStats | None = None

    @property
    def hedge_effectiveness(self) -> float | None:
        """The share of copies that answered first; None before there was one."""
        return self.hedges_won / self.hedges if self.hedges else None


class StatsRecorder(Locked):
    """Adds up finished calls; safe from any thread, also from a finaliser that interrupts it."""

    def __init__(self) -> None:
        super().__init__()
        # Of calls that got all of their answer at once, both times are the same: those are counted once.
        self._ttft, self._total, self._both = Sketch(), Sketch(), Sketch()
        self._counts = {field.name: 0 for field in fields(Stats) if "_p" not in field.name}

    def started(self) -> None:
        with self.lock:
            self._counts["in_flight"] += 1

    def finished(self, record: CallRecord, usage: Usage, *, failed: bool, cancelled: bool) -> None:
        counts = self._counts
        state = record.cache.state
        with self.lock:
            counts["in_flight"] -= 1
            counts["calls"] += 1
            counts[_BY_STATE[state]] += 1
            if record.attempts:
                self._attempted(record.attempts)
            if state not in _FREE:
                self._spent(usage)
                counts["cache_expected_tokens"] += record.cache.expected_tokens or 0
                counts["drifts"] += record.cache.drift not in (None, "provider_miss")
                counts["wasted_tokens"] += usage.wasted_tokens
            if failed or cancelled:
                counts["errors" if failed else "cancelled"] += 1
                return
            if record.returned is not None and record.returned == record.ended:
                self._both.add(record.returned - record.started)
                return
            self._total.add(record.total)
            if (ttft := record.ttft) is not None:
                self._ttft.add(ttft)

    def settled(self, attempts: Sequence[Attempt], usage: Usage, wasted: int) -> None:
        """Add what was spent on behalf of calls whose own books are closed."""
        counts = self._counts
        with self.lock:
            self._attempted(attempts)
            self._spent(usage)
            counts["wasted_tokens"] += wasted

    def _attempted(self, attempts: Sequence[Attempt] | Sequence[AttemptRecord]) -> None:
        counts = self._counts
        counts["attempts"] += len(attempts)
        for attempt in attempts:
            if attempt.role != "primary":
                counts[_COUNTS[attempt.role]] += 1
                counts["hedges_won"] += attempt.role == "hedge" and attempt.outcome == "won"

    def _spent(self, usage: Usage) -> None:
        counts = self._counts
        counts["input_tokens"] += usage.input_tokens or 0
        counts["output_tokens"] += usage.output_tokens or 0
        counts["cache_read_tokens"] += usage.cache_read_tokens or 0

    def snapshot(self) -> Stats:
        with self.lock:
            for sketch in (self._ttft, self._total):
                sketch.merge(self._both)
            self._both = Sketch()
            shares: dict[str, Any] = self._counts | {
                f"{name}_p{round(share * 100)}": sketch.percentile(share)
                for name, sketch in (("ttft", self._ttft), ("total", self._total))
                for share in (0.5, 0.95, 0.99)
            }
            return Stats(**shares)
