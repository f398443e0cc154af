"""A Redis that is away, slow, stopped or no Redis at all: calls go on without it, and with it when it is back."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from fastclient.cache.entry import Entry
from fastclient.cache.redis.store import RedisStore
from fastclient.engine.seam import engine
from tests.cache.redis_server import RedisServer, free_port, until

KEY, TAG = b"k" * 32, b"namespce"
PASSWORD = "canary-password"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a socket that takes connections and does to each of them what `talk` does."""
    made: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    made.append(listener.accept()[0])
                    talk(made[-1])
                except OSError:
                    if listener.fileno() < 0:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"redis://user:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/0"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for each in made:
                each.close()
            thread.join(5)


def saying(words: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.recv(10_000)
        connection.sendall(words)

    return talk


def echoing(connection: socket.socket) -> None:
    """Says OK to everything, in a thread of its own."""

    def talk() -> None:
        try:
            while connection.recv(10_000):
                connection.sendall(b"+OK\r\n" * 3)
        except OSError:
            return

    threading.Thread(target=talk, daemon=True).start()


GARBAGE = {
    "http": b"HTTP/1.1 400 Bad Request\r\nserver: none\r\n\r\n",
    "endless line": b"x" * 300_000,
    "bytes": bytes(range(256)) * 20,
    "huge length": b"$99999999999\r\nabc",
    "negative": b"$-77\r\n*-5\r\n",
    "deep": b"*1\r\n" * 20_000,
    "wrong": b"+OK\r\n+OK\r\n+OK\r\n*3\r\n:1\r\n:2\r\n:3\r\n",
    "unknown": b"-ERR unknown command\r\n" * 10,
}


@contextmanager
def refused() -> Iterator[str]:
    yield f"redis://user:{PASSWORD}@127.0.0.1:{free_port()}/0"


@contextmanager
def stopped(folder: Path) -> Iterator[str]:
    server = RedisServer(folder)
    server.start()
    server.signal(signal.SIGSTOP)
    try:
        yield server.url
    finally:
        server.signal(signal.SIGCONT)
        server.kill()


@pytest.fixture(params=["refused", "black hole", "closing", "echo", "stopped", *GARBAGE])
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a server that is none."""
    ways = {
        "refused": refused,
        "black hole": lambda: listening(lambda _: None),
        "closing": lambda: listening(socket.socket.close),
        "echo": lambda: listening(echoing),
        "stopped": lambda: stopped(tmp_path),
    }
    with ways.get(request.param, lambda: listening(saying(GARBAGE[request.param])))() as url:
        yield url


def fetched(store: RedisStore) -> Entry | None:
    return engine().run(lambda: store.fetch(KEY, TAG))


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings, of which none has a traceback or says who we are."""
    records = [record for record in caplog.records if record.name == "fastclient" and record.levelno >= logging.INFO]
    assert not any(record.exc_info for record in records)
    assert PASSWORD not in caplog.text
    return [record.getMessage() for record in records]


async def test_a_broken_server_costs_one_call_a_moment(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    """The first call is late by some 50 ms, the next by nothing; nothing is raised; it is counted, and said once."""
    caplog.set_level(logging.DEBUG)
    store = RedisStore(broken, memory=None)
    try:
        times = []
        for _ in range(5):
            began = time.monotonic()
            assert await store.fetch(KEY, TAG) is None
            times.append(time.monotonic() - began)
        assert times[0] < 0.15, times
        assert sorted(times[1:])[1] < 0.02, times
        store.put(KEY, Entry(stored=0, text="x"), tag=TAG, lifetime=60)
        assert until(lambda: store.stats().dropped == 1 and warned(caplog), 3)
    finally:
        store.close()
    stats = store.stats()
    assert stats.failures >= 1
    assert (stats.hits, stats.misses) == (0, 5)
    assert len(warned(caplog)) == 1, warned(caplog)
    assert PASSWORD not in repr(store)


def test_hits_resume_when_the_server_is_back(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Killed and started again: a while of misses, then hits; one line for each change."""
    store = RedisStore(server.url, memory=None)
    store.put(KEY, Entry(stored=0, text="before"), tag=TAG, lifetime=60)
    store.close()
    assert fetched(store) is not None
    server.kill()
    for _ in range(50):
        assert fetched(store) is None
    server.start()

    def back() -> bool:
        store.put(KEY, Entry(stored=0, text="after"), tag=TAG, lifetime=60)
        found = fetched(store)
        return found is not None and found.text == "after"

    assert until(back, 5)
    store.close()
    first, second = warned(caplog)
    assert "fails (ConnectionError)" in first
    assert "answers again" in second


def test_a_stopped_server_is_met_again(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """It stops in the middle, for longer than a connection lives on hope, and goes on: so do the hits."""
    store = RedisStore(server.url, memory=None)
    store.put(KEY, Entry(stored=0, text="there"), tag=TAG, lifetime=60)
    store.close()
    assert fetched(store) is not None
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    assert fetched(store) is None
    assert time.monotonic() - began < 0.15
    began = time.monotonic()
    for _ in range(20):
        assert fetched(store) is None
    assert time.monotonic() - began < 0.1
    time.sleep(1.2)
    server.signal(signal.SIGCONT)
    assert until(lambda: fetched(store) is not None, 5)
    store.close()
    assert len(warned(caplog)) == 2, warned(caplog)


def test_a_short_pause_is_forgiven(server: RedisServer) -> None:
    """After a pause of a moment the store needs less than a second."""
    store = RedisStore(server.url, memory=None)
    fetched(store)
    server.signal(signal.SIGSTOP)
    fetched(store)
    server.signal(signal.SIGCONT)
    store.put(KEY, Entry(stored=0, text="there"), tag=TAG, lifetime=60)

    def back() -> bool:
        store.put(KEY, Entry(stored=0, text="there"), tag=TAG, lifetime=60)
        return fetched(store) is not None

    began = time.monotonic()
    assert until(back, 5)
    assert time.monotonic() - began < 1.5
    store.close()


def test_the_try_is_in_nobodys_way(server: RedisServer) -> None:
    """While a server is away, no call waits for it, neither those between the tries nor those that start one."""
    store = RedisStore(server.url, memory=None)
    server.signal(signal.SIGSTOP)
    fetched(store)
    times = []
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        began = time.monotonic()
        fetched(store)
        times.append(time.monotonic() - began)
        time.sleep(0.01)
    server.signal(signal.SIGCONT)
    store.close()
    assert len(times) > 30
    assert sorted(times)[int(0.8 * len(times))] < 0.02, sorted(times)[-5:]


def test_writes_wait_in_a_short_line(server: RedisServer) -> None:
    """While the server is slow, at most 256 answers or 32 MiB of them wait; the others are dropped and counted."""
    store = RedisStore(server.url, memory=None)
    fetched(store)
    server.signal(signal.SIGSTOP)
    for number in range(1000):
        store.put(number.to_bytes(32, "big"), Entry(stored=0, text="x" * 1000), tag=TAG, lifetime=60)
    assert store.stats().dropped >= 1000 - 256
    assert until(lambda: store.stats().dropped == 1000, 5)
    server.signal(signal.SIGCONT)
    assert until(lambda: (fetched(store), not store.link().circuit.is_open)[1], 5)
    for number in range(20):
        store.put(number.to_bytes(32, "big"), Entry(stored=0, text="x" * 3 * 2**20), tag=TAG, lifetime=60)
    assert until(lambda: store.stats().stored + store.stats().dropped == 1020, 10)
    assert 1 <= store.stats().stored <= 11
    store.close()


def test_a_wrong_password_is_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server refuses us: one line that says so, without the password."""
    caplog.set_level(logging.DEBUG)
    server = RedisServer(tmp_path, "--requirepass", "the right one")
    server.start()
    try:
        store = RedisStore(f"redis://:{PASSWORD}@127.0.0.1:{server.port}", memory=None)
        assert fetched(store) is None
        assert fetched(store) is None
        store.close()
        (line,) = warned(caplog)
        assert "AuthenticationError" in line
        right = RedisStore(f"redis://:the%20right%20one@127.0.0.1:{server.port}", memory=None)
        right.put(KEY, Entry(stored=0, text="x"), tag=TAG, lifetime=60)
        right.close()
        assert fetched(right) is not None
        right.close()
    finally:
        server.kill()


def test_a_server_without_room_still_answers(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """It refuses writes: they are dropped, which is said once, and what is there is found."""
    store = RedisStore(server.url, memory=None)
    store.put(KEY, Entry(stored=0, text="there"), tag=TAG, lifetime=60)
    store.close()
    server.do("CONFIG", "SET", "maxmemory", "1")
    for number in range(5):
        store.put(bytes([number]) * 32, Entry(stored=0, text="x"), tag=TAG, lifetime=60)
    store.close()
    assert fetched(store) is not None
    assert (store.stats().stored, store.stats().dropped, store.stats().failures) == (1, 5, 5)
    (line,) = warned(caplog)
    assert "refuses a command" in line
    store.close()


def test_a_server_that_became_a_replica_is_left(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failover the old server takes no writes: the store connects anew, where another may be by then."""
    store = RedisStore(server.url, memory=None)
    fetched(store)
    connections = server.do("INFO", "stats")["total_connections_received"]
    server.do("REPLICAOF", "127.0.0.1", str(free_port()))
    store.put(KEY, Entry(stored=0, text="x"), tag=TAG, lifetime=60)
    store.close()
    assert store.stats().dropped == 1
    assert "ReadOnlyError" in warned(caplog)[0]
    server.do("REPLICAOF", "NO", "ONE")

    def back() -> bool:
        store.put(KEY, Entry(stored=0, text="there"), tag=TAG, lifetime=60)
        return fetched(store) is not None

    assert until(back, 5)
    assert server.do("INFO", "stats")["total_connections_received"] >= connections + 4
    store.close()


async def test_leaving_while_the_server_is_silent() -> None:
    """A cancelled caller does not wait for the server, and leaves nothing running once the server has hung up."""
    with listening(lambda _: None) as url:
        store = RedisStore(url, memory=None)
        times = []
        for _ in range(5):
            began = time.monotonic()
            with anyio.move_on_after(0.01):
                await store.fetch(KEY, TAG)
            times.append(time.monotonic() - began)
        assert min(times) < 0.035, times

    async def running() -> list[str]:
        return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert until(lambda: not engine().run(running), 3)
    store.close()


HAMMER = """
import asyncio, logging, os, random, sys, time
import anyio
from fastclient.cache.entry import Entry
from fastclient.cache.redis.link import Link
from fastclient.cache.redis.store import RedisStore
logging.disable()
Link.patience = 0.5  # the machine may be busy
store = RedisStore(sys.argv[1], memory=None)
rng = random.Random()
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[2])
hits, slowest = [], 0.0
async def worker():
    global slowest
    while time.monotonic() < end:
        key = rng.randrange(50).to_bytes(32, "big")
        store.get(key)
        began = time.monotonic()
        found = await store.fetch(key, b"t" * 8)
        slowest = max(slowest, time.monotonic() - began)
        if found is None:
            store.put(key, Entry(stored=time.time(), text=key.hex()), tag=b"t" * 8, lifetime=rng.choice((0.05, 60)))
        else:
            assert found.text == key.hex()
            hits.append(time.monotonic())
        await anyio.sleep(0.002)
async def main():
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(worker)
for world in ("asyncio", "trio", "asyncio", "trio"):  # forked, because importing everything four times takes seconds
    if os.fork() == 0:
        rng.seed(os.getpid())
        anyio.run(main, backend=world)
        store.close()
        late = sum(hit > end - 0.5 for hit in hits)
        os.write(1, b"%d %d %d %d\\n" % (len(hits), late, store.stats().failures, 1000 * slowest))
        sys.exit()
for _ in range(4):
    os.wait()
"""


def test_four_processes_outlive_their_server(server: RedisServer) -> None:
    """Under load the server is killed and started again, twice: nobody hears an error, and in the end all have hits."""
    command = [sys.executable, "-W", "error", "-c", HAMMER, server.url, "2.6"]
    programs = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert programs.stdout is not None
    assert programs.stdout.readline() == "ready\n"
    for _ in range(2):
        time.sleep(0.4)
        server.kill()
        time.sleep(0.25)
        server.start()
    out, complaints = programs.communicate(timeout=30)
    assert (programs.returncode, complaints) == (0, "")
    outcomes = [line.split() for line in out.splitlines()]
    assert [len(outcome) for outcome in outcomes] == [4] * 4, out
    for hits, late, _, _ in outcomes:
        assert int(hits) >= int(late) > 20, out
    assert sum(int(failures) for _, _, failures, _ in outcomes) >= 4, out
