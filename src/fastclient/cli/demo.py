"""`fastclient demo`: the same workload under several settings, side by side, with no key and no network.

The pretend provider is `fastclient.testing.ProviderServer` in a process of its own, on loopback, with a production-like
latency world at a tenth of its times. With `--model` the workload goes to a real provider instead, after saying what it
will spend. Questions in other words are another table: their provider knows the right answers, so that wrong ones show.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

import anyio

from fastclient.cli.meanings import answer_to, support
from fastclient.cli.screen import Screen
from fastclient.cli.workload import Job, workload
from fastclient.client import AsyncClient
from fastclient.config import Cache, Hedge, Policy
from fastclient.errors import ConfigError, FastClientError
from fastclient.observe.timing import percentile
from fastclient.testing import FakeProvider, ProviderServer, World
from fastclient.types import Reply

__all__ = ["demo"]

_SCALE = 0.1  # the pretend provider runs at a tenth of a real one's times
_AT_ONCE = 16  # users

Connect = Callable[[Policy], AsyncClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way of running the workload. Each lever of the package adds one."""

    name: str
    policy: Policy = field(default_factory=Policy)
    shared: bool = True  # one client for all calls, or a new one for each
    warm: bool = False
    parts: bool = False  # prompts say which of their parts is what


_ALL = Policy.recommended()
SETTINGS = (
    Setting(name="a client per call", shared=False),
    Setting(name="one client"),
    Setting(name="one client, warmed", warm=True),
    Setting(name="... with stable prompts", warm=True, parts=True, policy=Policy(prompt=_ALL.prompt)),
    Setting(name="... hedged at 2 %", warm=True, parts=True, policy=replace(_ALL, cache=None)),
    Setting(
        name="... hedged at 5 %", warm=True, parts=True, policy=replace(_ALL, cache=None, hedge=Hedge(budget=0.05))
    ),
    Setting(name="... and cached", warm=True, parts=True, policy=replace(_ALL, hedge=Hedge(budget=0.05))),
)


@dataclass(slots=True)
class Result:
    """What one setting cost."""

    setting: Setting
    done: list[tuple[Job, Reply]] = field(default_factory=list)
    errors: int = 0
    tokens_sent: int = 0

    @property
    def replies(self) -> list[Reply]:
        """What came back."""
        return [reply for _, reply in self.done]

    @property
    def extra(self) -> str:
        """Attempts beyond the first of each call, as a share of the calls."""
        calls = len(self.replies)
        extra = sum(len(reply.attempts) - 1 for reply in self.replies if reply.attempts)
        return f"{extra / calls:.1%}" if calls else "-"

    @property
    def read(self) -> str:
        """The share of all input that the provider had in its cache of prompts."""
        sent = [reply.usage for reply in self.replies if reply.attempts]
        tokens = sum(usage.input_tokens or 0 for usage in sent)
        return f"{sum(usage.cache_read_tokens or 0 for usage in sent) / tokens:.0%}" if tokens else "-"

    def shares(self, value: Callable[[Reply], float | None], *shares: float) -> str:
        """Percentiles over the replies, in milliseconds."""
        known = sorted(number for reply in self.replies if (number := value(reply)) is not None)
        return " / ".join(f"{percentile(known, share) * 1e3:.0f}" if known else "-" for share in shares)


def demo(options: argparse.Namespace) -> int:
    """Run it; returns the exit status."""
    screen = Screen()
    real = options.model is not None
    jobs = workload(
        options.calls or (40 if options.quick else 12 if real else 600), options.seed, longest=500 if real else 6000
    )
    if real:
        AsyncClient(options.model, base_url=options.base_url)  # a missing key or a wrong URL shows before any question
        if not _agreed(options, jobs, screen):
            return 1
    results = []
    for setting in SETTINGS:
        with _provider(options) as connect, screen.progress(setting.name, len(jobs)) as advance:
            results.append(anyio.run(_run, setting, connect, jobs, advance))
    _show(results, jobs, screen, real=real)
    if not real:
        _other_words(options, screen)
    return 0 if all(result.replies for result in results) else 1


def _agreed(options: argparse.Namespace, jobs: Sequence[Job], screen: Screen) -> bool:
    """Say what a run against a real provider will spend, and ask."""
    calls = len(jobs) * len(SETTINGS)
    tokens = sum(job.tokens for job in jobs) * len(SETTINGS)
    answers = sum(job.max_tokens for job in jobs) * len(SETTINGS)
    screen.say(f"{options.model}: {calls} calls, about {tokens:,} input tokens, at most {answers:,} output tokens.")
    if options.yes:
        return True
    if not sys.stdin.isatty():
        screen.say("Nothing was sent: nobody is there to agree. Use --yes.")
        return False
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


@contextmanager
def _provider(options: argparse.Namespace) -> Iterator[Connect]:
    """How to make a client: for the real target, or for a pretend provider that is the same for each setting."""
    if options.model is not None:
        yield lambda policy: AsyncClient(options.model, base_url=options.base_url, policy=policy)
        return
    with ProviderServer(world=World.production(scale=_SCALE), seed=options.seed, process=True) as server:
        yield lambda policy: AsyncClient("openai:demo", base_url=server.base_url, api_key="none", policy=policy)


async def _run(setting: Setting, connect: Connect, jobs: Sequence[Job], advance: Callable[[], None]) -> Result:
    """The workload by `_AT_ONCE` users, each asking the next question once its last one is answered."""
    result = Result(setting)
    waiting = iter(jobs)

    async def user(client: AsyncClient | None) -> None:
        for job in waiting:
            mine = client or connect(setting.policy)
            try:
                prompt = job.parts if setting.parts else job.messages
                reply = await mine.chat(prompt, max_tokens=job.max_tokens)
                result.done.append((job, reply))
                result.tokens_sent += job.tokens if reply.attempts else 0
            except FastClientError:
                result.errors += 1
            finally:
                if client is None:
                    await mine.aclose()
            advance()

    async with _client(setting, connect) as shared, anyio.create_task_group() as tasks:
        for _ in range(_AT_ONCE):
            tasks.start_soon(user, shared)
    return result


@asynccontextmanager
async def _client(setting: Setting, connect: Connect) -> AsyncIterator[AsyncClient | None]:
    """The client all users share, or None if each call makes its own."""
    if not setting.shared:
        yield None
        return
    async with connect(setting.policy) as client:
        if setting.warm:
            await client.warm(_AT_ONCE)
        yield client


def _show(results: Sequence[Result], jobs: Sequence[Job], screen: Screen, *, real: bool) -> None:
    columns = (
        *("setting", "TTFT p50/p95/p99", "total p50/p99", "tokens sent", "read from cache", "extra calls"),
        *("calls saved", "errors"),
    )
    rows = [
        (
            result.setting.name,
            result.shares(lambda reply: reply.timings.ttft, 0.5, 0.95, 0.99),
            result.shares(lambda reply: reply.timings.total, 0.5, 0.99),
            f"{result.tokens_sent:,}",
            result.read,
            result.extra,
            str(sum(reply.cache.state not in ("bypass", "miss") for reply in result.replies)),
            str(result.errors),
        )
        for result in results
    ]
    repeats = sum(job.seen for job in jobs)
    where = "a real provider" if real else f"a pretend provider at {_SCALE:g} of real times"
    screen.table(f"{len(jobs)} calls ({repeats} of them repeats) against {where}; milliseconds", columns, rows)
    sent = sorted((reply for reply in results[-1].replies if reply.attempts), key=lambda reply: reply.timings.total)
    if sent:
        screen.say(f"A median call of the last row, of those sent: {sent[len(sent) // 2].timings}")


def _other_words(options: argparse.Namespace, screen: Screen) -> None:
    """A support desk's questions, with a cache for the same words, and with one for other words too."""
    try:
        from fastclient.cache.semantic.settings import Semantic

        semantic = Policy(cache=Cache(), semantic=Semantic(mode="serve", max_error=0.05))
    except ConfigError as error:
        screen.say(f"Nothing about questions in other words: {error}")
        return
    jobs = support(options.calls or (120 if options.quick else 300), options.seed)
    rows = []
    exact = Policy(cache=Cache())
    for name, policy in (("the same words", exact), ("other words too", semantic)):
        setting = Setting(name=name, policy=policy, warm=True)
        provider = FakeProvider(lambda request: answer_to(request.text), world=World.production(scale=_SCALE))
        with screen.progress(setting.name, len(jobs)) as advance:
            result = anyio.run(_run, setting, _to(provider), jobs, advance)
        rows.append(_row(result, len(provider.requests)))
    columns = ("answered for", "TTFT p50/p95/p99", "total p50/p99", "sent", "hits, same words", "other words", "wrong")
    screen.table(f"\n{len(jobs)} questions to a support desk, ten meanings; milliseconds", columns, rows)


def _to(provider: FakeProvider) -> Connect:
    return lambda policy: AsyncClient("openai:demo", wire=provider, policy=policy)


def _row(result: Result, sent: int) -> tuple[str, ...]:
    cached = [(job, reply) for job, reply in result.done if reply.cache.state not in ("bypass", "miss")]
    meant = sum(reply.cache.source == "semantic" for _, reply in cached)
    wrong = sum(reply.text != answer_to(str(job.turns[-1]["content"])) for job, reply in result.done)
    return (
        result.setting.name,
        result.shares(lambda reply: reply.timings.ttft, 0.5, 0.95, 0.99),
        result.shares(lambda reply: reply.timings.total, 0.5, 0.99),
        *map(str, (sent, len(cached) - meant, meant, wrong)),
    )
