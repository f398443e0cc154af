"""The pretend provider without a network: from a request to the moves that answer it, and the books it keeps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count
from random import Random
from threading import Lock

import orjson

from fastclient.testing.answer import Answer, ServerRequest, invented, token_count
from fastclient.testing.dialects import dialect_of, guessed
from fastclient.testing.embeddings import embedded
from fastclient.testing.formats import Dialect, tokens_in
from fastclient.testing.moves import Cut, Data, Head, Move, Raise, Scene, fixed, normal, visible
from fastclient.testing.play import scripted
from fastclient.testing.prefix import PrefixCache
from fastclient.testing.record import Counters, Exchange
from fastclient.testing.script import Plan, Status, checked
from fastclient.testing.worlds import World

__all__ = ["AnswerLike", "AnswerSource", "Provider", "Script", "Setup"]

AnswerLike = Answer | str
AnswerSource = AnswerLike | Callable[[ServerRequest], AnswerLike]
"""One answer for all, or a function that decides."""

Script = (
    Sequence[Plan | None]
    | Mapping[tuple[int, int], Plan]
    | Callable[[ServerRequest], Plan | AnswerLike | BaseException | None]
)
"""Plans by order of arrival, by (request, attempt), or by a function; `None` and `()` are normal answers."""

_MODELS = ("gpt-5-mini", "claude-sonnet-5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a pretend provider behaves: the options of `ProviderServer`."""

    world: World = field(default_factory=World.instant)
    script: Script | None = None
    answer: AnswerSource | None = None
    seed: int = 0
    prefix_cache: bool = True
    api_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    keep: int = 10_000


class Provider:
    """Answers requests by a `Setup` and counts. One lock guards its books; no lock is held while a test's code runs."""

    def __init__(self, setup: Setup, clock: Callable[[], float] = time.monotonic) -> None:
        self._setup = setup
        self._clock = clock
        self._cache = PrefixCache()
        self._seen: dict[str, tuple[int, int]] = {}
        self._arrivals = count()
        self._lock = Lock()
        self._exchanges: deque[Exchange] = deque(maxlen=setup.keep)
        self._live: dict[int, Exchange] = {}
        self._accepted = self._cut = self._completed = self._bytes = self._input = self._output = 0
        self.connections = self.open_connections = 0

    @property
    def exchanges(self) -> list[Exchange]:
        """The latest exchanges, oldest first."""
        with self._lock:
            return list(self._exchanges)

    @property
    def handshake(self) -> float:
        """Seconds the first answer on a new connection is held back."""
        return self._setup.world.handshake * self._setup.world.scale

    @property
    def live(self) -> int:
        """Exchanges being answered now."""
        return len(self._live)

    @property
    def counters(self) -> Counters:
        """The totals now."""
        with self._lock:
            return Counters(
                accepted=self._accepted,
                live=len(self._live),
                cut_early=self._cut,
                completed=self._completed,
                bytes_sent=self._bytes,
                connections=self.connections,
                open_connections=self.open_connections,
                input_tokens=self._input,
                output_tokens=self._output,
            )

    def receive(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Exchange | None, Iterator[Move]]:
        """Begin an exchange: its record (`None` for anything but a model call) and the moves that answer it."""
        dialect = dialect_of(path) if method == "POST" else None
        if dialect is None:
            return None, self._aside(method, path, headers, body)
        request, problem = self._understood(dialect, path, headers, body)
        exchange = Exchange(request=request, started=self._clock())
        with self._lock:
            self._exchanges.append(exchange)
            self._live[id(exchange)] = exchange
            self._accepted += 1
            self._input += request.input_tokens
        if problem:
            return exchange, scripted(self._scene(dialect, exchange, Answer()), (problem,))
        return exchange, self._answered(dialect, exchange)

    def sent(self, exchange: Exchange, size: int, tokens: int) -> None:
        """Note bytes and tokens that are being written."""
        exchange.bytes_sent += size
        exchange.tokens_sent += tokens
        with self._lock:
            self._bytes += size
            self._output += tokens
        if tokens and exchange.first_token is None:
            exchange.first_token = self._clock()

    def ended(self, exchange: Exchange, *, cut_early: bool) -> None:
        """Close the record of an exchange; the second call does nothing."""
        with self._lock:
            if self._live.pop(id(exchange), None) is None:
                return
            exchange.ended = self._clock()
            exchange.cut_early = cut_early
            if cut_early:
                self._cut += 1
            else:
                self._completed += 1

    def _understood(
        self, dialect: Dialect, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[ServerRequest, Status | None]:
        """The request with all that its body says and its numbers; or the error it deserves."""
        digest = blake2b(body, digest_size=12).hexdigest()
        with self._lock:
            index, attempt = self._seen.get(digest, (len(self._seen), 0))
            self._seen[digest] = (index, attempt + 1)
            arrival = next(self._arrivals)
        parsed, problem = self._parsed(dialect, path, headers, body)
        asked = dialect.read(path, parsed)
        if not self._setup.prefix_cache:
            asked = asked._replace(cacheable=0)
        request = ServerRequest(
            **asked._asdict(),
            path=path,
            headers=headers,
            body=body,
            json=parsed,
            dialect=dialect.name,
            digest=digest,
            index=index,
            attempt=attempt,
            arrival=arrival,
            input_tokens=token_count(asked.prompt),
        )
        cached = self._cache.cached_tokens(self._cache.blocks(request))
        return (replace(request, cached_tokens=cached) if cached else request), problem

    def _parsed(
        self, dialect: Dialect, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Mapping[str, object], Status | None]:
        key = self._setup.api_key
        if key is not None and dialect.key(path, headers) != key:
            return {}, Status(401, message="Incorrect API key provided.")
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return {}, Status(400, message=f"The body is not JSON: {error}")
        if not isinstance(parsed, dict):
            return {}, Status(400, message="The body is not a JSON object.")
        return parsed, None

    def _scene(self, dialect: Dialect, exchange: Exchange, answer: Answer) -> Scene:
        request, world = exchange.request, self._setup.world
        rng = Random(f"{self._setup.seed}:{request.digest}:{request.attempt}" if world.is_random else 0)
        exchange.pace = world.sample(rng, request.input_tokens, request.cached_tokens, tokens_in(answer))
        headers = {**dialect.headers(request, exchange.pace.first_token), **self._setup.headers}
        return Scene(dialect, request, answer, headers, exchange.pace, world.flush_headers)

    def _answered(self, dialect: Dialect, exchange: Exchange) -> Iterator[Move]:
        try:
            plan, answer = self._decided(exchange.request)
            scene = self._scene(dialect, exchange, answer)
            if isinstance(plan, BaseException):
                moves: Iterator[Move] = iter((Raise(plan),))
            else:
                moves = scripted(scene, plan) if plan else normal(scene)
        except Exception as error:  # whatever a test's own function raises is shown to the test as a 500
            exchange.error = f"{type(error).__name__}: {error}"
            message = f"the test's own answer or script function raised {exchange.error}"
            moves = fixed(500, dialect.error(500, None, message), {"x-should-retry": "false"})
        yield from self._caching(exchange, visible(moves))

    def _decided(self, request: ServerRequest) -> tuple[Plan | BaseException, Answer]:
        plan = self._planned(request)
        if isinstance(plan, str | Answer):
            return (), _as_answer(plan)
        source = self._setup.answer
        answer = source(request) if callable(source) else source
        return checked(plan), _default(request) if answer is None else _as_answer(answer)

    def _planned(self, request: ServerRequest) -> Plan | AnswerLike | BaseException | None:
        script = self._setup.script
        if callable(script):
            return script(request)
        if isinstance(script, Mapping):
            return script.get((request.index, request.attempt))
        return script[request.arrival] if script is not None and request.arrival < len(script) else None

    def _caching(self, exchange: Exchange, moves: Iterator[Move]) -> Iterator[Move]:
        """The same moves; the prompt becomes known to the prefix cache when the first token leaves."""
        waiting = bool(exchange.request.cacheable)
        for move in moves:
            if isinstance(move, Head):
                exchange.status = move.status
            elif waiting and isinstance(move, Data | Cut) and (move.tokens or exchange.request.max_tokens == 0):
                with self._lock:
                    self._cache.remember(self._cache.blocks(exchange.request))
                waiting = False
            yield move

    def _aside(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Iterator[Move]:
        """Anything but a model call: HEAD, the list of models, embeddings, and 404 for the rest."""
        dialect = guessed(path, headers)
        if method == "HEAD":
            return fixed(200, b"", self._setup.headers)
        ending = path.partition("?")[0].rstrip("/").rpartition("/")[2]
        if (method, ending) == ("GET", "models"):
            return fixed(200, dialect.models(_MODELS), self._setup.headers)
        if (method, ending) == ("POST", "embeddings") and (vectors := embedded(body)) is not None:
            return fixed(200, vectors, self._setup.headers)
        return fixed(404, dialect.error(404, None, f"Unknown request: {method} {path}"), self._setup.headers)


def _as_answer(answer: object) -> Answer:
    if isinstance(answer, Answer):
        return answer
    if isinstance(answer, str):
        return Answer(answer)
    raise TypeError(f"an answer must be a str or an Answer, not {type(answer).__name__}")


def _default(request: ServerRequest) -> Answer:
    """16 to 63 made-up tokens that depend on the prompt alone, cut at `max_tokens`."""
    seed = blake2b(request.prompt.encode(), digest_size=8).hexdigest()
    length = 16 + int(seed, 16) % 48
    allowed = length if request.max_tokens is None else max(0, min(length, request.max_tokens))
    return Answer(invented(seed, allowed), finish_reason="length" if allowed < length else "stop")
