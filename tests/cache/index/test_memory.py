"""The index in memory: what it finds is what a plain search would find, within one partition, and within a bound."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fastclient.cache.index.memory import VectorIndex
from fastclient.errors import ConfigError
from tests.cache.embedders.folders import needed

DIM = 4


def vectors(count: int, dim: int = DIM, seed: int = 0) -> Any:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


POOL = vectors(40)


class Model(RuleBasedStateMachine):
    """Any order of additions, replacements and removals, beside a dict that is searched the plain way."""

    def __init__(self) -> None:
        super().__init__()
        self.index = VectorIndex(DIM, most=12)
        self.plain: dict[bytes, tuple[bytes, int]] = {}

    @rule(key=st.integers(0, 30), partition=st.integers(0, 2), at=st.integers(0, 39))
    def add(self, key: int, partition: int, at: int) -> None:
        name, home = b"%d" % key, b"%d" % partition
        self.index.add(name, home, POOL[at])
        self.plain.pop(name, None)
        self.plain[name] = home, at
        if len(self.plain) > 12:
            del self.plain[next(iter(self.plain))]

    @rule(key=st.integers(0, 30))
    def remove(self, key: int) -> None:
        assert self.index.remove(b"%d" % key) == (self.plain.pop(b"%d" % key, None) is not None)

    @rule(partition=st.integers(0, 2), at=st.integers(0, 39), most=st.integers(1, 5))
    def search(self, partition: int, at: int, most: int) -> None:
        home = b"%d" % partition
        right = sorted((-float(POOL[n] @ POOL[at]) for where, n in self.plain.values() if where == home))[:most]
        found = self.index.nearest(home, POOL[at], most)
        assert np.allclose([-each.cosine for each in found], right, atol=1e-5)
        assert all(self.plain[key][0] == home for key, _ in found)

    @invariant()
    def the_same_is_kept(self) -> None:
        assert len(self.index) == len(self.plain) and all(key in self.index for key in self.plain)


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_history_is_a_plain_search = Model.TestCase


@pytest.mark.parametrize("count", [1, 2, 3, 4095, 4096, 4097, 9000])
def test_every_size_is_searched_whole(count: int) -> None:
    """Also where blocks of the matrix end: each vector finds itself first."""
    index, rows = VectorIndex(DIM), vectors(count)
    for at, row in enumerate(rows):
        index.add(b"%d" % at, b"p", row)
    for at in {0, count // 2, count - 1}:
        assert index.nearest(b"p", rows[at], 1)[0].key == b"%d" % at
    for at in range(0, count, 2):
        index.remove(b"%d" % at)
    assert all(int(key) % 2 for key, _ in index.nearest(b"p", rows[0], 10)) and len(index) == count // 2


def test_partitions_never_see_each_other() -> None:
    """The same vector in another partition is not found, however near."""
    index = VectorIndex(DIM)
    index.add(b"mine", b"me", POOL[0])
    index.add(b"yours", b"you", POOL[0])
    assert [key for key, _ in index.nearest(b"me", POOL[0])] == [b"mine"]
    assert index.nearest(b"nobody", POOL[0]) == []


def test_a_vector_of_zeros_is_like_nothing() -> None:
    """It is not kept, replaces what was there, and finds nothing."""
    index = VectorIndex(DIM)
    index.add(b"a", b"p", POOL[0])
    assert index.nearest(b"p", np.zeros(DIM, np.float32)) == []
    index.add(b"a", b"p", np.zeros(DIM, np.float32))
    assert len(index) == 0


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"most": 0}, {"graph_from": 0}, {"most": 2.5}])
def test_what_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    """With the field named."""
    with pytest.raises(ConfigError) as raised:
        VectorIndex(**{"dim": DIM, **wrong})
    assert raised.value.field in wrong


def test_vectors_of_another_length_are_refused() -> None:
    """They come from another embedder."""
    with pytest.raises(ConfigError, match="4 numbers"):
        VectorIndex(DIM).nearest(b"p", vectors(1, 5)[0])


def test_threads_may_share_it() -> None:
    """Four threads that add, remove and search at the same time leave what they left."""
    index, failed = VectorIndex(DIM, most=5000), []

    def work(name: int) -> None:
        try:
            for at in range(300):
                index.add(b"%d-%d" % (name, at), b"p", POOL[at % 40])
                assert index.nearest(b"p", POOL[at % 40], 1)[0].cosine > 0.99
                if at % 3 == 0:
                    index.remove(b"%d-%d" % (name, at))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(index) == 800


def test_without_usearch_every_size_is_searched_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional: large partitions take longer then, and find the same."""
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    index = VectorIndex(DIM, graph_from=10)
    for at, row in enumerate(POOL):
        index.add(b"%d" % at, b"p", row)
    assert [index.nearest(b"p", row, 1)[0].key for row in POOL] == [b"%d" % at for at in range(40)]


def clustered(count: int, seed: int) -> Any:
    """Vectors as questions have them: in families, not spread out evenly."""
    rng = np.random.default_rng(seed)
    rows = vectors(200, 32, 5)[rng.integers(200, size=count)] + 0.1 * rng.normal(size=(count, 32)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_graph_finds_what_a_plain_search_finds() -> None:
    """Beyond `graph_from`, the nearest is found in 98 of 100 searches, and nothing that was removed is."""
    needed("usearch")
    rows, asked = clustered(6000, 1), clustered(200, 2)
    index = VectorIndex(32, most=5000, graph_from=1500)
    for at, row in enumerate(rows):
        index.add(b"%d" % at, b"p", row)
    for at in range(1000, 6000, 5):
        index.remove(b"%d" % at)
    kept = [at for at in range(1000, 6000) if at % 5]
    right = [kept[at] for at in np.argmax(asked @ rows[kept].T, axis=1)]
    found = [index.nearest(b"p", row, 5) for row in asked]
    assert sum(int(near[0].key) == at for near, at in zip(found, right, strict=True)) >= 196
    assert all(int(key) in set(kept) for near in found for key, _ in near)
    assert all(near == sorted(near, key=lambda each: -each.cosine) and len(near) == 5 for near in found)


def test_graphs_leave_other_libraries_their_runtime(tmp_path: Path) -> None:
    """With a graph in the process, an error in another C++ library is still an error, not the process's end."""
    needed("usearch")
    needed("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    code = (
        "import sys\nfrom fastclient.cache.index.memory import VectorIndex\nVectorIndex(4)\n"
        "import onnxruntime\n"
        "try:\n    onnxruntime.InferenceSession(sys.argv[1])\n"
        "except Exception as error:\n    print(type(error).__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.onnx")], capture_output=True, timeout=60)
    assert ran.returncode == 0 and ran.stdout.strip()
