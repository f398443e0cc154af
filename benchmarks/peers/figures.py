"""Reading the figures of a run: medians over its rounds, and ratios between libraries within each round."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

__all__ = ["Figures", "shown"]


class Figures:
    """What `Run.everything` found."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found
        self._results: Mapping[str, Mapping[str, Any]] = found["results"]

    def libraries(self, scenario: str) -> list[str]:
        return [*self._results.get(scenario, ())]

    def values(self, scenario: str, library: str, metric: str) -> list[float | None]:
        """One for each round; None where it was not measured."""
        rounds = self._results.get(scenario, {}).get(library)
        return [found.get(metric) for found in rounds] if isinstance(rounds, list) else []

    def value(self, scenario: str, library: str, metric: str) -> float | None:
        known = [value for value in self.values(scenario, library, metric) if value is not None]
        return median(known) if known else None

    def ratio(self, scenario: str, library: str, to: str, metric: str) -> float | None:
        """Taken within each round, when both met the same machine; the median of that."""
        pairs = zip(self.values(scenario, library, metric), self.values(scenario, to, metric), strict=False)
        known = [own / other for own, other in pairs if own is not None and other]
        return median(known) if known else None

    def problem(self, scenario: str, library: str) -> str | None:
        """What is missing and why; None if nothing is, or if it was not asked for."""
        result = self._results.get(scenario, {}).get(library)
        if isinstance(result, dict):
            return str(result["missing"])
        failed = [found["failed"] for found in result or () if "failed" in found]
        if not failed:
            return None
        return failed[0] if len(failed) == len(result or ()) else f"failed in {len(failed)} rounds: {failed[0]}"


def shown(value: float) -> str:
    """Three figures, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 99.5 else f"{value:.3g}"
