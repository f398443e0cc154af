"""The rounds: every scenario, by every library in turn, in an order shuffled anew each time; and what comes out."""

from __future__ import annotations

import itertools
import json
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.hosts import Hosts
from benchmarks.peers.libraries import Library, environment_problem
from benchmarks.peers.processes import Worker, bare, cold
from benchmarks.peers.scenarios import Scenario

__all__ = ["Run"]

_FAILURES = 2  # after so many, a library is not asked again for this: failing may take a minute


class Run:
    """Measures libraries in scenarios. What comes out is plain JSON: by scenario, by library, what each round found."""

    def __init__(
        self,
        libraries: Sequence[Library],
        scenarios: Sequence[Scenario],
        *,
        quick: bool,
        rounds: int | None,
        home: Path,
    ) -> None:
        self._libraries, self._scenarios = libraries, scenarios
        self._rounds = rounds or (2 if quick else 5)
        self._quick = quick
        self._share = 0.35 if quick else 0.75
        self._home = home
        self._workers: dict[str, Worker] = {}
        self._results: dict[str, dict[str, Any]] = {scenario.name: {} for scenario in scenarios}
        self._versions: dict[str, dict[str, str]] = {}
        self._began = time.monotonic()

    def everything(self, to: Path | None) -> dict[str, Any]:
        """All rounds. What has been found is written all the time, so that a run that is broken off is not lost."""
        found: dict[str, Any] = {"machine": machine(), "rounds": self._rounds, "share": self._share}
        found |= {"versions": self._versions, "results": self._results}
        with Hosts(self._home) as hosts:
            try:
                self._start(hosts)
                for number, scenario in itertools.product(range(self._rounds), self._scenarios):
                    self._turn(hosts, scenario, number)
                    found["minutes"] = round((time.monotonic() - self._began) / 60, 1)
                    if to is not None:
                        to.write_text(json.dumps(found, indent=1))
            finally:
                for worker in self._workers.values():
                    worker.close()
        return found

    def _start(self, hosts: Hosts) -> None:
        for library in self._libraries:
            problem = environment_problem(library)
            if problem is None:
                worker = self._worker(library, hosts)
                if "failed" in worker.versions:
                    problem = f"could not be started: {worker.versions['failed']}"
                else:
                    self._workers[library.name] = worker
                    self._versions[library.name] = {**worker.versions}
            if problem is not None:
                for results in self._results.values():
                    results[library.name] = {"missing": problem}

    def _worker(self, library: Library, hosts: Hosts) -> Worker:
        return Worker(library, hosts.certificates, self._home / f"{library.environment}.log")

    def _turn(self, hosts: Hosts, scenario: Scenario, number: int) -> None:
        """One scenario, by every library that takes part."""
        if number >= (1 if self._quick and scenario.slow else scenario.rounds):
            return
        print(f"round {number + 1} of {self._rounds}: {scenario.title}", file=sys.stderr, flush=True)
        takers = [library for library in self._libraries if library.at_1000 or not scenario.at_1000]
        random.shuffle(takers)
        for library in takers:
            self._segment(hosts, scenario, library)

    def _segment(self, hosts: Hosts, scenario: Scenario, library: Library) -> None:
        results = self._results[scenario.name]
        known = results.setdefault(library.name, [])
        if isinstance(known, dict):
            return
        root = hosts.roots.get(scenario.place)
        if sum("failed" in found for found in known) >= _FAILURES:
            found = {"failed": known[-1]["failed"]}
        elif root is None:
            found = {"missing": hosts.without_tls}
        else:
            found = self._measured(hosts, scenario, library, root)
        if "missing" in found:
            results[library.name] = found
        else:
            known.append(found)

    def _measured(self, hosts: Hosts, scenario: Scenario, library: Library, root: str) -> dict[str, Any]:
        root += scenario.path
        if scenario.measure == "cold":
            return cold(library, root)
        job: dict[str, Any] = {"name": scenario.name, "measure": scenario.measure, "door": scenario.door, "root": root}
        job |= {"at_once": scenario.at_once, "seconds": scenario.seconds * self._share, "size": scenario.size}
        if scenario.measure == "memory":
            return self._memory(hosts, library, job)
        before = len(hosts.resumed()) if scenario.place == "closing" else 0
        found = self._asked(hosts, library, job)
        if scenario.place == "closing" and "calls" in found:
            letters = hosts.resumed()[before + 1 :]
            found["resumed"] = letters.count("r") / max(1, len(letters))
        return found

    def _asked(self, hosts: Hosts, library: Library, job: dict[str, Any]) -> dict[str, Any]:
        worker = self._workers[library.name]
        found = worker.ask(job)
        if not worker.alive:
            worker.close()
            self._workers[library.name] = self._worker(library, hosts)
        return found

    def _memory(self, hosts: Hosts, library: Library, job: dict[str, Any]) -> dict[str, Any]:
        """In a process of its own, and less what Python itself takes."""
        worker = self._worker(library, hosts)
        try:
            found = worker.ask(job)
        finally:
            worker.close()
        if "resident" in found:
            found["resident"] -= bare(library, hosts.certificates)
        return found


def machine() -> dict[str, Any]:
    """What it ran on."""
    names = [line.split(":")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "processor": names[0].strip() if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
