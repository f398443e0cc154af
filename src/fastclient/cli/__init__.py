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
    _cache(commands.add_parser("cache", help="look after a cache folder: stats, verify, gc, purge; audit"))
    _prefix(commands.add_parser("prefix", help="see why one request does not continue another in the provider's cache"))
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


def _cache(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("stats", help="how much there is")
    verify = actions.add_parser("verify", help="read every entry; exit status 1 if one is not as it was written")
    verify.add_argument(
        "--fix", action="store_true", help="remove what is not as it should be; without the secret, all"
    )
    actions.add_parser("gc", help="remove what expired, and files that belong to no entry")
    purge = actions.add_parser("purge", help="remove all entries, or those of one namespace")
    purge.add_argument("--namespace", metavar="NAME", help="only answers of this namespace")
    for action in actions.choices.values():
        action.add_argument(
            "--secret-variable", metavar="NAME", help="the environment variable that holds the store's secret, if any"
        )
        action.add_argument("directory", metavar="DIR", help="the folder given as cache_dir, or to DiskStore")

    def run(options: argparse.Namespace) -> int:
        from fastclient.cli.cache import cache

        return cache(options)

    parser.set_defaults(run=run)
    _audit(actions.add_parser("audit", help="list what a semantic cache served for what"))


def _audit(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Lists which stored question each question was answered by, and what checks found. The last line is about the "
        "whole record, whatever is listed."
    )
    parser.add_argument("file", metavar="FILE", help="the file given as Semantic(audit=...)")
    parser.add_argument("--wrong", action="store_true", help="only what a check found wrong")
    parser.add_argument("--last", type=_count, metavar="N", help="only the last N of these")

    def run(options: argparse.Namespace) -> int:
        from fastclient.cli.audit import audit

        return audit(options)

    parser.set_defaults(run=run)


def _prefix(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Compares two request bodies of one conversation, in OpenAI's or Anthropic's format. Exit status 0: the second "
        "continues the first, whose cached prompt can be read again. Exit status 1: it does not."
    )
    parser.add_argument("old", metavar="OLD", help='the body of a request as JSON: a file, or "-" for standard input')
    parser.add_argument("new", metavar="NEW", help="the body of the next request")
    parser.add_argument("--show", action="store_true", help="show what the prompts say where they differ")
    parser.add_argument("--price", type=float, metavar="INPUT", help="what a million tokens of input cost")
    parser.add_argument("--cached", type=float, metavar="CACHED", help="what a million cached tokens cost")

    def run(options: argparse.Namespace) -> int:
        from fastclient.cli.prefix import prefix

        return prefix(options)

    parser.set_defaults(run=run)


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError("must be between 1 and 100000")
    return number
