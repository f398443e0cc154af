"""What a semantic cache serves at which share of wrong answers: the project's rules beside a cosine threshold.

    python benchmarks/semantic_curve.py [lexical | sentence --model FOLDER] [--streams zipf once ...] [--vectors FILE]

Every stream is replayed request by request, the exact cache first, for each rule and many thresholds; what is served is
not kept. "calls saved" is the share of the calls that the exact cache alone would make. Then the whole controller (mode
"auto", and "serve") on the same streams, and the choice between the rules: learned from the stream's other half, and
served on this one. Shares have 95 % Wilson intervals; texts that come again in `zipf` make them a little too narrow.
`--deployments N` counts in how many of N simulated deployments the promised bound is ever broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fit_verifier import remembering, wilson
from benchmarks.semantic_data import STREAMS, Split, streams
from benchmarks.semantic_worlds import Tally, Twist, World
from fastclient.cache.guards import Kind
from fastclient.cache.semantic.route import RULES, Mode, Terms

FLOORS = {
    "verifier": [0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.83, 0.85, 0.87, 0.89, 0.91, 0.93, 0.95, 0.97, 0.98, 0.99],
    "guarded cosine": [0.5, 0.6, 0.65, *(step / 100 for step in range(70, 100))],
    "cosine": [0.5, 0.6, 0.65, *(step / 100 for step in range(70, 100))],
}
ERRORS = (0.01, 0.03, 0.05)
AT = 0.012
"""The share of wrong answers per request at which the rules are compared."""


class Point(NamedTuple):
    """A rule at a threshold."""

    rule: str
    least: float
    tally: Tally


def shared(number: int, of: int) -> str:
    """A share in percent, with its interval."""
    low, high = wilson(number, of)
    return f"{number / max(1, of):6.2%} ({low:.2%}-{high:.2%})"


def line(name: str, tally: Tally, exact_only: int) -> str:
    """One row of a table."""
    served = tally.right + tally.wrong
    figures = (shared(tally.right, tally.requests), shared(tally.wrong, tally.requests), shared(tally.wrong, served))
    return f"  {name:28}" + "".join(f"{one:>25}" for one in figures) + f"{1 - tally.calls / exact_only:>9.2%}"


HEAD = f"  {'':28}{'right / request':>25}{'wrong / request':>25}{'wrong / hit':>25}{'calls':>9}"


def points(world: World) -> list[Point]:
    """All rules at all thresholds."""
    return [Point(name, least, world.fixed(rule, least)) for rule, name in enumerate(RULES) for least in FLOORS[name]]


def best(found: Sequence[Point], rule: str, error: float) -> Point | None:
    """The point of a rule that serves the most right answers at no more wrong ones per request."""
    fit = [one for one in found if one.rule == rule and one.tally.wrong <= error * one.tally.requests]
    return max(fit, key=lambda one: one.tally.right, default=None)


def times(mine: Point | None, its: Point | None) -> str:
    """How many times as many right answers."""
    right, other = (one.tally.right if one else 0 for one in (mine, its))
    return f"{right / other:.2f}x" if other else "no right answer by cosine" if right else "none"


def curve(world: World, everything: bool) -> list[Point]:
    """The rules, at some errors or at all thresholds."""
    found, exact_only = points(world), len(world.texts)
    print(HEAD)
    shown = (
        found
        if everything
        else [one for error in (AT, *ERRORS[1:]) for rule in RULES if (one := best(found, rule, error))]
    )
    for one in shown:
        print(line(f"{one.rule} from {one.least:.2f}", one.tally, exact_only), flush=True)
    return found


def learned(taught: World, world: World) -> tuple[str, Tally, Tally]:
    """The rule chosen on one half and served on the other, and the cosine learned and served in the same way."""
    terms = Terms(max_error=AT, mode="shadow", rate=0.2, kind=world.kind)
    route = taught.controlled(terms).route
    assert route is not None
    chosen = route.choice.best(AT)
    if chosen is None:
        return "none", Tally(), Tally()
    fit = [(least, taught.fixed(2, least)) for least in FLOORS["cosine"]]
    least = next((least for least, tally in fit if tally.wrong <= AT * tally.requests), 2.0)
    name = f"{RULES[chosen.rule]} from {chosen.score:.3f}"
    return name, world.fixed(chosen.rule, chosen.score), world.fixed(2, least)


def controller(world: World, rate: float) -> None:
    """The whole of it, from nothing known."""
    for mode in ("auto", "serve"):
        for error in ERRORS:
            terms = Terms(max_error=error, mode=mode, rate=rate, kind=world.kind)  # type: ignore[arg-type]
            tally = world.controlled(terms)
            print(line(f"{mode}, max_error {error}", tally, len(world.texts)), flush=True)


# --- simulated deployments --------------------------------------------------------------------------------------------


def _drift(half: int) -> Twist:
    return lambda step, right: right and step < half


TWISTS: dict[str, Callable[[int], Twist | None]] = {
    "as it is": lambda requests: None,
    "all turns wrong": lambda requests: _drift(requests // 2),
    "bursts of wrong": lambda requests: lambda step, right: right and step % 500 < 350,
    "one in ten wrong": lambda requests: lambda step, right: right and step % 10 != 7,
}
"""What is done to a stream in which a route may trust nothing."""


def deployments(
    worlds: Sequence[World], number: int, errors: Sequence[float] = ERRORS, mode: Mode = "auto"
) -> dict[str, tuple[int, int, int]]:
    """For each twist how many deployments ran, broke the bound, and how many right answers they served."""
    found: dict[str, tuple[int, int, int]] = dict.fromkeys(TWISTS, (0, 0, 0))
    names = list(TWISTS)
    for seed in range(number):
        name = names[seed % len(names)]
        world = worlds[seed // len(names) % len(worlds)]
        terms = Terms(max_error=errors[seed % len(errors)], mode=mode, rate=0.2, kind=world.kind)
        tally = world.controlled(terms, seed, twist=TWISTS[name](len(world.asked)))
        ran, over, right = found[name]
        found[name] = ran + 1, over + tally.over, right + tally.right
    return found


# --- the program ------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("lexical", "sentence"), nargs="?", default="lexical")
    parser.add_argument("--model", type=Path, help="folder of the sentence encoder")
    parser.add_argument("--vectors", type=Path, help="file that keeps the vectors")
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=STREAMS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.2, help="share of served answers that is checked in the end")
    parser.add_argument("--all", action="store_true", help="all thresholds")
    parser.add_argument("--deployments", type=int, default=0, metavar="N")
    asked = parser.parse_args()
    kind: Kind = asked.kind
    embed = remembering(kind, asked.model, asked.vectors)

    def world(name: str, split: Split) -> World:
        return World(streams(name, asked.seed, split), kind, embed)

    compared: list[tuple[str, str, Any]] = []
    for name in asked.streams:
        here = world(name, "test")
        print(f"{name}, {kind}: {len(here.asked)} requests, {len(here.texts)} calls by the exact cache alone")
        found = curve(here, asked.all)
        controller(here, asked.rate)
        how, mine, its = learned(world(name, "fit"), here)
        print(line(f"learned: {how}", mine, len(here.texts)))
        print(line("learned: cosine", its, len(here.texts)))
        compared += [(name, rule, times(best(found, rule, AT), best(found, "cosine", AT))) for rule in RULES[:2]]
        compared.append((name, "learned", f"{mine.right / its.right:.2f}x" if its.right else "cosine serves nothing"))
    print(f"right answers at <= {AT:.1%} wrong per request, against the best cosine threshold")
    for name, rule, said in compared:
        print(f"  {name:10}{rule:16}{said}")
    if asked.deployments:
        worlds = [world(name, "test") for name in asked.streams]
        for name, (ran, over, right) in deployments(worlds, asked.deployments).items():
            print(f"  {name:18}{ran:4} deployments, {over} broke the bound, {right} right answers served")


if __name__ == "__main__":
    main()
