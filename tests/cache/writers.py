"""Entries whose text says what it must be, and a program with writers that are killed at random moments.

python tests/cache/writers.py FOLDER KILLS SEED
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

if not __package__:  # run as a program
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fastclient.cache.disk import DiskStore
from fastclient.cache.entry import Entry
from fastclient.cache.key import tag_of

TAG = tag_of("tests")
NUMBERS = 300


def key_of(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def text_of(number: int, version: int, size: int) -> str:
    """A text that holds together: all of it follows from its beginning."""
    word = sha256(b"%d %d" % (number, version)).hexdigest()
    return (f"{number} {version} {size} " + word * (size // len(word) + 1))[:size]


def entry_of(number: int, version: int = 0, size: int = 300) -> Entry:
    return Entry(stored=1.0, text=text_of(number, version, size), model="m")


def is_right(number: int, entry: Entry) -> bool:
    """Whether this is one of the entries that were ever stored under this number's key."""
    own, version, size, _ = entry.text.split(" ", 3)
    return int(own) == number and entry.text == text_of(number, int(version), int(size))


def put(store: DiskStore, *numbers: int, version: int = 0, size: int = 300, lifetime: float = 1e6) -> None:
    for number in numbers:
        store.put(key_of(number), entry_of(number, version, size), tag=TAG, lifetime=lifetime)


def got(store: DiskStore, number: int) -> Entry | None:
    """What the store has under a number; never anything wrong."""
    found = store.get(key_of(number))
    assert found is None or is_right(number, found.entry)
    return found.entry if found else None


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of a store that is closed, as somebody else sees it."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        yield connection


def until(done: Any, seconds: float = 10.0) -> None:
    """Wait until something is so."""
    end = monotonic() + seconds
    while not done():
        assert monotonic() < end, "it did not happen"
        sleep(0.005)


# --- the program ------------------------------------------------------------------------------------------------------


def write(folder: str, seed: int, report: int) -> None:
    """Write without an end, small and large, closing now and then; report each time that something was written."""
    random = Random(seed)
    store = DiskStore(folder, memory=None)
    while True:
        for _ in range(random.randrange(1, 30)):
            size = random.randrange(150_000, 300_000) if random.random() < 0.05 else random.randrange(100, 3000)
            put(store, random.randrange(NUMBERS), version=random.getrandbits(30), size=size)
        if random.random() < 0.5:
            store.close()
        else:
            sleep(0.01)
        if store.stats().stored:
            os.write(report, b".")
            report = os.open(os.devnull, os.O_WRONLY)


def main(folder: str, kills: int, seed: int) -> None:
    """Four writers; every few milliseconds one is killed and another begins. Prints how many had written."""
    random = Random(seed)
    reports, report = os.pipe()
    children: list[int] = []
    for kill in range(kills + 4):
        if len(children) == 4 or kill >= kills:
            sleep(random.expovariate(1 / 0.02))
            victim = children.pop(random.randrange(len(children)))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
        if kill < kills:
            child = os.fork()
            if not child:
                try:
                    write(folder, random.getrandbits(60) + kill, report)
                finally:
                    os._exit(1)  # only if it went wrong: nobody sees it, but it has not written
            children.append(child)
    print(len(os.read(reports, kills + 1)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
