"""A store on disk when the world around it fails: kill -9, full disks, locks, missing rights, and files that vanish."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from fastclient.cache.disk import DiskStore
from fastclient.cache.disk.folder import Folder
from tests.cache import writers
from tests.cache.writers import NUMBERS, got, key_of, put, until

BIG = 200_000
ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, forks and users")
PROGRAM = """
import os, resource, sys
from fastclient.cache.disk import DiskStore
from tests.cache.writers import *
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed store with entries 0 to 19, of which two are files."""
    folder = tmp_path / "cache"
    store = DiskStore(folder, memory=None)
    put(store, *range(18))
    put(store, 18, 19, size=BIG)
    store.close()
    return folder


@pytest.fixture
def store(folder: Path) -> Iterator[DiskStore]:
    store = DiskStore(folder, memory=None)
    yield store
    store.close()


def program(code: str, *arguments: object) -> str:
    """Run a program with our sources, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM + code, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=env)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def required(reason: str) -> None:
    """Skip a test that this machine cannot run, unless it has to."""
    assert not os.environ.get("FASTCLIENT_REQUIRE_ALL"), reason
    pytest.skip(reason)


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def killing(folder: Path, kills: int) -> tuple[int, int]:
    """Kill so many writers while we read; return how many of them had written, and how often we found something."""
    found, random = 0, Random(kills)
    command = [sys.executable, str(Path(writers.__file__)), str(folder), str(kills), "7"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ) as nursery:
        reader = DiskStore(folder, memory=None)
        while nursery.poll() is None:
            newcomer = DiskStore(folder, memory=None)
            for _ in range(200):
                found += got(reader, random.randrange(NUMBERS)) is not None
                got(newcomer, random.randrange(NUMBERS))
                time.sleep(0.0005)
            newcomer.close()
        assert nursery.stdout is not None and nursery.returncode == 0
        reader.close()
        wrote = int(nursery.stdout.read())
    put(reader, *range(NUMBERS), version=1)
    reader.close()
    assert all(got(reader, number) for number in range(NUMBERS))
    reader.gc(older_than=0)
    verified = reader.verify()
    assert verified.good == verified.checked == NUMBERS and not verified.orphans
    assert len(list(folder.rglob("*.val"))) == 0
    assert reader.stats().rejected == reader.stats().set_aside == 0
    reader.close()
    return wrote, found


@posix
def test_forty_kills(tmp_path: Path) -> None:
    """Four writers as fast as they can, killed at random moments: no wrong answer, it opens, and nothing is left."""
    wrote, found = killing(tmp_path / "cache", 40)
    assert wrote > 5 and found > 50


@posix
@pytest.mark.parametrize(
    "kills", [pytest.param(300, marks=pytest.mark.slow), pytest.param(3000, marks=pytest.mark.soak)]
)
def test_many_kills(tmp_path: Path, kills: int) -> None:
    """The same at length."""
    wrote, found = killing(tmp_path / "cache", kills)
    assert wrote > kills / 5 and found > kills * 5


# --- locks ------------------------------------------------------------------------------------------------------------


@contextmanager
def held(folder: Path, sql: str) -> Iterator[None]:
    """Another process holds a lock on the database."""
    code = f"""
with database(Path(sys.argv[1])) as other:
    other.executescript({sql!r})
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", PROGRAM + code, str(folder)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        yield
        other.stdin.close()


def quick(work: Callable[[int], object], times: int = 20) -> None:
    """Each time within 60 ms; on a loaded machine an odd one may take longer."""
    taken = []
    for number in range(times):
        began = time.monotonic()
        work(number)
        taken.append(time.monotonic() - began)
    assert statistics.median(taken) < 0.06 and max(taken) < 0.4, taken


WRITING = "BEGIN EXCLUSIVE"
EVERYTHING = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; INSERT INTO Cache (key) VALUES (1)"


@pytest.mark.parametrize("sql", [WRITING, EVERYTHING])
def test_a_lock_costs_no_time(folder: Path, sql: str) -> None:
    """Whatever another process holds: opening, reading and writing return at once; then all goes on."""
    with held(folder, sql):
        stores = [DiskStore(folder, memory=None) for _ in range(10)]
        quick(lambda number: stores[number].open(), 10)
        quick(lambda number: got(stores[number], 1), 10)
        store = stores[0]
        quick(lambda number: put(store, 100 + number))
        quick(lambda number: got(store, 100 + number))
        quick(lambda number: got(store, number))
        assert all(got(store, 100 + number) for number in range(20))
        assert (got(store, 1) is None) == (sql == EVERYTHING)
        until(lambda: store.stats().failures)
    until(lambda: store.stats().stored == 20)
    until(lambda: got(store, 1))
    assert store.stats().dropped == store.stats().set_aside == 0
    for each in stores:
        each.close()
    assert all(got(store, number) for number in (*range(20), *range(100, 120)))
    store.close()


def test_a_lock_that_comes_later(store: DiskStore, folder: Path) -> None:
    """A store that is open goes on reading while another process writes, and writes when that one is done."""
    assert got(store, 1)
    with held(folder, WRITING):
        assert all(got(store, number) for number in range(20))
        put(store, 100)
        assert got(store, 100)
    until(lambda: store.stats().stored == 1)


def test_a_lock_that_stays(store: DiskStore, folder: Path) -> None:
    """What cannot be written for seconds is dropped, and closing does not wait for it much longer."""
    with held(folder, WRITING):
        put(store, *range(100, 110))
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 3.5
        stats = store.stats()
        assert stats.dropped == 10 and stats.stored == 0 and stats.failures > 1


def test_threads_do_not_wait_in_line_for_a_lock(folder: Path) -> None:
    """The time one waits for a database is not multiplied by the threads that ask for it."""
    import threading

    with held(folder, EVERYTHING):
        store = DiskStore(folder, memory=None)
        taken: list[float] = []

        def ask() -> None:
            began = time.monotonic()
            assert got(store, 1) is None
            taken.append(time.monotonic() - began)

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statistics.median(taken) < 0.1 and max(taken) < 0.4
        store.close()


def test_a_folder_that_is_locked(folder: Path) -> None:
    """Somebody who holds the folder's own lock stops others from opening, not from going on."""
    store = DiskStore(folder, memory=None)
    assert got(store, 1)
    with Folder(str(folder)).locked(1):
        stores = [DiskStore(folder, memory=None) for _ in range(5)]
        quick(lambda number: got(stores[number], 1), 5)
        assert got(store, 1)
        for each in stores:
            assert each.stats().misses == each.stats().failures == 1
    until(lambda: got(stores[0], 1))
    for each in (store, *stores):
        each.close()


# --- full disks and missing rights ------------------------------------------------------------------------------------


FULL = """
import fastclient.cache.disk.writer
fastclient.cache.disk.writer._PAUSE = 0.01
random = Random(1)
store = DiskStore(sys.argv[1], memory=None)
put(store, *range(20)); store.close()
taken = []
for number in range(20, 500):
    began = monotonic()
    put(store, number, size=random.choice([500, 5_000, 100_000, 400_000]))
    got(store, random.randrange(number + 1))
    taken.append(monotonic() - began)
    if number % 50 == 0:
        store.close()
stats = store.stats()
assert stats.failures and stats.dropped and stats.set_aside == stats.rejected == 0, stats
assert sorted(taken)[len(taken) // 2] < 0.06
kept = [number for number in range(500) if got(store, number)]
assert set(range(20)) <= set(kept) and 30 < len(kept) < 450, len(kept)
"""
ROOM = """
store.close()
next(Path(sys.argv[1]).rglob("*.val")).unlink()  # SQLite needs a little room to open a database
print(store.gc(older_than=0), store.verify())
"""


@posix
def test_a_full_disk(tmp_path: Path) -> None:
    """Entries that find no room are dropped and counted, those that are there stay right, no half of one is left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", str(disk)]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        required("a small disk can be mounted by root only")
    try:
        printed = program(FULL + ROOM, disk / "cache")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert "orphans=0" in printed and "rejected=0, missing=1, orphans=0" in printed


@posix
def test_files_that_must_not_grow(tmp_path: Path) -> None:
    """The same where the system refuses to let a file grow beyond a limit."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
    program(limit + FULL, tmp_path / "cache")
    store = DiskStore(tmp_path / "cache", memory=None)
    assert store.gc(older_than=0).orphans == 0
    verified = store.verify()
    assert verified.good == verified.checked > 30
    store.close()


NOBODY = """
import fastclient.cache.disk.writer
fastclient.cache.disk.writer._PAUSE = 0.01
os.setgid(65534); os.setuid(65534)
store = DiskStore(sys.argv[1], memory=None)
store.open()
taken = []
for number in range(30):
    began = monotonic()
    got(store, number % 20)
    put(store, 1000 + number)
    taken.append(monotonic() - began)
store.close()
assert sorted(taken)[15] < 0.06, taken
stats = store.stats()
assert stats.failures and stats.dropped == 30 and not stats.stored and not stats.set_aside, stats
print([number for number in range(20) if got(store, number)])
"""


@posix
@pytest.mark.parametrize("what", ["folder", "files", "both", "unreadable"])
def test_missing_rights(folder: Path, what: str) -> None:
    """A folder or files that may not be written, or read, cost entries and no time."""
    if os.geteuid() != 0:
        required("only root can become somebody else")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
        if (what in ("folder", "both") and path == folder) or (what in ("files", "both") and path != folder):
            path.chmod(0o500 if path.is_dir() else 0o400)
        elif what == "unreadable":
            path.chmod(0o300 if path.is_dir() else 0o200)
    folder.parent.chmod(0o755)
    for parent in list(folder.parents)[1:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    program(NOBODY, folder)


# --- files that change behind our back --------------------------------------------------------------------------------


def test_deleted_files(store: DiskStore, folder: Path) -> None:
    """An entry whose file is gone is a miss, and soon no entry."""
    for path in folder.rglob("*.val"):
        path.unlink()
    assert [got(store, number) is None for number in (17, 18, 19)] == [False, True, True]
    assert store.stats().rejected == 2
    store.close()
    assert store.stats().entries == 18


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 10_000])
def test_a_cut_database(store: DiskStore, folder: Path, size: int) -> None:
    """Cut at any length while nobody has it open: empty, or set aside, and then as good as new."""
    with open(folder / "cache.db", "r+b") as file:
        file.truncate(size)
    assert got(store, 1) is None
    put(store, 1, version=1)
    store.close()
    assert got(store, 1) is not None and store.stats().entries == 1
    assert store.stats().set_aside == (size > 1)


@pytest.mark.parametrize("when", ["reading", "writing"])
def test_corruption_that_shows_up_later(store: DiskStore, folder: Path, when: str) -> None:
    """Pages that turn out to be broken while the store is in use have it set aside; then it goes on."""
    assert got(store, 1)
    store.close()
    data = bytearray((folder / "cache.db").read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    (folder / "cache.db").write_bytes(data)
    if when == "reading":
        assert got(store, 1) is None
        assert store.stats().failures
        until(lambda: store.stats().set_aside == 1)
    put(store, 5)
    until(lambda: store.stats().stored == 1)
    assert got(store, 5) is not None and store.stats().set_aside == 1
    assert len(list(folder.glob("corrupt-*/cache.db"))) == 1


def test_it_is_set_aside_once(folder: Path) -> None:
    """Ten stores find it broken at the same time: one moves it, the others use the new one."""
    (folder / "cache.db").write_bytes(b"garbage" * 1000)
    stores = [DiskStore(folder, memory=None) for _ in range(10)]
    for number, each in enumerate(stores):
        assert got(each, 1) is None
        put(each, 100 + number)
    for each in stores:
        each.close()
    assert sum(each.stats().set_aside for each in stores) == 1
    assert all(got(stores[0], 100 + number) for number in range(10))
    assert len(list(folder.glob("corrupt-*"))) == 1
    for each in stores:
        each.close()


def test_a_store_that_breaks_again_and_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not moved away each time, and only the latest is kept; meanwhile it is out of work."""
    monkeypatch.setattr("fastclient.cache.disk.writer._PAUSE", 0.01)
    store = DiskStore(folder, memory=None)
    for _ in range(3):
        (folder / "cache.db").write_bytes(b"garbage" * 1000)
        put(store, 1)
        store.close()
    assert store.stats().set_aside == 1 and store.stats().dropped == 2
    for _ in range(3):
        (folder / "cache.db").write_bytes(b"garbage" * 1000)
        other = DiskStore(folder, memory=None)
        put(other, 1)
        other.close()
        time.sleep(0.01)
    assert len(list(folder.glob("corrupt-*"))) == 1
    store.close()


def test_a_folder_that_vanishes(store: DiskStore, folder: Path) -> None:
    """Removed while it is open, it is noticed within a second, and made anew by the next entry."""
    assert got(store, 1)
    shutil.rmtree(folder)
    until(lambda: got(store, 1) is None)
    put(store, 2)
    store.close()
    assert got(store, 2) is not None and got(store, 1) is None
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_store_that_others_set_aside(store: DiskStore, folder: Path) -> None:
    """Who has the old one open goes on reading there for a second at most; what it writes goes into the new one."""
    assert got(store, 1)
    put(store, 2, version=1)
    until(lambda: store.stats().stored == 1)
    with Folder(str(folder)).locked(1):
        Folder(str(folder)).set_aside()
    put(store, 3, version=2)
    until(lambda: store.stats().stored == 2)
    other = DiskStore(folder, memory=None)
    assert got(other, 3) is not None and got(other, 2) is None
    until(lambda: got(store, 2) is None)
    for each in (store, other):
        each.close()
    assert store.verify().good == 1


def test_no_room_for_threads(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread starts, entries wait; closing writes them."""
    monkeypatch.setattr("threading.Thread.start", lambda self: (_ for _ in ()).throw(RuntimeError("no thread")))
    put(store, 100)
    assert got(store, 100)
    store.close()
    assert store.stats().stored == 1
    assert store.get(key_of(100)) is not None
