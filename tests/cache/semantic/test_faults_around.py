"""A semantic cache whose parts fail: a slower call at worst, never an error; and it is counted."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest

import fastclient as fc
from fastclient.cache.semantic.local import LocalQuestions
from fastclient.testing import FakeProvider, Hang
from tests.cache.semantic.asking import Meanings, answer, asker, learned, policy, question, semantics, settled, worded


class Failing:
    """An embedder that does something else than embedding."""

    id, dim = "failing", 0

    def __init__(self, outcome: Any, quick: bool) -> None:
        self.outcome, self.quick = outcome, quick

    def embed(self, texts: Sequence[str]) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


NONSENSE: list[Any] = [
    RuntimeError("a private text"),
    None,
    "text",
    [],
    [[]],
    np.zeros((1, 0), np.float32),
    np.zeros((0, 4), np.float32),
    np.full((1, 4), np.nan, np.float32),
    np.zeros((1, 4, 4), np.float32),
    np.float32(3),
]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("outcome", NONSENSE, ids=[str(number) for number in range(len(NONSENSE))])
async def test_an_embedder_that_fails_costs_no_call(
    outcome: Any, quick: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises or returns."""
    async with asker(embedder=Failing(outcome, quick)) as (client, _):
        for number in (1, 2):
            assert (await client.chat(question(number))).text == answer(number)
        async with client.stream(question(3)) as stream:
            assert (await stream.reply()).text == answer(3)
        assert semantics(client).served == 0
        if outcome is None or isinstance(outcome, Exception):
            assert semantics(client).failures >= 3
        assert "private" not in caplog.text and "kitchen" not in caplog.text


async def test_vectors_of_no_length_find_nothing() -> None:
    """An embedder with nothing to go by: zeros are like nothing."""
    zeros = Failing(np.zeros((1, 4), np.float32), quick=True)
    async with asker(embedder=zeros) as (client, provider):
        for wording in range(3):
            await client.chat(worded(1, wording))
        assert len(provider.requests) == 3 and semantics(client).served == 0


async def test_a_length_that_changes_costs_no_call() -> None:
    """Vectors of several lengths under one name: those that do not fit are not compared."""

    class Growing(Meanings):
        def embed(self, texts: Any) -> Any:
            self.dim = 16 + len(self.asked) % 3
            return super().embed(texts)

    async with asker(embedder=Growing()) as (client, _):
        for number in range(9):
            assert (await client.chat(worded(number % 3, number // 3))).text == answer(number % 3)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups that hang are given up soon."""
    monkeypatch.setattr("fastclient.cache.semantic.knowledge._PATIENCE", 0.05)


async def hanging(texts: Sequence[str]) -> Any:
    await anyio.sleep_forever()


async def test_an_embedder_that_hangs_is_given_up(impatient: None) -> None:
    """The first call waits a little, the next ones not at all; and all are answered."""
    async with asker(embedder=hanging) as (client, _):
        with anyio.fail_after(5):
            for number in range(20):
                assert (await client.chat(question(number))).text == answer(number)
        assert semantics(client).failures == 1


async def test_a_thread_that_hangs_is_given_up(impatient: None) -> None:
    """The same for an embedder that works on a thread."""
    release = threading.Event()

    class Stuck(Meanings):
        def embed(self, texts: Any) -> Any:
            release.wait(20)
            return super().embed(texts)

    async with asker(embedder=Stuck(quick=False)) as (client, _):
        try:
            with anyio.fail_after(5):
                for number in range(5):
                    assert (await client.chat(question(number))).text == answer(number)
            assert semantics(client).failures == 1
        finally:
            release.set()


async def test_a_deadline_holds_while_it_hangs() -> None:
    """A call with little time gives up half of it to the lookup at most."""
    async with asker(embedder=hanging) as (client, _):
        with anyio.fail_after(5):
            assert (await client.chat(question(1), timeout=0.4)).text == answer(1)
    async with asker((Hang(),), embedder=hanging) as (client, _):
        with anyio.fail_after(5), pytest.raises(fc.DeadlineExceeded):
            await client.chat(question(1), timeout=0.3)


async def test_a_call_can_be_cancelled_while_it_hangs() -> None:
    """At once, and nothing is left of it."""
    async with asker(embedder=hanging) as (client, provider):
        with anyio.move_on_after(0.05) as scope:
            await client.chat(question(1))
        assert scope.cancelled_caught and not provider.requests
        assert client.stats().in_flight == 0


class Broken(LocalQuestions):
    """An index in which some of it raises."""

    def __init__(self, *names: str) -> None:
        super().__init__(fc.MemoryStore())
        for name in names:
            setattr(self, name, self.bind_broken if name == "bind" else self.broken)

    def bind_broken(self, *given: Any) -> None:
        raise OSError("a private path")

    async def broken(self, *given: Any) -> Any:
        raise OSError("a private path")


@pytest.mark.parametrize(
    "names", [["bind"], ["nearest"], ["answer"], ["add"], ["remove"], ["aclose"], ["nearest", "add"]]
)
async def test_an_index_that_raises_costs_no_call(names: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Each of its methods; and closing the client closes it all the same."""
    async with asker(index=Broken(*names), rate=1.0) as (client, _):
        for number in range(6):
            assert (await client.chat(worded(number % 2, number // 2))).text == answer(number % 2)
            await anyio.sleep(0.01)
        if names[0] not in ("aclose", "remove", "answer"):
            assert semantics(client).failures
    assert "private" not in caplog.text


class Raising(fc.MemoryStore):
    """A store that raises, which none should."""

    def get(self, key: bytes) -> Any:
        raise OSError("a private path")

    def put(self, key: bytes, entry: Any, **told: Any) -> None:
        raise OSError("a private path")


class Losing(fc.MemoryStore):
    """A store that takes everything and has nothing."""

    def get(self, key: bytes) -> Any:
        return None


@pytest.mark.parametrize("store", [Raising, Losing])
async def test_a_store_that_fails_costs_no_call(store: Any) -> None:
    """It raises each time, or it forgets everything at once."""
    async with asker(cache=fc.Cache(store=store()), rate=1.0) as (client, provider):
        for number in range(6):
            assert (await client.chat(worded(number % 2, number // 2))).text == answer(number % 2)
            await anyio.sleep(0.002)
        assert len(provider.requests) == 6 and semantics(client).served == 0


async def raising(one: str, other: str) -> bool:
    raise ValueError("a private answer")


async def never(one: str, other: str) -> bool:
    await anyio.sleep_forever()
    return True


def raises(one: str, other: str) -> bool:
    raise ValueError("a private answer")


class Odd:
    """Neither true nor false."""

    def __bool__(self) -> bool:
        raise TypeError("neither")


def odd(one: str, other: str) -> Any:
    return Odd()


@pytest.mark.parametrize("agree", [raising, raises, odd, never])
async def test_a_judge_that_fails_counts_as_wrong(
    agree: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Or one that never comes to an end. Callers notice nothing."""
    monkeypatch.setattr("fastclient.cache.semantic.lessons._JUDGING", 0.05)
    async with asker(rate=1.0, agree=agree) as (client, _):
        await learned(client, worded(1, 0))
        assert (await client.chat(worded(1, 1))).text == answer(1)
        await settled(lambda: semantics(client).checked)
        assert (semantics(client).right, semantics(client).wrong) == (0, 1)
        await settled(lambda: semantics(client).failures)
    assert "private" not in caplog.text


@pytest.mark.parametrize("where", ["folder", "below", "pipe"])
async def test_an_audit_that_cannot_be_written_costs_no_call(tmp_path: Path, where: str) -> None:
    """A folder in its place, a file where its folder belongs, or a pipe that nobody reads."""
    if where == "folder":
        file = tmp_path
    elif where == "below":
        (tmp_path / "file").write_text("x")
        file = tmp_path / "file" / "audit.jsonl"
    else:
        file = tmp_path / "pipe"
        os.mkfifo(file)
    async with asker(audit=file) as (client, _):
        await learned(client, worded(1, 0))
        assert (await client.chat(worded(1, 1))).cache.source == "semantic"
        await settled(lambda: semantics(client).failures == 1)


async def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """Where the file of vectors cannot be: all is asked, and nothing breaks."""
    folder = tmp_path / "c"
    store = fc.DiskStore(folder, memory=None)
    store.open()
    async with asker(index=LocalQuestions(fc.MemoryStore(), folder / "none" / "below")) as (client, _):
        for number in range(4):
            assert (await client.chat(worded(number % 2, number // 2))).text == answer(number % 2)
            await anyio.sleep(0.005)
        assert semantics(client).failures or semantics(client).kept


def test_a_broken_embedder_costs_a_thread_no_call() -> None:
    """The same through the blocking client."""
    broken = policy(embedder=Failing(RuntimeError("no"), quick=True))
    with fc.Client("openai:m", wire=FakeProvider("x"), policy=broken) as client:
        assert client.chat(question(1)).text == "x"
        assert semantics(client).failures == 1
