"""Forgetting: what depends on a document or has a tag is asked for anew, whatever store has it; the rest stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.testing import FakeProvider

Make = Callable[[], Any]


@pytest.fixture(params=["memory", "disk", "disk alone"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes stores that hold the same, as another process would."""
    if request.param == "memory":
        one = fc.MemoryStore()
        return lambda: one
    memory: Any = "own" if request.param == "disk" else None
    return lambda: fc.DiskStore(tmp_path / "cache", memory=memory)


def client(store: Any, *, namespace: str = "default") -> fc.AsyncClient:
    policy = fc.Policy(cache=fc.Cache(store=store, namespace=namespace))
    return fc.AsyncClient("openai:m", wire=FakeProvider(), policy=policy)


async def state(made: fc.AsyncClient, words: str, **options: Any) -> str:
    return (await made.chat(words, **options)).cache.state


async def test_what_depends_on_a_document_is_asked_anew(make: Make) -> None:
    """An answer with the document is a miss once, then stored again; others are served as before."""
    async with client(make()) as made:
        await made.chat("What does the handbook say?", depends_on=["handbook.pdf", "annex"])
        await made.chat("What does the law say?", depends_on=["law.pdf"])
        await made.chat("Hi")
        await made.forget(depends_on=["handbook.pdf"])
        assert await state(made, "What does the handbook say?", depends_on=["handbook.pdf"]) == "miss"
        assert await state(made, "What does the handbook say?", depends_on=["handbook.pdf"]) == "hit"
        assert await state(made, "What does the law say?") == "hit"
        assert await state(made, "Hi") == "hit"


async def test_tags_and_documents_are_different_things(make: Make) -> None:
    """A tag does not forget a document of the same name."""
    async with client(make()) as made:
        await made.chat("A", tags=["prices"])
        await made.chat("B", depends_on=["prices"])
        await made.forget(tags=["prices"])
        assert (await state(made, "A"), await state(made, "B")) == ("miss", "hit")


async def test_who_asks_need_not_know_the_labels(make: Make) -> None:
    """Labels belong to the stored answer: they change no key, and a call without them does not get a forgotten one."""
    async with client(make()) as made:
        await made.chat("A", tags=["x"])
        assert await state(made, "A") == "hit"
        await made.forget(tags=["x"])
        assert await state(made, "A") == "miss"


async def test_a_namespace_keeps_to_itself(make: Make) -> None:
    """Forgetting a label in one namespace leaves the others' answers."""
    async with client(make()) as made:
        for name in ("one", "two"):
            await made.chat("A", tags=["x"], namespace=name)
        await made.forget(tags=["x"], namespace="one")
        assert await state(made, "A", namespace="one") == "miss"
        assert await state(made, "A", namespace="two") == "hit"


async def test_a_whole_namespace_can_be_forgotten(make: Make) -> None:
    """Without labels it is all of the client's own namespace, or of the one named."""
    async with client(make(), namespace="own") as made:
        await made.chat("A")
        await made.chat("A", namespace="other")
        await made.forget()
        assert await state(made, "A") == "miss"
        await made.forget(namespace="other")
        assert await state(made, "A", namespace="other") == "miss"


async def test_others_forget_too(make: Make) -> None:
    """Whoever uses the same store, with a memory of its own, does not serve what was forgotten."""
    async with client(make()) as zero:
        await zero.chat("Z")  # so that there is a folder: who has found none looks for it again after a while
    async with client(make()) as first, client(make()) as second:
        await first.chat("A", tags=["x"])
        await second.chat("A", tags=["x"])
        await first.forget(tags=["x"])
        assert await state(second, "A", tags=["x"]) == "miss"


def test_blocking_clients_forget(make: Make) -> None:
    """The same through the blocking door."""
    policy = fc.Policy(cache=fc.Cache(store=make()))
    with fc.Client("openai:m", wire=FakeProvider(), policy=policy) as made:
        made.chat("A", tags=["x"])
        made.forget(tags=["x"])
        assert made.chat("A").cache.state == "miss"


@pytest.mark.parametrize("options", [{"tags": "x"}, {"depends_on": [""]}, {"tags": [1]}, {"namespace": 1}])
async def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    """By name, before anything is forgotten."""
    async with client(fc.MemoryStore()) as made:
        with pytest.raises(fc.ConfigError, match=next(iter(options))):
            await made.forget(**options)


async def learned(made: fc.AsyncClient, questions: int) -> None:
    """Wait until so many questions are kept, which happens behind the caller's back."""
    with anyio.fail_after(10):
        while (found := made.stats().semantic) is None or found.kept < questions:
            await anyio.sleep(0.005)


async def test_answers_to_other_words_are_forgotten_too() -> None:
    """The semantic cache does not serve an answer that depends on what was forgotten."""
    semantic = fc.Semantic(mode="serve", max_error=0.5, rate=0.0)
    policy = fc.Policy(cache=fc.Cache(), semantic=semantic)
    async with fc.AsyncClient("openai:m", wire=FakeProvider("By post."), policy=policy) as made:
        await made.chat("How can I return a pair of shoes?", depends_on=["returns"])
        await learned(made, 1)
        assert (await made.chat("how can I return a pair of shoes")).cache.source == "semantic"
        await made.forget(depends_on=["returns"])
        assert await state(made, "How can i return a pair of shoes") == "miss"


async def test_without_a_cache_there_is_nothing_to_forget() -> None:
    """That is said, rather than passed over."""
    async with fc.AsyncClient("openai:m", wire=FakeProvider()) as made:
        with pytest.raises(fc.ConfigError, match="cache"):
            await made.forget()
