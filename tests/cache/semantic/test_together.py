"""The semantic cache beside the other levers, and its end: nothing is counted twice, nothing goes on for ever."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from typing import Any

import anyio
import pytest
import trio

import fastclient as fc
from fastclient.testing import FakeProvider, Finish, Hang, ServerRequest, Tokens, Wait, faults
from tests.cache.semantic.asking import (
    answer,
    asker,
    blocked,
    learned,
    number_of,
    numbered,
    policy,
    semantics,
    settled,
    worded,
)


def with_levers(**levers: Any) -> fc.Policy:
    return fc.Policy(cache=fc.Cache(), semantic=fc.Semantic(mode="serve", rate=0.0), **levers)


async def test_a_retry_is_one_lesson() -> None:
    """What failed at first was asked once more; the question is counted, kept and compared once."""
    chosen = with_levers(retry=fc.Retry())
    async with asker(faults.status(503), answer(1), policy=chosen) as (client, provider):
        await learned(client, worded(1, 0))
        stats = semantics(client)
        assert (stats.requests, stats.kept, stats.labels, len(provider.requests)) == (1, 1, 0, 2)
        assert (await client.chat(worded(1, 1))).attempts == ()


async def test_a_hedge_is_one_lesson() -> None:
    """Two copies of a request are one question."""

    def told(request: ServerRequest) -> Any:
        number = number_of(request.text)
        slow = number == 60 and request.attempt == 0
        return (Wait(5.0 if slow else 0.01), Tokens(answer(number)), Finish())

    async with asker(told, policy=with_levers(hedge=fc.Hedge(budget=0.5))) as (client, _):
        for number in range(61):
            assert (await client.chat(worded(number, 0))).text == answer(number)
        await settled(lambda: semantics(client).kept == 61)
        stats = client.stats()
        assert stats.hedges >= 1 and stats.calls == semantics(client).requests == 61
        assert (await client.chat(worded(60, 1))).text == answer(60)


async def test_those_who_share_an_answer_do_not_teach() -> None:
    """One call upstream teaches once, however many read it, as streams or whole."""
    async with asker((Wait(0.05), Tokens(answer(1)), Finish())) as (client, provider):

        async def ask(streamed: bool) -> None:
            if streamed:
                async with client.stream(worded(1, 0)) as stream:
                    await stream.reply()
            else:
                await client.chat(worded(1, 0))

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(ask, number % 2 == 0)
        await settled(lambda: semantics(client).kept)
        await anyio.sleep(0.01)
        stats = client.stats()
        assert len(provider.requests) == 1 and semantics(client).kept == 1
        assert stats.shared + stats.cache_hits == 29 and stats.calls == 30


async def test_hits_are_counted_as_hits() -> None:
    """In the client's own statistics each call is in one place."""
    async with asker() as (client, _):
        await learned(client, worded(1, 0))
        for wording in (1, 2, 0):
            await client.chat(worded(1, wording))
        stats = client.stats()
        assert (stats.calls, stats.cache_hits, stats.cache_misses, stats.in_flight) == (4, 3, 1, 0)
        assert semantics(client).served == 2 and semantics(client).requests == 3


async def test_closing_ends_a_check() -> None:
    """One that waits for the provider, or for another try: it counts as wrong, and nothing is left."""
    for step in ((Hang(),), faults.status(400)):
        provider = FakeProvider(answer(1), step)
        chosen = fc.Policy(cache=fc.Cache(), semantic=fc.Semantic(mode="serve", rate=1.0), retry=None)
        client = fc.AsyncClient("openai:m", wire=provider, policy=chosen)
        await learned(client, worded(1, 0))
        assert (await client.chat(worded(1, 1))).text == answer(1)
        await settled(lambda sent=provider: len(sent.requests) == 2)
        await anyio.sleep(0.01)
        with anyio.fail_after(5):
            await client.aclose()
            await settled(lambda asking=client: semantics(asking).wrong == 1)
            await settled(lambda sent=provider: sent.live == 0)


def test_a_loop_that_ends_takes_its_lessons_along(recwarn: pytest.WarningsRecorder) -> None:
    """A check under way holds up no program's end, and leaves no warning; on both kinds of loops."""

    async def main() -> None:
        client = fc.AsyncClient("openai:m", wire=FakeProvider(answer(1), (Hang(),)), policy=policy(rate=1.0))
        await learned(client, worded(1, 0))
        assert (await client.chat(worded(1, 1))).text == answer(1)
        await anyio.sleep(0.01)
        assert (await client.chat(worded(1, 2))).text == answer(1)  # whose check never even begins

    for backend in ("asyncio", "trio"):
        began = threading.Event()
        timer = threading.Timer(20, began.set)
        timer.start()
        anyio.run(main, backend=backend)
        assert not began.is_set()
        timer.cancel()
    gc.collect()
    assert not recwarn.list


def count(backend: str) -> int:
    """How many tasks the loop has."""
    return len(asyncio.all_tasks()) if backend == "asyncio" else trio.lowlevel.current_statistics().tasks_living


async def test_nothing_is_left_of_a_closed_client(anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No task goes on, though checks had been waiting for their next try."""
    monkeypatch.setattr("fastclient.cache.semantic.lessons._AGAIN", (60.0, 60.0))
    chosen = fc.Policy(cache=fc.Cache(), semantic=fc.Semantic(mode="serve", rate=1.0), retry=None)
    async with asker(answer(1), faults.status(400), policy=chosen) as (client, _):
        await learned(client, worded(1, 0))
        before = count(anyio_backend_name)
        for wording in range(1, 9):
            await client.chat(worded(1, wording))
        await settled(lambda: semantics(client).failures >= 8)
        await client.aclose()
        await settled(lambda: semantics(client).wrong == semantics(client).served == 8)
        await settled(lambda: count(anyio_backend_name) <= before)


async def test_a_dropped_client_is_garbage() -> None:
    """What it knows goes with it."""
    provider = FakeProvider(numbered)
    client = fc.AsyncClient("openai:m", wire=provider, policy=policy(rate=1.0))
    await learned(client, worded(1, 0))
    await client.chat(worded(1, 1))
    await settled(lambda asking=client: semantics(asking).checked)
    gone = weakref.ref(client._core)
    del client
    for _ in range(20):
        gc.collect()
        if gone() is None:
            break
        await anyio.sleep(0.01)
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_goes_on() -> None:
    """It knows what the parent knew, and learns by itself."""
    with fc.Client("openai:m", wire=FakeProvider(numbered), policy=policy(rate=1.0)) as client:
        client.chat(worded(1, 0))
        blocked(lambda: semantics(client).kept)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            told = b"failed"
            try:
                known = client.chat(worded(1, 1)).cache.source == "semantic"
                before = semantics(client).kept
                client.chat(worded(2, 0))
                blocked(lambda: semantics(client).kept > before)
                learned = client.chat(worded(2, 1)).cache.source == "semantic"
                told = b"yes" if known and learned else b"no"
            finally:
                os.write(writing, told)
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        assert os.read(reading, 10) == b"yes"
        os.close(reading)
        assert client.chat(worded(1, 2)).cache.source == "semantic"


def test_many_threads() -> None:
    """Twelve threads, one client: each gets the answer to its own question, and all of it adds up."""
    with fc.Client("openai:m", wire=FakeProvider(numbered), policy=policy(rate=0.3)) as client:
        wrong: list[str] = []
        gate = threading.Barrier(12)

        def ask(own: int) -> None:
            gate.wait()
            for turn in range(25):
                number = (own + turn) % 8
                text = client.chat(worded(number, turn * 12 + own)).text
                if text != answer(number):
                    wrong.append(text)

        threads = [threading.Thread(target=ask, args=(own,)) for own in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not wrong
        stats = client.stats()
        served = semantics(client)
        assert stats.calls >= 300 and served.requests == 300 and 200 < served.served < 300
        assert served.failures == 0 and served.wrong == 0


async def test_many_tasks_with_two_clients_of_one_policy() -> None:
    """They share the store, and get in nobody's way."""
    shared = policy(rate=0.3)
    async with asker(policy=shared) as (one, first), asker(policy=shared) as (two, second):
        wrong = 0

        async def ask(own: int) -> None:
            nonlocal wrong
            for turn in range(10):
                number = (own + turn) % 6
                client = (one, two)[turn % 2]
                if own % 3:
                    text = (await client.chat(worded(number, turn * 30 + own))).text
                else:
                    async with client.stream(worded(number, turn * 30 + own)) as stream:
                        text = (await stream.reply()).text
                wrong += text != answer(number)

        async with anyio.create_task_group() as tasks:
            for own in range(30):
                tasks.start_soon(ask, own)
        assert wrong == 0
        assert len(first.requests) + len(second.requests) < 300
        assert semantics(one).failures == semantics(two).failures == 0


async def test_a_copy_of_a_client_knows_the_same() -> None:
    """`with_` goes on with what is known, as long as caches and settings are the same."""
    cache, semantic = fc.Cache(), fc.Semantic(mode="serve", rate=0.0)
    chosen = fc.Policy(cache=cache, semantic=semantic)
    async with asker(policy=chosen) as (client, provider):
        await learned(client, worded(1, 0))
        copy = client.with_(policy=fc.Policy(cache=cache, semantic=semantic, retry=None))
        assert (await copy.chat(worded(1, 1))).cache.source == "semantic"
        assert len(provider.requests) == 1
