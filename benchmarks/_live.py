"""One caller and its own provider, in processes of their own: calls at random moments, and what both sides saw.

Times are drawn from the seed, the request's bytes and the attempt, and every caller sends the same requests: so all of
them meet the same times, for a request and for its copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import accumulate
from multiprocessing import get_context
from random import Random
from threading import Barrier
from time import monotonic, process_time, sleep

import anyio
from anyio.to_thread import run_sync

from benchmarks._callers import Caller, Setting, settings
from fastclient.testing import Answer, Counters, Exchange, ProviderServer, World

__all__ = ["Seen", "arrivals", "closings", "losers", "side_by_side"]

_SEED = 56  # with which 3,500 requests have the p99 and the p99.9 of their world
_PROMPT = f"{'All work and no play makes Jack a dull boy. ' * 9}Call %06d."  # about 100 tokens, each time
_ANSWER = Answer("Yes.")  # what comes after the first token costs time and tells nothing
_everybody: Barrier | None = None  # at which the processes wait for each other


@dataclass(slots=True, kw_only=True)
class Seen:
    """What became of one caller's calls. Times are seconds."""

    calls: int
    took: list[float]  # from the call to its first content, in the caller's hands
    late: list[float]  # how far behind its time each call began
    failures: list[str]
    counters: Counters  # when the client was closed
    live: int  # exchanges that still ran 0.25 s after the last call
    vain: int  # tokens that losers read and wrote
    closings: list[float]
    cpu: float  # of the caller's process, all calls together
    behind: list[float]  # how far behind their times the server's first tokens were
    first: list[float]  # the times that the requests met, in their order
    second: list[float]  # and that their copies met, or would have

    @property
    def extra(self) -> float:
        """Requests that the server got beyond the calls, in percent."""
        return 100 * (self.counters.accepted / self.calls - 1)

    @property
    def wasted(self) -> float:
        """Tokens that losers read and wrote, in percent of those of the winners."""
        return 100 * self.vain / (self.counters.input_tokens + self.counters.output_tokens - self.vain)


def side_by_side(group: Sequence[str], world: World, calls: int, rate: float) -> dict[str, Seen]:
    """Some settings at the same time; those that are not installed are left out."""
    names = [name for name in group if find_spec(settings(rate)[name].needs)]
    context = get_context("spawn")
    with ProcessPoolExecutor(len(names), context, _meet, (context.Barrier(len(names)),)) as pool:
        runs = {name: pool.submit(_run, name, world, calls, rate) for name in names}
        return {name: run.result() for name, run in runs.items()}


def _meet(everybody: Barrier) -> None:
    global _everybody
    _everybody = everybody


def _run(name: str, world: World, calls: int, rate: float) -> Seen:
    setting = settings(rate)[name]
    with ProviderServer() as server:
        Run(setting, server, [0.0] * 3).play()  # what is imported or opened on first use is no part of it
    with ProviderServer(world=world, answer=_ANSWER, seed=_SEED, process=True, keep=3 * calls) as server:
        assert _everybody is not None
        _everybody.wait(timeout=60)
        start = monotonic() + 0.5
        run = Run(setting, server, [start + at for at in arrivals(name, calls, rate)])
        run.play()
    return run.seen(world)


def arrivals(name: str, calls: int, rate: float) -> list[float]:
    """When the calls of a setting are made: at moments of its own, so that the settings do not all call at once."""
    rng = Random(f"{_SEED}:{name}")
    return list(accumulate(rng.expovariate(rate) for _ in range(calls)))


@dataclass(slots=True)
class Run:
    """Calls at their times."""

    setting: Setting
    server: ProviderServer
    due: Sequence[float]
    took: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    live: int = 0
    cpu: float = 0.0

    def play(self) -> None:
        used = process_time()
        if self.setting.home == "threads":
            self._in_threads()
        else:
            anyio.run(self._on_a_loop, backend=self.setting.home)
        self.cpu = process_time() - used

    async def _on_a_loop(self) -> None:
        caller = self.setting.open(self.server.base_url)
        async with anyio.create_task_group() as calls:
            for number, due in enumerate(self.due):
                await anyio.sleep(max(0.0, due - monotonic()))
                calls.start_soon(self._call, caller, number)
        await run_sync(self._ended)
        await caller.close()
        await run_sync(self._closed)

    async def _call(self, caller: Caller, number: int) -> None:
        began = self._began(number)
        try:
            self.took.append(await caller.ask(_PROMPT % number) - began)
        except Exception as error:
            self.failures.append(repr(error))

    def _in_threads(self) -> None:
        caller = self.setting.open(self.server.base_url)
        with ThreadPoolExecutor(64) as calls:
            for number, due in enumerate(self.due):
                sleep(max(0.0, due - monotonic()))
                calls.submit(self._blocking_call, caller, number)
        self._ended()
        caller.close()
        self._closed()

    def _blocking_call(self, caller: Caller, number: int) -> None:
        began = self._began(number)
        try:
            self.took.append(caller.ask(_PROMPT % number) - began)
        except Exception as error:
            self.failures.append(repr(error))

    def _began(self, number: int) -> float:
        began = monotonic()
        self.late.append(began - self.due[number])
        return began

    def _ended(self) -> None:
        self.server.wait_idle()
        self.live = self.server.counters.live

    def _closed(self) -> None:
        self.server.wait_for(lambda counters: counters.open_connections == 0)

    def seen(self, world: World) -> Seen:
        exchanges = self.server.exchanges
        primaries = sorted((one for one in exchanges if one.attempt == 0), key=lambda one: one.request.text)
        return Seen(
            calls=len(self.due),
            took=self.took,
            late=self.late,
            failures=self.failures,
            counters=self.server.counters,
            live=self.live,
            vain=sum(loser.request.input_tokens + loser.tokens_sent for _, loser in losers(exchanges)),
            closings=closings(exchanges),
            cpu=self.cpu,
            behind=[
                one.first_token - one.started - one.pace.first_token for one in exchanges if one.first_token is not None
            ],
            first=[one.pace.first_token for one in primaries],
            second=[_copy_of(one, world) for one in primaries],
        )


def _copy_of(exchange: Exchange, world: World) -> float:
    """The time that the second attempt of a request meets."""
    return world.sample(Random(f"{_SEED}:{exchange.request.digest}:1"), 0, 0, 0).first_token


def losers(exchanges: Sequence[Exchange]) -> Iterator[tuple[Exchange, Exchange]]:
    """The winner and the loser of each race, as the server knows them."""
    races: dict[int, list[Exchange]] = defaultdict(list)
    for exchange in exchanges:
        races[exchange.index].append(exchange)
    for race in races.values():
        if len(race) == 2 and not all(exchange.cut_early for exchange in race):
            winner, loser = sorted(race, key=lambda exchange: (exchange.cut_early, exchange.ended))
            yield winner, loser


def closings(exchanges: Sequence[Exchange]) -> list[float]:
    """Seconds from sending a winner's first token until its loser was over, at the server."""
    times = [(winner.first_token, loser.ended) for winner, loser in losers(exchanges)]
    return [ended - first for first, ended in times if first is not None and ended is not None]
