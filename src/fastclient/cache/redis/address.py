"""The URL of a Redis server: whether it is one, and what of it may be shown. Pure."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from fastclient.errors import ConfigError

__all__ = ["public"]

_OPTIONS = ("db", "client_name", "password", "username")  # in a URL


def public(url: object) -> str:
    """The server's name without user, password or options. Raises ConfigError, which shows none of the URL."""
    problem = "must be like redis://host:6379/0, rediss://user:password@host/0 or unix:///path"
    found, port, options = None, 0, set()
    if isinstance(url, str) and url.isprintable() and " " not in url:
        try:
            found = urlsplit(url)
            port = found.port or 6379
            options = {name for name, _ in parse_qsl(found.query, keep_blank_values=True)}
        except ValueError:
            found = None
    if found is None or found.fragment or "@" in found.path + found.query:
        raise ConfigError.at("redis.url", problem)
    if not all(name in _OPTIONS or re.fullmatch("ssl_[a-z_]+", name) for name in options):
        raise ConfigError.at("redis.url", f"may have no options but {', '.join(_OPTIONS)} and ssl_...")
    if found.scheme == "unix" and len(found.path) > 1:
        return found.path
    host = found.hostname or ""
    if (
        found.scheme in ("redis", "rediss")
        and re.fullmatch(r"[\w.:%-]+", host)
        and re.fullmatch(r"(/\d*)?", found.path)
    ):
        return f"{host}:{port}"
    raise ConfigError.at("redis.url", problem)
