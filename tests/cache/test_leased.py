"""Of identical calls in several processes one goes to the provider; whatever becomes of it, all get an answer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fastclient.cache.entry import Entry
from fastclient.cache.redis.link import Link
from fastclient.engine.clock import running_clock
from fastclient.engine.seam import drive, engine, seam
from fastclient.engine.stack import stack
from fastclient.errors import BadRequest, ServerFailed, StreamCut
from fastclient.types import Call
from tests.cache.redis_server import KEY, TAG, Provider, RedisServer, a_call, free_port, read, until

LEASE = f"fastclient:lease:{KEY.hex()}"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is very busy a server may need longer than calls wait; how long they do is tested elsewhere."""
    monkeypatch.setattr(Link, "patience", 2.0)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(started: RedisServer) -> RedisServer:
    started.do("FLUSHALL")
    return started


@pytest.fixture
async def make(server: RedisServer) -> AsyncIterator[Callable[..., Provider]]:
    made: list[Provider] = []

    def making(url: str = server.url, **options: Any) -> Provider:
        made.append(Provider(url, **options))
        return made[-1]

    yield making
    for each in made:
        each.store.close()
    assert until(lambda: not leftover(), 5), leftover()


def leftover() -> list[str]:
    """What still runs on the engine's loop."""

    async def running() -> list[str]:
        return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    return engine().run(running)


def free(server: RedisServer) -> bool:
    """Whether nobody has the lease."""
    return not server.do("EXISTS", LEASE)


# one process


async def test_a_miss_calls_and_a_hit_does_not(make: Callable[..., Provider], server: RedisServer) -> None:
    """The first call goes to the provider and gives its lease back; the next one, elsewhere, finds the answer."""
    first, second = make(), make()
    call = a_call(running_clock())
    assert await read(first.handler, call) == "answer 1"
    assert call.record.cache.state == "bypass"
    assert call.record.looked is not None
    assert until(lambda: free(server))
    call = a_call(running_clock())
    assert await read(second.handler, call) == "answer 1"
    assert (call.record.cache.state, call.record.cache.source) == ("hit", "redis")
    assert call.record.cache.age is not None
    assert (first.calls, second.calls) == (1, 0)
    assert (second.store.stats().hits, second.store.stats().misses) == (1, 0)


def test_a_blocking_caller_is_served_too(server: RedisServer) -> None:
    """Across the seam."""
    provider = Provider(server.url)
    handler = stack(seam, provider.layer, around=provider.answer)
    for _ in range(3):
        assert drive(read(handler, a_call(time.monotonic))) == "answer 1"
        assert until(lambda: free(server))
    assert provider.calls == 1
    provider.store.close()


async def test_calls_without_a_key_pass(make: Callable[..., Provider], server: RedisServer) -> None:
    """They leave no trace on the server."""
    provider = make(keeps=False)
    assert await read(provider.handler, a_call(running_clock(), key=None)) == "answer 1"
    assert await read(provider.handler, a_call(running_clock(), key=None)) == "answer 2"
    assert not server.names()


async def test_refreshing_asks_anew(make: Callable[..., Provider], server: RedisServer) -> None:
    """A call that wants a new answer does not take the stored one, nor wait for another's."""
    provider = make()
    await read(provider.handler, a_call(running_clock()))
    assert await read(provider.handler, a_call(running_clock(), cache="refresh")) == "answer 2"
    assert until(lambda: free(server))
    server.do("SET", LEASE, "another's")
    began = time.monotonic()
    assert await read(provider.handler, a_call(running_clock(), cache="refresh")) == "answer 3"
    assert time.monotonic() - began < 1
    assert server.do("GET", LEASE) == b"another's"


async def test_what_is_too_old_is_fetched_anew(make: Callable[..., Provider], server: RedisServer) -> None:
    """The stored answer is too old: one call goes, and those who wait get the new answer and not the old."""
    providers = [make(gap=0.1) for _ in range(3)]
    providers[0].store.put(KEY, Entry(stored=time.time() - 100, text="old"), tag=TAG, lifetime=60)
    providers[0].store.close()
    texts: list[str] = []

    async def ask(provider: Provider) -> None:
        texts.append(await read(provider.handler, a_call(running_clock())))

    async with anyio.create_task_group() as group:
        for provider in providers:
            group.start_soon(ask, provider)
    assert texts == ["answer 1"] * 3
    assert sum(provider.calls for provider in providers) == 1


@pytest.mark.parametrize("what", ["nonsense", "list"])
async def test_what_is_no_answer_is_replaced(what: str, make: Callable[..., Provider], server: RedisServer) -> None:
    """Something else stands under the key: the call goes with the lease, at once, and its answer is kept."""
    provider = make()
    name = provider.store.name(KEY, TAG)
    server.do(*(("SET", name, "x" * 100) if what == "nonsense" else ("RPUSH", name, "x")))
    assert await read(provider.handler, a_call(running_clock())) == "answer 1"
    assert provider.store.stats().rejected == 1
    assert until(lambda: free(server))
    assert await read(provider.handler, a_call(running_clock())) == "answer 1"


async def test_a_stored_refusal_is_raised(make: Callable[..., Provider]) -> None:
    """What the entry stands for may be an error."""
    provider = make()
    refusal = Entry.refusing(BadRequest("no", status_code=400), stored=time.time())
    provider.store.put(KEY, refusal, tag=TAG, lifetime=60)
    provider.store.close()
    call = a_call(running_clock())
    with pytest.raises(BadRequest):
        await provider.handler(call)
    assert call.record.cache.state == "hit"


async def test_those_who_wait_get_the_answer(make: Callable[..., Provider], server: RedisServer) -> None:
    """Eight stores, as in eight processes: one call, one answer, shared soon after it is there."""
    providers = [make(gap=0.15) for _ in range(8)]
    calls = [a_call(running_clock()) for _ in providers]
    texts: list[str] = []
    began = time.monotonic()

    async def ask(provider: Provider, call: Call) -> None:
        texts.append(await read(provider.handler, call))

    async with anyio.create_task_group() as group:
        for provider, call in zip(providers, calls, strict=True):
            group.start_soon(ask, provider, call)
    assert time.monotonic() - began < 1.5
    assert texts == ["answer 1"] * 8
    assert sum(provider.calls for provider in providers) == 1
    assert sorted(call.record.cache.state for call in calls) == ["bypass", *["shared"] * 7]
    assert {call.record.cache.source for call in calls} == {None, "redis"}
    assert until(lambda: free(server))


@pytest.mark.parametrize("error", [None, StreamCut("cut"), ServerFailed("broken")])
async def test_without_an_answer_to_keep_all_go_at_once(
    error: Exception | None, make: Callable[..., Provider], server: RedisServer
) -> None:
    """The holder's answer is not kept, breaks off, or never comes: the others go side by side, not in turn."""
    providers = [make(keeps=False, gap=0.1, error=error) for _ in range(6)]
    outcomes: list[str] = []

    async def ask(provider: Provider) -> None:
        try:
            outcomes.append(await read(provider.handler, a_call(running_clock())))
        except (StreamCut, ServerFailed) as failure:
            outcomes.append(str(failure))

    began = time.monotonic()
    async with anyio.create_task_group() as group:
        for provider in providers:
            group.start_soon(ask, provider)
    assert time.monotonic() - began < 1.0, "two answers after another, and a wait between them"
    assert outcomes == [str(error) if error else "answer 1"] * 6
    assert [provider.calls for provider in providers] == [1] * 6
    assert until(lambda: server.do("GET", LEASE) in (b"go", None))


async def test_a_lease_is_renewed_while_the_answer_is_read(make: Callable[..., Provider], server: RedisServer) -> None:
    """An answer that takes longer than a lease lasts is still one call's only."""
    first, second = make(lasts=0.2), make(lasts=0.2)
    stream = await first.handler(a_call(running_clock()))
    token = server.do("GET", LEASE)
    texts: list[str] = []

    async def ask() -> None:
        texts.append(await read(second.handler, a_call(running_clock())))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.sleep(0.7)
        assert server.do("GET", LEASE) == token
        while await stream.pull():
            pass
        await stream.aclose()
    assert texts == ["answer 1"]
    assert second.calls == 0


@pytest.mark.parametrize("how", ["close", "drop", "cancel"])
async def test_whoever_leaves_gives_the_lease_back(
    how: str, make: Callable[..., Provider], server: RedisServer
) -> None:
    """A stream closed before its end, dropped, or cancelled while it opens: the others may go at once."""
    provider = make(gap=0.2 if how == "cancel" else 0.0)
    if how == "cancel":
        with anyio.move_on_after(0.1):
            await provider.handler(a_call(running_clock()))
    else:
        stream = await provider.handler(a_call(running_clock()))
        assert server.do("PTTL", LEASE) > 1000
        if how == "close":
            await stream.aclose()
            await stream.aclose()
        del stream
    assert until(lambda: server.do("GET", LEASE) == b"go", 1)
    assert all(stream.closed for stream in provider.streams) or how == "drop"


async def test_a_caller_who_stops_waiting_leaves_nothing(make: Callable[..., Provider], server: RedisServer) -> None:
    """Cancelled while another has the lease: gone at once, and the lease is as it was."""
    provider = make()
    server.do("SET", LEASE, "another's", "PX", 60_000)
    await read(provider.handler, a_call(running_clock(), key=None))
    began = time.monotonic()
    with anyio.move_on_after(0.2):
        await provider.handler(a_call(running_clock()))
    assert time.monotonic() - began < 0.4
    assert until(lambda: not leftover(), 1), leftover()
    assert server.do("GET", LEASE) == b"another's"
    assert provider.calls == 1


async def test_waiting_ends_at_half_of_the_time(make: Callable[..., Provider], server: RedisServer) -> None:
    """Somebody holds the lease for ever: the call goes alone when half of its time is over."""
    provider = make()
    server.do("SET", LEASE, "another's", "PX", 60_000)
    began = time.monotonic()
    assert await read(provider.handler, a_call(running_clock(), within=1.0)) == "answer 1"
    assert 0.45 < time.monotonic() - began < 0.8
    assert server.do("GET", LEASE) == b"another's"


async def test_a_lease_that_runs_out_goes_to_one(make: Callable[..., Provider], server: RedisServer) -> None:
    """Its holder is gone: of those who wait one goes, for all the others."""
    providers = [make(gap=0.1) for _ in range(5)]
    server.do("SET", LEASE, "of the dead", "PX", 300)
    texts: list[str] = []

    async def ask(provider: Provider) -> None:
        texts.append(await read(provider.handler, a_call(running_clock())))

    async with anyio.create_task_group() as group:
        for provider in providers:
            group.start_soon(ask, provider)
    assert texts == ["answer 1"] * 5
    assert sum(provider.calls for provider in providers) == 1


async def test_a_lease_that_comes_too_late_is_given_back(
    make: Callable[..., Provider], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gives it after the call has gone on without: nobody has to wait for its end."""
    provider = make(keeps=False)
    await read(provider.handler, a_call(running_clock(), key=None))
    await provider.store.fetch(KEY, TAG)  # connects
    monkeypatch.setattr(Link, "patience", 0.04)
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        assert await read(provider.handler, a_call(running_clock())) == "answer 2"
        assert time.monotonic() - began < 0.5
    finally:
        server.signal(signal.SIGCONT)
    await anyio.sleep(0.1)
    assert until(lambda: free(server))


async def test_a_server_that_dies_lets_everybody_go(make: Callable[..., Provider], tmp_path: Path) -> None:
    """Calls that wait for another's answer, and the one that has the lease, end as if there were no server."""
    server = RedisServer(tmp_path)
    server.start()
    providers = [make(server.url, gap=0.3) for _ in range(4)]
    texts: list[str] = []

    async def ask(provider: Provider) -> None:
        texts.append(await read(provider.handler, a_call(running_clock())))

    began = time.monotonic()
    async with anyio.create_task_group() as group:
        for provider in providers:
            group.start_soon(ask, provider)
        await anyio.sleep(0.2)
        server.kill()
    assert time.monotonic() - began < 1.5
    assert texts == ["answer 1"] * 4
    assert [provider.calls for provider in providers] == [1] * 4


async def test_without_a_server_all_is_as_without_the_layer(make: Callable[..., Provider]) -> None:
    """Nothing listens: answers come from the provider, without delay once that is known."""
    provider = make(f"redis://127.0.0.1:{free_port()}")
    for number in range(20):
        began = time.monotonic()
        assert await read(provider.handler, a_call(running_clock())) == f"answer {number + 1}"
        assert time.monotonic() - began < 0.15
    assert provider.store.stats().failures >= 1


async def test_a_forked_child_leaves_the_parents_lease_alone(
    make: Callable[..., Provider], server: RedisServer
) -> None:
    """The child's copy of a stream ends nothing when it goes."""
    provider = make()
    stream = await provider.handler(a_call(running_clock()))
    lease = stream._lease  # type: ignore[attr-defined]
    lease._process -= 1  # as in a child
    lease.end()
    await anyio.sleep(0.1)
    assert not free(server)
    lease._process += 1
    await stream.aclose()


# several processes

PROGRAM = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import anyio
from fastclient.engine.clock import running_clock
from fastclient.engine.seam import drive, engine, seam
from fastclient.engine.stack import stack
from fastclient.cache.redis.link import Link
from tests.cache.redis_server import KEY, TAG, Provider, a_call, read
Link.patience = 2.0
folder, provider = sys.argv[2], Provider(sys.argv[3], gap=0.25, lasts=0.8)
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
async def counted(call):
    with open(f"{folder}/called-{call.key[-1]}", "ab") as file:
        file.write(b"%d\\n" % os.getpid())
    return await provider.answer(call)
def rounds():
    say("ready")
    for number in range(99):
        while not os.path.exists(f"{folder}/go-{number}"):
            time.sleep(0.002)
            if os.path.exists(f"{folder}/end"):
                return
        provider.calls, began = 0, time.time()
        text, call = yield number.to_bytes(32, "big")
        say(call.record.cache.state, time.time() - began, text)
async def main():
    await provider.store.fetch(b"x" * 32, TAG)
    turns = rounds()
    key = next(turns, None)
    while key is not None:
        call = a_call(running_clock(), key=key)
        try:
            key = turns.send((await read(provider.layer(counted), call), call))
        except StopIteration:
            return
def blocking():
    engine().run(lambda: provider.store.fetch(b"x" * 32, TAG))
    turns = rounds()
    key = next(turns, None)
    while key is not None:
        call = a_call(time.monotonic, key=key)
        try:
            key = turns.send((drive(read(stack(seam, provider.layer, around=counted), call)), call))
        except StopIteration:
            return
"""
FOUR = """
for world in ("asyncio", "trio", None, None):  # forked, because importing everything four times takes seconds
    if os.fork() == 0:
        anyio.run(main, backend=world) if world else blocking()
        provider.store.close()
        sys.exit()
for _ in range(4):
    os.wait()
"""


class Programs:
    """Four processes that ask the same at the same time, time after time. Their provider writes down who called it."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self._folder = folder
        self._round = -1
        self._running = started_program(PROGRAM + FOUR, folder, server.url)
        self.living = 4
        assert self.hear() == ["ready"] * 4

    def ask(self) -> None:
        """All ask now."""
        self._round += 1
        (self._folder / f"go-{self._round}").touch()

    def hear(self) -> list[str]:
        """A line from each."""
        assert self._running.stdout is not None
        return [self._running.stdout.readline().strip() for _ in range(self.living)]

    def called(self) -> list[int]:
        """Who reached the provider."""
        log = self._folder / f"called-{self._round}"
        return [int(line) for line in log.read_text().split()] if log.exists() else []

    def holder(self) -> int:
        """Who has the lease, a moment after getting it."""
        assert until(self.called, 5)
        (holder,) = self.called()
        return holder

    def outcomes(self) -> list[tuple[str, str, float]]:
        """Text, state and time of each call."""
        told = [line.split(" ", 2) for line in self.hear()]
        return [(text, state, float(took)) for state, took, text in told]

    def end(self) -> str:
        """What they complained of."""
        (self._folder / "end").touch()
        return self._running.communicate(timeout=30)[1]


def started_program(code: str, *arguments: object) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", code, *map(str, (root, *arguments))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def programs(server: RedisServer, tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(server, tmp_path)
    yield programs
    assert programs.end() == ""


def test_four_processes_share_what_one_of_them_gets(programs: Programs) -> None:
    """Identical calls at the same time, on asyncio, trio and in threads: whatever happens to the one who goes."""
    programs.ask()  # all is well: one call
    outcomes = programs.outcomes()
    assert len(programs.called()) == 1
    assert [text for text, _, _ in outcomes] == ["answer 1"] * 4
    assert sorted(state for _, state, _ in outcomes) == ["bypass", "shared", "shared", "shared"]

    programs.ask()  # stopped for longer than its lease lasts: another goes, and everybody has an answer
    holder = programs.holder()
    os.kill(holder, signal.SIGSTOP)
    time.sleep(1.2)
    os.kill(holder, signal.SIGCONT)
    outcomes = programs.outcomes()
    assert len(programs.called()) == 2
    assert [text for text, _, _ in outcomes] == ["answer 1"] * 4

    programs.ask()  # kill -9: the others wait for the lease to run out, and one of them goes
    os.kill(programs.holder(), signal.SIGKILL)
    programs.living = 3
    outcomes = programs.outcomes()
    assert len(programs.called()) == 2
    assert [text for text, _, _ in outcomes] == ["answer 1"] * 3
    assert max(took for _, _, took in outcomes) < 4


def test_a_program_that_ends_gives_its_lease_back(server: RedisServer, tmp_path: Path) -> None:
    """It leaves a stream open and exits: the others go at once, and nothing is complained about."""
    code = f"{PROGRAM}\nstream = drive(stack(seam, provider.layer, around=counted)(a_call(time.monotonic)))"
    out, complaints = started_program(code, tmp_path, server.url).communicate(timeout=30)
    assert (out, complaints) == ("", "")
    assert list(tmp_path.glob("called-*"))
    assert server.do("GET", LEASE) in (b"go", None)
