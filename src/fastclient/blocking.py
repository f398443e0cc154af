"""The blocking door: `Client`, for plain threads. The asynchronous code, driven on the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar, Unpack, overload

from fastclient.config import Policy
from fastclient.core import Core
from fastclient.engine.seam import drive, engine, running_engine
from fastclient.fanout import OnError, Replies, fan_out
from fastclient.reading import Reading
from fastclient.target import Target
from fastclient.types import Chunk, Messages, Reply
from fastclient.wire.port import Wire

if TYPE_CHECKING:
    from fastclient.keep_warm import Keeper
    from fastclient.observe.stats import Stats
    from fastclient.precompute import Precomputed, Prompts, Schedule
    from fastclient.prompt.tokens import Count
    from fastclient.request import Options
    from fastclient.warm import Warmed

__all__ = ["Client", "ReplyStream"]

_T = TypeVar("_T")


class Client:
    """Makes calls to one target, from any thread.

    Takes what `AsyncClient` takes and does what it does, without `await`. All clients of a process share one background
    event loop; one client may be used by many threads at once. Ctrl-C stops the call at the server. After a fork it
    works in the child too, with connections of its own.
    """

    def __init__(
        self,
        target: Target | str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        policy: Policy | None = None,
        wire: Wire | str = "direct",
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
    ) -> None:
        self._core = Core(
            target,
            base_url=base_url,
            api_key=api_key,
            policy=Policy() if policy is None else policy,
            wire=wire,
            headers=headers,
            allow_http=allow_http,
            blocking=True,
        )
        self._owner = True

    def chat(self, messages: Messages, **options: Unpack[Options]) -> Reply:
        """Ask, and return the whole answer. See `AsyncClient.chat`."""
        return drive(self._core.chat(self._core.ask(messages, options)))

    def stream(self, messages: Messages, **options: Unpack[Options]) -> ReplyStream:
        """Ask, and return the answer as it comes. See `AsyncClient.stream`."""
        return ReplyStream(Reading(self._core, self._core.ask(messages, options)))

    def map(
        self,
        prompts: Iterable[Messages],
        *,
        limit: int = 8,
        warm_first: bool = False,
        on_error: OnError | None = None,
        **options: Unpack[Options],
    ) -> Replies:
        """Ask many prompts, `limit` of them at once, and hand over the replies as they come. See `AsyncClient.map`."""
        fan = fan_out(self._core, prompts, options, limit=limit, warm_first=warm_first, on_error=on_error)
        return Replies(fan)

    def warm(
        self,
        connections: int = 1,
        *,
        prompt: Messages | None = None,
        tokenizer: bool = False,
        **options: Unpack[Options],
    ) -> Warmed:
        """Get ready what the next calls will need. See `AsyncClient.warm`."""
        request = None if prompt is None else self._core.ask(prompt, options)
        return engine().run(lambda: self._core.warm(connections, request, tokenizer, options.get("timeout")))

    def keep_warm(
        self,
        every: float = 30.0,
        *,
        connections: int = 1,
        prompt: Messages | None = None,
        prompt_every: float = 240.0,
        daily_tokens: int = 1_000_000,
        most: int | None = None,
        for_: float = 86_400.0,
        **options: Unpack[Options],
    ) -> Keeper:
        """Keep connections open in the background while nobody calls. See `AsyncClient.keep_warm`."""
        from fastclient.keep_warm import Keeper, Terms

        terms = Terms(
            every=every,
            connections=connections,
            prompt=None if prompt is None else self._core.ask(prompt, options),
            prompt_every=prompt_every,
            daily_tokens=daily_tokens,
            most=most,
            for_=for_,
        )
        return Keeper(self._core, terms)

    def count(self, messages: Messages, **options: Unpack[Options]) -> Count:
        """How many tokens a prompt has as it would be sent. See `AsyncClient.count`."""
        return self._core.count(self._core.ask(messages, options))

    @overload
    def precompute(
        self,
        prompts: Prompts,
        *,
        limit: int = 4,
        every: None = None,
        when: Callable[[], bool] | None = None,
        progress: Callable[[Precomputed], object] | None = None,
        **options: Unpack[Options],
    ) -> Precomputed: ...

    @overload
    def precompute(
        self,
        prompts: Prompts,
        *,
        limit: int = 4,
        every: float,
        when: Callable[[], bool] | None = None,
        progress: Callable[[Precomputed], object] | None = None,
        **options: Unpack[Options],
    ) -> Schedule: ...

    def precompute(
        self,
        prompts: Prompts,
        *,
        limit: int = 4,
        every: float | None = None,
        when: Callable[[], bool] | None = None,
        progress: Callable[[Precomputed], object] | None = None,
        **options: Unpack[Options],
    ) -> Precomputed | Schedule:
        """Ask now for what will be wanted later, and return when all of it is through. See `AsyncClient.precompute`.

        With `every` it returns at once: the rounds go on in the background until the returned `Schedule` is stopped.
        `when`, `progress` and a function given as `prompts` are then called on the background thread.
        """
        from fastclient.precompute import Schedule, plan

        ahead = plan(self._core, prompts, options, limit=limit, every=every, when=when, progress=progress)
        return engine().run(ahead.round) if every is None else Schedule(ahead)

    def forget(self, *, namespace: str | None = None, tags: Sequence[str] = (), depends_on: Sequence[str] = ()) -> None:
        """Forget stored answers. See `AsyncClient.forget`."""
        engine().run(lambda: self._core.forget(namespace, tags, depends_on))

    def with_(self, *, policy: Policy) -> Self:
        """A copy with another policy, sharing connections and statistics. Closing the copy leaves them open."""
        copy = object.__new__(type(self))
        copy._core = self._core.with_policy(policy)
        copy._owner = False
        return copy

    def stats(self) -> Stats:
        """Counts and percentiles of the calls so far."""
        return self._core.stats()

    def close(self) -> None:
        """Close every connection. Calls after this raise ConfigError. On a copy it does nothing."""
        running = running_engine()
        if self._owner:
            self._core.refuse()
            self._core.close_store()
            if running is not None:
                running.run(self._core.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._core.target.name!r})"


class ReplyStream:
    """An answer under way. Use it with `with`; or iterate it directly, and leaving the loop closes it.

    Iterating gives chunks, `text` gives the pieces of text, and `reply()` reads what is left and returns the whole.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._entered = False

    @property
    def text(self) -> Iterator[str]:
        """The pieces of text, without anything else."""
        return _Pieces(self, lambda chunk: chunk.text)

    def reply(self) -> Reply:
        """Read what is left, and return the whole answer."""
        return drive(self._reading.reply())

    def close(self) -> None:
        """Close the answer; the server stops if it was still writing."""
        drive(self._reading.aclose())

    def __iter__(self) -> Iterator[Chunk]:
        return _Pieces(self, lambda chunk: chunk)

    def __enter__(self) -> Self:
        self._entered = True
        drive(self._reading.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _dropped(self) -> None:
        if self._reading.dropped():
            self.close()

    def __del__(self) -> None:
        self._dropped()


class _Pieces(Iterator[_T], Generic[_T]):
    """One loop over a stream. Dropping it ends the stream, unless a `with` block holds it."""

    def __init__(self, stream: ReplyStream, pick: Callable[[Chunk], _T]) -> None:
        self._stream = stream
        self._pick = pick
        self._begun = False

    def __next__(self) -> _T:
        self._begun = True
        reading = self._stream._reading
        while True:
            while not reading.buffer:
                if not drive(reading.fill()):
                    raise StopIteration
            if piece := self._pick(reading.buffer.popleft()):
                return piece

    def __del__(self) -> None:
        if self._begun and not self._stream._entered:
            self._stream._dropped()
