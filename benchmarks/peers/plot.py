"""The picture: a bar for each library in the main scenarios, on a logarithmic scale. SVG, for light and dark pages."""

from __future__ import annotations

from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from benchmarks.peers.figures import Figures, shown
from benchmarks.peers.libraries import LIBRARIES

__all__ = ["picture"]


class Panel(NamedTuple):
    title: str
    unit: str
    scenario: str
    metric: str
    scale: float


_PANELS = (
    Panel("64 in flight: processor time per call", "us", "64", "cpu", 1e6),
    Panel("One at a time, async: processor time per call", "us", "one", "cpu", 1e6),
    Panel("One at a time, blocking: processor time per call", "us", "one-blocking", "cpu", 1e6),
    Panel("A stream of 1,000 chunks: processor time per chunk", "us", "burst", "cpu", 1e3),
    Panel("A new process with one call: wall clock", "ms", "cold", "wall", 1e3),
    Panel("Memory after one call, beyond bare Python", "MB", "memory", "resident", 1e-6),
)
_WIDE, _ROW, _NAMES, _BARS, _TOP = 560, 17, 172, 300, 46
_STYLE = """
  text { font: 11px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 12.5px }
  .axis { fill: #6e7781; font-size: 10px } .grid { stroke: #8b949e; stroke-opacity: .3 }
  .ours { fill: #1f883d } .other { fill: #8c959f }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .axis { fill: #9198a1 } .ours { fill: #3fb950 } .other { fill: #6e7681 }
  }
"""


def picture(figures: Figures) -> str:
    panels = [drawn for panel in _PANELS if (drawn := _values(figures, panel))]
    tall = _TOP + _ROW * len(LIBRARIES) + 28
    rows = ceil(len(panels) / 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDE} {rows * tall}" role="img">',
        f"<title>What calls cost with each library; shorter is better</title><style>{_STYLE}</style>",
    ]
    for number, (panel, values) in enumerate(panels):
        parts.append(f'<g transform="translate({number % 2 * _WIDE} {number // 2 * tall})">')
        parts += _panel(panel, values)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _values(figures: Figures, panel: Panel) -> tuple[Panel, list[tuple[str, float | None]]] | None:
    values = [(library.name, figures.value(panel.scenario, library.name, panel.metric)) for library in LIBRARIES]
    scaled = [(name, None if value is None else max(value * panel.scale, 1e-3)) for name, value in values]
    return (panel, scaled) if any(value is not None for _, value in scaled) else None


def _panel(panel: Panel, values: list[tuple[str, float | None]]) -> list[str]:
    known = [value for _, value in values if value is not None]
    low, high = floor(log10(min(known) * 0.8)), ceil(log10(max(known)))
    high += high == low
    bottom = _TOP + _ROW * len(values)

    def along(value: float) -> float:
        return _NAMES + _BARS * (log10(value) - low) / (high - low)

    parts = [f'<text class="title" x="12" y="18">{escape(panel.title)}</text>']
    for power in range(low, high + 1):
        x = along(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>')
        label = f"{shown(10.0**power)} {panel.unit}"
        parts.append(f'<text class="axis" x="{x:.1f}" y="{_TOP - 13}" text-anchor="middle">{label}</text>')
    for number, (name, value) in enumerate(values):
        y = _TOP + _ROW * number
        parts.append(f'<text x="{_NAMES - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        if value is None:
            parts.append(f'<text class="axis" x="{_NAMES + 4}" y="{y + 11}">not measured</text>')
            continue
        kind = "ours" if name.startswith("fastclient") else "other"
        long = max(along(value) - _NAMES, 1)
        parts.append(f'<rect class="{kind}" x="{_NAMES}" y="{y + 1}" width="{long:.1f}" height="{_ROW - 5}" rx="2"/>')
        parts.append(f'<text x="{_NAMES + long + 5:.1f}" y="{y + 11}">{shown(value)}</text>')
    return parts
