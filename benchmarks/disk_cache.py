"""The store on disk beside plain diskcache, and with a million entries; the memory it takes beside its bound.

    python benchmarks/disk_cache.py [--quick] [--entries 1000000] [--only sizes|entries|memory]

Times are microseconds, in one process and one thread, with files in the page cache. Plain diskcache (values pickled)
and its JSONDisk keep a dict with the same text; ours also seals, checks, and keeps what came on the wire.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from time import perf_counter, sleep, time

if not __package__:  # run as a script, or loaded by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import diskcache

from fastclient.cache.disk import DiskStore
from fastclient.cache.entry import Entry
from fastclient.cache.memory import MemoryStore
from fastclient.types import Chunk

__all__ = ["main"]

SIZES = (2_000, 20_000, 200_000)
ROUNDS = 7
TAG = b"8 bytes."


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on the terminal."""
    lines = [list(head), *([f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def timed(work: Callable[[int], object], times: int) -> list[float]:
    """Microseconds of each of so many calls."""
    taken = []
    for number in range(times):
        began = perf_counter()
        work(number)
        taken.append((perf_counter() - began) * 1e6)
    return taken


def key_of(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def text_of(number: int, size: int) -> str:
    return (f"{number} the quick brown fox jumps over the lazy dog, " * (size // 40 + 1))[:size]


def entry_of(number: int, size: int) -> Entry:
    text = text_of(number, size)
    step = max(20, size // 500)
    pieces = [text[at : at + step] for at in range(0, size, step)]
    return Entry.of([Chunk(piece, raw=b'data: {"text":"%b"}\n\n' % piece.encode()) for piece in pieces], stored=time())


@contextmanager
def opened(folder: str, **options: object) -> Iterator[DiskStore]:
    store = DiskStore(folder, memory=None, **options)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        store.close()


def fill(store: DiskStore, entries: Iterator[tuple[bytes, Entry]], total: int) -> float:
    """Put as fast as the writer takes them; return how many it took in a second."""
    before = store.stats().stored
    began = perf_counter()
    for number, (key, entry) in enumerate(entries):
        while number % 1_000 == 0 and number - (store.stats().stored - before) > 10_000:
            sleep(0.01)
        store.put(key, entry, tag=TAG, lifetime=1e6)
    while store.stats().stored - before < total:
        sleep(0.01)
    rate = total / (perf_counter() - began)
    store.close()
    return rate


# --- beside diskcache -------------------------------------------------------------------------------------------------


def ours(folder: str, size: int, count: int) -> tuple[list[float], list[float], list[float]]:
    """Times of set, hit and miss. A set is a batch of 100 written in the foreground, divided by 100."""
    entries = [entry_of(number, size) for number in range(count)]
    with opened(folder) as store:
        store.put(key_of(count), entries[0], tag=TAG, lifetime=1e6)
        store.close()
        sets = []
        for at in range(0, count, 100):
            began = perf_counter()
            for number in range(at, min(at + 100, count)):
                store.put(key_of(number), entries[number], tag=TAG, lifetime=1e6)
            store.close()
            sets.append((perf_counter() - began) * 1e6 / 100)
        order = Random(1)
        hits = timed(lambda _: store.get(key_of(order.randrange(count))).entry.text, count * 3)  # type: ignore[union-attr]
        misses = timed(lambda number: store.get(key_of(-1 - number)), count * 3)
        assert store.stats().failures == store.stats().rejected == 0
    return sets, hits, misses


def theirs(disk: type[diskcache.Disk], folder: str, size: int, count: int) -> tuple[list[float], ...]:
    values = [{"text": text_of(number, size), "model": "m", "usage": [1, 2]} for number in range(count)]
    with diskcache.Cache(folder, disk=disk) as cache:
        sets = timed(lambda number: cache.set(key_of(number).hex(), values[number], expire=1e6), count)
        order = Random(1)
        hits = timed(lambda _: cache.get(key_of(order.randrange(count)).hex())["text"], count * 3)
        misses = timed(lambda number: cache.get(key_of(-1 - number).hex()), count * 3)
    return sets, hits, misses


def sizes(quick: bool) -> None:
    rows: list[list[object]] = []
    for size in SIZES:
        count = max(100, min(2000, 20_000_000 // size) // (4 if quick else 1))
        with tempfile.TemporaryDirectory() as folder:
            base = theirs(diskcache.Disk, f"{folder}/pickle", size, count)
            measured = {
                "diskcache, pickle": base,
                "diskcache, JSONDisk": theirs(diskcache.JSONDisk, f"{folder}/json", size, count),
                "fastclient": ours(f"{folder}/ours", size, count),
            }
        for name, times in measured.items():
            row: list[object] = [f"{size // 1000} KB", name]
            for taken, first in zip(times, base, strict=True):
                row += [
                    quantile(taken, 0.5),
                    quantile(taken, 0.99),
                    f"{quantile(taken, 0.5) / quantile(first, 0.5):.1f}",
                ]
            rows.append(row)
    parts = [cell for name in ("set", "hit", "miss") for cell in (f"{name} p50", "p99", "ratio")]
    show("Microseconds; ratio: to plain diskcache in the same run", ["answer", "store", *parts], rows)
    print("  (fastclient's set is what a background thread takes, in batches; put itself is in the next table)")


def putting(quick: bool) -> None:
    """What the caller of put and get pays, with memory, and what the disk alone costs."""
    count = 500 if quick else 2000
    entries = [entry_of(number, 2_000) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore(folder + "/c")
        puts = timed(lambda number: store.put(key_of(number), entries[number], tag=TAG, lifetime=1e6), count)
        store.close()
        hits = timed(lambda number: store.get(key_of(number % count)), count * 3)
        store.close()
    rows = [[name, quantile(taken, 0.5), quantile(taken, 0.99)] for name, taken in (("put", puts), ("hit", hits))]
    show("A store with its memory, 2 KB: what the caller waits", ["", "p50", "p99"], rows)


# --- a million --------------------------------------------------------------------------------------------------------


def small(first: int, count: int) -> Iterator[tuple[bytes, Entry]]:
    for number in range(first, first + count):
        yield key_of(number), Entry(stored=1.0, text=f"answer {number} of many, in some words", model="m")


def hits_of(store: DiskStore, entries: int, count: int) -> list[float]:
    """Times of hits in the quietest of some rounds: what else the machine does makes them longer only."""
    order = Random(2)
    rounds = []
    for _ in range(ROUNDS):
        keys = [(number, key_of(number)) for number in (order.randrange(entries) for _ in range(count))]
        for number, key in keys[:100]:
            found = store.get(key)
            assert found is not None and found.entry.text.startswith(f"answer {number} ")
        rounds.append(timed(lambda at, keys=keys: store.get(keys[at][1]), count))  # type: ignore[misc]
    return min(rounds, key=lambda taken: quantile(taken, 0.99))


def million(entries: int) -> bool:
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder, opened(folder + "/c", max_bytes=2**32) as store:
        base, p99, done = 0.0, 0.0, 0
        for total in sorted({1_000, 10_000, 100_000, entries}):
            if total > entries:
                continue
            rate = fill(store, small(done, total - done), total - done)
            done = total
            os.sync()  # or the system writes to the disk meanwhile
            taken = hits_of(store, total, 10_000)
            base = base or quantile(taken, 0.5)
            p50, p99 = quantile(taken, 0.5), quantile(taken, 0.99)
            size = f"{store.stats().bytes / 2**20:.0f} MB"
            rows.append([f"{total:,}", size, f"{rate:,.0f}/s", p50, p99, f"{p99 / base:.1f}"])
            assert store.stats().entries == total and store.stats().failures == 0
        head = ["entries", "on disk", "written", "hit p50", "hit p99", "p99 : p50 at 1,000"]
        show(f"Small entries, hits at random, no memory tier; the quietest of {ROUNDS} rounds", head, rows)
        began = perf_counter()
        verified = store.verify()
        print(f"  verify: {verified.checked:,} entries in {perf_counter() - began:.1f} s, all good: "
              f"{verified.good == verified.checked}")  # fmt: skip
    return p99 <= 5 * base


# --- memory -----------------------------------------------------------------------------------------------------------


def memory() -> bool:
    """The memory tier against its bound, by Python's own account, full and overflowing."""
    rows: list[list[object]] = []
    held = True
    for size in (200, 2_000, 20_000):
        bound = 2**24
        tracemalloc.start()
        store = MemoryStore(max_bytes=bound, max_entries=10**7)
        before = tracemalloc.get_traced_memory()[0]
        number = 0
        while store.stats().evicted < 1_000:
            store.put(key_of(number), Entry.decoded(entry_of(number, size).encoded()))
            number += 1
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        held = held and abs(used / bound - 1) <= 0.05
        rows.append([f"{size:,} B", f"{store.stats().entries:,}", f"{bound / 2**20:.0f} MB", f"{used / bound:.1%}"])
    show("The memory tier against its bound", ["answer", "entries", "bound", "used"], rows)
    return held


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="50,000 entries, fewer rounds")
    parser.add_argument("--entries", type=int)
    parser.add_argument("--only", choices=("sizes", "entries", "memory"))
    options = parser.parse_args()
    kept = True
    if options.only in (None, "sizes"):
        sizes(options.quick)
        putting(options.quick)
    if options.only in (None, "entries"):
        kept = million(options.entries or (50_000 if options.quick else 1_000_000))
        print(f"  p99 within 5 times the p50 at 1,000 entries: {'yes' if kept else 'NO'}")
    if options.only in (None, "memory"):
        held = memory()
        print(f"  within 5 % of the bound: {'yes' if held else 'NO'}")
        kept = kept and held
    print(f"\n  {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    if not kept:
        print("a bound was missed: measure again on a machine with nothing else to do")


if __name__ == "__main__":
    main()
