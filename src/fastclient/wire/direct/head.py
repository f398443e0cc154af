"""What a request looks like on the wire: where its URL leads, read once, and its head, written once for equal calls.

Pure. What a head may not hold is refused with a ConfigError that shows none of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from fastclient.errors import ConfigError

__all__ = ["Place", "Route", "route"]

_LABEL = r"[A-Za-z0-9_-]{1,63}"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*\.?)(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@/%-]*)?(?P<query>\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?"
)
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_FRAMING = ("content-length", "transfer-encoding")  # ours to say: the body is sent as it is, in one piece
_KEPT = 4  # heads of one URL that are kept ready


class Place(NamedTuple):
    """Where a connection leads."""

    host: str
    port: int
    secure: bool


class Route:
    """One URL, ready for requests. Headers count as the same when they are equal, whichever object they come in."""

    __slots__ = ("_begin", "_host", "_written", "place")

    def __init__(self, place: Place, host: str, target: str) -> None:
        self.place = place
        self._host = host
        self._begin = f" {target} HTTP/1.1\r\n"
        self._written: list[tuple[str, dict[str, str], bytes]] = []

    def head(self, method: str, headers: Mapping[str, str], length: int) -> bytes:
        """The head of a request with a body of this length."""
        for known, fields, text in self._written:
            if known == method and headers == fields:
                return b"%b%d\r\n\r\n" % (text, length)
        text = self._write(method, headers)
        self._written = [(method, dict(headers), text), *self._written[: _KEPT - 1]]
        return b"%b%d\r\n\r\n" % (text, length)

    def _write(self, method: str, headers: Mapping[str, str]) -> bytes:
        """All of a head but the length of the body."""
        if not _NAME.fullmatch(method):
            raise ConfigError.at("method", "is no HTTP method (not shown)")
        names = {name.lower() for name in headers}
        lines = [f"{method}{self._begin}"]
        if "host" not in names:
            lines.append(f"host: {self._host}\r\n")
        for name, value in headers.items():
            if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
                raise ConfigError.at("headers", "a name or a value cannot be written as HTTP (not shown)")
            if name.lower() not in _FRAMING:
                lines.append(f"{name}: {value}\r\n")
        return "".join((*lines, "content-length: ")).encode("ascii")


def route(url: str) -> Route | None:
    """The way to a URL; None if there is anything unusual about it, such as a user, an escape to write or `/../`."""
    found = _URL.fullmatch(url)
    if found is None or "/." in (found["path"] or ""):
        return None
    scheme, host = found["scheme"], found["host"].lower()
    port = int(found["port"] or _PORTS[scheme])
    if not 0 < port < 2**16:
        return None
    named = host if port == _PORTS[scheme] else f"{host}:{port}"
    place = Place(host.strip("[]"), port, scheme == "https")
    return Route(place, named, (found["path"] or "/") + (found["query"] or ""))
