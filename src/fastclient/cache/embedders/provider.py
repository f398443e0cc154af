"""Vectors from a provider: any server that speaks OpenAI's `/embeddings`.

All callers of a process share one connection pool, on the engine's loop, and those who ask at the same time share a
request.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastclient.cache.embedders.gather import Gathering
from fastclient.cache.embedders.openai import answered, asked
from fastclient.cache.embedders.vectors import Vectors, np
from fastclient.checks import is_number, seconds, whole
from fastclient.config import Timeouts
from fastclient.engine.clock import running_clock
from fastclient.engine.hop import Away, on_engine
from fastclient.engine.seam import Engine, engine
from fastclient.errors import ConfigError, ConnectFailed, DeadlineExceeded, StreamCut
from fastclient.observe.timing import Marks
from fastclient.providers.refusal import refusal, scrubber
from fastclient.providers.resolve import resolved
from fastclient.target import Target, as_target
from fastclient.types import Request
from fastclient.wire.inflate import Inflated, coding_of
from fastclient.wire.port import Late, Wire, WireResponse

__all__ = ["Provider"]

_MOST_ANSWER = 2**28  # bytes
_MOST_TEXTS = 2048  # OpenAI's limit for one request
_SPEAKS = ("openai", "openai-responses")


class Provider:
    """An embedding model behind an API: `Provider("openai:text-embedding-3-small")`, or any `Target`.

    `dimensions` asks the server for shorter vectors; most models have only one length. Callers who ask within `gather`
    seconds of each other share a request of `batch` texts at most. `timeout` bounds a request; nothing is tried again,
    because whoever waits for a vector can as well ask the model itself.
    """

    def __init__(
        self,
        target: Target | str,
        *,
        dimensions: int | None = None,
        batch: int = 128,
        gather: float = 0.002,
        timeout: float = 10.0,
        wire: Wire | None = None,
    ) -> None:
        target = as_target(target)
        if target.provider not in _SPEAKS:
            raise ConfigError.of("target", target.name, "has no embeddings known here: use openai: with its base_url")
        self._target = resolved(target, key_needed=wire is None)
        if dimensions is not None:
            whole("dimensions", dimensions)
        whole("batch", batch)
        if batch > _MOST_TEXTS:
            raise ConfigError.of("batch", batch, f"must be at most {_MOST_TEXTS}")
        if not is_number(gather) or not 0 <= gather <= 1:
            raise ConfigError.of("gather", gather, "must be a number of seconds between 0 and 1")
        seconds("timeout", timeout)
        self._dimensions, self._batch, self._gather = dimensions, batch, gather
        self._timeouts = Timeouts(total=timeout, connect=min(timeout, Timeouts().connect), first_token=timeout)
        self._given = wire
        self._home: tuple[Engine, Wire, Gathering] | None = None
        self.dim = dimensions or 0
        length = "" if dimensions is None else f"-{dimensions}"
        self.id = f"provider-{self._target.name}{length}@{self._target.base_url}"

    def __repr__(self) -> str:
        return f"Provider({self._target.name!r})"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text; a blank text is all zeros. Blocks for the network."""
        return engine().run(lambda: self._rows(list(texts)))

    async def aembed(self, texts: Sequence[str]) -> Vectors:
        """What `embed` returns, on any event loop. Raises the classes of `fastclient.errors`."""
        asked = list(texts)
        try:
            return await on_engine(lambda: self._rows(asked))
        except Away:
            raise ConnectFailed("the interpreter is exiting") from None

    def close(self) -> None:
        """Close the connections. The next use opens new ones."""
        home, self._home = self._home, None
        if home is not None and home[0] is engine():
            home[0].run(home[1].aclose)

    async def _rows(self, texts: Sequence[str]) -> Vectors:
        """The rows of texts; servers refuse empty ones, so those are not asked for."""
        places = [at for at, text in enumerate(texts) if text.strip()]
        if not places:
            return np.zeros((len(texts), self.dim or 1), np.float32)
        found = await self._gathering().ask([texts[at] for at in places])
        rows = np.zeros((len(texts), found.shape[1]), np.float32)
        rows[places] = found
        return rows

    def _gathering(self) -> Gathering:
        """What belongs to this process's engine: a forked child finds another one, and starts anew."""
        home = engine()
        if self._home is None or self._home[0] is not home:
            from fastclient.wire.direct.wire import DirectWire

            self._home = home, self._given or DirectWire(), Gathering(self._send, self._batch, self._gather)
        return self._home[2]

    async def _send(self, texts: Sequence[str]) -> Vectors:
        """One request."""
        assert self._home is not None  # noqa: S101  # nobody sends before it is there
        clock = running_clock()
        marks = Marks(clock, clock())
        marks.until = marks.started + self._timeouts.total
        request = asked(self._target, texts, self._dimensions)
        try:
            response = await self._home[1].send(request, self._timeouts, marks)
            body = await _body(response, marks.until)
        except Late:
            raise DeadlineExceeded(f"no vectors within {self._timeouts.total:g} s", phase=marks.phase) from None
        if not 200 <= response.status < 300:
            words = Request(messages=tuple({"role": "user", "content": text} for text in texts))
            scrub = scrubber(self._target, words)
            raise refusal(self._target.provider, response.status, response.headers, body[: 2**16], scrub)
        rows = answered(body, len(texts), self.dim, self._target.provider)
        self.dim = rows.shape[1]
        return rows


async def _body(response: WireResponse, until: float) -> bytes:
    """All of an answer, its connection freed."""
    coding = coding_of(response.headers)
    reading = Inflated(response, coding) if coding in Inflated.known else response
    try:
        pieces, size = [], 0
        while piece := await reading.read(until):
            pieces.append(piece)
            size += len(piece)
            if size > _MOST_ANSWER:
                raise StreamCut(f"the answer exceeds {_MOST_ANSWER >> 20} MiB")
        return b"".join(pieces)
    finally:
        await reading.aclose()
