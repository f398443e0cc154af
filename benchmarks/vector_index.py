"""The vector index by size: how long a search, an addition and a restart take, and how much of the nearest is found.

    python benchmarks/vector_index.py [--sizes 1000 10000 40000] [--dim 384]

Vectors are made up, in families as questions have them. The exact search is the yardstick of recall. The file is in a
temporary folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.embedders import resident
from fastclient.cache.index.memory import VectorIndex
from fastclient.cache.index.stored import StoredIndex

ASKED = 200
PARTITION = b"all"


def families(count: int, dim: int, seed: int) -> Any:
    """Vectors around some centres, one centre for each forty."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(max(50, count // 40), dim)).astype(np.float32)
    rows = centres[rng.integers(len(centres), size=count)] + 0.6 * rng.normal(size=(count, dim)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def searched(index: Any, asked: Any, rows: Any) -> str:
    """Median and 99th percentile of a search, and how often the nearest of all was found first."""
    took, found = [], []
    for row in asked:
        began = time.perf_counter()
        near = index.nearest(PARTITION, row, 5)
        took.append((time.perf_counter() - began) * 1e6)
        found.append(int(near[0].key))
    right = [int(np.argmax(rows @ row)) for row in asked]
    recall = sum(one == other for one, other in zip(found, right, strict=True)) / len(asked)
    return f"{median(took):>9.0f}{sorted(took)[int(len(took) * 0.99)]:>9.0f}{recall:>9.3f}"


def filled(index: Any, rows: Any) -> float:
    """Add all rows; returns the median of the last additions in microseconds."""
    took = []
    for at, row in enumerate(rows):
        began = time.perf_counter()
        index.add(b"%d" % at, PARTITION, row)
        took.append(time.perf_counter() - began)
    return median(took[-1000:]) * 1e6


def measured(size: int, dim: int, folder: Path) -> None:
    rows = families(size, dim, 1)
    asked = rows[np.random.default_rng(2).integers(size, size=ASKED)] + 0.25 * families(ASKED, dim, 3)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    print(f"{size} vectors of {dim} numbers      p50 us   p99 us   recall   add us      MB")
    for name, graph_from in (("exact", size + 1), ("default", 10_000)):
        before = resident()
        index = VectorIndex(dim, most=size, graph_from=graph_from)
        added = filled(index, rows)
        print(f"  {name:30}{searched(index, asked, rows)}{added:>9.0f}{resident() - before:>8.0f}", flush=True)
        del index
    file = folder / f"{size}.log"
    stored = StoredIndex(file, "benchmark", dim, most=size)
    added = filled(stored, rows)
    print(f"  {'in a file':30}{searched(stored, asked, rows)}{added:>9.0f}{file.stat().st_size / 1e6:>8.0f} (file)")
    for name in ("killed", "closed"):
        if name == "closed":
            stored.close()
        began = time.perf_counter()
        again = StoredIndex(file, "benchmark", dim, most=size)
        took = time.perf_counter() - began
        print(f"  {'opened again, ' + name:30}{searched(again, asked, rows)}{'':>9}{took:>8.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="The vector index by size.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 40_000])
    parser.add_argument("--dim", type=int, default=384)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for size in asked.sizes:
            measured(size, asked.dim, Path(folder))


if __name__ == "__main__":
    main()
