"""A cache folder in the hands of somebody else: it costs entries, and nothing more.

Whatever he writes there, nothing is executed, nothing outside of the folder is read, changed or removed, and every
answer is the one that was stored, or none.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import diskcache
import pytest

from fastclient.cache.disk import DiskStore
from fastclient.cache.disk.folder import Folder
from fastclient.cache.disk.reader import Rejected
from fastclient.cache.disk.table import Answers
from fastclient.cache.seal import sealed
from tests.cache.writers import database, entry_of, got, key_of, put

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs links, pipes and permissions")

SMALL, LARGE = range(190), range(190, 200)
ALL = (*SMALL, *LARGE)
CANARY = b"canary\n" * 40
COLUMNS = ("key", "raw", "store_time", "expire_time", "access_time", "access_count", "tag", "size", "mode", "filename")
COLUMNS += ("value",)


class Field:
    """A cache folder that is full and closed, things outside of it that must not be touched, and a trap."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "cache"
        self.pristine = path / "pristine"
        self.canary = path / "canary"
        self.outside = path / "outside"
        self.inside = self.outside / "cd" / ("e" * 28 + ".val")
        self.executed = path / "executed"
        self.trap = b"cbuiltins\nopen\n(S'%b'\nS'w'\ntR." % os.fsencode(self.executed)  # unpickled, it makes a file
        self.inside.parent.mkdir(parents=True)
        for canary in (self.canary, self.inside):
            canary.write_bytes(CANARY)
        store = DiskStore(self.pristine, memory=None)
        put(store, *SMALL)
        put(store, *LARGE, size=140_000)
        store.close()
        assert store.stats().entries == len(ALL)

    def renew(self) -> Path:
        """Undo everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.pristine, self.folder)
        return self.folder

    def is_unharmed(self) -> bool:
        return not self.executed.exists() and self.canary.read_bytes() == self.inside.read_bytes() == CANARY


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time between two tries at a broken store."""
    monkeypatch.setattr("fastclient.cache.disk.writer._PAUSE", 0.01)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return Field(tmp_path_factory.mktemp("field"))


@pytest.fixture
def field(made: Field) -> Iterator[Field]:
    made.renew()
    yield made
    assert made.is_unharmed()


def reads(store: DiskStore) -> int:
    """Ask for every entry, and return how many there were; each was the right one."""
    before = store.stats()
    found = sum(got(store, number) is not None for number in ALL)
    after = store.stats()
    assert after.hits - before.hits == found and after.misses - before.misses == len(ALL) - found
    return found


def still_works(store: DiskStore) -> None:
    """New entries go in and come out."""
    put(store, 1000)
    put(store, 1001, size=140_000)
    store.close()
    assert got(store, 1000) and got(store, 1001)


# --- ten thousand changes ---------------------------------------------------------------------------------------------


def hostile(field: Field, random: Random, connection: sqlite3.Connection) -> Any:
    """A value that has no business in a column."""
    row = random.choice(SMALL) + 1
    ((other,),) = connection.execute("SELECT CAST(value AS BLOB) FROM Cache WHERE rowid = ?", (row,))
    return random.choice([
        *(None, -1, 0, 1, 2, 3, 4, 5, 255, 2**31, 2**63 - 1, -(2**63), 1.5, -0.0, 1e308, float("inf"), time.time()),
        *("", "x", "1", "4", "\0", "ab/cd/" + "e" * 28 + ".val", "AB/cd/" + "e" * 28 + ".val", "a" * 5000),
        *(str(field.canary), "../canary", "../outside/cd/" + field.inside.name, "/dev/zero", "/etc/passwd", "cache.db"),
        *("ab/../" + "e" * 28 + ".val", "ab/cd/" + "e" * 28 + ".val\n", "ab/cd/" + "e" * 28 + ".val\0"),
        *(b"", b"\0" * 16, field.trap, field.trap.decode(), os.fsencode(field.canary), random.randbytes(40), other),
        *(other and other[:-1], other and other + b"x", key_of(random.choice(ALL)), CANARY),
    ])  # fmt: skip


def change_a_row(field: Field, random: Random, connection: sqlite3.Connection) -> None:
    """Change one row: one column, several, or as an attacker would who knows the format."""
    row = random.choice(ALL) + 1

    def update(**columns: Any) -> None:
        words = ", ".join(f"{name} = ?" for name in columns)
        connection.execute(f"UPDATE OR IGNORE Cache SET {words} WHERE rowid = ?", (*columns.values(), row))

    match random.randrange(9):
        case 0 | 1:
            update(**{random.choice(COLUMNS): hostile(field, random, connection)})
        case 2:
            update(**{name: hostile(field, random, connection) for name in random.sample(COLUMNS, 3)})
        case 3:
            update(
                mode=random.choice([3, 4, "4", 4.0]), value=random.choice([field.trap, None]), raw=random.choice([0, 1])
            )
        case 4:
            update(mode=random.choice([2, 3, 4]), value=None, filename=hostile(field, random, connection))
        case 5:
            update(raw=random.choice([0, None]), key=random.choice([field.trap, key_of(row - 1)]))
        case 6:
            size = random.choice([2**17, 2**20 + 1, 3_000_000]) if random.random() < 0.1 else random.randrange(2000)
            update(value=random.randbytes(size), mode=1, filename=None)
        case 7:
            connection.execute(
                "UPDATE Cache SET (value, mode, filename) = (SELECT value, mode, filename FROM Cache WHERE rowid = ?)"
                " WHERE rowid = ?",
                (random.choice(ALL) + 1, row),
            )
        case 8:
            ((value,),) = connection.execute("SELECT value FROM Cache WHERE rowid = ?", (row,))
            if isinstance(value, bytes) and value:
                at = random.randrange(len(value))
                update(value=value[:at] + bytes([value[at] ^ 1 << random.randrange(8)]) + value[at + 1 :])


def change_a_file(field: Field, random: Random) -> None:
    """Change the file of one value, or put something else in its place or on the way to it."""
    files = sorted(field.folder.rglob("*.val"))
    path = random.choice(files)
    kind = random.randrange(10)
    if path.is_symlink() or not path.is_file() or not 100_000 < path.stat().st_size < 2**20:
        return  # has had its turn
    if kind < 4:
        data = bytearray(path.read_bytes())
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes([bytes(data), data[: random.randrange(len(data))], data + b"x", b""][kind])
        return
    path.unlink()
    if kind == 4:
        path.symlink_to(random.choice([field.canary, files[0], Path("/dev/zero"), Path("nowhere")]))
    elif kind == 5:
        os.mkfifo(path)
    elif kind == 6:
        path.mkdir()
    elif kind == 7:
        with open(path, "wb") as file:
            file.truncate(2**31)
    elif kind == 8:
        os.link(field.canary, path)
    elif len(list(path.parent.iterdir())) == 0:
        path.parent.rmdir()
        path.parent.symlink_to(field.outside / "cd")


def test_ten_thousand_changes(made: Field) -> None:
    """In rows and files, two hundred at a time: every get is right or a miss, and nothing that is done raises."""
    random = Random(20)
    found = rejected = aside = 0
    for _ in range(50):
        folder = made.renew()
        with database(folder) as connection:
            connection.execute("BEGIN")
            for _ in range(195):
                change_a_row(made, random, connection)
            connection.execute("COMMIT")
        for _ in range(5):
            change_a_file(made, random)
        store = DiskStore(folder, memory=None)
        found += reads(store)
        match random.randrange(4):
            case 0:
                store.close()  # removes what was rejected
            case 1:
                put(store, *ALL, version=1)
            case 2:
                store.verify(fix=True)
                left = store.verify()
                assert reads(store) <= left.good == left.checked  # some have expired
            case 3:
                store.gc(older_than=0)
                store.purge()
        still_works(store)
        rejected += store.stats().rejected
        aside += store.stats().set_aside
        store.close()
        assert made.is_unharmed()
    assert 3_000 < found < 7_000 and rejected > 2_000 and aside < 50


def test_a_thousand_flipped_bits(made: Field) -> None:
    """Anywhere in the database's file: it costs entries, or all of them."""
    random = Random(21)
    found = aside = 0
    for _ in range(40):
        folder = made.renew()
        data = bytearray((folder / "cache.db").read_bytes())
        for _ in range(25):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        (folder / "cache.db").write_bytes(data)
        store = DiskStore(folder, memory=None)
        found += reads(store)
        put(store, *range(0, 300, 7), version=1)
        store.close()
        reads(store)
        aside += store.stats().set_aside
        store.close()
    assert made.is_unharmed()
    assert found > 1000 and 0 < aside < 40


# --- what diskcache is asked ------------------------------------------------------------------------------------------


def test_the_trap_is_one(field: Field) -> None:
    """diskcache as it comes walks into it: reading the changed row makes the file."""
    with database(field.folder) as connection:
        connection.execute("UPDATE Cache SET mode = 4, value = ? WHERE rowid = 1", (field.trap,))
    store = DiskStore(field.folder, memory=None)
    assert got(store, 0) is None and store.stats().rejected == 1
    store.close()
    assert field.is_unharmed()
    with database(field.folder) as connection:
        connection.execute("UPDATE Cache SET mode = 4, value = ? WHERE rowid = 2", (field.trap,))
    with diskcache.Cache(str(field.folder)) as cache:
        cache.get(key_of(1)).close()
    assert field.executed.exists()
    field.executed.unlink()


def test_the_format_is_refused_everywhere(field: Field) -> None:
    """Each way in which diskcache asks for another format ends in an error, also those that we do not use."""
    answers = Answers(str(field.folder))
    answers.folder = Folder(str(field.folder))
    for key in ("text", 7, 1.5, None, b"short", bytearray(32), ("a",)):
        with pytest.raises(ValueError):
            answers.put(key)
    for raw_key, raw in ((field.trap, 0), (field.trap, False), (key_of(1), 0), (key_of(1), None), ("x" * 32, 1)):
        with pytest.raises(Rejected):
            answers.get(raw_key, raw)
    for value in ("text", 7, 1.5, None, bytearray(3), {"a": 1}):
        with pytest.raises(ValueError):
            answers.store(value, False)
    with pytest.raises(ValueError):
        answers.store(b"", True)
    for mode in (None, 0, 3, 4, 5, "1", b"1"):
        with pytest.raises(Rejected):
            answers.fetch(mode, None, field.trap, False)
    for name in (str(field.canary), "../canary", "ab/cd/../../../canary", "cache.db", None, 7, b"ab", "", "/dev/zero"):
        with pytest.raises(Rejected):
            answers.fetch(2, name, None, False)
        answers.remove(name)
    with pytest.raises(ValueError):
        answers.fetch(1, None, b"x", True)
    key, raw = answers.put(key_of(1))
    assert answers.get(bytes(key), raw) == key_of(1)
    _, mode, name, value = answers.store(b"x" * 3, False)
    assert answers.fetch(mode, name, bytes(value), False) == b"x" * 3
    assert (field.folder / "cache.db").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "both"])
def test_links_are_not_followed(field: Field, kind: str) -> None:
    """A link in place of a file, or of a folder on the way: not to read, not to write, and not to remove."""
    top = next(name for number in range(256) if not (field.folder / (name := f"{number:02x}")).exists())
    assert field.inside.parent == field.outside / "cd"
    name = f"{top}/cd/{field.inside.name}"
    if kind == "both":
        (field.folder / top).symlink_to(field.outside)
    else:
        (field.folder / top).mkdir()
    if kind == "file":
        (field.folder / top / "cd").mkdir()
        (field.folder / name).symlink_to(field.inside)
    elif kind == "folder":
        (field.folder / top / "cd").symlink_to(field.inside.parent)
    assert (field.folder / name).read_bytes() == CANARY
    with database(field.folder) as connection:
        connection.execute("UPDATE Cache SET mode = 2, value = NULL, filename = ? WHERE rowid < 9", (name,))
    store = DiskStore(field.folder, memory=None)
    assert reads(store) == len(ALL) - 8 and store.stats().rejected == 8
    put(store, *range(8), version=2)
    store.close()
    store.verify(fix=True)
    store.gc(older_than=0)
    assert store.purge() == len(ALL)
    store.close()


# --- the database as a whole ------------------------------------------------------------------------------------------


ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x"
SQL = {
    "another table": "CREATE TABLE more (x)",
    "another index": "CREATE INDEX more ON Cache(size)",
    "a view": "CREATE VIEW more AS SELECT 1",
    "a trigger": "CREATE TRIGGER more AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END",
    "another trigger": "DROP TRIGGER Settings_size_insert; CREATE TRIGGER Settings_size_insert AFTER INSERT ON Cache"
    " BEGIN UPDATE Cache SET key = x'00'; END",
    "no index": "DROP INDEX Cache_key_raw",
    "no table": "DROP TABLE Cache",
    "an endless view": f"DROP TABLE Cache; CREATE VIEW Cache AS {ENDLESS} AS rowid, x AS key, 1 AS raw, 1 AS mode,"
    " NULL AS filename, x AS value, x AS expire_time FROM r",
    "an unknown setting": "INSERT INTO Settings VALUES ('sqlite_writable_schema', 1)",
    "a method": "INSERT INTO Settings VALUES ('_transact', 1)",
    "a setting of the disk": "INSERT INTO Settings VALUES ('disk_directory', '/')",
    "no setting": "DELETE FROM Settings WHERE key = 'cull_limit'",
    "a text as size": "UPDATE Settings SET value = 'many' WHERE key = 'size'",
    "a size below zero": "UPDATE Settings SET value = -9 WHERE key = 'size'",
    "no count": "UPDATE Settings SET value = NULL WHERE key = 'count'",
    "a huge count": "UPDATE Settings SET value = 1e300 WHERE key = 'count'",
    "no log": "PRAGMA journal_mode = DELETE",
    "no vacuum": "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = 0; VACUUM; PRAGMA journal_mode = WAL",
}
HEALED = {
    "a pragma": "UPDATE Settings SET value = '0; DROP TABLE Cache' WHERE key = 'sqlite_synchronous'",
    "a limit": "UPDATE Settings SET value = 'x' WHERE key = 'size_limit'",
    "a policy": "UPDATE Settings SET value = 'none' WHERE key = 'eviction_policy'",
    "a protocol": "UPDATE Settings SET value = x'00' WHERE key = 'disk_pickle_protocol'",
}


@pytest.mark.parametrize("sql", SQL.values(), ids=SQL)
@pytest.mark.parametrize("first", ["get", "put"])
def test_other_databases_are_set_aside(field: Field, sql: str, first: str) -> None:
    """A database that is not exactly as we make them is moved away as it is, and a new one begun."""
    with database(field.folder) as connection:
        connection.executescript(sql)
    store = DiskStore(field.folder, memory=None)
    if first == "get":
        reads(store)
    still_works(store)
    assert store.stats().set_aside == 1
    (aside,) = field.folder.glob("corrupt-*")
    assert aside.stat().st_mode & 0o777 == 0o700
    assert (aside / "cache.db").stat().st_ino != (field.folder / "cache.db").stat().st_ino
    assert len(list(aside.rglob("*.val"))) == len(LARGE) and store.verify().orphans == 0
    store.close()


@pytest.mark.parametrize("sql", HEALED.values(), ids=HEALED)
def test_our_settings_win(field: Field, sql: str) -> None:
    """A setting that we know, with another value, is overwritten with ours; no entry is lost."""
    with database(field.folder) as connection:
        connection.executescript(sql)
    store = DiskStore(field.folder, memory=None)
    still_works(store)
    assert reads(store) == len(ALL) and store.stats().set_aside == store.stats().failures == 0
    store.close()


def test_a_database_that_becomes_endless(field: Field) -> None:
    """While it is open, too: no question takes longer than some milliseconds."""
    store = DiskStore(field.folder, memory=None)
    assert got(store, 1) is not None
    with database(field.folder) as connection:
        connection.executescript(SQL["an endless view"])
    began = time.monotonic()
    assert got(store, 1) is None
    assert time.monotonic() - began < 1
    still_works(store)
    assert store.stats().set_aside == 1
    store.close()


def test_a_huge_value(field: Field) -> None:
    """It is not read: a gigabyte in a row costs no memory, beside what other threads of the process may need."""
    store = DiskStore(field.folder, memory=None)
    assert got(store, 1) is not None
    with database(field.folder) as connection:
        connection.execute("UPDATE Cache SET value = zeroblob(30000000) WHERE rowid = 2")
        connection.execute("UPDATE Cache SET filename = CAST(zeroblob(30000000) AS TEXT) WHERE rowid = 3")
    tracemalloc.start()
    assert reads(store) == len(ALL) - 2 and store.stats().rejected == 2
    assert store.verify(fix=True).good == len(ALL) - 2
    assert tracemalloc.get_traced_memory()[1] < 15_000_000
    tracemalloc.stop()
    still_works(store)
    store.close()


def with_journal(field: Field) -> None:
    """A rollback journal in whose name SQLite deletes the canary."""
    pages = (field.folder / "cache.db").stat().st_size // 4096
    name = os.fsencode(field.canary)
    magic = bytes.fromhex("d9d505f920a163d7")
    head = magic + struct.pack(">5I", 0, 0, pages, 512, 4096)
    end = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    (field.folder / "cache.db-journal").write_bytes(head.ljust(512, b"\0") + end)


def linked(ending: str, *, hard: bool = False) -> Callable[[Field], None]:
    def plant(field: Field) -> None:
        path = field.folder / f"cache.db{ending}"
        path.unlink(missing_ok=True)
        if hard:
            os.link(field.canary, path)
        else:
            path.symlink_to(field.canary)

    return plant


def piped(field: Field) -> None:
    (field.folder / "cache.db").unlink()
    os.mkfifo(field.folder / "cache.db")


def garbage(field: Field) -> None:
    (field.folder / "cache.db").write_bytes(Random(1).randbytes(20_000))


def cut(field: Field) -> None:
    with open(field.folder / "cache.db", "r+b") as file:
        file.truncate(9_000)


def is_folder(field: Field) -> None:
    (field.folder / "cache.db").unlink()
    (field.folder / "cache.db").mkdir()


FILES = {
    "a link": linked(""), "a hard link": linked("", hard=True), "a linked log": linked("-wal"),
    "a hard-linked log": linked("-wal", hard=True), "a linked index": linked("-shm"),
    "a pipe": piped, "garbage": garbage, "a cut one": cut, "a folder": is_folder,
}  # fmt: skip


@pytest.mark.parametrize("plant", FILES.values(), ids=FILES)
@pytest.mark.parametrize("first", ["get", "put"])
def test_other_files_are_set_aside(field: Field, plant: Callable[[Field], None], first: str) -> None:
    """Anything but a plain file of ours is not opened, but moved away; what a link points to stays as it is."""
    plant(field)
    store = DiskStore(field.folder, memory=None)
    if first == "get":
        assert reads(store) < len(ALL)
    still_works(store)
    assert store.stats().set_aside == 1 and field.is_unharmed()
    store.close()


@pytest.mark.parametrize("first", ["get", "put", "verify"])
def test_a_journal_deletes_nothing(field: Field, first: str) -> None:
    """SQLite would delete the file that a journal names; it never sees one."""
    with_journal(field)
    store = DiskStore(field.folder, memory=None)
    if first == "get":
        assert reads(store) == 0
    elif first == "verify":
        assert store.verify().good == len(ALL)
    still_works(store)
    assert field.is_unharmed() and reads(store) == len(ALL)
    store.close()
    with_journal(field)
    with database(field.folder) as connection:
        assert connection.execute("SELECT COUNT(*) FROM Cache").fetchone() == (len(ALL) + 2,)
    assert not field.canary.exists()  # so it was a real one
    field.canary.write_bytes(CANARY)


def test_a_lock_that_is_a_link(field: Field) -> None:
    """It is not followed. The store stays out of work, and says so."""
    (field.folder / "cache.lock").unlink()
    (field.folder / "cache.lock").symlink_to(field.canary)
    store = DiskStore(field.folder, memory=None)
    assert reads(store) == 0
    put(store, 1)
    store.close()
    assert store.stats().failures >= 2 and store.stats().dropped == 1
    store.close()


# --- entries that were made by somebody who knows how -----------------------------------------------------------------


def test_swapped_entries_are_rejected(field: Field) -> None:
    """An entry opens under its own key only, so answers cannot be exchanged; each one costs itself."""
    with database(field.folder) as connection:
        connection.executescript(
            "UPDATE Cache SET value = (SELECT value FROM Cache AS o WHERE o.rowid = Cache.rowid % 190 + 1)"
            " WHERE rowid <= 190"
        )
    store = DiskStore(field.folder, memory=None)
    assert reads(store) == len(LARGE) and store.stats().rejected == len(SMALL)
    assert reads(store) == len(LARGE) and store.stats().rejected == len(SMALL)  # forgotten, so counted once
    store.close()
    assert store.stats().entries == len(LARGE)
    store.close()


def test_only_who_knows_the_secret_makes_entries(field: Field) -> None:
    """With a secret, a well-made entry of somebody who does not know it is no entry."""
    store = DiskStore(field.folder, memory=None, secret="ours")
    for secret, opens in ((b"theirs", 0), (b"", 0), (b"ours", 1)):
        put(store, 0, version=3)
        store.close()
        with database(field.folder) as connection:
            value = sealed(key_of(0), entry_of(0, version=4), secret)
            connection.execute("UPDATE Cache SET value = ? WHERE key = ?", (value, key_of(0)))
        assert (got(store, 0) is not None) == opens
        store.close()
    assert reads(store) == 1 and store.stats().rejected == len(ALL) - 1 + 2
    store.close()
