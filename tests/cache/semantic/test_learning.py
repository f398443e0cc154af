"""What the semantic cache learns and checks behind its callers' backs, and that this decides what it serves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

import fastclient as fc
from fastclient.cache.entry import Entry
from fastclient.cache.semantic.audit import read
from fastclient.cache.store import Found
from fastclient.testing import Answer, FakeProvider, ServerRequest, faults
from tests.cache.semantic.asking import Meanings, answer, asker, learned, number_of, semantics, settled, worded


def equal(one: str, other: str) -> bool:
    """The strictest rule."""
    return one == other


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that fail are tried again at once."""
    monkeypatch.setattr("fastclient.cache.semantic.lessons._AGAIN", (0.0, 0.0))


def changing() -> Iterator[str]:
    """Answers that nobody will give again."""
    number = 0
    while True:
        number += 1
        yield f"Ask the keeper called {chr(64 + number % 26)}{number}."


async def test_shadow_serves_nothing_and_learns() -> None:
    """Every request is answered by the provider, and how often a stored answer would have been right is counted."""
    async with asker(mode="shadow", agree=equal) as (client, provider):
        for number in range(40):
            assert (await client.chat(worded(number % 4, number // 4))).cache.state == "miss"
            await settled(lambda: semantics(client).kept == len(provider.requests))
        stats = semantics(client)
        assert len(provider.requests) == stats.requests == stats.kept == 40
        assert stats.served == stats.checked == stats.serving == 0
        assert stats.labels >= 36 and stats.routes == 1


async def test_a_coin_decides_what_is_checked() -> None:
    """About that share of what is served is asked for again, seen by nobody but those who count."""
    async with asker(rate=0.5) as (client, provider):
        await learned(client, worded(1, 0))
        for wording in range(1, 101):
            assert (await client.chat(worded(1, wording))).cache.source in ("semantic", "memory")
        await settled(lambda: 20 < semantics(client).checked == len(provider.requests) - 1)
        stats = semantics(client)
        assert 20 < stats.checked < 80 and stats.right == stats.checked and stats.wrong == 0
        assert stats.served > stats.checked


async def test_every_check_is_made_where_all_are_wanted() -> None:
    """With `rate=1` each one; what it brings is kept for the very same words."""
    async with asker(rate=1.0) as (client, provider):
        await learned(client, worded(1, 0))
        for wording in range(1, 6):
            assert (await client.chat(worded(1, wording))).cache.source == "semantic"
            await settled(lambda done=wording: semantics(client).checked == done)
            assert (await client.chat(worded(1, wording))).cache.source == "memory"
        assert len(provider.requests) == 6


async def test_wrong_ones_are_counted_and_end_it() -> None:
    """With "serve", once enough checks say so, nothing is served but by a rule that the evidence allows."""
    script = changing()
    async with asker(lambda _: next(script), rate=1.0, max_error=0.05, agree=equal) as (client, _):
        sources = []
        for number in range(120):
            sources.append((await client.chat(worded(number % 3, number // 3))).cache.source)
            await settled(lambda: semantics(client).checked == semantics(client).served)
        stats = semantics(client)
        assert stats.wrong >= 20 and stats.right == 0 and stats.wrong_of_served == 1.0
        assert stats.served < 60 and "semantic" not in sources[-40:]


@pytest.mark.parametrize("share", [0.02, 0.2])
async def test_auto_keeps_within_its_bound(share: float) -> None:
    """Traffic that turns: all that was learned is wrong from one moment on. No more is served than was promised."""
    turned = False

    def told(request: ServerRequest) -> str:
        return answer(number_of(request.text) + (7 if turned else 0))

    async with asker(told, mode="auto", rate=0.5, max_error=share, agree=equal) as (client, _):
        wrong = 0
        for number in range(300):
            turned = number > 180
            reply = await client.chat(worded(number % 5, number // 5))
            wrong += turned and reply.cache.source == "semantic" and reply.text == answer(number % 5)
            stats = semantics(client)
            assert wrong <= max(1.0, 1.5 * share * stats.requests)
            if number % 5 == 0:
                await anyio.sleep(0.001)
        assert semantics(client).at_most <= share + 0.01


FAILING: list[Any] = [
    faults.status(500),
    faults.status(400),
    faults.truncated(3),
    faults.malformed(4),
    Answer(text="Turn the", finish_reason="length"),
    Answer(text="", finish_reason="content_filter"),
    Answer(text=""),
]


@pytest.mark.parametrize("failure", FAILING, ids=str)
async def test_a_check_that_fails_is_tried_again(failure: Any) -> None:
    """Twice; then it counts as right or wrong by what the provider said in the end. Nobody sees an error."""
    script = [answer(1), failure, failure, answer(1)]
    chosen = fc.Policy(cache=fc.Cache(), semantic=fc.Semantic(mode="serve", rate=1.0), retry=None)
    async with asker(*script, policy=chosen) as (client, provider):
        await learned(client, worded(1, 0))
        assert (await client.chat(worded(1, 1))).text == answer(1)
        await settled(lambda: semantics(client).checked)
        assert (semantics(client).right, semantics(client).wrong) == (1, 0)
        assert len(provider.requests) == 4


@pytest.mark.parametrize("failure", FAILING, ids=str)
async def test_a_check_that_never_succeeds_counts_as_wrong(failure: Any) -> None:
    """In doubt the answer was wrong; and what failed is not kept."""
    chosen = fc.Policy(cache=fc.Cache(), semantic=fc.Semantic(mode="serve", rate=1.0), retry=None)
    async with asker(answer(1), failure, policy=chosen) as (client, provider):
        await learned(client, worded(1, 0))
        assert (await client.chat(worded(1, 1))).text == answer(1)
        await settled(lambda: semantics(client).checked)
        assert (semantics(client).right, semantics(client).wrong) == (0, 1)
        assert semantics(client).kept == 1 and len(provider.requests) == 4


async def test_another_models_answer_checks_nothing() -> None:
    """What a fallback says is no evidence about the model that was asked, neither for nor against."""
    provider = FakeProvider(answer(1), *[faults.status(503), "from the other"] * 2, faults.status(503), answer(1))
    other = fc.Target("openai:other", base_url="http://127.0.0.1:9/v1")
    chosen = fc.Policy(
        cache=fc.Cache(),
        semantic=fc.Semantic(mode="serve", rate=1.0),
        retry=None,
        route=fc.Route(fallback=(other,)),
    )
    async with fc.AsyncClient("openai:m", api_key="k", wire=provider, policy=chosen) as client:
        await learned(client, worded(1, 0))
        assert (await client.chat(worded(1, 1))).text == answer(1)
        await settled(lambda: semantics(client).checked)
        assert semantics(client).right == 0 and semantics(client).kept == 1


async def trained(folder: Path, **semantic: Any) -> int:
    """A client with a store on disk that has learned enough to serve; returns how many requests that took."""
    cache = fc.Cache(store=fc.DiskStore(folder, memory=None))
    async with asker(cache=cache, mode="auto", max_error=0.2, rate=0.5, agree=equal, **semantic) as (client, provider):
        for number in range(400):
            await client.chat(worded(number % 8, number // 8))
            await anyio.sleep(0.001)
            if semantics(client).served > 5:
                return len(provider.requests)
    raise AssertionError("it never served")


async def test_evidence_outlives_the_process(tmp_path: Path) -> None:
    """A new client with the same folder knows the questions, and what may be served, from its first request on."""
    took = await trained(tmp_path / "c")
    assert took > 20
    cache = fc.Cache(store=fc.DiskStore(tmp_path / "c", memory=None))
    async with asker(cache=cache, mode="serve", max_error=0.2, rate=0.0) as (client, provider):
        for number in range(8):
            assert (await client.chat(worded(number, 90))).text == answer(number)
        assert semantics(client).rules and not provider.requests
    async with asker(cache=cache, mode="auto", max_error=0.2, rate=0.5, agree=equal) as (client, provider):
        for number in range(60):
            await client.chat(worded(number % 8, 100 + number))
            await anyio.sleep(0.001)
        assert semantics(client).served > 20, "it has to gather its bound anew, but not the evidence"


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "[]", "{}", "null", '"x"', '{"requests": 1}', '{"requests": 1, "counts": []}',
        '{"requests": -1, "counts": [[],[],[],[],[],[]]}', '{"requests": "x", "counts": [[],[],[],[],[],[]]}',
        '{"requests": 9, "counts": [[[999,1]],[],[],[],[],[]]}', '{"requests": 9, "counts": [[[1,-1]],[],[],[],[],[]]}',
        '{"requests": 9, "counts": [3,[],[],[],[],[]]}', '{"requests": 9, "counts": [[["a",{}]],[],[],[],[],[]]}',
        '{"requests": 1e999, "counts": [[],[],[],[],[],[]]}', '{"requests": 9, "counts": [[[1e999,1]],[],[],[],[],[]]}',
        '{"requests": 9, "counts": [[[null,1]],[],[],[],[],[]]}', '{"requests": 9, "counts": {"a": 1}}',
    ],
)  # fmt: skip
async def test_damaged_evidence_is_ignored(text: str) -> None:
    """Whatever stands where evidence belongs: it is as if there were none, and calls go on."""

    class Spoilt(fc.MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.mine: set[bytes] = set()

        def get(self, key: bytes) -> Any:
            found = super().get(key)
            return found if found is not None or key in self.mine else Found(Entry(stored=1e12, text=text), "memory")

        def put(self, key: bytes, entry: Any, **told: Any) -> None:
            self.mine.add(key)
            super().put(key, entry, **told)

    store = Spoilt()
    cache = fc.Cache(store=store, ttl=1e11)
    async with asker(cache=cache, mode="shadow", max_error=0.9) as (client, provider):
        for number in range(3):
            await client.chat(worded(number, 0), cache="refresh")
            await client.chat(worded(number, 1), cache="refresh")
        await settled(lambda: semantics(client).kept == 6)
        assert len(provider.requests) == 6 and semantics(client).served == semantics(client).failures == 0


async def test_a_namespace_that_is_purged_forgets_what_it_learned(tmp_path: Path) -> None:
    """Its evidence goes with its answers."""
    await trained(tmp_path / "c")
    store = fc.DiskStore(tmp_path / "c", memory=None)
    assert store.stats().entries > 8
    store.purge("default")
    cache = fc.Cache(store=store)
    async with asker(cache=cache, mode="serve", max_error=0.2) as (client, _):
        assert (await client.chat(worded(0, 91))).cache.state == "miss"
        assert not semantics(client).rules or dict(semantics(client).rules) == {"verifier": 1}
        assert semantics(client).labels == 0


async def test_the_audit_tells_what_was_served_for_what(tmp_path: Path) -> None:
    """Each served answer, with both questions, and whether a check found it right; nobody else may read the file."""
    file = tmp_path / "logs" / "served.jsonl"
    script = iter([answer(1), answer(1), answer(2), answer(1)])
    async with asker(lambda _: next(script), rate=1.0, audit=file) as (client, _):
        await learned(client, worded(1, 0))
        for wording in (1, 2):
            await client.chat(worded(1, wording))
            await settled(lambda done=wording: file.exists() and len(list(read(file))) == done)
    served = list(read(file))
    assert [each.asked for each in served] == [worded(1, 1), worded(1, 2)]
    assert served[0].stored == worded(1, 0) and served[1].stored in (worded(1, 0), worded(1, 1))
    assert [each.right for each in served] == [True, False]
    assert all(each.answer == answer(1) and each.rule and 0.5 < each.cosine <= 1 and each.score for each in served)
    assert file.stat().st_mode & 0o077 == 0
    with file.open("ab") as more:
        more.write(b"nonsense\n[]\n{}\n" + orjson.dumps({"at": 1}) + b"\n")
    assert list(read(file)) == served


async def test_unchecked_ones_are_audited_too(tmp_path: Path) -> None:
    """With nothing known about them."""
    file = tmp_path / "served.jsonl"
    async with asker(audit=str(file)) as (client, _):
        await learned(client, worded(1, 0))
        await client.chat(worded(1, 1))
        await settled(file.exists)
        await settled(lambda: list(read(file)))
    assert [each.right for each in read(file)] == [None]


async def test_agree_may_be_awaited() -> None:
    """A coroutine function, an object with one, or a function that returns something to await."""

    async def slowly(one: str, other: str) -> bool:
        await anyio.sleep(0.001)
        return one == other

    class Judge:
        async def __call__(self, one: str, other: str) -> bool:
            return one == other

    for agree in (slowly, Judge(), lambda one, other: slowly(one, other)):
        async with asker(rate=1.0, agree=agree) as (client, _):
            await learned(client, worded(1, 0))
            await client.chat(worded(1, 1))
            await settled(lambda asking=client: semantics(asking).checked)
            assert semantics(client).right == 1 and not semantics(client).failures


async def test_a_slow_judge_holds_nobody_up() -> None:
    """A function that blocks does so on a thread of its own: the event loop goes on."""
    release, began = threading.Event(), threading.Event()

    def blocks(one: str, other: str) -> bool:
        began.set()
        return release.wait(10)

    async with asker(rate=1.0, agree=blocks) as (client, _):
        await learned(client, worded(1, 0))
        await client.chat(worded(1, 1))
        await settled(began.is_set)
        assert (await client.chat(worded(2, 0))).text == answer(2)
        release.set()
        await settled(lambda: semantics(client).right == 1)


async def test_the_meaning_decides_not_the_words() -> None:
    """With an embedder that knows them, evidence finds the rule that serves other words for the same."""
    meanings = Meanings(lambda text: text.partition(":")[0])
    ways = ["enter", "get into", "unlock", "find the way into", "come through", "step inside of"]
    wrong = 0

    def told(request: ServerRequest) -> str:
        return f"By the {request.text.partition(':')[0]} stairs."

    async with asker(told, mode="auto", max_error=0.1, rate=0.5, embedder=meanings, agree=equal) as (client, _):
        for number in range(200):
            name = ("north", "south", "east", "west")[number % 4]
            reply = await client.chat(f"{name}: how does one {ways[number // 4 % 6]} hall {'x' * (number // 24)}?")
            wrong += name not in reply.text
            await anyio.sleep(0)
        assert wrong == 0 and semantics(client).served > 50


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    """Reading a record that is not there says what to do."""
    with pytest.raises(fc.ConfigError) as refused:
        list(read(tmp_path / "none"))
    assert refused.value.field == "audit"
