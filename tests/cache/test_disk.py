"""A store on disk in ordinary life: what is put is found, now, later, by others, and within its bounds."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import fastclient as fc
from fastclient.cache.disk import DiskStore
from fastclient.cache.disk.upkeep import Cleaned, Verified
from fastclient.cache.entry import Entry
from fastclient.cache.key import tag_of
from fastclient.cache.memory import MemoryStore
from fastclient.cache.store import Store
from fastclient.types import Chunk
from tests.cache.writers import TAG, database, entry_of, got, is_right, key_of, put, until

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions and fork")
BIG = 200_000  # bytes, which are a file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(folder: Path) -> Iterator[DiskStore]:
    """A store without memory, so that every answer comes from the disk."""
    store = DiskStore(folder, memory=None)
    yield store
    store.close()


def program(code: str, *arguments: object, warn: str = "error") -> subprocess.CompletedProcess[str]:
    """Run a program with our sources, warnings being errors."""
    command = [sys.executable, "-X", "dev", "-c", code, *map(str, arguments)]
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONWARNINGS": warn, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done


PROGRAM = """
import os, sys
from fastclient.cache.disk import DiskStore
from tests.cache.writers import *
"""


# --- finding what was put ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 3_000, 130_000, 132_000, BIG, 3_000_000])
def test_what_is_put_is_found(store: DiskStore, folder: Path, size: int) -> None:
    """At once, after closing, and by another store, whether it lies in the database or in a file."""
    put(store, 1, size=size)
    assert got(store, 1) is not None
    store.close()
    assert bool(list(folder.rglob("*.val"))) == (size > 131_072)
    other = DiskStore(folder, memory=None)
    for each in (store, other):
        found = each.get(key_of(1))
        assert found is not None and found.source == "disk"
        assert is_right(1, found.entry) and len(found.entry.text) == size
        assert each.get(key_of(2)) is None
    other.close()


def test_an_entry_keeps_everything(store: DiskStore) -> None:
    """Chunks, usage and raw bytes come back; so does a stored refusal."""
    chunks = [Chunk("Hel", raw=b"data: 1"), Chunk("lo", raw=b"data: 2", finish_reason="stop", model="m")]
    refusal = fc.BadRequest("no", provider="openai", status_code=400)
    store.put(key_of(1), Entry.of(chunks, stored=3.0), tag=TAG, lifetime=60)
    store.put(key_of(2), Entry.refusing(refusal, stored=4.0), tag=TAG, lifetime=60)
    store.close()
    one, two = store.get(key_of(1)), store.get(key_of(2))
    assert one is not None and two is not None
    assert one.entry.chunks() == chunks and one.entry.stored == 3.0
    assert isinstance(two.entry.error(), fc.BadRequest) and two.entry.error().status_code == 400


def test_it_is_a_store(store: DiskStore) -> None:
    """It has the protocol of all stores, and is reached by its public name."""
    assert isinstance(store, Store)
    assert fc.DiskStore is DiskStore


def test_what_waits_to_be_written_is_found(store: DiskStore) -> None:
    """Every entry can be read from the moment it was put, also while it is being written; the latest counts."""
    for version in range(3):
        for number in range(300):
            put(store, number, version=version)
            entry = got(store, number)
            assert entry is not None and entry.text.split()[1] == str(version)
    for number in range(300):
        entry = got(store, number)
        assert entry is not None and entry.text.split()[1] == "2"
    store.close()
    assert store.stats().entries == 300


def test_it_writes_by_itself(store: DiskStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to close it: a thread writes, ends when there is nothing to do, and begins again."""
    monkeypatch.setattr("fastclient.cache.disk.writer._IDLE", 0.05)
    before = threading.active_count()
    for number in range(2):
        put(store, number)
        until(lambda number=number: store.stats().stored == number + 1)
        until(lambda: threading.active_count() == before)
    with database(folder) as other:
        assert other.execute("SELECT COUNT(*) FROM Cache").fetchone() == (2,)


def test_memory_answers_first(folder: Path) -> None:
    """With its own memory, or one that is given, the disk is asked once; without one, each time."""
    given = MemoryStore()
    for memory, sources in (({}, "memory"), ({"memory": given}, "memory"), ({"memory": None}, "disk")):
        store = DiskStore(folder, **memory)  # type: ignore[arg-type]
        put(store, 1)
        store.close()
        again = DiskStore(folder, **({"memory": None} if memory == {"memory": None} else {}))
        kinds = [found.source for _ in range(3) if (found := again.get(key_of(1)))]
        assert kinds == ["disk", sources, sources]
        assert again.stats().hits == 3
        again.close()
    assert given.stats().entries == 1


def test_a_newer_entry_is_not_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads an entry from disk while another is put does not leave the old one in memory."""
    store = DiskStore(folder)
    put(store, 1, version=1)
    store.close()
    other = DiskStore(folder)
    read = other._reader.value

    def slowly(key: bytes) -> bytes | None:
        value = read(key)
        put(other, 1, version=2)
        return value

    monkeypatch.setattr(other._reader, "value", slowly)
    for version in ("1", "2"):
        entry = got(other, 1)
        assert entry is not None and entry.text.split()[1] == version
    other.close()
    store.close()


def test_entries_expire(store: DiskStore) -> None:
    """An entry is found for its lifetime and not after it, whether it waits or is written; then it leaves its room."""
    put(store, 1, lifetime=0.15)
    assert got(store, 1) is not None
    store.close()
    assert got(store, 1) is not None
    put(store, 2, lifetime=-1.0)
    assert got(store, 2) is None
    time.sleep(0.2)
    assert got(store, 1) is None
    put(store, 3)
    store.close()
    assert store.stats().entries == 1


def test_the_bound_holds(folder: Path) -> None:
    """Many more entries than fit, small ones and files: the folder keeps its bound within a tenth; the oldest go."""
    bound = 6_000_000
    store = DiskStore(folder, memory=None, max_bytes=bound)
    random = Random(1)
    for number in range(600):
        put(store, number, size=random.choice([500, 5_000, 60_000, 250_000]))
        if number % 40 == 39:
            store.close()
            files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
            assert sum(files) <= bound * 1.1
    stats = store.stats()
    assert bound * 0.5 < stats.bytes <= bound
    assert stats.evicted == 600 - stats.entries
    assert [number for number in range(600) if got(store, number)] == list(range(600 - stats.entries, 600))
    assert not store.gc(older_than=0).orphans
    store.close()


def test_what_cannot_be_kept_is_dropped(store: DiskStore) -> None:
    """Keys, tags and times of other kinds, and too much at once, cost themselves; nothing raises, others are kept."""
    odd: list[Any] = [b"short", "x" * 32, 7, None]
    for key in odd:
        store.put(key, entry_of(1), tag=TAG, lifetime=60)
        assert store.get(key) is None
    for lifetime in (float("nan"), "soon", None):
        store.put(key_of(1), entry_of(1), tag=TAG, lifetime=lifetime)  # type: ignore[arg-type]
    store.put(key_of(1), entry_of(1), tag="tag", lifetime=60)  # type: ignore[arg-type]
    store.put(key_of(1), Entry(stored=1.0, blocks=({"a": 1},)), tag=TAG, lifetime=60)
    store.put(key_of(2), "no entry", tag=TAG, lifetime=60)  # type: ignore[arg-type]
    put(store, 3)
    store.close()
    assert got(store, 3) is not None
    assert store.stats().stored == 2 and store.stats().dropped == 8 and store.stats().failures == 1


def test_the_queue_is_bounded(store: DiskStore, folder: Path) -> None:
    """While the disk keeps up no longer, what exceeds some 32 MB is dropped and counted, not held in memory."""
    put(store, 0)
    store.close()
    with database(folder) as other:
        other.execute("BEGIN EXCLUSIVE")
        put(store, *range(1, 60), size=1_000_000)
        assert store.stats().dropped == pytest.approx(28, abs=3)
        other.execute("ROLLBACK")
    store.close()
    assert store.stats().stored + store.stats().dropped == 60


def test_counts(folder: Path) -> None:
    """Hits and misses are the store's as a whole; entries and bytes are the disk's."""
    store = DiskStore(folder)
    assert store.stats().entries == store.stats().bytes == store.stats().misses == 0
    put(store, 1, 2, size=1000)
    store.close()
    for number in (1, 2, 3, 1):
        store.get(key_of(number))
    stats = store.stats()
    assert (stats.entries, stats.hits, stats.misses, stats.stored, stats.failures) == (2, 3, 1, 2, 0)
    assert 2000 < stats.bytes < 100_000
    store.close()


def test_open_is_not_needed_and_does_no_harm(folder: Path) -> None:
    """Opening touches nothing if there is nothing, and counts neither hit nor miss."""
    store = DiskStore(folder)
    store.open()
    assert not folder.exists()
    put(store, 1)
    store.close()
    other = DiskStore(folder)
    other.open()
    assert other.stats().hits == other.stats().misses == 0
    assert got(other, 1) is not None
    other.close()
    store.close()


# --- making one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field, options",
    [
        ("disk.directory", {"directory": ""}),
        ("disk.directory", {"directory": None}),
        ("disk.directory", {"directory": 7}),
        ("disk.directory", {"directory": b"/tmp/x"}),
        ("disk.directory", {"directory": "a\0b"}),
        ("disk.directory", {"directory": __file__}),
        ("disk.directory", {"directory": __file__ + "/below"}),
        ("disk.max_bytes", {"max_bytes": 0}),
        ("disk.max_bytes", {"max_bytes": 1.5}),
        ("disk.max_bytes", {"max_bytes": True}),
        ("disk.memory", {"memory": 7}),
        ("disk.secret", {"secret": ""}),
        ("disk.secret", {"secret": b""}),
        ("disk.secret", {"secret": ["canary"]}),
    ],
)
def test_bad_values_are_refused(folder: Path, field: str, options: dict[str, Any]) -> None:
    """The error names the field, and the value, but never a secret."""
    with pytest.raises(fc.ConfigError) as caught:
        DiskStore(**{"directory": folder, **options})
    assert caught.value.field == field and str(caught.value).startswith(field)
    assert "canary" not in str(caught.value)


def test_making_one_touches_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is not used leaves no trace; the home folder is found; the repr holds the path, not the secret."""
    store = DiskStore(folder, secret="canary")
    assert not folder.exists()
    assert repr(store) == f"DiskStore({str(folder)!r})"
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert repr(DiskStore("~/cache")) == repr(store)


def test_odd_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a folder is called, that is the one that is used: nothing in its name is expanded or escaped."""
    monkeypatch.setenv("WHERE", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    for name in ("$WHERE", "a?mode=memory#x", "100%41", "new\nline", "über", "a/b/../c"):
        store = DiskStore(name)
        put(store, 1)
        store.close()
        assert (tmp_path / os.path.normpath(name) / "cache.db").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["$WHERE", "a?mode=memory#x", "100%41", "new\nline", "über", "a"]
    )


@posix
def test_nobody_else_can_read(folder: Path) -> None:
    """Under any umask the folder is 0700, and every file 0600, also while it is in use."""
    old = os.umask(0)
    try:
        store = DiskStore(folder, memory=None)
        put(store, *range(3), size=BIG)
        until(lambda: store.stats().stored == 3)
        for path in (folder, *folder.rglob("*")):
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
        assert {"cache.db", "cache.db-wal", "cache.db-shm"} <= {path.name for path in folder.iterdir()}
        store.close()
        os.chmod(folder / "cache.db", 0o644)
        put(store, 4)
        store.close()
        assert stat.S_IMODE((folder / "cache.db").stat().st_mode) == 0o600
    finally:
        os.umask(old)


@posix
@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_folders_that_others_can_write_are_refused(folder: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At construction by an error; a folder that became so later is not used."""
    monkeypatch.setattr("fastclient.cache.disk.writer._PAUSE", 0.01)
    store = DiskStore(folder)
    put(store, 1)
    store.close()
    folder.chmod(mode)
    with pytest.raises(fc.ConfigError, match=r"^disk.directory: .* can be written by other users"):
        DiskStore(folder)
    folder.chmod(0o700)
    again = DiskStore(folder, memory=None)
    folder.chmod(mode)
    assert again.get(key_of(1)) is None
    put(again, 2)
    again.close()
    folder.chmod(0o700)
    assert again.stats().stored == 0 and again.stats().failures
    again.close()


@posix
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away")
def test_folders_of_others_are_refused(folder: Path) -> None:
    """A folder that belongs to somebody else is not believed, even by root."""
    folder.mkdir(0o700)
    os.chown(folder, 12345, -1)
    with pytest.raises(fc.ConfigError, match="belongs to another user"):
        DiskStore(folder)


# --- many at once -----------------------------------------------------------------------------------------------------


def test_thirty_threads(folder: Path) -> None:
    """They put, get and close as they like: every entry is right, nothing is lost, nothing fails."""
    store = DiskStore(folder, memory=None)
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        random = Random(seed)
        try:
            for _ in range(60):
                number = random.randrange(100)
                put(store, number, version=seed, size=random.choice([100, 2000, 140_000]))
                assert got(store, number) is not None
                got(store, random.randrange(100))
                if random.random() < 0.02:
                    store.close()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert not wrong
    verified = store.verify()
    assert verified.good == verified.checked == store.stats().entries and not verified.orphans
    assert store.stats().rejected == store.stats().set_aside == 0
    store.close()


def test_two_processes_share_a_folder(store: DiskStore, folder: Path) -> None:
    """What one writes the other finds, while both have it open."""
    put(store, 1)
    store.close()
    assert got(store, 1) is not None
    program(PROGRAM + "s = DiskStore(sys.argv[1]); assert got(s, 1); put(s, 2); s.close()", folder)
    assert got(store, 2) is not None
    assert store.stats().failures == 0


def test_a_store_that_appears_is_noticed(store: DiskStore, folder: Path) -> None:
    """Who looked too early finds the other process's entries soon."""
    assert got(store, 1) is None
    program(PROGRAM + "put(DiskStore(sys.argv[1]), 1)", folder)
    until(lambda: got(store, 1) is not None)


def test_what_waits_is_written_at_exit(store: DiskStore, folder: Path) -> None:
    """A program that just ends loses nothing, and leaves without a warning."""
    program(PROGRAM + "s = DiskStore(sys.argv[1]); put(s, *range(500)); got(s, 1)", folder)
    assert all(got(store, number) for number in range(500))


def test_exit_waits_a_second_at_most(store: DiskStore, folder: Path) -> None:
    """A locked store does not hold up the end of a program."""
    put(store, 1)
    store.close()
    with database(folder) as other:
        other.execute("BEGIN EXCLUSIVE")
        code = PROGRAM + "import time; s = DiskStore(sys.argv[1]); put(s, 2); print(time.time())"
        done = program(code, folder)
        assert time.time() - float(done.stdout) < 3


def test_a_store_may_be_dropped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to close one: what waits is written, and no connection is left open."""
    monkeypatch.setattr("fastclient.cache.disk.writer._IDLE", 0.05)
    store = DiskStore(folder, memory=None)
    put(store, *range(10))
    got(store, 1)
    del store
    gc.collect()
    other = DiskStore(folder, memory=None)
    until(lambda: other.stats().entries == 10)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "fastclient disk"])
    other.close()


FORKS = """
s = DiskStore(sys.argv[1], memory=None)
put(s, *range(50)); s.close(); assert got(s, 1)
put(s, *range(50, 100))
reading, writing = os.pipe()
children = []
for child in range(4):
    pid = os.fork()
    if not pid:
        until(lambda: all(got(s, number) for number in range(50)))  # another may just be opening it
        os.read(reading, 1)
        put(s, 1000 + child); s.close(); until(lambda: got(s, 1000 + child))
        sys.exit(0)
    children.append(pid)
    put(s, 100 + child)
s.close()
os.write(writing, b"....")
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
until(lambda: all(got(s, number) for number in (*range(104), *range(1000, 1004))))
assert s.verify().good == 108
"""


@posix
def test_forks(folder: Path) -> None:
    """Parent and children go on with the same store; what a child writes is not lost when the parent closes before."""
    program(PROGRAM + FORKS, folder, warn="error,ignore::DeprecationWarning")  # Python's own, about forks with threads


DESCRIPTORS = """
def files():
    for number in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink("/proc/self/fd/" + number)
        except OSError:
            pass
def is_open():
    return any("cache.db" in file for file in files())
s = DiskStore(sys.argv[1], memory=None)
put(s, 1); s.close(); got(s, 1); put(s, 2)
until(lambda: s.stats().stored == 2)
assert is_open()
pid = os.fork()
if not pid:
    os._exit(is_open())
assert os.waitpid(pid, 0)[1] == 0
assert got(s, 1) and got(s, 2) and is_open()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_fork_finds_no_connection_open(folder: Path) -> None:
    """SQLite's locks do not come along into a child, but its belief to hold them does: so none may be open."""
    program(PROGRAM + DESCRIPTORS, folder, warn="error,ignore::DeprecationWarning")


# --- looking after it -------------------------------------------------------------------------------------------------


def test_purging_a_namespace(folder: Path) -> None:
    """Only its answers go: from memory, from what waits, from the database and from files; then everything."""
    store = DiskStore(folder)
    other = tag_of("other")
    for number in range(20):
        tag = other if number % 2 else TAG
        store.put(key_of(number), entry_of(number, size=BIG if number > 17 else 500), tag=tag, lifetime=60)
    store.close()
    put(store, 20, 21)
    assert store.purge("other") == 10
    assert [number for number in range(22) if got(store, number)] == [*range(0, 20, 2), 20, 21]
    assert len(list(folder.rglob("*.val"))) == 1
    (folder / "corrupt-20260101T000000").mkdir()
    assert store.purge() == 12
    assert store.stats().entries == 0 and got(store, 20) is None
    assert {path.name for path in folder.iterdir()} <= {"cache.db", "cache.db-wal", "cache.db-shm", "cache.lock"}
    store.close()
    assert b"quick" not in (folder / "cache.db").read_bytes()


def test_verify(store: DiskStore, folder: Path) -> None:
    """It finds what is wrong without changing it, unless it is asked to; then nothing wrong is left."""
    assert store.verify() == Verified()
    put(store, *range(10))
    put(store, *range(10, 14), size=BIG)
    store.close()
    assert store.verify() == Verified(checked=14, good=14)
    files = sorted(folder.rglob("*.val"))
    files[0].unlink()
    files[1].write_bytes(b"other")
    orphan = files[2].with_name("0" * 28 + ".val")
    orphan.write_bytes(b"orphan")
    os.utime(orphan, (1, 1))
    with database(folder) as other:
        other.execute("UPDATE Cache SET value = x'00' WHERE key = ?", (key_of(3),))
        other.execute("UPDATE Cache SET mode = 4 WHERE key = ?", (key_of(4),))
        other.execute("INSERT INTO Cache (key, raw) VALUES (?, 0)", (key_of(5),))
    expected = Verified(checked=15, good=10, rejected=4, missing=1, orphans=1)
    assert store.verify() == expected == store.verify(fix=True)
    assert store.verify() == Verified(checked=10, good=10)
    assert store.stats().entries == 10 and not orphan.exists()
    assert DiskStore(folder, secret="another").verify().rejected == 10


def test_collecting_garbage(store: DiskStore, folder: Path) -> None:
    """Expired entries, old files of nobody and empty folders go; young files stay, and so does all that is not ours."""
    assert store.gc() == Cleaned()
    put(store, 1, 2, size=BIG)
    put(store, 3, lifetime=0.3)
    store.close()
    orphan = next(folder.rglob("*.val")).with_name("f" * 28 + ".val")
    for path in (orphan, folder / "notes.txt", folder / "ab" / "notes.val", folder / "cd" / "ef" / ("0" * 27 + ".val")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (folder / "00" / "11").mkdir(parents=True)
    time.sleep(0.35)
    assert store.gc() == Cleaned(expired=1, folders=2)
    assert store.gc(older_than=0) == Cleaned(orphans=1)
    assert len([path for path in folder.rglob("*") if path.name in ("notes.txt", "notes.val", "0" * 27 + ".val")]) == 3
    assert store.verify() == Verified(checked=2, good=2)


def test_another_process_goes_on_meanwhile(store: DiskStore, folder: Path) -> None:
    """While one process verifies, clears and purges, another one's open store works, and finds what is still there."""
    put(store, *range(50))
    put(store, 50, size=BIG)
    store.close()
    assert got(store, 50) is not None
    program(PROGRAM + "s = DiskStore(sys.argv[1]); print(s.verify(fix=True), s.gc(older_than=0))", folder)
    assert all(got(store, number) for number in range(51))
    program(PROGRAM + "assert DiskStore(sys.argv[1]).purge() == 51", folder)
    assert not any(got(store, number) for number in range(51))
    put(store, *range(5))
    store.close()
    assert all(got(store, number) for number in range(5))
    assert store.stats().failures == store.stats().rejected == store.stats().set_aside == 0


def test_maintenance_says_when_it_cannot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike the rest it raises, because somebody is waiting for the result: OSError, whatever SQLite calls it."""
    monkeypatch.setattr("fastclient.cache.disk.upkeep._PATIENCE", 0.05)
    store = DiskStore(folder, memory=None)
    put(store, 1)
    store.close()
    with database(folder) as other:
        other.execute("BEGIN EXCLUSIVE")
        for work in (store.verify, store.gc, store.purge):
            with pytest.raises(OSError, match="locked"):
                work()
    assert store.verify().good == 1
