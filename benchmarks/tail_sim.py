"""Hedging beside its rivals, in seeded worlds and without a network: what it costs, what it gains, what it must not do.

    python benchmarks/tail_sim.py [--quick] [--only worlds|queue|prompts|checks]

The worlds are assumptions (`_worlds.py`); the policy is the shipped one. f is the share of a clairvoyant's gain with as
many copies, at p99 and p99.9. All of it takes ten minutes of CPU; --quick is for a first look.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import isinf
from pathlib import Path
from time import perf_counter
from typing import Any

if not __package__:  # run as a script, or loaded by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import _measures as measures
from benchmarks._worlds import DYNAMIC, MEAN_OF, SEEDS

__all__ = ["main"]

CAPPED = ("hedge-python, true rate", "Finagle", "p(1-B) + deposits", "fastclient")
Job = tuple[Any, ...]


def each(run: Callable[..., Any], jobs: Iterable[Job]) -> dict[Job, Any]:
    """The results of all jobs, by job, from as many processes as there are cores."""
    todo = list(jobs)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(todo, pool.map(run, *zip(*todo, strict=True)), strict=True))


def show(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on the terminal."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def mean(runs: Iterable[Any], name: str) -> float:
    return float(np.mean([getattr(run, name) for run in runs]))


def gains(runs: Sequence[measures.Client]) -> str:
    return f"{mean(runs, 'f99'):z.0f}/{mean(runs, 'f999'):z.0f}"


# --- the client's nine worlds -----------------------------------------------------------------------------------------


def nine_worlds(quick: bool) -> None:
    seeds, count = (SEEDS[:1], 20_000) if quick else (SEEDS, 60_000)
    budgets = (0.02, 0.05) if quick else (0.01, 0.02, 0.05, 0.10)
    who = [(name, 0.0) for name in ("none", "static p95, no cap", "hedge-python default")]
    who += [(name, budget) for budget in budgets for name in CAPPED]
    runs = each(measures.client, [(*one, world, seed, count) for one in who for world in DYNAMIC for seed in seeds])
    rows, ours = [], []
    for name, budget in who:
        of = {world: [runs[name, budget, world, seed, count] for seed in seeds] for world in DYNAMIC}
        first, seven = of["D1"], [run for world in MEAN_OF for run in of[world]]
        label = f"{budget:.0%}" if budget else "-"
        rows.append([
            label, name, f"{mean(first, 'extra'):.2f}", f"{mean(first, 'p99'):.2f}", f"{mean(first, 'p999'):.2f}",
            gains(first), gains(seven), f"{mean(of['D2'], 'inside'):.2f}", f"{mean(of['D3'], 'inside'):.2f}",
            f"{mean(first, 'worst'):.0f}", f"{mean(of['D7'], 'extra'):.2f}",
        ])  # fmt: skip
        if name == "fastclient":
            ours.append([label, *(f"{gains(of[world])} {mean(of[world], 'extra'):.1f}" for world in DYNAMIC)])
    head = ["B", "policy", "extra %", "p99", "p99.9", "f", "mean f", "slow min %", "frozen %", "10 s %", ".2/s extra %"]
    show(f"Client worlds, 20/s: D1; mean f of 7; extra in trouble; seeds {seeds}, {count:,} requests", head, rows)
    show("fastclient in each world: f p99/p99.9, extra %", ["B", *DYNAMIC], ours)


# --- servers that slow down under load --------------------------------------------------------------------------------

LOADS = (0.5, 0.7, 0.8, 0.9, 0.95)
OURS = [("fastclient", 0.02), ("fastclient", 0.05)]


def queues(quick: bool) -> None:
    seeds = (5,) if quick else (5, 6, 7)
    rivals = [("hedge-python default", 0.0), ("Finagle", 0.05), *OURS]
    greedy = ("2x median, no cap", 0.0)
    for lines, kill, who in ((1, True, rivals), (1, False, [greedy, *rivals]), (16, True, OURS), (16, False, OURS)):
        jobs = [(*each, load, seed, lines, kill) for each in [("none", 0.0), *who] for load in LOADS for seed in seeds]
        p99 = each(_fleet, jobs)
        ratios = {
            (one, load): float(np.mean([p99[*one, load, seed, lines, kill] / p99["none", 0.0, load, seed, lines, kill]
                                        for seed in seeds])) for one in who for load in LOADS
        }  # fmt: skip
        rows = [[f"{load:.0%}", *(f"{ratios[one, load]:.2f}" for one in who)] for load in LOADS]
        title = (
            f"16 servers, {lines} line(s), losers {'killed' if kill else 'run on'}: p99 to no hedging, seeds {seeds}"
        )
        show(title, ["load", *(f"{name} {budget:.0%}" if budget else name for name, budget in who)], rows)
    pulse(quick)


def _fleet(policy: str, budget: float, load: float, seed: int, lines: int, kill: bool) -> float:
    return measures.fleet(policy, budget, load, seed, queues=lines, kill=kill)


def pulse(quick: bool) -> None:
    seeds = (9,) if quick else tuple(range(9, 17))
    static = [(name, 0.0) for name in ("static p95, no cap", "2x median, no cap", "hedge-python default")]
    who = [("none", 0.0), *static, *OURS]
    seconds = each(measures.recovery, [(*one, seed) for one in who for seed in seeds])
    rows = []
    for one in who:
        times = [seconds[*one, seed] for seed in seeds]
        back = [time for time in times if not isinf(time)]
        rows.append([one[0], f"{one[1]:.0%}", f"{np.mean(back) if back else 0:.0f}", f"{len(times) - len(back)}"])
    head = ["policy", "B", "mean seconds", "never"]
    show(f"Overload of a minute, losers run on: recovery after its end, seeds {seeds}", head, rows)


# --- prompts of different length --------------------------------------------------------------------------------------


def mixed_prompts(quick: bool) -> None:
    who = [("none", 0.0, True), ("hedge-python default", 0.0, True)]
    who += [("fastclient", budget, True) for budget in (0.02, 0.05)] + [("fastclient", 0.05, False)]
    rates = ((20.0, 20_000),) if quick else ((20.0, 60_000), (2.0, 3_000), (0.5, 600))
    runs = each(_lengths, [(name, budget, rate, count, known) for rate, count in rates for name, budget, known in who])
    rows = []
    for (name, budget, rate, _, known), run in runs.items():
        label = name if known else f"{name}, cache unknown"
        rows.append([
            f"{rate:g}", label, f"{budget:.0%}" if budget else "-", f"{run.requests:.2f}", f"{run.effective:.2f}",
            f"{run.raw:.2f}", f"{run.slowdown:.2f}", f"{run.short:.2f}", f"{run.p999:.1f}", f"{run.long:.2f}",
        ])  # fmt: skip
    head = ["per s", "policy", "B", "requests %", "effective tokens %", "raw tokens %", "slowdown p99", "<1k p99"]
    show("Mixed prompts, budget in effective tokens (raw ones if the cache is unknown)", [*head, "p99.9", ">8k"], rows)


def _lengths(policy: str, budget: float, rate: float, count: int, known: bool) -> measures.Lengths:
    return measures.lengths(policy, budget, rate, count, known=known)


# --- single troubles --------------------------------------------------------------------------------------------------


def checks(quick: bool) -> None:
    rows = []
    for budget in (0.02, 0.05):
        for seed in SEEDS[:1] if quick else SEEDS:
            before, after, p99 = measures.shift(budget, seed)
            most, quiet = measures.fading(budget, seed)
            rows.append([
                f"{budget:.0%}", f"{seed}", f"{before:.2f}", f"{after:.2f}", f"{p99:.2f}", f"{most:.3f}",
                f"{quiet:.2f}", f"{measures.sticky(budget, seed):.3f}", f"{measures.failures(budget, seed):.3f}",
                f"{measures.thaw(budget, seed):.2f}",
            ])  # fmt: skip
    head = ["B", "seed", "worst 60 s", "after doubling", "p99 to tuned", "most so far", "at .05/s", "sticky"]
    head += ["p95, 503s", "after freezes"]
    show("Shares of copies in percent; see the functions of _measures.py", head, rows)


PARTS = {"worlds": nine_worlds, "queue": queues, "prompts": mixed_prompts, "checks": checks}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer seeds, requests and budgets")
    parser.add_argument("--only", choices=PARTS, help="one part")
    options = parser.parse_args()
    for name, part in PARTS.items():
        if options.only in (None, name):
            start = perf_counter()
            part(options.quick)
            print(f"({name}: {perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
