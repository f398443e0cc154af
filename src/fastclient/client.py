"""The asynchronous door: `AsyncClient`, for asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar, Unpack

from fastclient.config import Policy
from fastclient.core import Core
from fastclient.engine.detached import spawner
from fastclient.fanout import AsyncReplies, OnError, fan_out
from fastclient.reading import Reading
from fastclient.target import Target
from fastclient.types import Chunk, Messages, Reply
from fastclient.wire.port import Wire

if TYPE_CHECKING:
    from fastclient.keep_warm import Keeper
    from fastclient.observe.stats import Stats
    from fastclient.precompute import Precomputed, Prompts
    from fastclient.prompt.tokens import Count
    from fastclient.request import Options
    from fastclient.warm import Warmed

__all__ = ["AsyncClient", "AsyncReplyStream"]

_T = TypeVar("_T")


class AsyncClient:
    """Makes calls to one target, from asyncio or trio.

    Args:
        target: `"provider:model"` or a `Target`.
        base_url: another server that speaks the provider's format; https, or loopback.
        api_key: the key; by default the provider's environment variable. Not needed on loopback.
        policy: which levers to use.
        wire: `"direct"` (our own HTTP/1.1, the default), `"httpx2"`, `"httpx"`, or any object with `send` and `aclose`
            (see `fastclient.wire.port`).
        headers: sent with every request, treated as secrets.
        allow_http: permit a plain-http `base_url` off this machine.

    Raises ConfigError for whatever cannot work. One client may be used by any number of tasks at once, and in several
    event loops one after the other; it keeps a pool of connections for each. The first client of a process imports what
    calls need, which takes a while; further ones do not.
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
            blocking=False,
        )
        self._owner = True

    async def chat(self, messages: Messages, **options: Unpack[Options]) -> Reply:
        """Ask, and return the whole answer.

        `messages` is a string or a list of OpenAI-style message dicts; for options see `Options`. Raises the classes of
        `fastclient.errors`.
        """
        return await self._core.chat(self._core.ask(messages, options))

    def stream(self, messages: Messages, **options: Unpack[Options]) -> AsyncReplyStream:
        """Ask, and return the answer as it comes. Words are checked now; the call starts on entry or first use."""
        return AsyncReplyStream(Reading(self._core, self._core.ask(messages, options)))

    def map(
        self,
        prompts: Iterable[Messages],
        *,
        limit: int = 8,
        warm_first: bool = False,
        on_error: OnError | None = None,
        **options: Unpack[Options],
    ) -> AsyncReplies:
        """Ask many prompts, `limit` of them at once, and hand over the replies as they come.

        `reply.index` is the number of its prompt. With `warm_first` the others wait until the first answer begins, for
        1.5 seconds at most: by then the provider's cache has what they share, and it is written once instead of so many
        times. The first error ends it and gives up the rest; with `on_error`, that is called with the prompt's number
        and the error, and the others go on. Leaving the loop gives up what is under way. Raises ConfigError for prompts
        or options that cannot be.
        """
        return fan_out(self._core, prompts, options, limit=limit, warm_first=warm_first, on_error=on_error)

    async def warm(
        self,
        connections: int = 1,
        *,
        prompt: Messages | None = None,
        tokenizer: bool = False,
        **options: Unpack[Options],
    ) -> Warmed:
        """Get ready what the next calls will need, all of it at once. Failures are reported, not raised.

        Opens so many connections and the cache's store, and has an embedder load what it needs. With a `prompt` (and
        its `tools` and other options), the provider is asked to read that too, so that its cache holds what later
        requests begin with; that costs its tokens, and one of output. `tokenizer=True` has OpenAI's vocabulary loaded
        in the background, and fetched if it is not on this machine; it takes 90 MB. All of it takes `timeout` seconds
        at most, by default 60.
        """
        request = None if prompt is None else self._core.ask(prompt, options)
        return await self._core.warm(connections, request, tokenizer, options.get("timeout"))

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
        """Keep connections open in the background while nobody calls, and a prompt in the provider's cache.

        About every so many seconds, requests that cost no tokens use `connections` connections at the same time, unless
        calls have done so meanwhile. With a `prompt` (and its `tools` and other options), the provider is asked to read
        that again each `prompt_every` seconds, as long as it adds up to no more than `daily_tokens` on any day. After
        failures the pauses grow. It ends with the client, with the returned keeper's `stop()` or block, after `for_`
        seconds, or when `most` requests were sent. It keeps neither the client nor the process alive.
        """
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
        """How many tokens a prompt has as it would be sent, tools included. Never waits, and sends nothing.

        `count.n` is the best guess, which lies between `count.low` and `count.high`; `count.source` is "usage" (it is
        anchored on what the provider reported of the conversation's last prompt), "tiktoken" or "estimate".
        """
        return self._core.count(self._core.ask(messages, options))

    async def precompute(
        self,
        prompts: Prompts,
        *,
        limit: int = 4,
        every: float | None = None,
        when: Callable[[], bool] | None = None,
        progress: Callable[[Precomputed], object] | None = None,
        **options: Unpack[Options],
    ) -> Precomputed:
        """Ask now for what will be wanted later, so that the cache has it then.

        Asks `limit` prompts at once, at background priority, and only for answers that are not there yet. `when` is
        asked before each prompt; those it says no to are left out. `progress` is called after each prompt. With
        `every`, a new round begins every so many seconds, which also renews what would expire before the next, until
        the task is cancelled; `prompts` may then be a function that gives each round its own. Failures are counted, not
        raised; raises ConfigError for prompts or options that cannot be, and without a cache.
        """
        from fastclient.precompute import plan

        ahead = plan(self._core, prompts, options, limit=limit, every=every, when=when, progress=progress)
        if every is not None:
            await ahead.rounds()
        return await ahead.round()

    async def forget(
        self, *, namespace: str | None = None, tags: Sequence[str] = (), depends_on: Sequence[str] = ()
    ) -> None:
        """Forget stored answers: those asked with one of these `tags`, or that `depends_on` one of these documents.

        Both are names given with the calls: `chat(..., tags=["prices"], depends_on=["handbook.pdf"])`. With a
        `namespace`, only its answers. Without tags and documents, all answers of the namespace, by default this
        client's; one that is kept in memory takes the other namespaces' with it. Who shares a folder forgets them too;
        with a `RedisStore`, other processes go on with what they have in memory. Raises ConfigError without a cache.
        """
        await self._core.forget(namespace, tags, depends_on)

    def with_(self, *, policy: Policy) -> Self:
        """A copy with another policy, sharing connections and statistics. Closing the copy leaves them open."""
        copy = object.__new__(type(self))
        copy._core = self._core.with_policy(policy)
        copy._owner = False
        return copy

    def stats(self) -> Stats:
        """Counts and percentiles of the calls so far."""
        return self._core.stats()

    async def aclose(self) -> None:
        """Close every connection. Calls after this raise ConfigError. On a copy it does nothing."""
        if self._owner:
            self._core.refuse()
            await self._core.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient({self._core.target.name!r})"


class AsyncReplyStream:
    """An answer under way. Use it with `async with`; or iterate it directly, and leaving the loop closes it.

    Iterating gives chunks, `text` gives the pieces of text, and `reply()` reads what is left and returns the whole.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._entered = False
        self._spawn: Callable[..., None] | None = None

    async def _open(self) -> None:
        if self._spawn is None:
            self._spawn = spawner()
        await self._reading.open()

    @property
    def text(self) -> AsyncIterator[str]:
        """The pieces of text, without anything else."""
        return _AsyncPieces(self, lambda chunk: chunk.text)

    async def reply(self) -> Reply:
        """Read what is left, and return the whole answer."""
        await self._open()
        return await self._reading.reply()

    async def aclose(self) -> None:
        """Close the answer; the server stops if it was still writing."""
        await self._reading.aclose()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return _AsyncPieces(self, lambda chunk: chunk)

    async def __aenter__(self) -> Self:
        self._entered = True
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _dropped(self) -> None:
        if self._spawn is not None and self._reading.dropped():
            self._spawn(self._reading.aclose)

    def __del__(self) -> None:
        self._dropped()


class _AsyncPieces(AsyncIterator[_T], Generic[_T]):
    """One loop over a stream. Dropping it ends the stream, unless an `async with` block holds it."""

    def __init__(self, stream: AsyncReplyStream, pick: Callable[[Chunk], _T]) -> None:
        self._stream = stream
        self._pick = pick
        self._begun = False

    async def __anext__(self) -> _T:
        self._begun = True
        reading = self._stream._reading
        while True:
            while not reading.buffer:
                await self._stream._open()
                if not await reading.fill():
                    raise StopAsyncIteration
            if piece := self._pick(reading.buffer.popleft()):
                return piece

    def __del__(self) -> None:
        if self._begun and not self._stream._entered:
            self._stream._dropped()
