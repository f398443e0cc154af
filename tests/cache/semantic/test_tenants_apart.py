"""Namespaces with the same questions: what one of them was told is never told to another."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.cache.entry import Entry
from fastclient.cache.exact import Answers
from fastclient.cache.key import tag_of
from fastclient.cache.semantic.asked import Asked, asked
from fastclient.cache.semantic.local import LocalQuestions
from fastclient.cache.semantic.port import Known
from fastclient.target import Target
from fastclient.testing import FakeProvider, ServerRequest
from fastclient.types import Request
from tests.cache.semantic.asking import Meanings, learned, number_of, policy, question, semantics, settled, worded

TENANTS = ("red", "blue")


def song(request: ServerRequest) -> str:
    """An answer that tells who asked what, to those who know."""
    key = request.headers["authorization"].removeprefix("Bearer ")
    return f"For {key} it is number {number_of(request.text)} of all doors."


def clients(index: LocalQuestions, store: Any, provider: FakeProvider, **semantic: Any) -> dict[str, fc.AsyncClient]:
    """One client for each tenant; they share the provider, the store and the index."""
    return {
        tenant: fc.AsyncClient(
            "openai:m",
            api_key=f"sk-{tenant}",
            wire=provider,
            policy=policy(cache=fc.Cache(store=store, namespace=tenant), index=index, **semantic),
        )
        for tenant in TENANTS
    }


async def filled(asking: dict[str, fc.AsyncClient], numbers: range) -> None:
    for tenant, client in asking.items():
        for number in numbers:
            await learned(client, question(number), namespace=None)
            assert semantics(client).kept == number + 1, tenant


async def crossings(asking: dict[str, fc.AsyncClient], lookups: int, known: int) -> tuple[int, int]:
    """Ask for many wordings in random order; returns how many answers were another's, and how many were served."""
    random, wrong, served = Random(5), 0, 0
    for turn in range(lookups):
        tenant, number = random.choice(TENANTS), random.randrange(known)
        reply = await asking[tenant].chat(worded(number, turn % 7 + 1) + " " * (turn // 7))
        wrong += reply.text != f"For sk-{tenant} it is number {number} of all doors."
        served += reply.cache.source == "semantic"
    return wrong, served


@pytest.mark.parametrize("embedder", [None, Meanings(lambda _: "all the same")], ids=["lexical", "blind"])
async def test_two_tenants_in_memory(embedder: Any) -> None:
    """The same questions to one index, also with an embedder that cannot tell any two texts apart."""
    store = fc.MemoryStore()
    asking = clients(LocalQuestions(store), store, FakeProvider(song), embedder=embedder)
    known = 12
    await filled(asking, range(known))
    wrong, served = await crossings(asking, 300, known)
    assert wrong == 0 and served > (200 if embedder is None else 0)


async def test_two_tenants_on_disk(tmp_path: Path) -> None:
    """In one folder, which both open anew."""
    known, provider = 10, FakeProvider(song)
    for turn in range(2):
        store = fc.DiskStore(tmp_path / "c", memory=None)
        asking = clients(LocalQuestions(store, tmp_path / "c"), store, provider)
        if turn == 0:
            await filled(asking, range(known))
        wrong, served = await crossings(asking, 150, known)
        assert wrong == 0 and served > 100
        for client in asking.values():
            await client.aclose()


async def test_one_client_for_all_tenants() -> None:
    """The namespace of each call is one of its own as well."""
    provider = FakeProvider(lambda request: f"answer {request.arrival}")
    async with fc.AsyncClient("openai:m", wire=provider, policy=policy()) as client:
        firsts = {tenant: (await learned(client, question(1), namespace=tenant)).text for tenant in TENANTS}
        assert len(set(firsts.values())) == 2
        for wording in range(1, 30):
            tenant = TENANTS[wording % 2]
            reply = await client.chat(worded(1, wording), namespace=tenant)
            assert reply.cache.source == "semantic" and reply.text == firsts[tenant]
        assert (await client.chat(worded(1, 50))).cache.state == "miss"


def test_a_hundred_thousand_lookups() -> None:
    """Straight at the index, with vectors that lie on each other: no key of the one is ever found for the other."""

    async def main() -> None:
        store = fc.MemoryStore()
        index, target = LocalQuestions(store), Target("openai:m", api_key="k", base_url="http://127.0.0.1:9/v1")
        embedder = Meanings(lambda text: text[-3:])
        spots: dict[str, list[tuple[bytes, Any]]] = {}
        owners: dict[bytes, str] = {}
        index.bind(embedder.id, embedder.dim)
        for tenant in TENANTS:
            answers = Answers(fc.Cache(store=store, namespace=tenant), store, target, anyio.sleep, lambda: 0.0)
            spots[tenant] = []
            for number in range(60):
                request = Request(messages=({"role": "user", "content": f"What about item {number:03}?"},))
                found = asked(request)
                assert isinstance(found, Asked)
                partition = answers.around(request, found.rest)
                key = answers.key(request)
                assert partition is not None and key is not None
                vector = embedder.embed([found.question])[0]
                entry = Entry(stored=0.0, text=tenant, finish_reason="stop")
                store.put(key, entry, tag=tag_of(tenant), lifetime=1e9)
                await index.add(Known(key, partition, tag_of(tenant), found.question, vector, entry, 1e9))
                spots[tenant].append((partition, vector))
                owners[key] = tenant
        random, found_some = Random(3), 0
        for _ in range(100_000):
            tenant = TENANTS[random.random() < 0.5]
            partition, vector = spots[tenant][random.randrange(60)]
            near = await index.nearest(partition, vector, 1)
            found_some += bool(near)
            assert all(owners[each.key] == tenant for each in near)
        assert found_some == 100_000

    anyio.run(main)


async def test_forgetting_one_tenant_leaves_the_other() -> None:
    """By namespace."""
    provider = FakeProvider(lambda request: f"answer {request.arrival}")
    async with fc.AsyncClient("openai:m", wire=provider, policy=policy()) as client:
        for tenant in TENANTS:
            await learned(client, question(1), namespace=tenant, tags=["t"])
        await client.forget(namespace="red", tags=["t"])
        assert (await client.chat(worded(1, 1), namespace="blue")).cache.source == "semantic"
        assert (await client.chat(worded(1, 1), namespace="red")).cache.state == "miss"
        await settled(lambda: semantics(client).kept == 3)
