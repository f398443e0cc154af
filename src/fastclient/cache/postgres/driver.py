"""psycopg, and nothing else of the package knows it: connections that can be dropped in one step, and that forked
children give up.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from fastclient.errors import ConfigError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

__all__ = ["Connection", "Lost", "Refused", "connect", "options_of"]

_NO_LIBRARY = 'is not installed: pip install "fastclient[postgres]"'
_BROKEN = (
    "53",
    "57",
    "58",
    "XX",
)  # no resources, an operator's will, the system, a bug: nothing wrong with the command
_FULL = "53100"  # the disk is full: what is there can be read
_connections: WeakSet[Connection] = WeakSet()


class Lost(Exception):
    """The connection, or the server behind it, is gone or of no use. The text says why, and nothing of the data."""


class Refused(Exception):
    """The server understood and refused. The text is the kind of refusal, `code` the server's own."""

    def __init__(self, kind: str, code: str) -> None:
        super().__init__(kind)
        self.code = code


class Vector:
    """A vector in the server's own form."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def options_of(url: str) -> Mapping[str, object]:
    """The parts of a URL. Raises ConfigError, which shows none of it."""
    try:
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise ConfigError.at("postgres", _NO_LIBRARY) from None
    options: Mapping[str, object] | None = None
    try:
        options = conninfo_to_dict(url)
    except Exception:  # its text quotes the URL: it must not be in the chain of ours
        options = None
    if options is None:
        raise ConfigError.at("postgres.url", "has parts that do not fit")
    return options


class Connection:
    """A connection to a server, for one statement at a time."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        _connections.add(self)

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return not self._connection.closed

    async def execute(self, statement: str, values: Mapping[str, object] | None = None, *, once: bool = False) -> Any:
        """What a statement brings: a list of rows, or how many it changed. Raises Lost or Refused.

        It is planned at its first time, unless it runs but `once`.
        """
        import psycopg

        given = {k: Vector(v) if k == "vector" and isinstance(v, bytes) else v for k, v in (values or {}).items()}
        try:
            said: Any = statement  # of our own making: nobody's values are in it
            cursor = self._connection.cursor(binary=values is not None)
            await cursor.execute(said, given if values is not None else None, prepare=not once)
            return await cursor.fetchall() if cursor.description else cursor.rowcount
        except psycopg.Error as error:
            raise _told(error, self.is_open) from None

    def abort(self) -> None:
        """Drop the connection at once; whoever waits for it is told that it is lost."""
        fd = self._fd()
        if fd >= 0:
            with socket.socket(fileno=os.dup(fd)) as copy:
                try:
                    copy.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return

    async def close(self) -> None:
        """Let go of it."""
        _connections.discard(self)
        await self._connection.close()

    def give_up(self, nothing: int) -> None:
        """In a forked child: put something else in place of its copy of the socket."""
        fd = self._fd()
        if fd >= 0:
            os.dup2(nothing, fd)

    def _fd(self) -> int:
        """The socket's number; negative if there is none any more."""
        try:
            return int(self._connection.pgconn.socket)
        except Exception:  # of a connection that is closed
            return -1


async def connect(url: str, limit: float, session: str) -> Connection:
    """A new connection. Raises Lost or Refused."""
    import psycopg

    settings = _settings(url, limit)
    try:
        async with asyncio.timeout(limit * len(str(options_of(url).get("host", "")).split(","))):  # each may be away
            connection = Connection(await _quiet().connect(url, autocommit=True, **settings))
    except TimeoutError:
        raise Lost("no connection in time") from None
    except psycopg.Error as error:
        raise _told(error, False) from None
    except OSError as error:
        raise Lost(type(error).__name__) from None
    alarm = asyncio.get_running_loop().call_later(limit, connection.abort)
    try:
        await connection.execute(session, once=True)
    except BaseException:
        await connection.close()
        raise
    finally:
        alarm.cancel()
    return connection


def _settings(url: str, limit: float) -> dict[str, Any]:
    """What a connection is made with, unless the URL says otherwise."""
    usual = {"application_name": "fastclient", "connect_timeout": f"{limit:.0f}", "gssencmode": "disable"}
    said = options_of(url)
    return {"client_encoding": "utf8", **{name: value for name, value in usual.items() if name not in said}}


def _told(error: Any, alive: bool) -> Lost | Refused:
    """An error of the library without its text, which may quote what was sent."""
    code = error.sqlstate or ""
    kind = type(error).__name__
    if alive and code and (code == _FULL or code[:2] not in _BROKEN):
        return Refused(kind, code)
    return Lost(kind)


_made: list[Any] = []


def _quiet() -> Any:
    """The library's connection, which knows our vectors, and says nothing in a child that inherits it."""
    if _made:
        return _made[0]
    import psycopg
    from psycopg.adapt import Dumper

    class VectorDumper(Dumper):
        format = psycopg.pq.Format.BINARY
        oid = 0  # the server's number for the type differs between databases: it finds out by itself

        def dump(self, obj: Vector) -> bytes:
            return obj.data

    class Quiet(psycopg.AsyncConnection[Any]):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            self.adapters.register_dumper(Vector, VectorDumper)

        def __del__(self, *_: Any) -> None:
            """Nothing: what is closed, and when, is our business."""

    _made.append(Quiet)
    return Quiet


def _forked() -> None:
    """In a child: as long as its copy of a socket is open, the server does not see the parent leave."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for connection in list(_connections):
        connection.give_up(nothing)
    os.close(nothing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
