"""Answers in a real Redis: they come back as they were, to whoever may have them, for as long as they live."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from fastclient.cache.circuit import Circuit
from fastclient.cache.entry import Entry
from fastclient.cache.key import tag_of
from fastclient.cache.memory import MemoryStore
from fastclient.cache.redis.link import Link
from fastclient.cache.redis.store import RedisStore
from fastclient.cache.seal import SEALED_MAX, sealed
from fastclient.cache.store import Store
from fastclient.engine.hop import on_engine
from fastclient.engine.seam import engine
from fastclient.errors import ConfigError, ConnectFailed
from fastclient.types import Chunk
from tests.cache.redis_server import RedisServer, free_port, until

KEY, OTHER = b"k" * 32, b"o" * 32
TAG = tag_of("default")


def entry(text: str = "forty-two", stored: float = 1e9) -> Entry:
    chunks = [Chunk(word, model="m", raw=b"data: " + word.encode()) for word in re.findall(r"\S+ ?", text)]
    return Entry.of([*chunks, Chunk(finish_reason="stop", model="m")], stored=stored)


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
    """An empty one."""
    started.do("FLUSHALL")
    return started


@pytest.fixture
def make(server: RedisServer) -> Iterator[Callable[..., RedisStore]]:
    """Makes stores without a memory of their own, so that what they find was on the server."""
    made = []

    def making(**options: Any) -> RedisStore:
        store = RedisStore(server.url, **{"memory": None, **options})
        made.append(store)
        return store

    yield making
    for store in made:
        store.close()


def fetched(store: RedisStore, key: bytes = KEY, tag: bytes = TAG) -> Entry | None:
    """As below the seam: on the engine's own loop."""
    return engine().run(lambda: store.fetch(key, tag))


def kept(
    store: RedisStore, key: bytes = KEY, value: Entry | None = None, tag: bytes = TAG, lifetime: float = 60
) -> None:
    """Put, and wait until it is written."""
    store.put(key, value or entry(), tag=tag, lifetime=lifetime)
    store.close()


def said(found: Entry | None) -> str | None:
    return None if found is None else found.text


def tasks() -> set[str]:
    """The tasks on the engine's loop, apart from the one that asks."""

    async def names() -> set[str]:
        return {repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    return engine().run(names)


# what is written comes back


async def test_an_answer_comes_back_to_another_process(make: Callable[..., RedisStore]) -> None:
    """On asyncio and on trio: what one store wrote another reads, whole and chunk by chunk."""
    written = entry("one two three")
    kept(make(), value=written)
    reader = make()
    found = await reader.fetch(KEY, TAG)
    assert found is not None
    assert found.encoded() == written.encoded()
    assert [chunk.text for chunk in found.chunks()] == ["one ", "two ", "three", ""]
    assert await reader.fetch(OTHER, TAG) is None
    assert (reader.stats().hits, reader.stats().misses) == (1, 1)


def test_it_is_a_store(make: Callable[..., RedisStore]) -> None:
    """It offers what the layers above expect."""
    store: Store = make()
    assert isinstance(store, Store)


def test_threads_share_a_store(make: Callable[..., RedisStore]) -> None:
    """Sixteen threads, each with an event loop of its own or none, write and read at once."""
    store = make()

    def use(number: int) -> bool:
        key = number.to_bytes(32, "big")
        store.put(key, entry(f"answer {number}"), tag=TAG, lifetime=60)
        if number % 2:
            return until(lambda: said(fetched(store, key)) == f"answer {number}", 2)
        return until(lambda: said(asyncio.run(store.fetch(key, TAG))) == f"answer {number}", 2)

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(use, range(48)))


def test_memory_comes_first(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """`get` answers from memory alone; what was put or fetched is there, and the server need not be."""
    store, reader = make(memory=MemoryStore()), make(memory="own")
    assert store.get(KEY) is None
    kept(store)
    found = store.get(KEY)
    assert found is not None
    assert (found.entry.text, found.source) == ("forty-two", "memory")
    assert reader.get(KEY) is None
    assert said(fetched(reader)) == "forty-two"
    server.do("FLUSHALL")
    assert reader.get(KEY) is not None
    stats = reader.stats()
    assert (stats.entries, stats.hits, stats.misses) == (1, 2, 0)


@pytest.mark.parametrize("lifetime, least, most", [(60, 55_000, 60_000), (0.25, 1, 250), (1e18, 3e11, 4e11)])
def test_lifetimes_are_honoured(
    lifetime: float, least: float, most: float, make: Callable[..., RedisStore], server: RedisServer
) -> None:
    """The server forgets an entry when its time is over."""
    store = make()
    kept(store, lifetime=lifetime)
    assert least <= server.do("PTTL", store.name(KEY, TAG)) <= most
    if lifetime < 1:
        assert until(lambda: fetched(store) is None, 1)


def test_names_tell_nothing_but_where_they_belong(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """A name is the prefix, the namespace's tag and the key."""
    kept(make(prefix="team/a"))
    assert server.names() == [f"team/a:{TAG.hex()}:{KEY.hex()}"]
    assert fetched(make()) is None


# whose answers they are


def test_a_tenant_never_sees_anothers_answers(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """Another key, or another tag, is another entry; and removing one tenant's leaves the other's."""
    store = make(memory="own")
    for tenant in ("a", "b"):
        for number in range(700):
            key = f"{tenant}{number}".encode().ljust(32)
            store.put(key, entry(f"canary of {tenant}"), tag=tag_of(tenant), lifetime=60)
            if number % 200 == 0:
                store.close()
    store.close()
    own, other = b"a1".ljust(32), b"b1".ljust(32)
    assert said(fetched(store, own, tag_of("a"))) == "canary of a"
    assert fetched(make(), own, tag_of("b")) is None
    assert fetched(make(), other, tag_of("a")) is None
    assert store.purge("a") == 700
    assert store.purge("a") == 0
    assert store.get(own) is None
    assert fetched(store, own, tag_of("a")) is None
    assert said(fetched(store, other, tag_of("b"))) == "canary of b"
    assert len(server.names()) == 700


def test_purging_without_a_server_is_an_error() -> None:
    """Who asks for removal learns that it did not happen."""
    with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1"):
        RedisStore(f"redis://user:canary-password@127.0.0.1:{free_port()}").purge("default")


def test_flipped_bits_are_misses(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """Whatever bit of a stored value changes, it is no answer any more, and is removed."""
    store = make()
    good = sealed(KEY, entry(), b"")
    rng = random.Random(7)
    name = store.name(KEY, TAG)
    for number in range(60):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        server.do("SET", name, bytes(bad))
        assert fetched(store) is None, number
        assert until(lambda: not server.do("EXISTS", name))
    assert store.stats().rejected == 60
    kept(store)
    assert said(fetched(store)) == "forty-two"


@pytest.mark.parametrize("nonsense", [b"", b"x", b"\xff" * 16, b"0" * 17, os.urandom(5000)])
def test_nonsense_is_a_miss(nonsense: bytes, make: Callable[..., RedisStore], server: RedisServer) -> None:
    """Any other bytes under our names are no answers."""
    store = make()
    server.do("SET", store.name(KEY, TAG), nonsense)
    assert fetched(store) is None
    assert store.stats().rejected == (1 if nonsense else 0)


def test_swapped_values_are_misses(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """A value holds for its own key only."""
    store = make()
    kept(store)
    server.do("COPY", store.name(KEY, TAG), store.name(OTHER, TAG))
    assert fetched(store, OTHER) is None
    assert said(fetched(store)) == "forty-two"


@pytest.mark.parametrize("size", [5 * 2**20, SEALED_MAX + 1])
def test_oversized_values_are_misses(size: int, make: Callable[..., RedisStore], server: RedisServer) -> None:
    """A value too large to be brought in time is not brought at all."""
    store = make()
    server.do("SETRANGE", store.name(KEY, TAG), size - 1, "x")
    assert fetched(store) is None
    assert store.stats().rejected == 1
    assert not server.names()


def test_oversized_answers_are_not_written(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """They are dropped, and counted."""
    store = make()
    kept(store, value=Entry(stored=0, text=os.urandom(2500).hex() * 1000))
    assert not server.names()
    assert (store.stats().dropped, store.stats().stored) == (1, 0)


def test_values_of_another_type_are_misses(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """Somebody put a list where an answer belongs."""
    store = make()
    server.do("RPUSH", store.name(KEY, TAG), "x")
    assert fetched(store) is None
    assert store.stats().rejected == 1
    assert not server.names()


def test_a_secret_keeps_strangers_entries_out(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """Only who knows the secret can write what the others believe; a str and its bytes are one secret."""
    kept(make())
    assert fetched(make(secret="ours")) is None
    kept(make(secret="ours"))
    assert said(fetched(make(secret=b"ours"))) == "forty-two"
    assert fetched(make(secret="theirs")) is None


# what must not be shown


@pytest.mark.parametrize(
    "url",
    [
        *("", "canary", "http://canary@host", "redis://", "redis://:canary@", "redis:u:canary@host/0"),
        *("redis://u:canary@host:bad/0", "redis://u:canary@[::1/0", "redis://u:canary@host:99999"),
        *("redis://u:canary/x@host/0", "redis://u:canary#x@host", "redis://u:canary?x@host", "redis://host/canary"),
        *("redis://host?canary=1", "redis://host?db=canary", "redis://u:can ary@host", "redis://host/0#canary"),
        *(
            "unix://canary",
            "redis://host/0?socket_timeout=canary",
            "redis://host/0?ssl_canary=1",
            "redis://u:ca\nnary@h",
        ),
        *(b"redis://u:canary@host", None, 7),
    ],
)
def test_bad_urls_are_refused_unseen(url: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The error names the field and shows nothing of the URL, nor does the chain behind it."""
    with pytest.raises(ConfigError) as caught:
        RedisStore(url)
    assert caught.value.field == "redis.url"
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__} {caught.value.__context__!r} {caplog.text}"
    assert "canary" not in shown.replace("ssl_canary", "canary")


@pytest.mark.parametrize(
    "url",
    [
        *("redis://host", "redis://user:canary@host:6380/3", "redis://:canary@host/", "rediss://canary@host?db=2"),
        *("rediss://host?ssl_cert_reqs=none&ssl_check_hostname=false", "redis://[::1]:7000/0"),
        *("unix:///tmp/redis.sock?db=1&password=canary", "redis://host?client_name=fc&password=canary"),
    ],
)
def test_good_urls_are_shown_without_secrets(url: str) -> None:
    """What redis-py takes is taken; its repr has host and port, never who and how."""
    store = RedisStore(url, secret="canary")
    assert "canary" not in repr(store)
    assert "RedisStore('" in repr(store)


@pytest.mark.parametrize(
    "options, field",
    [
        *(({"memory": 5}, "redis.memory"), ({"memory": "other"}, "redis.memory"), ({"secret": ""}, "redis.secret")),
        *(({"secret": 5}, "redis.secret"), ({"prefix": ""}, "redis.prefix"), ({"prefix": "a*"}, "redis.prefix")),
        *(({"prefix": "a b"}, "redis.prefix"), ({"prefix": "a\n"}, "redis.prefix"), ({"prefix": None}, "redis.prefix")),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], field: str) -> None:
    """Each names its field."""
    with pytest.raises(ConfigError) as caught:
        RedisStore("redis://host", **options)
    assert caught.value.field == field


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py is an extra."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"pip install .fastclient\[redis\]."):
        RedisStore("redis://host")


# its life


def test_a_closed_store_opens_again(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """Closing writes what waits and leaves no connection; the next use connects anew."""
    store = make()
    for number in range(50):
        store.put(bytes([number]) * 32, entry(), tag=TAG, lifetime=60)
    store.close()
    assert len(server.names()) == 50
    assert until(lambda: len(server.do("CLIENT", "LIST").splitlines()) == 1)
    assert said(fetched(store, bytes(32))) == "forty-two"
    store.close()
    store.close()


def test_opening_connects_in_the_background(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """After `open` the first call finds connections."""
    store = make()
    store.open()
    assert until(lambda: len(server.do("CLIENT", "LIST").splitlines()) == 3)
    assert store.stats().failures == 0
    assert not store.link().circuit.is_open


def test_a_dropped_store_leaves_no_connection(make: Callable[..., RedisStore], server: RedisServer) -> None:
    """Nobody has to close it."""
    store = RedisStore(server.url)
    kept(store)
    fetched(store, OTHER)
    assert len(server.do("CLIENT", "LIST").splitlines()) > 1
    del store
    assert until(lambda: len(server.do("CLIENT", "LIST").splitlines()) == 1)


PROGRAM = """
import os, sys, time, asyncio
from fastclient.cache.redis.link import Link
from fastclient.cache.redis.store import RedisStore
from fastclient.cache.entry import Entry
from fastclient.engine.seam import engine
Link.patience = 2.0
store = RedisStore(sys.argv[1], memory=None)
def put(n): store.put(bytes([n]) * 32, Entry(stored=time.time(), text=str(n)), tag=b"t", lifetime=60)
def get(n, run=lambda work: engine().run(work)):
    return run(lambda: store.fetch(bytes([n]) * 32, b"t")).text
"""


def program(server: RedisServer, code: str, *options: str) -> tuple[str, str]:
    """What a program of its own prints, and what it complains of."""
    command = [sys.executable, "-W", "error", *options, "-c", PROGRAM + code, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_what_was_put_in_the_last_moment_is_written(server: RedisServer) -> None:
    """A program that ends right after its only call has kept the answer, and ends without a complaint."""
    assert program(server, "put(1)") == ("", "")
    code = "print(get(1)); print(get(1, lambda work: asyncio.run(work())))"
    assert program(server, code) == ("1\n1", "")


def test_forked_children_make_their_own_connections(server: RedisServer) -> None:
    """Parent and child go on with the same store, and each ends without a complaint."""
    code = """
put(1); put(2); store.close()
print(get(1), flush=True)
if os.fork() == 0:
    put(3)
    print(get(2), flush=True)
    sys.exit()
os.wait()
print(get(3), get(1), flush=True)
"""
    ignored = "ignore:This process:DeprecationWarning"  # Python's own, about forks beside threads
    assert program(server, code, "-W", ignored) == ("1\n2\n3 1", "")


# the way to the engine


async def test_work_on_the_engine_answers_on_any_loop() -> None:
    """Results and errors cross; the work runs on the engine's loop, here or from there."""

    async def where() -> str:
        return threading.current_thread().name

    async def inner() -> str:
        return await on_engine(where)

    async def broken() -> None:
        raise LookupError("as it was")

    assert await on_engine(where) == "fastclient"
    assert await on_engine(inner) == "fastclient"
    with pytest.raises(LookupError, match="as it was"):
        await on_engine(broken)


async def test_whoever_is_cancelled_leaves_at_once() -> None:
    """The work on the engine is cancelled with its caller."""
    ended = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    began = time.monotonic()
    with anyio.move_on_after(0.05):
        await on_engine(endless)
    assert time.monotonic() - began < 0.5
    assert ended.wait(1)
    assert until(lambda: not any("endless" in name for name in tasks()))


async def test_a_result_nobody_took_is_handed_over() -> None:
    """Work that cannot be stopped any more gives what it has to whoever cleans up."""
    lost: list[str] = []

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "mine"
        return "never"

    with anyio.move_on_after(0.05):
        await on_engine(stubborn, lost.append)
    assert until(lambda: lost == ["mine"])


async def test_many_at_once_are_served(make: Callable[..., RedisStore]) -> None:
    """Five hundred callers at the same moment share a few round trips, and all get an answer."""
    store = make()
    kept(store)
    found: list[Entry | None] = []

    async def fetch() -> None:
        found.append(await store.fetch(KEY, TAG))

    async with anyio.create_task_group() as group:
        for _ in range(500):
            group.start_soon(fetch)
    assert [said(each) for each in found] == ["forty-two"] * 500
    assert not store.link().circuit.is_open
    assert until(lambda: said(fetched(store)) == "forty-two")
    assert until(lambda: not tasks())


def test_a_server_in_trouble_is_left_alone_longer_each_time() -> None:
    """Half a second, doubling to thirty, give or take a quarter; what fails together counts once."""
    circuit, now = Circuit(), 100.0
    assert not circuit.is_open
    for number in range(12):
        assert circuit.failed(now) is (number == 0)
        assert circuit.failed(now) is False
        hold = min(30.0, 0.5 * 2**number)
        assert circuit.is_open
        assert not circuit.due(now + 0.74 * hold)
        now += 1.26 * hold
        assert circuit.due(now)
    assert circuit.worked(tried=True)
    assert not circuit.worked()
    assert circuit.failed(now)
    assert not circuit.due(now + 0.36)
    assert circuit.due(now + 0.64)


def test_nothing_is_logged_while_all_is_well(make: Callable[..., RedisStore], caplog: pytest.LogCaptureFixture) -> None:
    """A store that works is silent."""
    caplog.set_level(logging.DEBUG, "fastclient")
    store = make()
    kept(store)
    fetched(store)
    fetched(store, OTHER)
    store.purge("default")
    assert not [record for record in caplog.records if record.name == "fastclient"]


def test_files_of_the_tests_are_where_they_belong(tmp_path: Path) -> None:
    """The server of these tests leaves nothing behind."""
    server = RedisServer(tmp_path)
    server.start()
    server.kill()
    assert not list(tmp_path.iterdir())
