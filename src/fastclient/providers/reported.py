"""Timings that providers report about their own work, in one table. Values come back in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["REPORTING", "reported"]

# (path in the event, seconds per unit, part of the call's time)
_FIELDS: tuple[tuple[tuple[str, ...], float, str], ...] = (
    (("timings", "prompt_ms"), 1e-3, "prefill"),  # llama.cpp's server
    (("x_groq", "usage", "queue_time"), 1.0, "server_queue"),
    (("x_groq", "usage", "prompt_time"), 1.0, "prefill"),
    (("time_info", "queue_time"), 1.0, "server_queue"),  # Cerebras
    (("time_info", "prompt_time"), 1.0, "prefill"),
    (("metrics", "queue_time_ms"), 1e-3, "server_queue"),  # vLLM, with include_metrics
)
REPORTING = frozenset(path[0] for path, _, _ in _FIELDS)
"""The fields of an event that any of this stands in."""


def reported(event: Mapping[str, Any]) -> dict[str, float] | None:
    """The parts an event reports, or None (by far the most common)."""
    if REPORTING.isdisjoint(event):
        return None
    found: dict[str, float] = {}
    for path, unit, part in _FIELDS:
        value: Any = event
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, (int, float)) and value >= 0:
            found[part] = value * unit
    return found or None
