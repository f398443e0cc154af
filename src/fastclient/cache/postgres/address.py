"""The URL of a PostgreSQL server: whether it may be one, and what of it may be shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastclient.errors import ConfigError

__all__ = ["checked", "public", "table_of"]

_FORM = "must be like postgresql://user:password@host:5432/database"


def checked(url: object) -> str:
    """The URL, if it looks like one. Raises ConfigError, which shows none of it."""
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        raise ConfigError.at("postgres.url", _FORM)
    if not re.match(r"postgres(ql)?://", url):
        raise ConfigError.at("postgres.url", _FORM)
    return url


def public(options: Mapping[str, object]) -> str:
    """Hosts and database, of the parts of a URL: all that may be said of a server. Raises ConfigError."""
    if not re.fullmatch(r"[\d,]*", str(options.get("port") or ""), re.ASCII):
        raise ConfigError.at("postgres.url", _FORM)
    hosts = [one for one in str(options.get("host") or options.get("hostaddr") or "localhost").split(",") if one]
    ports = str(options.get("port") or 5432).split(",")
    names = [f"{host}:{ports[at] if at < len(ports) else ports[0]}" for at, host in enumerate(hosts)]
    shown = f"{','.join(names)}/{options.get('dbname') or ''}"
    return shown if re.fullmatch(r"[\w.:%,/@-]*", shown) and "@" not in shown else "a server"


def table_of(table: object) -> str:
    """The name that tables begin with. Raises ConfigError for what would need quotes."""
    if not isinstance(table, str) or not re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", table):
        raise ConfigError.of("postgres.table", table, "must be 1 to 40 of a-z, 0-9 and _, not beginning with a digit")
    return table
