"""Opening a connection: names to addresses, TCP with happy eyeballs, then TLS. A cancellation leaves no socket open."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any, NamedTuple

import anyio

from fastclient.errors import ConnectTimeout
from fastclient.observe.timing import Marks
from fastclient.wire.direct.head import Place
from fastclient.wire.sockets import OPTIONS, closed_in_children

__all__ = ["dial"]

_HEAD_START = 0.25  # seconds an address has before the next one is tried too (RFC 8305)


class _Address(NamedTuple):
    family: int
    address: Any  # as the socket module has it: its shape depends on the family


async def dial(
    place: Place, context: ssl.SSLContext | None, session: ssl.SSLSession | None, patience: float, marks: Marks
) -> socket.socket:
    """A connected socket, and with a context a secured one. Raises ConnectTimeout and OSError.

    TCP and TLS may take `patience` seconds each. With a session from before, the handshake is shorter.
    """
    try:
        marks.note("connect_started")
        with anyio.fail_after(patience):
            sock = await _connected(place)
        marks.note("connected")
        if context is not None:
            marks.note("tls_started")
            with anyio.fail_after(patience):
                sock = await _secured(sock, place.host, context, session)
            marks.note("secured")
    except TimeoutError as error:
        raise ConnectTimeout(f"no connection within {patience:g} s", phase="connect") from error
    return sock


async def _connected(place: Place) -> socket.socket:
    addresses = await _addresses(place.host, place.port)
    return await (_first(addresses) if len(addresses) > 1 else _reached(addresses[0]))


async def _addresses(host: str, port: int) -> list[_Address]:
    """Where a host is, the two families in turns, in the order the system prefers."""
    try:  # an address needs no look-up, and no thread for one
        found: Any = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [_Address(int(family), address) for family, _, _, _, address in found]
    same = [one for one in addresses if one.family == addresses[0].family]
    others = [one for one in addresses if one.family != addresses[0].family]
    most = range(max(len(same), len(others)))
    return [group[at] for at in most for group in (same, others) if at < len(group)]


async def _first(addresses: list[_Address]) -> socket.socket:
    """The first address that answers. Each is tried when the one before has failed or had its head start."""
    won: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(address: _Address, over: anyio.Event) -> None:
        try:
            sock = await _reached(address)
        except OSError as error:
            errors.append(error)
            over.set()
            return
        if won:
            sock.close()
            return
        won.append(sock)
        tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            for address in addresses:
                over = anyio.Event()
                tasks.start_soon(attempt, address, over)
                with anyio.move_on_after(_HEAD_START):
                    await over.wait()
    except BaseException:
        for sock in won:
            sock.close()
        raise
    if not won:
        raise errors[0]
    return won[0]


async def _reached(address: _Address) -> socket.socket:
    """A socket connected to one address."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        for option in OPTIONS:
            sock.setsockopt(*option)
        closed_in_children(sock)
        try:
            sock.connect(address.address)
        except BlockingIOError:
            await anyio.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code)) from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _secured(
    sock: socket.socket, host: str, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLSocket:
    """The same connection under TLS. The certificate is verified by the context, for this host."""
    name = host.removesuffix(".")
    try:
        secured = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False, session=session)
    except BaseException:
        sock.close()
        raise
    try:
        closed_in_children(secured)
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                await anyio.wait_readable(secured)
            except ssl.SSLWantWriteError:
                await anyio.wait_writable(secured)
            else:
                return secured
    except BaseException:
        secured.close()
        raise
