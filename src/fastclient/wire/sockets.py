"""What the operating system knows and decides about a connection: trust, proxies, round trips, forks."""

from __future__ import annotations

import os
import socket
import struct
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

from fastclient.locks import Locked
from fastclient.target import is_loopback

if TYPE_CHECKING:
    import ssl

__all__ = ["OPTIONS", "closed_in_children", "proxy_for", "round_trip", "ssl_context", "trust"]

OPTIONS: list[tuple[int, int, int]] = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
"""Of each connection: no waiting for more to send, and a sign of life each minute, so that no router forgets it."""

OPTIONS.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
for _name, _value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5)):
    if hasattr(socket, _name):
        OPTIONS.append((socket.IPPROTO_TCP, getattr(socket, _name), _value))

_sockets: WeakSet[Any] = WeakSet()  # the open ones of this process


def closed_in_children(wrapped: Any) -> None:
    """Remember a connection's socket, so that a forked child gives up its copy.

    Not under uvloop, whose stand-in for a socket can be neither remembered nor closed.
    """
    raw = getattr(wrapped, "_sock", wrapped)
    if isinstance(raw, socket.socket):
        _sockets.add(raw)


def _forked() -> None:
    """In a child: close its copies of the parent's sockets. As long as one is open, no server sees the parent leave."""
    for each in list(_sockets):
        each.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def round_trip(response: Any) -> float | None:
    """The kernel's own estimate of the connection's round-trip time (Linux: `tcp_info.tcpi_rtt`, microseconds)."""
    option = getattr(socket, "TCP_INFO", None)
    stream = response.extensions.get("network_stream")
    raw = stream.get_extra_info("socket") if option is not None and stream is not None else None
    if raw is None:
        return None
    try:
        info = raw.getsockopt(socket.IPPROTO_TCP, option, 104)
    except OSError:
        return None
    return float(struct.unpack_from("I", info, 68)[0]) / 1e6 if len(info) >= 72 else None


@cache
def ssl_context(family: str) -> ssl.SSLContext:
    """One context per process: building one costs some 15 ms."""
    context: ssl.SSLContext = import_module(family).create_ssl_context()
    return context


_building = Locked()


def trust() -> ssl.SSLContext:
    """The context of our own wire. One per process, so that sessions can be resumed with any client."""
    with _building.lock:
        return _trust()


@cache
def _trust() -> ssl.SSLContext:
    """It trusts what httpx2 does, which is not loaded for that where the certificates are in their usual place."""
    import ssl

    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    usual = ssl.get_default_verify_paths()
    if file or folder:
        context = ssl.create_default_context(cafile=file or None, capath=None if file else folder)
    elif sys.platform in ("win32", "darwin") or not os.path.isfile(usual.openssl_cafile):
        context = ssl_context("httpx2")
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        capath = usual.openssl_capath
        context.load_verify_locations(usual.openssl_cafile, capath if os.path.isdir(capath) else None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def proxy_for(url: str) -> str | None:
    """The proxy the environment names for this URL (HTTPS_PROXY, NO_PROXY and their kin)."""
    if is_loopback(url):
        return None  # plain http, with the key in it, is allowed there because it goes nowhere else
    if sys.platform not in ("win32", "darwin") and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # said at once: the library that knows more takes longer to load than a call's own part
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    if not proxies:
        return None
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")
