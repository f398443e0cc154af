"""The tables and the picture of docs/benchmarks.md: `python -m benchmarks.peers.report found.json`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import musts
from benchmarks.peers.figures import Figures, shown
from benchmarks.peers.libraries import LIBRARIES, ROOT
from benchmarks.peers.plot import picture
from benchmarks.peers.scenarios import SCENARIOS

__all__ = ["main", "summary"]

PAGE, PICTURE = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.svg"


class Column(NamedTuple):
    """`ratio`: the ratio to openai stands behind the figure."""

    title: str
    scenario: str
    metric: str = "cpu"
    scale: float = 1e6
    less: float = 0.0
    ratio: bool = True


TABLES: tuple[tuple[str, tuple[Column, ...]], ...] = (
    (
        "Processor time per call, µs",
        (
            Column("64 in flight", "64"),
            Column("256 in flight", "256"),
            Column("1,000 in flight", "1000"),
            Column("one, async", "one"),
            Column("one, blocking", "one-blocking"),
        ),
    ),
    (
        "256 in flight, a server that takes 50 ms: what is added, ms",
        (
            Column("median", "256-50ms", "p50", 1e3, 0.050),
            Column("p99", "256-50ms", "p99", 1e3, 0.050),
            Column("processor µs per call", "256-50ms"),
        ),
    ),
    (
        "A prompt of 100 KB, µs",
        (
            Column("processor, async", "large"),
            Column("wall, async", "large", "p50"),
            Column("processor, blocking", "large-blocking"),
            Column("wall, blocking", "large-blocking", "p50"),
        ),
    ),
    (
        "Streams, µs",
        (
            Column("per chunk of 1,000, async", "burst", scale=1e3),
            Column("per chunk of 1,000, blocking", "burst-blocking", scale=1e3),
            Column("paced: a chunk's delay, median", "paced", "p50"),
            Column("paced: first chunk after", "paced", "ttft"),
        ),
    ),
    (
        "TLS, µs by the wall clock",
        (
            Column("connection kept", "tls", "p50"),
            Column("processor", "tls"),
            Column("new connection", "tls-fresh", "p50"),
            Column("of them resumed", "tls-fresh", "resumed", 1, ratio=False),
            Column("new client", "tls-client", "p50"),
        ),
    ),
    (
        "Starting, ms",
        (
            Column("new process and a call, wall", "cold", "wall", 1e3),
            Column("its processor time", "cold", "cpu", 1e3),
            Column("import alone, wall", "cold", "import_wall", 1e3),
            Column("building a client", "build", scale=1e3),
            Column("new client and a call", "client", scale=1e3),
        ),
    ),
    (
        "Memory",
        (
            Column("after one call, MB beyond bare Python", "memory", "resident", 1e-6),
            Column("per call at 256 in flight, KB", "memory", "per_call", 1e-3),
        ),
    ),
)


def summary(found: Mapping[str, Any]) -> str:
    """All tables as markdown. What was not measured is left out, what could not be is named below."""
    figures = Figures(found)
    parts = []
    for title, columns in TABLES:
        if asked := [column for column in columns if figures.libraries(column.scenario)]:
            parts.append(f"**{title}**\n\n{_table(figures, asked)}")
    if held := musts.table(figures):
        parts.append(f"**What must hold**\n\n{held}")
    if problems := _problems(figures):
        parts.append("**Not measured**\n\n" + "\n".join(problems))
    parts.append("**Versions**\n\n" + _versions(found))
    return "\n\n".join(parts)


def _table(figures: Figures, columns: Sequence[Column]) -> str:
    names = [library.name for library in LIBRARIES if library.name in figures.libraries(columns[0].scenario)]
    lines = ["| | " + " | ".join(column.title for column in columns) + " |", "|---|" + "---:|" * len(columns)]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(_cell(figures, name, column) for column in columns) + " |")
    return "\n".join(lines)


def _cell(figures: Figures, name: str, column: Column) -> str:
    value = figures.value(column.scenario, name, column.metric)
    if value is None:
        return "-"
    text = shown((value - column.less) * column.scale)
    ratio = figures.ratio(column.scenario, name, "openai", column.metric) if column.ratio and not column.less else None
    return text if ratio is None else f"{text} ({ratio:.2g}x)"


def _problems(figures: Figures) -> list[str]:
    """By library and reason, with the scenarios that lack."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for scenario in SCENARIOS:
        for library in LIBRARIES:
            if problem := figures.problem(scenario.name, library.name):
                lacking.setdefault((library.name, problem), []).append(scenario.title)
    everything = sum(1 for scenario in SCENARIOS if figures.libraries(scenario.name))
    return [
        f"- {name}: {problem.splitlines()[0]} ({'everything' if len(titles) == everything else '; '.join(titles)})"
        for (name, problem), titles in lacking.items()
    ]


def _versions(found: Mapping[str, Any]) -> str:
    known: Mapping[str, Mapping[str, str]] = found["versions"]
    lines = [f"- {name}: {', '.join(f'{p} {v}' for p, v in packages.items())}" for name, packages in known.items()]
    machine = found["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores; {machine['system']}; Python {machine['python']}"
    return "\n".join([f"- {where}; {machine['date']}; {found['rounds']} rounds", *lines])


def main() -> None:
    found = json.loads(Path(sys.argv[1]).read_text())
    page = PAGE.read_text()
    new = re.sub(
        r"(<!-- figures -->\n).*(<!-- end of figures -->)",
        lambda match: f"{match[1]}\n{summary(found)}\n\n{match[2]}",
        page,
        flags=re.DOTALL,
    )
    PAGE.write_text(new)
    PICTURE.write_text(picture(Figures(found)))


if __name__ == "__main__":
    main()
