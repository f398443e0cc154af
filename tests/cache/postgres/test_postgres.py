"""Questions in a real PostgreSQL: they are found by whoever may find them, as they were, for as long as they live."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import numpy as np
import pytest

from fastclient.cache.entry import Entry
from fastclient.cache.postgres import PostgresIndex
from fastclient.cache.postgres.link import Link
from fastclient.cache.postgres.sql import SESSION
from fastclient.cache.semantic.port import Questions
from fastclient.engine.hop import on_engine
from fastclient.errors import ConfigError
from tests.cache.postgres.questions import DIM, OTHER, PARTITION, TAG, blocking, direction, known
from tests.cache.postgres.server import PASSWORD, PostgresServer, until

Make = Callable[..., PostgresIndex]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is very busy a server may need longer than calls wait; how long they do is tested elsewhere."""
    monkeypatch.setattr(Link, "patience", 5.0)


async def kept(index: PostgresIndex, *those: Any) -> None:
    """Add, and wait until it is written."""
    for at, each in enumerate(those):
        await index.add(each)
        if at % 100 == 99:
            await index.aclose()
    await index.aclose()


def said(entry: Entry | None) -> str | None:
    return None if entry is None else entry.text


# what is written comes back


async def test_a_question_is_found_by_another_process(make: Make) -> None:
    """On asyncio and on trio: what one index wrote another finds, with the cosine, and the answer as it was."""
    written = known(1)
    await kept(make(), written, known(2))
    reader = make()
    asked = direction(1) + 0.1 * direction(7)
    asked /= np.linalg.norm(asked)
    near = await reader.nearest(PARTITION, asked, 5)
    assert [one.question for one in near] == ["question 1", "question 2"]
    assert near[0].key == written.key
    assert abs(near[0].cosine - float(direction(1) @ asked)) < 2e-3
    found = await reader.answer(near[0].key)
    assert found is not None
    assert found.encoded() == written.entry.encoded()


async def test_no_more_than_asked_for_and_nearest_first(make: Make) -> None:
    """Of many the nearest come, in order."""
    await kept(make(), *(known(number) for number in range(30)))
    near = await make().nearest(PARTITION, direction(3), 4)
    right = sorted(range(30), key=lambda number: -float(direction(number) @ direction(3)))[:4]
    assert [one.question for one in near] == [f"question {number}" for number in right]


async def test_a_key_is_kept_once(make: Make) -> None:
    """The same question again replaces its answer."""
    index = make()
    await kept(index, known(1, text="before"), known(1, text="after"))
    (near,) = await index.nearest(PARTITION, direction(1), 5)
    assert said(await index.answer(near.key)) == "after"


async def test_what_is_not_there_is_not_found(make: Make) -> None:
    """An empty table, and a key that nobody wrote; both are counted."""
    index = make()
    assert list(await index.nearest(PARTITION, direction(1), 5)) == []
    assert await index.answer(b"x" * 32) is None
    assert index.stats().misses == 2


def test_it_is_a_place_for_questions(make: Make) -> None:
    """It has what the semantic cache asks for."""
    place: Questions = make()
    assert place is not None


def test_threads_share_an_index(make: Make) -> None:
    """Twenty threads at once, none with an event loop: each finds its own question."""
    index = make()
    blocking(kept(index, *(known(number) for number in range(20))))

    def own(number: int) -> str:
        return blocking(index.nearest(PARTITION, direction(number), 1))[0].question

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(own, range(20))) == [f"question {number}" for number in range(20)]


@pytest.mark.parametrize("dim", [1, 384, 1536, 3072, 5000])
def test_vectors_of_any_length(make: Make, dim: int) -> None:
    """Short ones and those of the largest embedders; each length has a table of its own."""
    index = make(dim=dim)
    blocking(kept(index, known(1, vector=direction(1, dim), question="q" * 5000)))
    (near,) = blocking(index.nearest(PARTITION, direction(1, dim), 1))
    assert near.cosine == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("question", ["half \ud800", "nothing \0 in it"])
def test_words_that_the_server_cannot_hold(make: Make, question: str) -> None:
    """They are not kept, which is counted; what comes after them is."""
    index = make()
    blocking(kept(index, known(1, question=question), known(2)))
    assert (index.stats().dropped, index.stats().stored) == (1, 1)
    assert [one.question for one in blocking(index.nearest(PARTITION, direction(1), 5))] == ["question 2"]


def test_answers_of_any_size(make: Make) -> None:
    """One of a megabyte comes back; one that no network brings in time is not kept."""
    index = make()
    large, huge = (np.random.default_rng(1).bytes(size).hex() for size in (500_000, 2_500_000))
    blocking(kept(index, known(1, text=large), known(2, text=huge)))
    assert said(blocking(index.answer(known(1).key))) == large
    assert blocking(index.answer(known(2).key)) is None
    assert (index.stats().dropped, index.stats().stored) == (1, 1)


# what is forgotten


async def test_the_expired_are_never_returned(make: Make, server: PostgresServer, table: str) -> None:
    """Neither found nor answered, although they are still there."""
    index = make()
    await kept(index, known(1, lifetime=1.0), known(2))
    with anyio.move_on_after(20):
        while len(await index.nearest(PARTITION, direction(1), 5)) == 2:
            await anyio.sleep(0.05)
    assert [one.question for one in await index.nearest(PARTITION, direction(1), 5)] == ["question 2"]
    assert await index.answer(known(1).key) is None
    assert server.do(f"SELECT count(*) FROM {table}_{DIM}") == [(2,)]


async def test_the_expired_are_deleted(make: Make, server: PostgresServer, table: str) -> None:
    """By the next who tidies up: any process, when it adds something."""
    await kept(make(), known(1, lifetime=-1.0), known(2))
    await kept(make(), known(3))
    left = lambda: server.do(f"SELECT question FROM {table}_{DIM} ORDER BY question")  # noqa: E731
    assert until(lambda: left() == [("question 2",), ("question 3",)]), left()


async def test_a_question_is_removed(make: Make) -> None:
    """Alone; what is not there is removed without a word."""
    index = make()
    await kept(index, known(1), known(2))
    await index.remove(known(1).key)
    await index.remove(known(5).key)
    assert await index.answer(known(1).key) is None
    assert said(await index.answer(known(2).key)) == "answer 2"


@pytest.mark.parametrize(
    "tag, labels, before, left",
    [
        (None, (), 1e12, []),
        (None, (), 150.0, [2, 3]),
        (TAG, (), 1e12, [3]),
        (None, ("red",), 1e12, [2]),
        (None, ("blue", "red"), 1e12, []),
        (TAG, ("red",), 1e12, [2, 3]),
        (TAG, ("blue",), 150.0, [1, 2, 3]),
        (None, ("none",), 1e12, [1, 2, 3]),
    ],
)
def test_forgetting_by_namespace_label_and_age(
    make: Make, tag: bytes | None, labels: tuple[str, ...], before: float, left: list[int]
) -> None:
    """What was stored before, has the tag, and any of the labels, is gone, and nothing else."""
    index = make()
    one = known(1, stored=100.0, labels=("red",))
    two = known(2, stored=200.0, labels=("blue",))
    three = known(3, stored=300.0, labels=("blue", "red"), tag=b"another!")
    blocking(kept(index, one, two, three))
    assert blocking(index.forget(tag, labels, before)) == 3 - len(left)
    near = blocking(index.nearest(PARTITION, direction(1), 5))
    assert sorted(each.question for each in near) == [f"question {number}" for number in left]


@pytest.mark.parametrize("from_there", [False, True])
async def test_what_waits_to_be_written_is_forgotten_too(make: Make, from_there: bool) -> None:
    """Nobody has to wait before it forgets, wherever it is called from: the engine's own loop, too."""
    index = make()

    async def at_once() -> int:
        for number in range(50):
            await index.add(known(number))
        return await index.forget(TAG, (), time.time() + 1)

    assert await (on_engine(at_once) if from_there else at_once()) == 50
    assert list(await index.nearest(PARTITION, direction(1), 5)) == []


def test_a_table_is_bounded(make: Make, server: PostgresServer, table: str) -> None:
    """Beyond `most` the oldest go, and the newest stay; it is counted."""
    index = make(most=100)
    blocking(kept(index, *(known(number, stored=float(number)) for number in range(300))))
    blocking(kept(make(most=100), known(300, stored=300.0)))
    count = lambda: server.do(f"SELECT count(*), min(stored), max(stored) FROM {table}_{DIM}")[0]  # noqa: E731
    assert until(lambda: count() == (100, 201.0, 300.0)), count()
    assert index.stats().evicted >= 150


# who may find what


async def test_namespaces_never_cross(make: Make) -> None:
    """Two tenants ask the same at the same time, thousands of times: each finds its own answer, always."""
    index = make()
    tenants = {PARTITION: "mine", OTHER: "yours"}
    for partition, word in tenants.items():
        await kept(index, *(known(number, partition=partition, text=f"{word} {number}") for number in range(40)))
    found: list[str | None] = []

    async def ask(partition: bytes, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for number in rng.integers(40, size=100):
            near = await index.nearest(partition, direction(int(number)), 2)
            assert near[0].question == f"question {number}"
            if number % 4 == 0:
                found.append(said(await index.answer(near[0].key)))
                assert found[-1] == f"{tenants[partition]} {number}"

    async with anyio.create_task_group() as group:
        for seed in range(20):
            group.start_soon(ask, (PARTITION, OTHER)[seed % 2], seed)
    assert len(found) > 300


def recall(index: PostgresIndex, partition: bytes, own: range) -> float:
    """How many of the five nearest are found; that there are five, all the partition's, is asserted."""
    rows = np.stack([direction(number) for number in own])
    found = 0
    for seed in range(5000, 5100):
        right = {own[at] for at in np.argsort(-(rows @ direction(seed)))[:5]}
        numbers = {int(one.question.split()[1]) for one in blocking(index.nearest(partition, direction(seed), 5))}
        assert numbers <= set(own)
        assert len(numbers) == 5
        found += len(numbers & right)
    return found / 500


@pytest.mark.parametrize("analysed", [False, True])
def test_small_partitions_beside_a_large_one(
    make: Make, server: PostgresServer, table: str, monkeypatch: pytest.MonkeyPatch, analysed: bool
) -> None:
    """One has one in a hundred rows and is exact, the others are searched in a graph, and well enough.

    Whatever the server believes to know about the table. The graph's limits are those of a table fifty times as large.
    """
    monkeypatch.setattr("fastclient.cache.postgres.sql._EXACT", 20)
    monkeypatch.setattr("fastclient.cache.postgres.link.SESSION", f"{SESSION}; SET hnsw.max_scan_tuples = 400")
    index = make()
    shares = {PARTITION: range(940), b"m" * 32: range(940, 990), OTHER: range(990, 1000)}
    for partition, own in shares.items():
        blocking(kept(index, *(known(number, partition=partition) for number in own)))
    if analysed:
        server.do(f"VACUUM ANALYZE {table}_{DIM}")
    large, middle, small = (recall(index, partition, own) for partition, own in shares.items())
    assert small == 1.0
    assert large > 0.97
    assert middle > 0.8


# what is not believed

EDITS = {
    "question": "question = 'another'",
    "tag": "tag = 'another!'",
    "vector": "vector = (SELECT vector FROM {t} WHERE question = 'question 2')",
    "labels": "labels = ARRAY['another']",
    "stored": "stored = stored + 1",
    "expires": "expires = expires + 1000",
    "mark": "mark = decode('00', 'hex')",
    "key": "key = decode(repeat('ab', 32), 'hex')",
}


@pytest.mark.parametrize("column", EDITS)
def test_an_edited_row_is_dropped(make: Make, server: PostgresServer, table: str, column: str) -> None:
    """Whatever was changed by hand: it is neither found nor answered, and is deleted; its neighbour is found."""
    index = make()
    blocking(kept(index, known(1), known(2)))
    name = f"{table}_{DIM}"
    server.do(f"UPDATE {name} SET {EDITS[column].format(t=name)} WHERE question = 'question 1'")
    assert blocking(index.answer(known(1).key)) is None
    near = blocking(index.nearest(PARTITION, direction(1), 5))
    assert [one.question for one in near] == ["question 2"]
    assert index.stats().rejected >= 1
    assert until(lambda: server.do(f"SELECT count(*) FROM {name}") == [(1,)])


def test_a_row_moved_to_another_partition_is_dropped(make: Make, server: PostgresServer, table: str) -> None:
    """Nobody finds what was written for somebody else."""
    index = make()
    blocking(kept(index, known(1)))
    server.do(f"UPDATE {table}_{DIM} SET partition = %s", OTHER)
    assert list(blocking(index.nearest(OTHER, direction(1), 5))) == []
    assert blocking(index.answer(known(1).key)) is None
    assert index.stats().rejected >= 1


@pytest.mark.parametrize(
    "answer",
    ["decode('00', 'hex')", "answer || '\\x00'::bytea", "(SELECT answer FROM {t} WHERE question <> 'question 1')"],
)
def test_an_edited_answer_is_dropped(make: Make, server: PostgresServer, table: str, answer: str) -> None:
    """Cut, longer, or that of another question."""
    index = make()
    blocking(kept(index, known(1), known(2)))
    name = f"{table}_{DIM}"
    server.do(f"UPDATE {name} SET answer = {answer.format(t=name)} WHERE question = 'question 1'")
    assert blocking(index.answer(known(1).key)) is None
    assert said(blocking(index.answer(known(2).key))) == "answer 2"
    assert index.stats().rejected == 1
    assert until(lambda: server.do(f"SELECT count(*) FROM {name}") == [(1,)])


@pytest.mark.parametrize("other", [None, "another secret"])
async def test_a_secret_keeps_strangers_out(make: Make, other: str | None) -> None:
    """Rows of somebody who does not know it are not believed; those of one who does are."""
    await kept(make(secret=other), known(1))
    index = make(secret="the secret")
    assert list(await index.nearest(PARTITION, direction(1), 5)) == []
    assert await index.answer(known(1).key) is None
    await kept(make(secret=b"the secret"), known(1))
    assert said(await index.answer(known(1).key)) == "answer 1"


# processes


WRITER = """
import os, sys
import anyio
from fastclient.cache.postgres import PostgresIndex
from fastclient.cache.postgres.link import Link
from tests.cache.postgres.questions import DIM, PARTITION, direction, known
Link.patience = 5.0
url, table = sys.argv[1:]
index = PostgresIndex(url, table=table)
index.bind("an embedder", DIM)
async def main(own):
    for number in range(own, own + 25):
        await index.add(known(number))
    await index.aclose()
    near = await index.nearest(PARTITION, direction(own), 1)
    assert near[0].question == f"question {own}", near
    await index.aclose()
for number, world in enumerate(("asyncio", "trio", "asyncio", "trio")):
    if os.fork() == 0:
        anyio.run(main, 100 * number, backend=world)
        assert index.stats().stored == 25, index.stats()
        os.write(1, b"done\\n")
        sys.exit()
for _ in range(4):
    os.wait()
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_four_processes_begin_at_once(server: PostgresServer, table: str) -> None:
    """They all want the extension and the table, which are not there, and all get them: nothing is lost."""
    server.do("DROP EXTENSION IF EXISTS vector CASCADE")
    done = run(WRITER, server.url, table)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "done\n" * 4
    assert server.do(f"SELECT count(*) FROM {table}_{DIM}") == [(100,)]


def test_many_links_make_one_table(make: Make) -> None:
    """The same within one process, twenty times."""
    indexes = [make() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda index: blocking(index.nearest(PARTITION, direction(1), 1)), indexes))
    assert found == [[]] * 20


FORKING = """
import os, sys
from fastclient.cache.postgres import PostgresIndex
from fastclient.cache.postgres.link import Link
from tests.cache.postgres.questions import DIM, PARTITION, blocking, direction, known
Link.patience = 5.0
url, table = sys.argv[1:]
index = PostgresIndex(url, table=table)
index.bind("an embedder", DIM)
def found(number):
    return [one.question for one in blocking(index.nearest(PARTITION, direction(number), 1))]
blocking(index.add(known(1)))
blocking(index.aclose())
assert found(1) == ["question 1"]
for number in (2, 3):
    child = os.fork()
    if child == 0:
        assert found(1) == ["question 1"]
        blocking(index.add(known(number)))
        blocking(index.aclose())
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    assert found(number) == [f"question {number}"]
blocking(index.aclose())
print("done")
"""


def test_a_forked_child_has_its_own_connections(server: PostgresServer, table: str) -> None:
    """It finds and writes, and so does its parent before and after."""
    done = run(FORKING, server.url, table)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "done\n")


LEAVING = """
import os, signal, sys, time
from fastclient.cache.postgres import PostgresIndex
from fastclient.cache.postgres.link import Link
from tests.cache.postgres.questions import DIM, PARTITION, blocking, direction, known
Link.patience = 5.0
index = PostgresIndex(sys.argv[1], table=sys.argv[2])
index.bind("an embedder", DIM)
blocking(index.nearest(PARTITION, direction(1), 1))
if os.fork() == 0:
    time.sleep(60)
    sys.exit()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_child_does_not_keep_its_parents_connections(server: PostgresServer, table: str) -> None:
    """The parent is killed, the child lives on: the server sees them go."""
    assert until(lambda: not server.backends())
    command = [sys.executable, "-c", LEAVING, server.url, table]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "ready\n"
            assert server.backends()
            program.kill()
            assert until(lambda: not server.backends()), server.backends()
        finally:
            os.killpg(program.pid, 9)


AT_EXIT = """
import sys
from fastclient.cache.postgres import PostgresIndex
from tests.cache.postgres.questions import DIM, blocking, known
index = PostgresIndex(sys.argv[1], table=sys.argv[2])
index.bind("an embedder", DIM)
for number in range(20):
    blocking(index.add(known(number)))
"""


def test_what_was_added_in_the_last_moment_is_written(server: PostgresServer, table: str) -> None:
    """A program that ends right after an addition leaves it there, and nothing on the screen."""
    done = run(AT_EXIT, server.url, table)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert server.do(f"SELECT count(*) FROM {table}_{DIM}") == [(20,)]


async def test_closed_it_holds_no_connection(make: Make, server: PostgresServer) -> None:
    """`aclose` lets go of everything, and the next question opens it again."""
    index = make()
    await kept(index, known(1))
    assert await index.nearest(PARTITION, direction(1), 1)
    await index.aclose()
    assert until(lambda: not server.backends())
    assert await index.nearest(PARTITION, direction(1), 1)


def test_an_index_that_is_dropped_lets_go(server: PostgresServer, table: str) -> None:
    """Nobody closed it: its connections are closed all the same."""
    index = PostgresIndex(server.url, table=table)
    index.bind("an embedder", DIM)
    blocking(index.nearest(PARTITION, direction(1), 1))
    assert server.backends()
    del index
    assert until(lambda: not server.backends())


# what callers may write


@pytest.mark.parametrize(
    "url",
    [
        *("", "redis://host", "host=x password=canary-password", f"postgresql://u:{PASSWORD}@h/db?sslmood=1"),
        *(f"postgresql://u:{PASSWORD}@h:port:1/x", f"postgresql://u:{PASSWORD}@h/d b", 5),
    ],
)
def test_a_wrong_url_is_refused_and_not_shown(url: Any) -> None:
    """ConfigError, without the password anywhere in its chain."""
    with pytest.raises(ConfigError) as caught:
        PostgresIndex(url)
    assert PASSWORD not in repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "options", [{"table": "no; table"}, {"table": "X"}, {"most": 0}, {"most": 10**7}, {"most": True}, {"secret": ""}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    """ConfigError when it is made."""
    with pytest.raises(ConfigError):
        PostgresIndex("postgresql://host/db", **options)


def test_neither_password_nor_secret_is_shown(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, nor in the logs of a whole life."""
    caplog.set_level(logging.DEBUG)
    index = make(secret="canary-secret")
    blocking(kept(index, known(1, question="canary-question", text="canary-answer")))
    blocking(index.nearest(PARTITION, direction(1), 1))
    shown = repr(index) + repr(index.link())
    assert "127.0.0.1" in shown
    assert "canary" not in shown + caplog.text


def test_one_index_is_for_one_embedder() -> None:
    """Bound again to the same it is as before; to another, refused; and it has to be bound at all."""
    index = PostgresIndex("postgresql://host/db")
    with pytest.raises(ConfigError):
        index.link()
    index.bind("an embedder", DIM)
    index.bind("an embedder", DIM)
    for space, dim in (("another", DIM), ("an embedder", 3)):
        with pytest.raises(ConfigError):
            index.bind(space, dim)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """ConfigError when it is made, rather than a surprise later."""
    monkeypatch.setitem(sys.modules, "psycopg.conninfo", None)
    with pytest.raises(ConfigError, match=r"fastclient\[postgres\]"):
        PostgresIndex("postgresql://host/db")


async def test_a_vector_of_another_length_is_refused(make: Make) -> None:
    """ValueError, before anything is sent."""
    index = make()
    with pytest.raises(ValueError):
        await index.nearest(PARTITION, direction(1, DIM + 1), 1)
    with pytest.raises(ValueError):
        await index.add(known(1, vector=direction(1, DIM + 1)))
