"""What the tests of the semantic cache ask: questions in several wordings, and clients that answer them."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import numpy as np

import fastclient as fc
from fastclient.testing import FakeProvider, ServerRequest

__all__ = [
    "Meanings",
    "answer",
    "asker",
    "blocked",
    "learned",
    "number_of",
    "numbered",
    "policy",
    "question",
    "semantics",
    "settled",
    "worded",
]

_THINGS = ("door", "gate", "lid", "tap", "box", "tent", "case", "safe", "jar", "file", "tin", "bag", "book", "car")
_KINDS = ("blue", "red", "old", "tall", "round", "wooden", "broken", "heavy", "narrow", "golden", "plastic", "square")
_PLACES = ("kitchen", "garden", "office", "museum", "cellar", "harbour", "library", "stable", "tower", "school")


def question(number: int) -> str:
    """One of 1,680 questions that all mean something else."""
    thing, rest = number % len(_THINGS), number // len(_THINGS)
    kind, place = rest % len(_KINDS), rest // len(_KINDS) % len(_PLACES)
    return f"How do I open the {_KINDS[kind]} {_THINGS[thing]} in the {_PLACES[place]}?"


def worded(number: int, wording: int) -> str:
    """The same question in other words: the first one as it is, all others so near that nobody can doubt it."""
    asked = question(number)
    others = (asked, asked.lower(), asked.upper(), asked[:-1], asked.replace("do I", "do i") + "?", asked[:-1].lower())
    return others[wording] if wording < len(others) else asked + "!" * wording


def answer(number: int) -> str:
    """The answer to a question."""
    return f"Turn the key marked {number} twice, then push gently with both hands."


class Meanings:
    """An embedder that is told what texts mean: what `meaning` makes of them. Texts of one meaning have one vector."""

    def __init__(
        self, meaning: Callable[[str], str] = str.lower, *, name: str = "scripted", quick: bool = True
    ) -> None:
        self.id, self.dim, self.quick = name, 64, quick
        self._meaning = meaning
        self.asked: list[str] = []

    def embed(self, texts: Any) -> Any:
        rows = []
        for text in texts:
            self.asked.append(text)
            seed = [*self._meaning(text).encode()]
            row = np.random.default_rng(seed).standard_normal(self.dim)
            rows.append(row / np.linalg.norm(row))
        return np.array(rows, np.float32).reshape(len(rows), self.dim)


def numbered(request: ServerRequest) -> str:
    """An answer that tells which question it belongs to, in whatever wording that came."""
    return answer(number_of(request.text))


def number_of(text: str) -> int:
    """Which question stands in a text, in whatever wording."""
    found = _ASKED.search(text.lower())
    assert found is not None
    kind, thing, place = found.groups()
    return _THINGS.index(thing) + len(_THINGS) * (_KINDS.index(kind) + len(_KINDS) * _PLACES.index(place))


_ASKED = re.compile(r"how do i open the (\w+) (\w+) in the (\w+)")


def policy(*, cache: fc.Cache | None = None, **semantic: Any) -> fc.Policy:
    """A policy with both caches. It serves at once unless told otherwise, and checks nothing."""
    told = {"mode": "serve", "rate": 0.0, **semantic}
    return fc.Policy(cache=fc.Cache() if cache is None else cache, semantic=fc.Semantic(**told))


@asynccontextmanager
async def asker(
    *script: Any, cache: fc.Cache | None = None, target: str = "openai:m", **semantic: Any
) -> AsyncIterator[tuple[fc.AsyncClient, FakeProvider]]:
    """A client of a scripted provider."""
    provider = FakeProvider(*(script or (numbered,)))
    chosen = semantic.pop("policy", None) or policy(cache=cache, **semantic)
    async with fc.AsyncClient(target, api_key="sk-test", wire=provider, policy=chosen) as client:
        yield client, provider


async def settled(true: Callable[[], object]) -> None:
    """Wait until what goes on in the background has come true."""
    with anyio.fail_after(10):
        while not true():
            await anyio.sleep(0.001)


def blocked(true: Callable[[], object]) -> None:
    """The same for a thread."""
    pause = threading.Event()
    for _ in range(10_000):
        if true():
            return
        pause.wait(0.001)
    raise TimeoutError("it has not come true")


def semantics(client: fc.AsyncClient | fc.Client) -> fc.SemanticStats:
    """What the semantic cache counted."""
    stats = client.stats().semantic
    assert stats is not None
    return stats


async def learned(client: fc.AsyncClient, text: Any, **options: Any) -> fc.Reply:
    """Ask, and wait until the answer is kept for others."""
    before = semantics(client).kept
    reply = await client.chat(text, **options)
    assert reply.cache.state == "miss"
    await settled(lambda: semantics(client).kept > before)
    return reply
