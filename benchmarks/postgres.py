"""The shared store of questions by size: how long a search takes, how much of the nearest it finds, how fast it is fed.

    python benchmarks/postgres.py [--sizes 10000 100000] [--dim 384]

A PostgreSQL of its own on this machine, without durability. Nine rows in ten belong to a large partition, one in a
hundred to a small one, the others to many. The same connection's bare `SELECT 1` is the yardstick of time, an exact
search that of recall: `first` is how often the nearest of all came first, `of 5` how many of the five nearest came.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.vector_index import families
from fastclient.cache.entry import Entry
from fastclient.cache.postgres import PostgresIndex
from fastclient.cache.postgres.link import Link
from fastclient.cache.postgres.row import given
from fastclient.cache.postgres.sql import COLUMNS
from fastclient.cache.semantic.port import Known
from fastclient.engine.seam import engine
from tests.cache.postgres.server import PostgresServer

ASKED, ADDED = 200, 1000
LARGE, SMALL = b"l" * 32, b"s" * 32


def partition_of(number: int) -> bytes:
    """The large one, the small one, or one of a hundred others."""
    return LARGE if number % 10 else SMALL if number % 100 == 0 else sha256(b"%d" % (number % 1000)).digest()


def known(number: int, vector: Any, words: str = "x" * 2000) -> Known:
    partition = partition_of(number)
    key = sha256(partition + b"%d" % number).digest()
    return Known(key, partition, b"namespce", str(number), vector, Entry(stored=time.time(), text=words), 86400.0)


def filled(server: PostgresServer, index: PostgresIndex, rows: Any) -> float:
    """Write all rows at once, and make the graph afterwards. Returns how many seconds that takes."""
    name = index.statements().name
    graph = next(each for each in index.statements().make if "hnsw" in each)
    with server.raw() as connection:
        connection.execute(f"DROP INDEX {name}_vector")
        with connection.cursor().copy(f"COPY {name} ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["bytea", "bytea", "bytea", "text", "bytea", "text[]", "float8", "float8", "bytea", "bytea"])
            for number, vector in enumerate(rows):
                made = given(known(number, vector), b"")
                assert made is not None
                row, answer = made
                copy.write_row((*row._replace(labels=[]), row.mark(b""), answer))
        began = time.perf_counter()
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute(graph)
        took = time.perf_counter() - began
        connection.execute(f"VACUUM ANALYZE {name}")
    return took


def timed(work: Callable[[], Any], times: int) -> tuple[list[Any], str]:
    """What each of so many goes brought, and their median and 99th percentile in milliseconds."""
    brought, took = [], []
    for _ in range(times):
        began = time.perf_counter()
        brought.append(work())
        took.append((time.perf_counter() - began) * 1e3)
    return brought, f"{median(took):>9.2f}{sorted(took)[int(times * 0.99)]:>9.2f}"


def bare(index: PostgresIndex) -> str:
    link = index.link()
    return timed(lambda: engine().run(lambda: link.ask(lambda one: one.execute("SELECT 1", {}))), ASKED)[1]


def searched(index: PostgresIndex, rows: Any, partition: bytes, dim: int) -> str:
    """How long searches of a partition take, and what they find of what there is."""
    own = np.array([number for number in range(len(rows)) if partition_of(number) == partition])
    asked = families(ASKED, dim, 2)
    waiting = iter([*asked[:20], *asked])
    near: Callable[[], Any] = lambda: engine().run(lambda: index.nearest(partition, next(waiting), 5))  # noqa: E731
    timed(near, 20)
    brought, times = timed(near, ASKED)
    first = five = 0
    for vector, found in zip(asked, brought, strict=True):
        right = own[np.argsort(-(rows[own] @ vector))[:5]].tolist()
        numbers = [int(one.question) for one in found]
        first += numbers[:1] == right[:1]
        five += len(set(numbers) & set(right))
    return f"{len(own):>9}{times}{first / ASKED:>9.3f}{five / ASKED / 5:>9.3f}"


def fed(index: PostgresIndex, size: int, dim: int) -> float:
    """Additions per second, through the line of writes."""
    vectors = families(ADDED, dim, 3)
    began = time.perf_counter()

    async def all_of_them() -> None:
        for at, vector in enumerate(vectors):
            await index.add(known(size + at, vector))
            while at % 200 == 199 and index.link().waiting:
                await index.link().flush()

    engine().run(all_of_them)
    engine().run(index.aclose)
    return index.stats().stored / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dim", type=int, default=384)
    arguments = parser.parse_args()
    Link.patience = 5.0  # to see how long it takes
    server = PostgresServer()
    try:
        server.start()
        server.do("ALTER SYSTEM SET autovacuum = on")
        print(f"{'rows':>8}  {'':16}{'its rows':>9}{'p50 ms':>9}{'p99 ms':>9}{'first':>9}{'of 5':>9}")
        for size in arguments.sizes:
            rows = families(size, arguments.dim, 1)
            index = PostgresIndex(server.url, table=f"rows_{size}", most=2 * size)
            index.bind("made up", arguments.dim)
            engine().run(lambda index=index: index.answer(b"?"))  # type: ignore[misc]
            built = filled(server, index, rows)
            print(f"{size:>8}  {'SELECT 1':16}{'':>9}{bare(index)}")
            for name, partition in (("large partition", LARGE), ("small partition", SMALL)):
                print(f"{size:>8}  {name:16}{searched(index, rows, partition, arguments.dim)}")
            rate = fed(index, size, arguments.dim)
            print(
                f"{size:>8}  {'additions':16}{rate:>9.0f} per second; the graph was made in {built:.1f} s", flush=True
            )
            server.do(f"DROP TABLE {index.statements().name}")
    finally:
        server.remove()


if __name__ == "__main__":
    main()
