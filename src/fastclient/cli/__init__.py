"""The `fastclient` command. Each subcommand is one module, imported when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fastclient._version import __version__
from fastclient.errors import FastClientError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 fine, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="fastclient", description="Make LLM calls fast.")
    parser.add_argument("--version", action="version", version=f"fastclient {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _demo(commands.add_parser("demo", help="run a mixed workload and show what it costs in time; needs no key"))
    options = parser.parse_args(argv)
    try:
        return int(options.run(options))
    except FastClientError as error:
        parser.exit(1, f"fastclient: {error}\n")
    except KeyboardInterrupt:
        return 130


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Without --model: a pretend provider on this machine, with the latencies of a busy hosted one. "
        "With --model: the same workload, small, against a real provider; the key comes from its environment variable."
    )
    parser.add_argument("--model", metavar="PROVIDER:MODEL", help="a real target, such as openai:gpt-5-mini")
    parser.add_argument("--base-url", help="another server that speaks the provider's format")
    parser.add_argument("--calls", type=_count, metavar="N", help="calls per setting (default 200; real targets 12)")
    parser.add_argument("--seed", type=int, default=1, help="which workload to draw (default 1)")
    parser.add_argument("--quick", action="store_true", help="a small run of a few seconds")
    parser.add_argument("--yes", action="store_true", help="do not ask before spending tokens")

    def run(options: argparse.Namespace) -> int:
        from fastclient.cli.demo import demo

        return demo(options)

    parser.set_defaults(run=run)


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError("must be between 1 and 100000")
    return number
