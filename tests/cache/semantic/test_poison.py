"""What must never be served for another question: what did not come to its own end, is old, or was changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.cache.entry import Entry
from fastclient.cache.store import Found
from fastclient.testing import Answer, Finish, Reset, Tokens, ToolCall, Wait, faults
from tests.cache.semantic.asking import answer, asker, learned, question, semantics, settled, worded

CUT: list[Any] = [
    faults.truncated(3),
    faults.closed(3),
    faults.reset(3),
    faults.malformed(3),
    faults.overloaded_event(2),
    Answer(text="Turn the", finish_reason="length"),
    Answer(text="Turn", finish_reason="content_filter"),
    Answer(text=""),
    Answer(text=" \n "),
    Answer(text="", reasoning="Which way?"),
    Answer(text="", tool_calls=(ToolCall(name="open"),)),
    Answer(text="I will open it.", tool_calls=(ToolCall(name="open"),)),
    faults.status(400),
    faults.status(500),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("bad", CUT, ids=[str(number) for number in range(len(CUT))])
async def test_a_bad_answer_is_for_nobody_else(bad: Any, streamed: bool) -> None:
    """Cut, filtered, empty, skipped over, calling a tool, or refused: other words are asked again."""
    chosen = fc.Policy(cache=fc.Cache(), semantic=fc.Semantic(mode="serve", rate=0.0), retry=None)
    async with asker(bad, answer(1), policy=chosen) as (client, provider):
        try:
            if streamed:
                async with client.stream(question(1)) as stream:
                    await stream.reply()
            else:
                await client.chat(question(1))
        except fc.FastClientError:
            pass
        await learned(client, worded(1, 1))
        assert len(provider.requests) == 2
        assert (await client.chat(worded(1, 2))).text == answer(1)
        assert semantics(client).kept == 1 and len(provider.requests) == 2


async def test_a_length_that_the_caller_set_cuts_too() -> None:
    """The exact cache keeps such an answer for the same words; others may have fitted with theirs."""
    async with asker(Answer(text="Turn the", finish_reason="length")) as (client, provider):
        for wording in (0, 1):
            await client.chat(worded(1, wording), max_tokens=2)
        assert (await client.chat(worded(1, 0), max_tokens=2)).cache.source == "memory"
        assert len(provider.requests) == 2 and semantics(client).kept == 0


async def test_an_answer_left_early_is_for_nobody_else() -> None:
    """A reader who leaves has not seen whether it would end well."""
    async with asker(answer(1)) as (client, provider):
        async with client.stream(question(1)) as stream:
            async for _ in stream:
                break
        await learned(client, worded(1, 1))
        assert len(provider.requests) == 2


async def test_a_recovered_answer_is_for_nobody_else() -> None:
    """What was asked for a second time after its beginning was shown is nobody's own."""
    chosen = fc.Policy(
        cache=fc.Cache(), semantic=fc.Semantic(mode="serve"), retry=fc.Retry(), route=fc.Route(recover="restart")
    )
    async with asker((Tokens("word" * 40), Reset()), answer(1), policy=chosen) as (client, provider):
        assert (await client.chat(question(1))).recovered == "restart"
        await learned(client, worded(1, 1))
        assert len(provider.requests) == 3 and semantics(client).kept == 1


async def test_another_models_answer_is_for_nobody_else() -> None:
    """What a fallback said is not served as the word of the model that was asked."""
    other = fc.Target("openai:other", base_url="http://127.0.0.1:9/v1")
    chosen = fc.Policy(
        cache=fc.Cache(), semantic=fc.Semantic(mode="serve"), retry=None, route=fc.Route(fallback=(other,))
    )
    async with asker(*[faults.status(503), "from the other"] * 3, policy=chosen) as (client, _):
        assert (await client.chat(question(1))).degraded
        for wording in (1, 2):
            assert (await client.chat(worded(1, wording))).cache.state == "miss"
        assert semantics(client).kept == 0


class Clock:
    """A wall clock to be set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fastclient.levers.time", clock)
    return clock


@pytest.mark.parametrize("stale", [0, 1000])
async def test_an_old_answer_is_not_served(clock: Clock, stale: float) -> None:
    """`ttl` seconds, to the second; and never stale, as the question may be another one by now."""
    async with asker("old", "new", cache=fc.Cache(ttl=100, stale=stale)) as (client, _):
        await learned(client, question(1))
        clock.now += 99
        hit = await client.chat(worded(1, 1))
        assert (hit.text, hit.cache.age) == ("old", 99)
        clock.now += 1
        assert (await learned(client, worded(1, 2))).text == "new"
        assert (await client.chat(worded(1, 3))).text == "new"


async def test_forgotten_answers_are_not_served() -> None:
    """By tag, by document, by namespace: whatever words are used next."""
    async with asker("old", "new", "newer", "newest") as (client, provider):
        await learned(client, question(1), tags=["keys"])
        assert (await client.chat(worded(1, 1))).cache.source == "semantic"
        await client.forget(tags=["keys"])
        await learned(client, worded(1, 2), depends_on=["doors.pdf"])
        assert (await client.chat(worded(1, 3))).text == "new"
        await client.forget(depends_on=["doors.pdf"])
        assert (await learned(client, worded(1, 4))).text == "newer"
        await client.forget()
        assert (await learned(client, worded(1, 5))).text == "newest"
        assert len(provider.requests) == 4


async def test_answers_pushed_out_are_not_served() -> None:
    """A store without room forgets questions with their answers."""
    store = fc.MemoryStore(max_bytes=20_000)
    async with asker(cache=fc.Cache(store=store)) as (client, _):
        for number in range(60):
            await learned(client, question(number))
        hits = [(await client.chat(worded(number, 1))) for number in range(60)]
        assert all(reply.text == answer(number) for number, reply in enumerate(hits))
        served = sum(reply.cache.source == "semantic" for reply in hits)
        assert served < 40


async def test_entries_edited_on_disk_are_not_served(tmp_path: Path) -> None:
    """Whoever changes an answer, or swaps two of them, has made them misses; the question is asked again."""
    folder = tmp_path / "c"
    cache = fc.Cache(store=fc.DiskStore(folder, memory=None))
    async with asker(cache=cache) as (client, _):
        for number in range(6):
            await learned(client, question(number))
    with sqlite3.connect(folder / "cache.db") as database:
        rows = database.execute("SELECT rowid, value FROM Cache WHERE value IS NOT NULL").fetchall()
        assert len(rows) >= 12  # answers, and the words of their questions
        values = [bytes(value) for _, value in rows]
        for (row, _), value in zip(rows, values[1:] + values[:1], strict=True):
            database.execute("UPDATE Cache SET value = ? WHERE rowid = ?", (sqlite3.Binary(value), row))
    database.close()
    again = fc.Cache(store=fc.DiskStore(folder, memory=None))
    async with asker(cache=again) as (client, provider):
        for number in range(6):
            reply = await learned(client, worded(number, 1))
            assert reply.text == answer(number)
        assert len(provider.requests) == 6 and semantics(client).served == 0
        assert (await client.chat(worded(3, 2))).cache.source == "semantic"


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeros", "text", "gone"])
async def test_a_damaged_index_serves_nothing_wrong(tmp_path: Path, damage: str) -> None:
    """Whatever became of the file of vectors: right answers or none, and no error."""
    folder = tmp_path / "c"
    async with asker(cache=fc.Cache(store=fc.DiskStore(folder, memory=None))) as (client, _):
        for number in range(12):
            await learned(client, question(number))
    (file,) = folder.glob("*.vectors")
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2 + 3])
    elif damage == "flipped":
        data[len(data) // 3 :: 97] = bytes(255 - each for each in data[len(data) // 3 :: 97])
        file.write_bytes(data)
    elif damage == "zeros":
        file.write_bytes(bytes(len(data)))
    elif damage == "text":
        file.write_bytes(b"not vectors" * 100)
    else:
        file.unlink()
    async with asker(cache=fc.Cache(store=fc.DiskStore(folder, memory=None))) as (client, _):
        for wording in (1, 2):
            for number in range(12):
                assert (await client.chat(worded(number, wording))).text == answer(number)
                await anyio.sleep(0.002)


async def test_a_refusal_to_answer_is_an_answer_of_its_question_alone() -> None:
    """Of another question it is none: its words are not near enough."""
    refusal = "I'm sorry, but I can't help with that."
    async with asker(refusal, answer(2)) as (client, _):
        await learned(client, question(1))
        assert (await client.chat(question(2))).text == answer(2)


class Odd(fc.MemoryStore):
    """A store whose answers can be taken for good, and not be read, while it is odd."""

    odd = False

    def get(self, key: bytes) -> Found | None:
        found = super().get(key)
        if found is None or not self.odd or not found.entry.text.startswith("Turn"):
            return found
        entry = Entry(stored=found.entry.stored, text=found.entry.text, finish_reason="stop", packed=b"x")
        return Found(entry, "memory")


async def test_an_answer_that_cannot_be_read_is_forgotten() -> None:
    """It is stumbled over once; this call goes on, and so do the next ones."""
    store = Odd()
    async with asker(cache=fc.Cache(store=store)) as (client, provider):
        await learned(client, question(1))
        store.odd = True
        assert (await client.chat(worded(1, 1))).text == answer(1)
        await settled(lambda: semantics(client).kept == 2)
        assert semantics(client).failures == 1 and len(provider.requests) == 2
        store.odd = False
        assert (await client.chat(worded(1, 2))).cache.source == "semantic"
        assert semantics(client).failures == 1


async def test_a_reader_who_shares_teaches_nothing_twice() -> None:
    """Many ask the same at once: one answer, kept once, compared once."""
    async with asker((Wait(0.02), Tokens(5), Finish())) as (client, provider):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.chat, question(1))
        await settled(lambda: semantics(client).kept)
        await anyio.sleep(0.01)
        assert semantics(client).kept == len(provider.requests) == 1 and semantics(client).labels == 0
