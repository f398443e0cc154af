"""What must hold for fastclient, and whether it did in a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from benchmarks.peers.figures import Figures

__all__ = ["MUSTS", "Must", "table"]

Measured = Callable[[Figures, str], float | None]
_OURS = {"recommended": "fastclient recommended", "plain": "fastclient plain"}


class Must(NamedTuple):
    """`measured` is worked out for a library. With `least` the limit is the least, otherwise the most."""

    what: str
    limit: float
    unit: str
    measured: Measured
    whose: Literal["both", "recommended", "plain"] = "both"
    least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


def times(scenario: str, other: str, metric: str = "cpu") -> Measured:
    return lambda figures, library: figures.ratio(scenario, library, other, metric)


def of(scenario: str, metric: str, scale: float, less: float = 0.0) -> Measured:
    def measured(figures: Figures, library: str) -> float | None:
        value = figures.value(scenario, library, metric)
        return None if value is None else (value - less) * scale

    return measured


def growth(figures: Figures, library: str) -> float | None:
    many, some = figures.value("1000", library, "cpu"), figures.value("64", library, "cpu")
    return None if many is None or some is None else many / some


MUSTS = (
    Must("64 in flight, processor time, to openai", 0.10, "x", times("64", "openai"), "recommended"),
    Must("64 in flight, processor time, to httpx2", 0.20, "x", times("64", "httpx2"), "recommended"),
    Must("64 in flight, processor time, to aiohttp", 1.2, "x", times("64", "aiohttp"), "recommended"),
    Must("64 in flight, processor time, to openai", 0.06, "x", times("64", "openai"), "plain"),
    Must("1,000 in flight, processor time, to that at 64", 1.3, "x", growth),
    Must("256 in flight, 50 ms: added, median", 2.0, "ms", of("256-50ms", "p50", 1e3, 0.050)),
    Must("256 in flight, 50 ms: added, p99", 10.0, "ms", of("256-50ms", "p99", 1e3, 0.050)),
    Must("one at a time, async, processor time, to openai", 0.15, "x", times("one", "openai")),
    Must("one at a time, async, processor time, to httpx", 0.25, "x", times("one", "httpx")),
    Must("one at a time, blocking, processor time, to openai", 0.30, "x", times("one-blocking", "openai")),
    Must("one at a time, blocking, processor time, to httpx", 0.75, "x", times("one-blocking", "httpx")),
    Must("100 KB prompt, async, wall, to openai", 0.30, "x", times("large", "openai", "p50")),
    Must("100 KB prompt, blocking, wall, to openai", 0.30, "x", times("large-blocking", "openai", "p50")),
    Must("1,000 chunks at once, async, per chunk", 4.0, "us", of("burst", "cpu", 1e3)),
    Must("1,000 chunks at once, blocking, per chunk", 4.0, "us", of("burst-blocking", "cpu", 1e3)),
    Must("1,000 chunks at once, async, to httpx by hand", 1.0, "x", times("burst", "httpx")),
    Must("1,000 chunks at once, blocking, to httpx by hand", 1.0, "x", times("burst-blocking", "httpx")),
    Must("a chunk each 5 ms: added delay, to openai", 0.35, "x", times("paced", "openai", "p50")),
    Must("TLS, connection kept, processor time, to openai", 0.5, "x", times("tls", "openai")),
    Must("TLS, a new connection, wall, to httpx2", 1.0, "x", times("tls-fresh", "httpx2", "p50")),
    Must("TLS, a new client, wall, to httpx2", 1.0, "x", times("tls-client", "httpx2", "p50")),
    Must("TLS, new connections after the first that resume", 0.95, "", of("tls-fresh", "resumed", 1), least=True),
    Must("a new process with one call, wall, to openai", 0.35, "x", times("cold", "openai", "wall")),
    Must("a new process with one call, wall, to httpx", 0.9, "x", times("cold", "httpx", "wall")),
    Must("building a client, processor time, to openai", 0.02, "x", times("build", "openai")),
    Must("building a client, processor time, to httpx", 0.02, "x", times("build", "httpx")),
    Must("memory after one call, beyond bare Python", 40.0, "MB", of("memory", "resident", 1e-6)),
    Must("memory per call at 256 in flight", 20.0, "KB", of("memory", "per_call", 1e-3)),
)


def table(figures: Figures) -> str:
    """Markdown: a row for each requirement that was measured, and whether it held; empty if none was."""
    lines = ["| what | limit | recommended | plain |", "|---|---:|---:|---:|"]
    for must in MUSTS:
        sign = "≥" if must.least else "≤"
        limit = f"{sign} {must.limit:g} {must.unit}".rstrip()
        cells = [_cell(must, figures, whose) for whose in ("recommended", "plain")]
        if cells == ["", ""]:
            continue
        lines.append(f"| {must.what} | {limit} | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _cell(must: Must, figures: Figures, whose: str) -> str:
    if must.whose not in ("both", whose):
        return ""
    value = must.measured(figures, _OURS[whose])
    if value is None:
        return ""
    return f"{value:.3g} {'ok' if must.holds(value) else '**no**'}"
