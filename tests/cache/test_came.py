"""Answers kept as they came: nobody can tell them from packed ones, and they take no room that others need."""

from __future__ import annotations

import tracemalloc
from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.cache.entry import Entry
from fastclient.cache.memory import MemoryStore
from fastclient.functions.parcel import END, Parcel
from fastclient.types import Chunk, ToolCallDelta, Usage

texts = st.text(st.characters(codec="utf-8"), max_size=12)
counts = st.none() | st.integers(0, 10**6)
deltas = st.builds(ToolCallDelta, st.integers(0, 2), st.sampled_from(["", "a"]), st.sampled_from(["", "f"]), texts)
chunks = st.builds(
    Chunk,
    text=texts,
    reasoning=st.just("") | texts,
    tool_calls=st.just(()) | st.tuples(deltas),
    finish_reason=st.none() | st.sampled_from(["stop", "length", ""]),
    usage=st.none() | st.builds(Usage, input_tokens=counts, output_tokens=counts),
    model=st.none() | st.sampled_from(["m", "n", ""]),
    raw=st.binary(max_size=20),
    reported=st.none() | st.dictionaries(st.just("prefill"), st.floats(0, 10)),
    blocks=st.just(()) | st.tuples(st.dictionaries(texts, texts, max_size=1)),
    restarted=st.booleans(),
)
WHOLE = ("text", "reasoning", "tool_calls", "finish_reason", "model", "usage", "blocks", "raw", "stored", "problem")


@given(st.lists(chunks, max_size=12))
def test_nobody_can_tell(came: list[Chunk]) -> None:
    """Kept as it came, packed, or written down and read again: the same chunks, the same whole, the same bytes."""
    entry = Entry.of(came, stored=2.5)
    packed, read = entry.tight(), Entry.decoded(entry.encoded())
    assert not packed.loose and packed.tight() is packed
    for other in (packed, read):
        assert entry.chunks() == other.chunks()
        assert [getattr(entry, name) for name in WHOLE] == [getattr(other, name) for name in WHOLE]
    assert entry.encoded() == packed.encoded()


def event(**what: object) -> bytes:
    return b"data: %s\n\n" % orjson.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", **what})


def streamed(random: Random, number: int) -> list[Chunk]:
    """An answer as it comes from a server: each chunk's bytes and words are its own."""
    model = f"gpt-5-mini-{random.randrange(10**8)}"
    words = [f"{random.getrandbits(24):x} " for _ in range(number)]
    usage = Usage(input_tokens=random.randrange(300, 900), output_tokens=number)
    return [
        Chunk(model=model, raw=event(model=model, role="assistant")),
        *[Chunk(word, model=model, raw=event(model=model, content=word)) for word in words],
        Chunk(finish_reason="stop", usage=usage, model=model, raw=event(model=model, usage=number)),
    ]


def test_an_answer_of_plain_chunks_is_kept_as_it_came() -> None:
    """That is what makes a miss cheap: nothing is packed until somebody needs the room, or writes it down."""
    assert Entry.of(streamed(Random(0), 20), stored=1.0).loose


@pytest.mark.parametrize("number", [8, 40])
def test_it_takes_what_it_says(number: int) -> None:
    """Within 7 %, also when it has been asked for, so that a bound in bytes is one in memory."""
    random = Random(number)
    Entry.of(streamed(random, number), stored=0.5)
    tracemalloc.start()
    entries = [Entry.of(streamed(random, number), stored=each + 0.5) for each in range(200)]
    assert all(entry.text for entry in entries)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sum(entry.size for entry in entries) == pytest.approx(held, rel=0.07)


def test_what_readers_can_change_is_theirs() -> None:
    """What one does to the parts of a hit shows in no other hit."""
    block = {"type": "thinking", "signature": "s"}
    entry = Entry.of([Chunk("a", blocks=(block,)), Chunk("b", reported={"prefill": 1.0})], stored=0.0)
    block["type"] = "changed"
    first = entry.chunks()
    first[0].blocks[0]["type"] = "changed"  # type: ignore[index]
    first[1].reported["prefill"] = 2.0  # type: ignore[index]
    again = entry.chunks()
    assert again[0].blocks[0]["type"] == "thinking" and again[1].reported == {"prefill": 1.0}


def test_a_users_object_is_not_kept() -> None:
    """What a function returned is kept as its bytes alone."""
    entry = Entry.of([Parcel.of({"a": [1]}, b'{"a":[1]}'), END], stored=0.0)
    assert [type(chunk) for chunk in entry.chunks()] == [Chunk, Chunk] and entry.raw == b'{"a":[1]}'


def test_a_restart_is_not_told_again() -> None:
    """A reader of a stored answer has seen nothing that could be void."""
    entry = Entry.of([Chunk("a", restarted=True), Chunk("b", finish_reason="stop")], stored=0.0)
    assert not any(chunk.restarted for chunk in entry.chunks())


def test_scarce_room_is_won_by_packing() -> None:
    """A store that is full packs what came first, and holds as many answers as if it had packed all of them."""
    random, bound = Random(1), 2**18
    answers = [streamed(random, 40) for _ in range(400)]
    patient, eager = MemoryStore(max_bytes=bound), MemoryStore(max_bytes=bound)
    for number, came in enumerate(answers):
        entry = Entry.of(came, stored=1.0)
        patient.put(number.to_bytes(32, "big"), entry)
        eager.put(number.to_bytes(32, "big"), entry.tight())
        assert patient.stats().bytes <= bound
    assert eager.stats().evicted > 0
    assert patient.stats().entries >= eager.stats().entries - 16
    found = patient.get((399).to_bytes(32, "big"))
    assert found is not None and found.entry.chunks() == answers[399]


def test_the_books_are_right() -> None:
    """Whatever is put, put again, packed and dropped: a store that is emptied by others holds nothing of them."""
    random = Random(2)
    store = MemoryStore(max_bytes=60_000, max_entries=8)
    for _ in range(600):
        entry = Entry.of(streamed(random, random.choice([3, 10, 60])), stored=1.0)
        store.put(random.randrange(12).to_bytes(32, "big"), random.choice([entry, entry.tight()]))
        assert store.stats().bytes <= 60_000 and store.stats().entries <= 8
    least = Entry(stored=0.0)
    for number in range(8):
        store.put(bytes([255, number]) * 16, least)
    alone = MemoryStore()
    for number in range(8):
        alone.put(bytes([255, number]) * 16, least)
    assert store.stats().bytes == alone.stats().bytes


def test_one_answer_does_not_push_all_others_out() -> None:
    """What would take a large part of a store is packed at once: also one that fits only so is kept."""
    store = MemoryStore(max_bytes=2**16)
    store.put(bytes(32), Entry.of(streamed(Random(3), 5), stored=1.0))
    long = streamed(Random(4), 400)
    assert Entry.of(long, stored=1.0).size > 2**16
    store.put(bytes(31) + b"1", Entry.of(long, stored=1.0))
    assert store.stats().entries == 2
