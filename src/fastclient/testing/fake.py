"""The pretend provider in process: the same dialects, worlds and faults as `ProviderServer`, without a socket.

It is a `Wire`, so a client takes it in place of the network. Waits are `anyio.sleep`: under trio's `MockClock` an hour
of silence takes no time. Timeouts are left to the client; nothing here fires one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from fastclient.testing.answer import Answer, ServerRequest
from fastclient.testing.moves import Cut, Data, End, Head, Move, Pause, Raise
from fastclient.testing.provider import Provider, Setup
from fastclient.testing.record import Counters, Exchange
from fastclient.testing.script import Plan, checked
from fastclient.testing.worlds import World

if TYPE_CHECKING:
    from fastclient.config import Timeouts
    from fastclient.observe.timing import Marks
    from fastclient.wire.port import WireRequest

__all__ = ["FakeProvider", "FakeResponse"]

_T = TypeVar("_T")
Outcome = str | Answer | Plan | BaseException
Entry = Outcome | Callable[[ServerRequest], Outcome]
"""What the fake does with one request."""


class FakeProvider:
    """A scripted provider without a network, to be given to a client as its `wire`.

    Each argument is what one request gets, in order of arrival: a text, an `Answer`, a plan (a sequence of steps, see
    `faults`), an exception to raise, or a function from the request to one of these. After the last one it is repeated;
    without any, every request gets made-up text. Retries and hedges take the next argument, like any request. `world`
    and `seed` pace the answers (default: at once), `headers` are added to every response, `rtt` is the round-trip time
    in seconds it reports. Every event is a read of its own.

    >>> import fastclient as fc
    >>> with fc.Client("openai:test", wire=FakeProvider("Hello", "Goodbye")) as client:
    ...     client.chat("Hi").text, client.chat("Bye").text
    ('Hello', 'Goodbye')
    """

    def __init__(
        self,
        *script: Entry,
        world: World | None = None,
        seed: int = 0,
        prefix_cache: bool = True,
        headers: Mapping[str, str] | None = None,
        rtt: float | None = None,
    ) -> None:
        for entry in script:
            if not isinstance(entry, str | Answer) and not callable(entry):
                checked(entry)
        self._script = script
        self._rtt = rtt
        setup = Setup(
            world=world or World.instant(),
            script=self._entry if script else None,
            seed=seed,
            prefix_cache=prefix_cache,
            headers=headers or {},
        )
        self._provider = Provider(setup, clock=anyio.current_time)

    def _entry(self, request: ServerRequest) -> Outcome:
        entry = self._script[min(request.arrival, len(self._script) - 1)]
        return entry(request) if callable(entry) else entry

    @property
    def requests(self) -> list[ServerRequest]:
        """The model calls received, oldest first."""
        return [exchange.request for exchange in self._provider.exchanges]

    @property
    def exchanges(self) -> list[Exchange]:
        """One record per model call, oldest first; their times are those of `anyio.current_time`."""
        return self._provider.exchanges

    @property
    def counters(self) -> Counters:
        """Totals of this moment."""
        return self._provider.counters

    @property
    def live(self) -> int:
        """Calls being answered now."""
        return self._provider.live

    @property
    def cut_early(self) -> int:
        """Calls whose client left before the end."""
        return self._provider.counters.cut_early

    async def send(self, request: WireRequest, timeouts: Timeouts, marks: Marks) -> FakeResponse:  # noqa: ARG002
        """Take a request; returns when the response headers are in, or raises what a broken connection raises."""
        marks.note("dequeued")
        marks.note("send_started")
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = urlsplit(request.url)
        path = f"{url.path}?{url.query}" if url.query else url.path
        exchange, moves = self._provider.receive(request.method, path, headers, request.body)
        marks.note("sent")
        response = FakeResponse(self._provider, exchange, moves, self._rtt)
        await _by(marks.until, response.begin())
        marks.note("headers")
        marks.rtt = self._rtt
        return response

    async def aclose(self) -> None:
        """Nothing to close."""


class FakeResponse:
    """An answer of the fake, in the port's shape."""

    def __init__(self, provider: Provider, exchange: Exchange | None, moves: Iterator[Move], rtt: float | None) -> None:
        self.status = 0
        self.complete = False
        self.headers: Mapping[str, str] = {}
        self.rtt = rtt
        self._provider = provider
        self._exchange = exchange
        self._moves = moves
        self._ready: deque[tuple[bytes, int, float]] = deque()
        self._due = anyio.current_time()
        self._over = False

    async def begin(self) -> None:
        """Play the answer up to its headers."""
        try:
            await anyio.lowlevel.checkpoint()
            while not self.status and not self._over:
                await self._advance()
        except BaseException:
            self._ended(cut_early=True)
            raise

    async def read(self, until: float = inf) -> bytes:
        """The next event, or segment; `b""` after the last."""
        return await _by(until, self._next())

    async def _next(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self._ready:
            if self._over:
                self.complete = True
                return b""
            await self._advance()
        data, tokens, gap = self._ready.popleft()
        if gap:
            await anyio.sleep(gap)
        if self._exchange is not None:
            self._provider.sent(self._exchange, len(data), tokens)
        return data

    async def aclose(self) -> None:
        """Leave; before the end the provider sees it as a client that left early."""
        clean = not self._ready and (self._over or next(self._moves, None) == End())
        self._ended(cut_early=not clean)
        self._ready.clear()

    async def _advance(self) -> None:
        match next(self._moves, End()):
            case Pause(seconds):
                self._due += seconds
                await anyio.sleep(max(0.0, self._due - anyio.current_time()))
            case Head(status, headers):
                self.status, self.headers = status, {name.lower(): value for name, value in headers.items()}
            case Data(events, tokens):
                self._ready.extend((event, tokens * (at == 0), 0.0) for at, event in enumerate(events))
            case Cut(data, tokens, every, gap):
                pieces = (data[at : at + every] for at in range(0, len(data), every))
                self._ready.extend((piece, tokens * (at == 0), gap) for at, piece in enumerate(pieces))
            case End("clean"):
                self._ended(cut_early=False)
            case End("hang"):
                await anyio.sleep_forever()
            case Raise(error):
                self._ended(cut_early=False)
                raise error
            case _:
                self._ended(cut_early=False)
                raise _broken(answering=bool(self.status))

    def _ended(self, *, cut_early: bool) -> None:
        if not self._over and self._exchange is not None:
            self._provider.ended(self._exchange, cut_early=cut_early)
        self._over = True


async def _by(until: float, work: Awaitable[_T]) -> _T:
    with anyio.CancelScope(deadline=until):
        return await work
    from fastclient.wire.port import Late  # here, for the same reason as below

    raise Late


def _broken(*, answering: bool) -> Exception:
    from fastclient.errors import ConnectFailed, StreamCut  # here, so that the test tools load without the client

    if answering:
        return StreamCut("the connection broke while the answer was coming")
    return ConnectFailed("the connection broke before the answer began")
