"""The connections of one event loop: taken and given back without waiting, kept while idle; and the line before."""

from __future__ import annotations

import asyncio
from ssl import SSLContext, SSLSession
from typing import Any

import anyio

from fastclient.config import Timeouts
from fastclient.engine.clock import running_clock
from fastclient.errors import ConfigError, ConnectFailed, ConnectTimeout
from fastclient.observe.timing import Marks
from fastclient.wire.direct.connection import Connection, Watched
from fastclient.wire.direct.dial import dial
from fastclient.wire.direct.head import Place, Route
from fastclient.wire.direct.parser import Malformed, ResponseParser
from fastclient.wire.direct.response import DirectResponse
from fastclient.wire.home import Home, by
from fastclient.wire.port import WireRequest
from fastclient.wire.sockets import trust

__all__ = ["Pool"]

_KEEP_ALIVE = 60.0  # seconds an idle connection is kept
_SWEEP = 10.0  # seconds between two looks at all that are idle
_IDLE = 1024  # idle connections to one place
_LOOK = 1.0  # seconds between two looks at a connection's round-trip time
_STALE = 1.0  # seconds within which a connection that had been closed unseen shows it

_BROKEN = (OSError, EOFError, Malformed, anyio.ClosedResourceError)


class Pool(Home):
    """The connections of one event loop."""

    def __init__(self, loop: Any, concurrency: int | None) -> None:
        super().__init__(loop, concurrency)
        self._asyncio = loop if isinstance(loop, asyncio.AbstractEventLoop) and _watches(loop) else None
        self._idle: dict[Place, list[Connection]] = {}  # the one used last at the end
        self._open: set[Connection] = set()
        self._sessions: dict[Place, SSLSession] = {}
        self._resumes = False
        self._clock = running_clock()
        self._sweep = self._clock() + _SWEEP

    async def _shut(self) -> None:
        self._abandon()

    def _abandon(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._idle.clear()

    @property
    def busy(self) -> list[Connection]:
        """The connections that carry a request now."""
        resting = {connection for idle in self._idle.values() for connection in idle}
        return [connection for connection in self._open if connection not in resting]

    async def send(self, route: Route, request: WireRequest, timeouts: Timeouts, marks: Marks) -> DirectResponse:
        """Send, once a place was taken; the place is given back when the response is closed, or by the caller."""
        head = route.head(request.method, request.headers, len(request.body))
        connection = self._take(route.place)
        again = False
        if connection is not None:
            parser = ResponseParser()
            try:
                return await self._ask(connection, parser, head, request.body, timeouts.liveness, marks)
            except _BROKEN as error:
                if not self._was_stale(error, parser, marks):
                    raise _lost(error, sent=True) from error
                marks.send_started = marks.sent = None
                again = True
        try:
            connection = await by(marks.until, self._dial(route.place, timeouts.connect, marks))
            return await self._ask(connection, ResponseParser(), head, request.body, timeouts.liveness, marks)
        except ConnectTimeout as error:
            error.sent = again
            raise
        except _BROKEN as error:
            raise _lost(error, sent=again or marks.send_started is not None) from error

    def _was_stale(self, error: Exception, parser: ResponseParser, marks: Marks) -> bool:
        """Whether a connection from before had been closed by the server, so that the request never arrived."""
        late = marks.send_started is not None and marks.clock() - marks.send_started > _STALE
        kept = parser.begun or isinstance(error, (TimeoutError, Malformed, anyio.ClosedResourceError))
        return not (late or kept or self.closed)

    async def _dial(self, place: Place, patience: float, marks: Marks) -> Connection:
        context = trust() if place.secure else None
        # Not with the system's own trust store: it looks at certificates that a shorter handshake leaves out.
        self._resumes = type(context) is SSLContext
        sock = await dial(place, context, self._sessions.get(place), patience, marks)
        if self.closed:
            sock.close()
            raise ConfigError.at("client", "closed while this call was connecting")
        loop = self._asyncio
        connection = Connection(sock, place) if loop is None else Watched(sock, place, loop, self._stirred)
        self._open.add(connection)
        return connection

    async def _ask(
        self, connection: Connection, parser: ResponseParser, head: bytes, body: bytes, patience: float, marks: Marks
    ) -> DirectResponse:
        """One request and the head of its answer. On failure the connection is closed."""
        clock = marks.clock
        hung_up: OSError | None = None
        try:
            marks.send_started = clock()
            try:
                if rest := connection.send(head, body):
                    await connection.finish(rest, patience, marks.until)
            except TimeoutError:
                raise
            except OSError as error:
                hung_up = error  # maybe behind an answer, such as that the request is too large
            marks.sent = clock()
            while not parser.status:
                data = await connection.receive(marks.until)
                if data:
                    parser.feed(data)
                else:
                    parser.end()
        except OSError as error:
            self._drop(connection)
            raise hung_up or error from None
        except BaseException:
            self._drop(connection)
            raise
        now = marks.headers = clock()
        if now - connection.looked > _LOOK:
            connection.look(now)
        return DirectResponse(connection, parser, self._done)

    def _take(self, place: Place) -> Connection | None:
        """The idle connection that was used last, if it is still good."""
        idle = self._idle.get(place)
        if idle:
            now = self._clock()
            while idle:
                connection = idle.pop()
                connection.idle = False
                if connection.idle_since + _KEEP_ALIVE > now and connection.fresh():
                    return connection
                self._drop(connection)
        return None

    def _done(self, connection: Connection, reusable: bool) -> None:
        """A response is closed: keep its connection or close it, and give the place back."""
        try:
            if self._resumes:
                self._note_session(connection)
            if reusable and not connection.closed and not self.closed:
                self._rest(connection)
            else:
                self._drop(connection)
        finally:
            if self.bounded:
                self.leave()

    def _note_session(self, connection: Connection) -> None:
        """Keep what makes the next handshake shorter; servers send it behind their own."""
        session = connection.session()
        if session is not None:
            self._sessions[connection.place] = session

    def _rest(self, connection: Connection) -> None:
        now = connection.idle_since = self._clock()
        connection.idle = True
        idle = self._idle.setdefault(connection.place, [])
        idle.append(connection)
        if len(idle) > _IDLE:
            self._drop(idle.pop(0))
        if now > self._sweep:
            self._sweep = now + _SWEEP
            for place, kept in list(self._idle.items()):
                while kept and kept[0].idle_since + _KEEP_ALIVE <= now:
                    self._drop(kept.pop(0))
                if not kept:
                    del self._idle[place]

    def _stirred(self, connection: Connection) -> None:
        """Something came in over an idle connection: nearly always the server's good-bye."""
        if not connection.fresh():
            self._idle[connection.place].remove(connection)
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._open.discard(connection)


def _watches(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this loop can watch a socket. That of Windows cannot by itself."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


def _lost(error: Exception, *, sent: bool) -> ConnectFailed:
    """A failure before the response headers. Its text stays out: it may quote what was read."""
    where = "before the answer began" if sent else "while connecting"
    lost = ConnectFailed(f"the connection failed {where} ({type(error).__name__})")
    lost.sent = sent
    return lost
