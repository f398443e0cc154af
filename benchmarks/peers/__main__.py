"""Client libraries side by side: what a call costs with each, all against one server, taking turns.

    make bench-peers                                            # installs every library, runs, writes the report
    python -m benchmarks.peers --json found.json                # about half an hour; the environments must be there
    python -m benchmarks.peers --quick --only fastclient,openai --scenario 64,one
    python -m benchmarks.peers.report found.json                # the tables and the picture of docs/benchmarks.md

Each library lives in a process and an environment of its own (`.venv-peers/NAME`, from `requirements/NAME.txt`). Run
it from the root of the checkout, on Linux, with a C compiler; nginx and openssl for the scenarios with TLS.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.peers.libraries import LIBRARIES, named
from benchmarks.peers.scenarios import SCENARIOS, chosen

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few and short segments: about 10 minutes")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (5; quick: 2)")
    parser.add_argument("--only", metavar="LIB,LIB", help=", ".join(library.name for library in LIBRARIES))
    parser.add_argument("--scenario", metavar="X,Y", help=", ".join(scenario.name for scenario in SCENARIOS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    options = parser.parse_args()
    libraries, scenarios = named(options.only), chosen(options.scenario)
    if not sys.platform.startswith("linux"):
        raise SystemExit("This benchmark needs Linux: its server uses epoll, and processes are kept to cores.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that the servers are ended too
    from benchmarks.peers.report import summary
    from benchmarks.peers.rounds import Run

    with tempfile.TemporaryDirectory(prefix="peers-") as home:
        run = Run(libraries, scenarios, quick=options.quick, rounds=options.rounds, home=Path(home))
        found = run.everything(options.json)
    print(summary(found))


if __name__ == "__main__":
    main()
