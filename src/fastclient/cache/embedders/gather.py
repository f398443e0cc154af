"""Puts together what several callers ask for at about the same time. Runs on the engine's loop, and only there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import copy

import anyio

from fastclient.cache.embedders.vectors import Vectors, np
from fastclient.engine.detached import behind
from fastclient.errors import BadRequest, FastClientError

__all__ = ["Gathering"]

Send = Callable[[Sequence[str]], Awaitable[Vectors]]


class Ask:
    """What one caller waits for."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.rows: Vectors | None = None
        self.error: Exception | None = None
        self.left = False
        self.done = anyio.Event()

    def answer(self, rows: Vectors | None, error: Exception | None = None) -> None:
        self.rows, self.error = rows, error
        self.done.set()

    async def wait(self) -> Vectors:
        try:
            await self.done.wait()
        except BaseException:
            self.left = True
            raise
        if self.rows is None:
            if self.error is None:
                raise FastClientError("the request for vectors was given up")
            raise copy(self.error) from self.error  # one error may be for many callers
        return self.rows


class Round:
    """Callers that will share a request."""

    def __init__(self) -> None:
        self.asks: list[Ask] = []
        self.full = anyio.Event()

    @property
    def size(self) -> int:
        return sum(len(ask.texts) for ask in self.asks)


class Gathering:
    """Collects texts for `patience` seconds or until there are `most`, and sends them as one request.

    A request that the provider refuses is asked again for each of its callers apart: nobody pays for others' texts.
    """

    def __init__(self, send: Send, most: int, patience: float) -> None:
        self._send = send
        self._most = most
        self._patience = patience
        self._open: Round | None = None

    async def ask(self, texts: Sequence[str]) -> Vectors:
        """The vectors of these texts, in their order; more than fit one request go out in several."""
        asks = [self._placed(texts[at : at + self._most]) for at in range(0, len(texts), self._most)]
        try:
            return np.concatenate([await ask.wait() for ask in asks])
        finally:
            for ask in asks:
                ask.left = True

    def _placed(self, texts: Sequence[str]) -> Ask:
        """Have the texts sent with the next request."""
        ask, joined = Ask(texts), self._open
        if joined is not None and joined.size + len(texts) > self._most:
            self._close(joined)
            joined = None
        if joined is None:
            joined = self._open = Round()
            joined.asks.append(ask)
            begun = joined
            behind(lambda: self._run(begun))
        else:
            joined.asks.append(ask)
        if joined.size >= self._most:
            self._close(joined)
        return ask

    def _close(self, one: Round) -> None:
        if self._open is one:
            self._open = None
        one.full.set()

    async def _run(self, one: Round) -> None:
        try:
            with anyio.move_on_after(self._patience):
                await one.full.wait()
            self._close(one)
            await self._settled([ask for ask in one.asks if not ask.left])
        finally:
            self._close(one)
            for ask in one.asks:
                if not ask.done.is_set():
                    ask.answer(None)

    async def _settled(self, asks: Sequence[Ask]) -> None:
        """Send what they ask for as one request, and give each caller its rows, or the error."""
        if not asks:
            return
        try:
            rows = await self._send([text for ask in asks for text in ask.texts])
        except BadRequest as error:
            if len(asks) == 1:
                asks[0].answer(None, error)
                return
            async with anyio.create_task_group() as tasks:
                for ask in asks:
                    tasks.start_soon(self._settled, [ask])
        except Exception as error:
            for ask in asks:
                ask.answer(None, error)
        else:
            at = 0
            for ask in asks:
                ask.answer(rows[at : at + len(ask.texts)])
                at += len(ask.texts)
