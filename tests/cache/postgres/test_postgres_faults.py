"""A PostgreSQL that is away, slow, stopped, or refuses: calls go on without it, and with it when it is back."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import psycopg
import pytest

from fastclient.cache.postgres import PostgresIndex
from fastclient.cache.postgres.link import Link
from fastclient.engine.hop import Away
from tests.cache.postgres.questions import DIM, PARTITION, TAG, blocking, direction, known
from tests.cache.postgres.server import PASSWORD, PostgresServer, until
from tests.cache.redis_server import free_port

Make = Callable[..., PostgresIndex]
pytestmark = pytest.mark.slow  # once, on one Python

NOTHING = lambda _: None  # noqa: E731


@contextmanager
def listening(talk: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a socket that takes connections and does to each of them what `talk` does."""
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
            yield listener.getsockname()[1]
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


BROKEN = {
    "black hole": NOTHING,
    "closing": socket.socket.close,
    "http": saying(b"HTTP/1.1 400 Bad Request\r\nserver: none\r\n\r\n"),
    "bytes": saying(bytes(range(256)) * 20),
    "welcome": saying(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I" + b"\xff" * 5000),
    "huge length": saying(b"R\x7f\xff\xff\xff"),
    "error": saying(b"E\0\0\0\x0aSFATAL\0\0"),
}


@pytest.fixture(params=["refused", *BROKEN])
def broken(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server that is none."""
    if request.param == "refused":
        yield f"postgresql://user:{PASSWORD}@127.0.0.1:{free_port()}/x"
        return
    with listening(BROKEN[request.param]) as port:
        yield f"postgresql://user:{PASSWORD}@127.0.0.1:{port}/x"


def found(index: PostgresIndex, number: int = 1) -> bool | None:
    """Whether a question is found; None if the server is away."""
    try:
        return any(
            one.question == f"question {number}" for one in blocking(index.nearest(PARTITION, direction(number), 1))
        )
    except Away:
        return None


def added(index: PostgresIndex, number: int = 1, **options: Any) -> None:
    blocking(index.add(known(number, **options)))


def kept(index: PostgresIndex, number: int = 1) -> None:
    """Added, and there."""

    def there() -> bool | None:
        added(index, number)
        blocking(index.aclose())
        return found(index, number)

    assert until(there, 10)


def back(index: PostgresIndex, number: int = 1) -> bool:
    """Whether what is added is found, before long."""

    def once() -> bool | None:
        added(index, number)
        return found(index, number)

    return until(once, 10)


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings, of which none has a traceback or says who we are."""
    records = [record for record in caplog.records if record.name == "fastclient" and record.levelno >= logging.INFO]
    assert not any(record.exc_info for record in records)
    assert PASSWORD not in caplog.text
    return [record.getMessage() for record in records]


# away


async def test_a_broken_server_costs_one_call_a_moment(
    broken: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The first call is late by some 50 ms, the next by nothing; an addition is dropped; it is said once."""
    caplog.set_level(logging.DEBUG)
    index = make(url=broken)
    times = []
    for number in range(6):
        began = time.monotonic()
        with pytest.raises(Away):
            await (index.answer(b"k" * 32) if number % 2 else index.nearest(PARTITION, direction(1), 1))
        times.append(time.monotonic() - began)
    assert times[0] < 0.2, times
    assert sorted(times[1:])[2] < 0.02, times
    began = time.monotonic()
    await index.add(known(1))
    assert time.monotonic() - began < 0.05
    assert until(lambda: index.stats().dropped == 1 and warned(caplog), 8)
    assert index.stats().failures >= 1
    (line,) = warned(caplog)
    assert "calls go on without it" in line
    began = time.monotonic()
    with pytest.raises(Away):
        await index.remove(b"k" * 32)
    assert time.monotonic() - began < 0.2


def test_hits_resume_when_the_server_is_back(
    server: PostgresServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed and started again: a while of nothing, then what was there before; one line for each change."""
    index = make()
    kept(index)
    caplog.clear()
    server.settle()
    server.kill()
    assert [found(index) for _ in range(50)] == [None] * 50
    server.start()
    assert until(lambda: found(index), 10)
    first, second = warned(caplog)
    assert "fails" in first
    assert "answers again" in second


def test_connections_that_died_while_idle_cost_nothing(
    server: PostgresServer, make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hangs up on the idle, or is restarted between two calls: nobody notices."""
    monkeypatch.setattr(Link, "patience", 5.0)
    index = make()
    kept(index)
    for _ in range(3):
        assert found(index)
        server.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fastclient'")
        assert found(index)
    server.settle()
    server.kill()
    server.start()
    assert found(index)
    added(index, 2)
    blocking(index.aclose())
    assert found(index, 2)
    assert (warned(caplog), index.stats().failures) == ([], 0)


def test_a_backend_is_killed(server: PostgresServer, make: Make) -> None:
    """With -9, whereupon the server throws everybody out and recovers: hits resume."""
    index = make()
    kept(index)
    server.settle()
    for pid in server.backends():
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: found(index), 10)
    assert until(server._answers)


def test_the_other_host_is_asked_where_one_is_away(server: PostgresServer, make: Make) -> None:
    """A URL may name several servers, of which one takes connections and says nothing."""
    kept(make())
    with listening(NOTHING) as port:
        index = make(url=server.url.replace(f":{server.port}", f":{port},127.0.0.1:{server.port}"))
        assert until(lambda: found(index), 15)


def test_a_table_outlives_a_crash(server: PostgresServer, make: Make, table: str) -> None:
    """Rows of the last moment may be gone, the table is not."""
    index = make()
    assert until(lambda: found(index) is False)
    server.kill()
    server.start()
    assert server.do(f"SELECT to_regclass('{table}_{DIM}') IS NOT NULL") == [(True,)]


# slow


def test_a_stopped_server_is_met_again(server: PostgresServer, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """It stops in the middle and goes on: one call is late, the others are not, and the hits come back."""
    index = make()
    kept(index)
    caplog.clear()
    go_on = server.pause()
    try:
        assert timed(lambda: found(index)) < 0.2
        assert timed(lambda: [found(index) for _ in range(20)]) < 0.2
        time.sleep(1.0)
        assert sorted(timed(lambda: found(index)) for _ in range(21))[10] < 0.02
    finally:
        go_on()
    assert back(index)
    assert "fails (no answer in time)" in warned(caplog)[0]
    assert "answers again" in warned(caplog)[-1]


def test_a_locked_table_holds_nobody_up(server: PostgresServer, make: Make, table: str) -> None:
    """Somebody works on the table for seconds: lookups do not wait for that, additions only so many."""
    index = make()
    kept(index)
    with server.raw() as other, other.transaction():
        other.execute(f"LOCK TABLE {table}_{DIM} IN ACCESS EXCLUSIVE MODE")  # type: ignore[arg-type]
        times = [timed(lambda: found(index)) for _ in range(30)]
        assert max(times) < 0.25, times
        assert sorted(times)[15] < 0.02, times
        assert timed(lambda: [added(index, number) for number in range(600)]) < 1.0
        assert until(lambda: index.stats().dropped >= 300, 10), index.stats()
    assert back(index)


@pytest.mark.parametrize("size, most", [(1000, 256), (1_500_000, 22)])
def test_writes_wait_in_a_short_line(server: PostgresServer, make: Make, table: str, size: int, most: int) -> None:
    """While a write has to wait at most 256 do, or 32 MiB; the others are dropped and counted, and lookups go on."""
    index = make()
    kept(index)
    before = index.stats().dropped
    words = random.Random(1).randbytes(size // 2).hex()
    with server.raw() as other, other.transaction():
        other.execute(f"LOCK TABLE {table}_{DIM} IN SHARE MODE")  # type: ignore[arg-type]
        for number in range(2 * most):
            added(index, number, text=words)
        assert index.stats().dropped - before >= most
        assert until(lambda: found(index))
        assert until(lambda: index.link().waiting == 0, 10)
    assert back(index)


class Deaf:
    """A proxy before a server, which may stop to pass on anything on the connections there are, and close none."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._since = 0
        self._ends: list[socket.socket] = []

    def forget(self) -> None:
        self._since += 1

    def talk(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port))
        self._ends.append(server)
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=self._pass, args=(one, other, self._since), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, since: int) -> None:
        with contextlib.suppress(OSError):
            while (data := one.recv(65536)) and since == self._since:
                other.sendall(data)
        if since == self._since:
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self._ends:
            end.close()


def test_a_connection_that_the_network_has_forgotten(server: PostgresServer, make: Make) -> None:
    """Nothing comes on it any more, and nobody says so: lookups and additions go on over new ones."""
    proxy = Deaf(server.port)
    with listening(proxy.talk) as port, contextlib.closing(proxy):
        index = make(url=server.url.replace(str(server.port), str(port)))
        kept(index)
        assert back(index, 3)
        proxy.forget()
        assert timed(lambda: found(index)) < 0.2
        assert back(index, 2)
        blocking(index.aclose())


async def test_leaving_while_the_server_is_silent(make: Make) -> None:
    """A cancelled caller does not wait for the server."""
    with listening(NOTHING) as port:
        times = []
        for _ in range(5):
            index = make(url=f"postgresql://user@127.0.0.1:{port}/x")
            began = time.monotonic()
            with anyio.move_on_after(0.01):
                await index.nearest(PARTITION, direction(1), 1)
            times.append(time.monotonic() - began)
        assert min(times) < 0.035, times


# what it refuses


@pytest.fixture
def role(server: PostgresServer, table: str) -> Iterator[str]:
    """A user who may do nothing, and is forgotten afterwards."""
    server.do(f"CREATE ROLE {table} LOGIN")
    yield table
    server.do(f"DROP OWNED BY {table}")
    server.do(f"DROP ROLE {table}")


def test_no_extension_and_no_right_to_make_it(
    server: PostgresServer, make: Make, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and what has to be done; when somebody has done it all is well."""
    database = f"database_{role}"
    server.do(f"CREATE DATABASE {database} OWNER {role}")
    index = make(url=server.url_of(role, database))
    try:
        assert until(lambda: (found(index), warned(caplog))[1], 5)
        time.sleep(1.5)
        assert found(index) is None
        (line,) = warned(caplog)
        assert "CREATE EXTENSION vector" in line
        server.do("CREATE EXTENSION vector", url=server.url_of("owner", database))
        assert back(index)
    finally:
        blocking(index.aclose())
        server.do(f"DROP DATABASE {database} WITH (FORCE)")


def test_a_table_of_somebody_else_is_left_alone(
    server: PostgresServer, make: Make, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It has our name and other columns: said once, and nothing is done to it."""
    server.do(f"CREATE TABLE {table}_{DIM} (key text, value text)")
    index = make()
    assert until(lambda: (found(index), warned(caplog))[1], 5)
    time.sleep(1.0)
    assert found(index) is None
    (line,) = warned(caplog)
    assert "other columns" in line
    assert server.do(f"SELECT count(*) FROM {table}_{DIM}") == [(0,)]


def test_who_may_only_read_finds(
    server: PostgresServer, make: Make, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Additions are refused, which is said once and counted; what is there is found."""
    kept(make())
    server.do(f"GRANT SELECT ON {role}_{DIM} TO {role}")
    index = make(url=server.url_of(role))
    assert until(lambda: found(index))
    caplog.clear()
    for number in range(5):
        added(index, number)
    assert until(lambda: index.stats().dropped == 5)
    assert found(index)
    (line,) = warned(caplog)
    assert "refuses a write (InsufficientPrivilege)" in line


def test_who_may_not_read_is_told(
    server: PostgresServer, make: Make, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, however often it is asked; and once the right is given, hits come."""
    kept(make())
    caplog.clear()
    index = make(url=server.url_of(role))
    assert until(lambda: (found(index), warned(caplog))[1], 5)
    time.sleep(1.0)
    assert [found(index) for _ in range(3)] == [None] * 3
    (line,) = warned(caplog)
    assert "InsufficientPrivilege" in line
    server.do(f"GRANT SELECT ON {role}_{DIM} TO {role}")
    assert until(lambda: found(index), 10)


def test_a_server_that_takes_no_writes_still_answers(
    server: PostgresServer, make: Make, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a replica, or one after a failover: what is there is found."""
    kept(make())
    server.do(f"GRANT ALL ON {role}_{DIM} TO {role}")
    server.do(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    index = make(url=server.url_of(role))
    assert until(lambda: found(index))
    caplog.clear()
    added(index, 2)
    assert until(lambda: index.stats().dropped == 1)
    assert found(index)
    assert "ReadOnlySqlTransaction" in warned(caplog)[0]
    server.do(f"ALTER ROLE {role} SET default_transaction_read_only = off")
    assert back(index, 2)


def test_a_table_that_is_dropped_is_made_again(server: PostgresServer, make: Make, table: str) -> None:
    """By somebody, in the middle: a moment of nothing, then it is there again."""
    index = make()
    kept(index)
    server.do(f"DROP TABLE {table}_{DIM}")
    assert back(index, 2)
    assert server.do(f"SELECT count(*) > 0 FROM {table}_{DIM}") == [(True,)]


def test_no_room_for_another_connection(server: PostgresServer, make: Make, role: str) -> None:
    """The server has its limit: nobody hears an error, and when there is room again there are hits."""
    kept(make())
    server.do(f"GRANT ALL ON {role}_{DIM} TO {role}")
    server.do(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    with psycopg.connect(server.url_of(role)):
        index = make(url=server.url_of(role))
        assert found(index) is None
    server.do(f"ALTER ROLE {role} CONNECTION LIMIT -1")
    assert until(lambda: found(index), 10)


# processes


HAMMER = """
import logging, os, random, sys, time
import anyio
from fastclient.cache.postgres import PostgresIndex
from fastclient.cache.postgres.link import Link
from fastclient.engine.hop import Away
from tests.cache.postgres.questions import DIM, PARTITION, direction, known
logging.disable()
Link.patience = 0.5  # the machine may be busy
index = PostgresIndex(sys.argv[1], table=sys.argv[2])
index.bind("an embedder", DIM)
rng = random.Random()
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[3])
hits = []
async def worker():
    while time.monotonic() < end:
        number = rng.randrange(50)
        try:
            near = await index.nearest(PARTITION, direction(number), 1)
            entry = await index.answer(near[0].key) if near else None
        except Away:
            near = entry = None
        if near and entry is not None and near[0].question == f"question {number}":
            assert entry.text == f"answer {number}"
            hits.append(time.monotonic())
        else:
            await index.add(known(number, lifetime=rng.choice((0.05, 60))))
        await anyio.sleep(0.005)
async def main():
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(worker)
    await index.aclose()
for world in ("asyncio", "trio", "asyncio", "trio"):  # forked, because importing everything four times takes seconds
    if os.fork() == 0:
        rng.seed(os.getpid())
        anyio.run(main, backend=world)
        late = sum(hit > end - 1 for hit in hits)
        os.write(1, b"%d %d %d\\n" % (len(hits), late, index.stats().failures))
        sys.exit()
for _ in range(4):
    os.wait()
"""


def test_four_processes_outlive_their_server(server: PostgresServer, table: str) -> None:
    """Under load the server is killed and started again, twice: nobody hears an error, and in the end all have hits."""
    command = [sys.executable, "-W", "error", "-c", HAMMER, server.url, table, "8"]
    programs = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert programs.stdout is not None
    assert programs.stdout.readline() == "ready\n"
    for _ in range(2):
        time.sleep(0.8)
        server.kill()
        time.sleep(0.3)
        server.start()
    out, complaints = programs.communicate(timeout=60)
    assert (programs.returncode, complaints) == (0, "")
    outcomes = [line.split() for line in out.splitlines()]
    assert [len(outcome) for outcome in outcomes] == [3] * 4, out
    for hits, late, _ in outcomes:
        assert int(hits) >= int(late) > 20, out
    assert sum(int(failures) for _, _, failures in outcomes) >= 4, out


def test_forgetting_after_all_that(server: PostgresServer, make: Make) -> None:
    """After all of the above, an index still forgets what it is told to."""
    index = make()
    kept(index)
    assert blocking(index.forget(TAG, (), time.time() + 1)) == 1
    assert found(index) is False
