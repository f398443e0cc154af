"""Tenants in one shared store: what one of them asked and got is found nowhere near another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import pytest

import fastclient as fc
from fastclient.testing import FakeProvider, ServerRequest
from tests.cache.redis_server import RedisServer

TENANTS = [f"tenant-{number}" for number in range(4)]
PROMPTS = [f"question {number}" for number in range(5)]


@pytest.fixture(params=["disk", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Callable[[], Any], Callable[[], bytes]]]:
    """How to make a new store on the same folder or server, as another process would, and all it holds as bytes."""
    if request.param == "disk":
        folder = tmp_path / "shared"

        def everything() -> bytes:
            return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())

        yield (lambda: fc.DiskStore(folder, memory=None)), everything
        return
    server = RedisServer(tmp_path)
    server.start()
    try:
        yield (
            lambda: fc.RedisStore(server.url, memory=None),
            lambda: b"".join(name.encode() + server.do("GET", name) for name in server.names()),
        )
    finally:
        server.kill()


def song(key: str, prompt: str) -> str:
    """What the answer to this key's question is."""
    return blake2b(f"{key} {prompt}".encode(), digest_size=16).hexdigest()


def canary(request: ServerRequest) -> str:
    """An answer that tells who asked what, to those who know."""
    asked: Any = request.messages[-1]
    return song(request.headers["authorization"].removeprefix("Bearer "), asked["content"])


def test_no_canary_sings_elsewhere(store: tuple[Callable[[], Any], Callable[[], bytes]]) -> None:
    """In random order, from many clients with one store: every answer was made for its own tenant, key and prompt."""
    make, everything = store
    random = Random(7)
    provider = FakeProvider(canary)
    clients = {
        (tenant, key): fc.Client(
            "openai:m", api_key=key, wire=provider, policy=fc.Policy(cache=fc.Cache(store=make(), namespace=tenant))
        )
        for tenant in TENANTS
        for key in ("sk-canary-one", "sk-canary-two")
    }
    asked = [(who, prompt) for who in clients for prompt in PROMPTS] * 3
    random.shuffle(asked)
    hits = 0
    for who, prompt in asked:
        reply = clients[who].chat(prompt)
        assert reply.text == song(who[1], prompt)
        hits += reply.cache.state == "hit"
        if random.random() < 0.1:
            clients[who]._core.policy.cache.store.close()  # type: ignore[union-attr]
    assert len(provider.requests) == len(clients) * len(PROMPTS)
    assert hits == len(asked) - len(provider.requests)
    for client in clients.values():
        client.close()
    held = everything()
    assert held
    for secret in (*TENANTS, "sk-canary", *PROMPTS):
        assert secret.encode() not in held


def test_a_namespace_is_purged_alone(store: tuple[Callable[[], Any], Callable[[], bytes]]) -> None:
    """Removing one tenant's answers leaves the others' where they are."""
    make, _ = store
    provider = FakeProvider()
    for tenant in TENANTS:
        with fc.Client(
            "openai:m", wire=provider, policy=fc.Policy(cache=fc.Cache(store=make(), namespace=tenant))
        ) as client:
            client.chat("x")
    keeper = make()
    keeper.purge(TENANTS[0])
    keeper.close()
    states = []
    for tenant in TENANTS:
        with fc.Client(
            "openai:m", wire=provider, policy=fc.Policy(cache=fc.Cache(store=make(), namespace=tenant))
        ) as client:
            states.append(client.chat("x").cache.state)
    assert states == ["miss", "hit", "hit", "hit"]
