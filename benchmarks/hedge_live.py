"""Hedging over real sockets: a provider on loopback, and callers with and without copies at the same time.

    python benchmarks/hedge_live.py [--quick] [--calls 3500] [--rate 35] [--only head|flush]

First tokens take 50 ms x LN(.35), and 2 % of them ten times as long. "head": the headers come with the first token;
"flush": they come at once, with an event without content. All callers meet the same times, of requests and of copies.
So do the simulated rows: the shipped policy in these times without sockets or event loops. What they are better by is
what the machinery and the machine cost.

Times are the caller's, from the call to its first content. The rest is counted at the servers: `closed` is how long
after a winner's first token was sent its loser was gone; `left` are exchanges that still ran 250 ms after the last
call, and connections open after the client was closed; `cpu ms` is what the caller's process spent per call. p99.9 of
3,500 calls is three or four of them. hedge-python copies GET only: here it is given GETs, which become POSTs below its
transport. All of it takes eleven minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

if not __package__:  # run as a script, or loaded by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import _worlds
from benchmarks._callers import BUDGETS
from benchmarks._live import Seen, arrivals, side_by_side
from benchmarks._races import Shipped, play
from benchmarks.tail_sim import show
from fastclient.testing import World

__all__ = ["main"]

FORMS = {
    "head": World(base=0.05, sigma=0.35, tail=((0.02, 10.0),)),
    "flush": World(base=0.05, sigma=0.35, tail=((0.02, 10.0),), flush_headers=True),
}
GROUPS = (  # as many at a time as two cores can bear
    ("no copies", "5 %", "hedge-python, defaults", "hedge-python, 5 %, true rate"),
    ("no copies", "2 %", "10 %"),
    ("no copies", "5 %, trio", "5 %, threads"),
)
GOALS = {"head": 0.40, "flush": 0.36}  # p99 with copies for 5 % of the requests, as a share of that without
CLOSED = 50.0  # ms after the winner's first token when a loser should be gone
BUSY = 20.0  # ms that one call in a hundred began late: then the machine had no time for all this
HEAD = ["", "p50", "p95", "p99", "p99.9", "p99 ratio", "p99.9 ratio", "extra %", "wasted tokens %", "closed p99", "max"]
HEAD += ["left", "failed", "cpu ms"]

Seconds = Sequence[float] | _worlds.Floats


def quantile(seconds: Seconds, share: float) -> float:
    """In milliseconds."""
    return 1000 * float(np.quantile(seconds, share)) if len(seconds) else 0.0


def times(seconds: Seconds, none: Seconds) -> list[str]:
    """Four quantiles, and two of them relative to no copies."""
    ratios = [f"{quantile(seconds, share) / quantile(none, share):.2f}" for share in (0.99, 0.999)]
    return [f"{quantile(seconds, share):.0f}" for share in (0.5, 0.95, 0.99, 0.999)] + ratios


def row(name: str, run: Seen | None, none: Seen) -> list[str]:
    if run is None:
        return [name, "not installed", *[""] * (len(HEAD) - 2)]
    closed = [f"{quantile(run.closings, share):.0f}" if run.closings else "-" for share in (0.99, 1.0)]
    counts = [f"{run.extra:.2f}", f"{run.wasted:.1f}", *closed, f"{run.live}+{run.counters.open_connections}"]
    return [name, *times(run.took, none.took), *counts, f"{len(run.failures)}", f"{1000 * run.cpu / run.calls:.1f}"]


def simulated(name: str, rate: float, met: Seen) -> list[str]:
    """The shipped policy by itself, with the times that these calls and their copies met."""
    first, second = np.array(met.first), np.array(met.second)
    world = _worlds.World(np.array(arrivals(name, len(first), rate)), first, second)
    outcome = play(world, Shipped(BUDGETS[name]))
    return [f"{name}, simulated", *times(outcome.latency, first), f"{outcome.extra:.2f}", *["-"] * 6]


def report(form: str, group: Sequence[str], runs: Mapping[str, Seen], rate: float) -> None:
    none, ours = runs["no copies"], [name for name in group if name in BUDGETS]
    rows = [row(name, runs.get(name), none) for name in group]
    rows += [simulated(name, rate, none) for name in ours]
    title = f'"{form}": {none.calls:,} calls at {rate:g}/s in each row; ms, and ratios to no copies in the same run'
    show(title, HEAD, rows)
    for name in ours:
        if BUDGETS[name] == 0.05:
            print(f"  {name}: {verdict(form, runs[name], none)}")
    late = {
        "callers": [*chain.from_iterable(run.late for run in runs.values())],
        "servers": [*chain.from_iterable(run.behind for run in runs.values())],
    }
    if quantile(late["callers"], 0.99) > BUSY:
        print("  The machine was too busy to judge by this.")
    sides = [
        f"{side} {'/'.join(f'{quantile(seconds, share):.0f}' for share in (0.5, 0.99, 1.0))}"
        for side, seconds in late.items()
    ]
    print(f"  behind schedule, p50/p99/max ms: {', '.join(sides)}; {load()}", flush=True)


def verdict(form: str, run: Seen, none: Seen) -> str:
    """What was aimed at, and what came out."""
    ratio = quantile(run.took, 0.99) / quantile(none.took, 0.99)
    slowest = quantile(run.closings, 1.0)
    met = ratio <= GOALS[form] and run.extra <= 5 and slowest <= CLOSED
    parts = (
        f"p99 ratio {ratio:.2f} of {GOALS[form]:.2f}, {run.extra:.2f} % of 5 %, closed {slowest:.0f} of {CLOSED:.0f} ms"
    )
    return f"{parts}: {'met' if met else 'missed'}"


def load() -> str:
    return f"{os.cpu_count()} cores, load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=3500, help="in each row (3500)")
    parser.add_argument("--rate", type=float, default=35.0, help="calls per second in each row (35)")
    parser.add_argument("--quick", action="store_true", help="1,000 calls in each row, for a first look")
    parser.add_argument("--only", choices=FORMS, help="one form of answer")
    options = parser.parse_args()
    calls = min(options.calls, 1000) if options.quick else options.calls
    print(load())
    for form, world in FORMS.items():
        if options.only in (None, form):
            for group in GROUPS:
                report(form, group, side_by_side(group, world, calls, options.rate), options.rate)


if __name__ == "__main__":
    main()
