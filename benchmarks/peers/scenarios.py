"""What is measured: each scenario is one kind of work, done by every library in turn."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["LARGE", "SCENARIOS", "Scenario", "chosen"]

LARGE = 100_000
"""Bytes of a large prompt."""


class Scenario(NamedTuple):
    """`measure` is a function of `measures`; `seconds` is how long a segment measures, after its warm-up.

    `place` is the server asked: the plain one, TLS that keeps connections, or TLS that closes after each answer. `path`
    says what it does (see `server/server.c`). With `at_1000` only those libraries take part that are marked so. What is
    slow with some libraries is measured in the first `rounds` only, in a quick run in the first one.
    """

    name: str
    title: str
    measure: Literal["calls", "streams", "paced", "clients", "builds", "memory", "cold"]
    door: Literal["async", "blocking", "either"]
    seconds: float = 0.5
    path: str = "/d0/n10"
    place: Literal["plain", "tls", "closing"] = "plain"
    at_once: int = 1
    size: int = 0
    at_1000: bool = False
    rounds: int = 99

    @property
    def slow(self) -> bool:
        return self.rounds < 99


SCENARIOS = (
    Scenario("64", "64 in flight", "calls", "async", 0.8, at_once=64),
    Scenario("256", "256 in flight", "calls", "async", 0.8, at_once=256, rounds=3),
    Scenario("256-50ms", "256 in flight, 50 ms", "calls", "async", 1.0, "/d50/n10", at_once=256, rounds=3),
    Scenario("1000", "1,000 in flight", "calls", "async", 0.8, at_once=1000, at_1000=True, rounds=2),
    Scenario("one", "one at a time, async", "calls", "async"),
    Scenario("one-blocking", "one at a time, blocking", "calls", "blocking"),
    Scenario("large", "100 KB prompt, async", "calls", "async", size=LARGE),
    Scenario("large-blocking", "100 KB prompt, blocking", "calls", "blocking", size=LARGE),
    Scenario("burst", "1,000 chunks at once, async", "streams", "async", path="/d0/n1000"),
    Scenario("burst-blocking", "1,000 chunks at once, blocking", "streams", "blocking", path="/d0/n1000"),
    Scenario("paced", "a chunk each 5 ms, 80 of them", "paced", "async", path="/d0/n80/p5"),
    Scenario("tls", "TLS, connection kept", "calls", "async", place="tls"),
    Scenario("tls-fresh", "TLS, a new connection per call", "calls", "async", place="closing"),
    Scenario("tls-client", "TLS, a new client per call", "clients", "async", place="tls"),
    Scenario("build", "building a client", "builds", "either", 0.3),
    Scenario("client", "a new client per call", "clients", "either"),
    Scenario("cold", "a new process: import, client, one call", "cold", "either", 0, rounds=5),
    Scenario("memory", "memory", "memory", "async", 0, "/d1500/n10", at_once=256, rounds=2),
)


def chosen(names: str | None) -> list[Scenario]:
    """Those named in a list with commas; all, if there is none."""
    if not names:
        return [*SCENARIOS]
    wanted = [name.strip() for name in names.split(",")]
    if unknown := set(wanted) - {scenario.name for scenario in SCENARIOS}:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}. There are: {', '.join(s.name for s in SCENARIOS)}")
    return [scenario for scenario in SCENARIOS if scenario.name in wanted]
