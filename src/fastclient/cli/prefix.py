"""`fastclient prefix`: whether one request continues another, and if not, where and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from fastclient.cli.screen import Screen
from fastclient.errors import ConfigError, FastClientError
from fastclient.prompt.drift import Drift, diagnose
from fastclient.target import Price

__all__ = ["prefix"]


def prefix(options: argparse.Namespace) -> int:
    """Run it; returns the exit status: 0 if the second request continues the first, 1 if not."""
    if options.old == options.new == "-":
        raise ConfigError.of("new", options.new, "is the standard input, which has been read already")
    price = _price(options)
    drift = diagnose(_body(options.old), _body(options.new), excerpts=options.show)
    _report(drift, price, Screen(), show=options.show)
    return 1 if drift.is_drift else 0


def _report(drift: Drift, price: Price | None, screen: Screen, *, show: bool) -> None:
    screen.say(str(drift))
    share = drift.tokens_lost / max(1, drift.tokens_shared + drift.tokens_lost)
    screen.say(f"tokens: {drift.tokens_shared:,} shared, {drift.tokens_lost:,} lost ({share:.0%} of the first prompt)")
    if price is not None:
        screen.say(f"money lost: {drift.money_lost(price):.6f}")
    screen.say(f"advice: {drift.advice}")
    if show and drift.before + drift.after:
        screen.say(f"before: {drift.before!r}")
        screen.say(f"after:  {drift.after!r}")


def _price(options: argparse.Namespace) -> Price | None:
    if options.price is None and options.cached is None:
        return None
    if options.price is None or options.cached is None:
        raise ConfigError.at("price", "--price and --cached are given together, as money per million tokens")
    return Price(input=options.price, output=0, cache_read=options.cached)


def _body(name: str) -> Mapping[str, object]:
    try:
        body = orjson.loads(sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes())
    except OSError as error:
        raise FastClientError(f"{name}: {error.strerror or type(error).__name__}") from error
    except ValueError as error:
        raise ConfigError.at(name, "is no JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise ConfigError.at(name, "is no request body: a JSON object with a list of messages")
    return body
