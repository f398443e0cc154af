"""`fastclient cache`: look after a cache folder while the apps that use it go on."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from fastclient.cache.disk import DiskStore
from fastclient.cli.screen import Screen
from fastclient.errors import ConfigError, FastClientError

__all__ = ["cache"]


def cache(options: argparse.Namespace) -> int:
    """Run it; returns the exit status: 1 if something was found that is not as it should be, and was left."""
    folder = Path(options.directory).expanduser()
    if not (folder / "cache.db").is_file():
        raise FastClientError(f"{folder} holds no cache")
    secret = os.environ.get(options.secret_variable) if options.secret_variable else None
    if options.secret_variable and not secret:
        raise ConfigError.of("secret_variable", options.secret_variable, "is not set in the environment")
    store = DiskStore(folder, memory=None, max_bytes=2**63 - 1, secret=secret)
    try:
        return _COMMANDS[options.action](store, options, Screen())
    except OSError as error:
        raise FastClientError(f"{folder}: {error.strerror or type(error).__name__}") from error
    finally:
        store.close()


def _stats(store: DiskStore, _: argparse.Namespace, screen: Screen) -> int:
    stats = store.stats()
    screen.say(f"{stats.entries:,} entries, {stats.bytes:,} bytes")
    return 0


def _verify(store: DiskStore, options: argparse.Namespace, screen: Screen) -> int:
    found = store.verify(fix=options.fix)
    screen.say(", ".join(f"{count:,} {name}" for name, count in asdict(found).items()))
    return 0 if options.fix or (found.good == found.checked and not found.orphans) else 1


def _gc(store: DiskStore, _: argparse.Namespace, screen: Screen) -> int:
    screen.say("removed " + ", ".join(f"{count:,} {name}" for name, count in asdict(store.gc()).items()))
    return 0


def _purge(store: DiskStore, options: argparse.Namespace, screen: Screen) -> int:
    screen.say(f"removed {store.purge(options.namespace):,} entries")
    return 0


_COMMANDS = {"stats": _stats, "verify": _verify, "gc": _gc, "purge": _purge}
