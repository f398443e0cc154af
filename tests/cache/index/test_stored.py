"""The index in a file: what was added is there after any crash, for every process, and nothing else is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastclient.cache.index.stored import StoredIndex
from fastclient.errors import ConfigError
from tests.cache.embedders.folders import needed

DIM = 4
POOL: Any = np.random.default_rng(3).normal(size=(50, DIM)).astype(np.float32)
POOL /= np.linalg.norm(POOL, axis=1, keepdims=True)
SPACE = "lexical-test"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vectors.log"


def opened(file: Path, **options: Any) -> StoredIndex:
    return StoredIndex(file, SPACE, DIM, **options)


def filled(file: Path, count: int) -> StoredIndex:
    index = opened(file)
    for at in range(count):
        index.add(b"k%d" % at, b"p", POOL[at])
    return index


def kept(index: StoredIndex) -> set[bytes]:
    return {key for key, _ in index.nearest(b"p", POOL[0], 100)}


def test_what_was_added_is_there_again(file: Path) -> None:
    """Without any closing: keys, partitions, and vectors to three digits; removed ones stay away."""
    index = filled(file, 10)
    index.add(b"k3", b"other", POOL[20])
    assert index.remove(b"k4") and not index.remove(b"k4")
    again = opened(file)
    assert kept(again) == kept(index) == {b"k%d" % at for at in range(10)} - {b"k3", b"k4"}
    assert again.nearest(b"other", POOL[20], 1)[0] == (b"k3", pytest.approx(1.0, abs=2e-3))
    index.close(), again.close()


def test_the_files_are_the_owners_alone(file: Path) -> None:
    """Mode 0600, in a folder that only the owner may enter."""
    filled(file.parent / "folder" / "vectors.log", 1).close()
    assert stat.S_IMODE((file.parent / "folder" / "vectors.log").stat().st_mode) == 0o600
    assert stat.S_IMODE((file.parent / "folder").stat().st_mode) == 0o700


def test_others_additions_are_found(file: Path) -> None:
    """Two that share a file, as two processes do: each finds what the other adds, and loses what it removes."""
    one, two = opened(file), opened(file)
    one.add(b"a", b"p", POOL[1])
    assert kept(two) == {b"a"}
    two.add(b"b", b"p", POOL[2])
    two.remove(b"a")
    assert kept(one) == {b"b"} and len(one) == 1
    one.close(), two.close()


@pytest.mark.parametrize("cut", range(0, 260, 7))
def test_a_file_cut_anywhere_loses_only_its_end(file: Path, cut: int) -> None:
    """Killed at any byte of a write: whole records are there, and what comes after them fits on."""
    filled(file, 6).close()
    size = file.stat().st_size
    record = (size - 64) // 6
    os.truncate(file, size - cut)
    index = opened(file)
    left = 6 - -(-cut // record) if size - cut >= 64 else 0
    assert kept(index) == {b"k%d" % at for at in range(left)}
    index.add(b"new", b"p", POOL[30])
    again = opened(file)
    assert kept(again) == kept(index) == {b"k%d" % at for at in range(left)} | {b"new"}
    index.close(), again.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_costs_what_it_hits_and_no_more(file: Path, data: st.DataObject) -> None:
    """Any byte flipped behind the head: at most the record it stands in is gone, and no vector is a wrong one."""
    file.unlink(missing_ok=True)
    filled(file, 6).close()
    bytes_ = bytearray(file.read_bytes())
    at = data.draw(st.integers(64, len(bytes_) - 1))
    bytes_[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(bytes_)
    index = opened(file)
    hit = (at - 64) // ((len(bytes_) - 64) // 6)
    assert kept(index) == {b"k%d" % number for number in range(6) if number != hit}
    index.close()


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 64, b"fcvector" + bytes(200)])
def test_what_is_no_file_of_ours_is_begun_anew(file: Path, content: bytes) -> None:
    """Nor are vectors of another embedder, or of another length, ever read."""
    file.write_bytes(content)
    index = filled(file, 2)
    assert kept(index) == {b"k0", b"k1"}
    other = StoredIndex(file, "another", DIM)
    assert len(other) == 0
    index.close(), other.close()


def test_a_file_that_goes_away_is_made_again(file: Path) -> None:
    """Somebody clears the folder: the index is empty then, and works."""
    index = filled(file, 3)
    file.unlink()
    assert kept(index) == set()
    index.add(b"a", b"p", POOL[0])
    again = opened(file)
    assert kept(again) == {b"a"}
    index.close(), again.close()


def test_the_bound_holds_after_a_restart(file: Path) -> None:
    """The oldest go first, the same ones in every process."""
    index = opened(file, most=5)
    for at in range(12):
        index.add(b"k%d" % at, b"p", POOL[at])
    again = opened(file, most=5)
    assert kept(again) == kept(index) == {b"k%d" % at for at in range(7, 12)}
    index.close(), again.close()


def test_what_is_gone_is_written_out_of_the_file(file: Path) -> None:
    """A file that is mostly dead becomes small when it is opened, and whoever has it open follows."""
    index = opened(file, most=10)
    for at in range(1200):
        index.add(b"k%d" % at, b"p", POOL[at % 50])
    before = file.stat().st_size
    again = opened(file, most=10)
    assert file.stat().st_size < before / 50
    index.add(b"last", b"p", POOL[0])
    assert kept(again) == kept(index) == {b"k%d" % at for at in range(1191, 1200)} | {b"last"}
    index.close(), again.close()


WRITER = """
import sys, numpy as np
from fastclient.cache.index.stored import StoredIndex
index = StoredIndex(sys.argv[1], "lexical-test", 4)
rows = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
print("ready", flush=True)
for at in range(int(sys.argv[3])):
    index.add(f"{sys.argv[2]}-{at}".encode(), b"p", rows[at % 50])
    print(at, flush=True)
"""


def writer(file: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(file), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_has_kept_what_it_said(file: Path) -> None:
    """Killed at some moment: everything it had reported is there, and at most one more."""
    with writer(file, "w", 100_000) as process:
        assert process.stdout is not None
        said = next(at for at, line in enumerate(process.stdout) if line.strip() == "150")
        process.kill()
        said += len(process.stdout.readlines())  # the first line was "ready"
    index = opened(file)
    assert said >= 150 and len(index) in (said, said + 1)
    assert {key for key, _ in index.nearest(b"p", POOL[0], said + 1)} == {b"w-%d" % at for at in range(len(index))}
    index.close()


def test_processes_write_at_the_same_time(file: Path) -> None:
    """Three writers and one reader: nothing is lost, nothing torn, and the reader has it all without being told."""
    index = opened(file)
    writers = [writer(file, name, 200) for name in "abc"]
    for process in writers:
        process.communicate(timeout=60)
    assert len(index.nearest(b"p", POOL[0], 1000)) == 600
    again = opened(file)
    assert len(again) == 600
    index.close(), again.close()


def test_threads_may_share_it(file: Path) -> None:
    """What several threads add at the same time is all there, also after a restart."""
    index = filled(file, 5)
    threads = [threading.Thread(target=index.add, args=(b"t%d" % at, b"p", POOL[at])) for at in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = opened(file)
    assert kept(index) == kept(again) and len(again) == 10
    index.close(), again.close()


FORKED = """
import os, sys, numpy as np
from fastclient.cache.index.stored import StoredIndex
index = StoredIndex(sys.argv[1], "lexical-test", 4)
row = np.float32([1, 0, 0, 0])
index.add(b"before", b"p", row)
child = os.fork()
for at in range(200):
    index.add(b"%d-%d" % (child == 0, at), b"p", row)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print(len(index.nearest(b"p", row, 1000)))
"""


def test_a_forked_child_writes_on_its_own(file: Path) -> None:
    """Parent and child write at the same time after a fork, and nothing is lost."""
    command = [sys.executable, "-c", FORKED, str(file)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "401\n"
    index = opened(file)
    assert len(index) == 401
    index.close()


def test_wrong_vectors_never_reach_the_file(file: Path) -> None:
    """A vector of another length, or a name that is too long, is refused before anything is written."""
    index = filled(file, 1)
    size = file.stat().st_size
    with pytest.raises(ConfigError):
        index.add(b"a", b"p", np.ones(5, np.float32))
    with pytest.raises(ValueError):
        index.add(b"a" * 33, b"p", POOL[0])
    assert file.stat().st_size == size
    index.close()


@pytest.mark.parametrize("damage", [False, True])
def test_graphs_are_there_again(file: Path, damage: bool) -> None:
    """A large partition's graph is written down by `close` and read again; damaged, it is made again. Neither loses."""
    needed("usearch")
    rows: Any = np.random.default_rng(1).normal(size=(1800, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    first = StoredIndex(file, SPACE, 16, graph_from=1200)
    for at in range(1700):
        first.add(b"k%d" % at, b"p", rows[at])
    first.close()
    (graph,) = file.parent.glob("*.graph-*")
    assert stat.S_IMODE(graph.stat().st_mode) == 0o600
    for at in range(1700, 1800):
        first.add(b"k%d" % at, b"p", rows[at])
    for at in range(0, 1800, 9):
        first.remove(b"k%d" % at)
    first.tidy()
    if damage:
        graph.write_bytes(graph.read_bytes()[:-100])
    again = StoredIndex(file, SPACE, 16, graph_from=1200)
    assert len(again) == len(first) == 1600
    found = [again.nearest(b"p", rows[at], 1)[0].key == b"k%d" % at for at in range(1800) if at % 9]
    assert sum(found) >= 0.98 * len(found)
    assert {int(key[1:]) % 9 for key, _ in again.nearest(b"p", rows[0], 1600)} == set(range(1, 9))
    again.close()
