"""Stored answers: what goes in comes out, and what was not put in does not."""

from __future__ import annotations

import dataclasses
import tracemalloc
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastclient as fc
from fastclient.cache.entry import Entry
from fastclient.cache.memory import MemoryStore
from fastclient.cache.seal import opened, sealed
from fastclient.engine.answer import Answer
from fastclient.types import Chunk, ToolCallDelta, Usage

texts = st.text(st.characters(codec="utf-8"), max_size=20)
counts = st.none() | st.integers(0, 10**6)
chunks = st.builds(
    Chunk,
    text=texts,
    reasoning=texts | st.just(""),
    tool_calls=st.lists(
        st.builds(ToolCallDelta, st.integers(0, 3), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "f"]), texts),
        max_size=2,
    ).map(tuple),
    finish_reason=st.none() | st.sampled_from(["stop", "tool_calls", ""]),
    usage=st.none() | st.builds(Usage, input_tokens=counts, output_tokens=counts, reasoning_tokens=counts),
    model=st.none() | st.sampled_from(["m", "n"]),
    raw=st.binary(max_size=40),
    reported=st.none() | st.dictionaries(st.sampled_from(["prefill", "server_queue"]), st.floats(0, 10), min_size=1),
    blocks=st.lists(st.dictionaries(texts, texts, min_size=1, max_size=2), max_size=1).map(tuple),
    restarted=st.just(False),
)
WHOLE = ("text", "reasoning", "tool_calls", "finish_reason", "model", "usage", "blocks", "raw")


@given(st.lists(chunks, max_size=20))
def test_what_goes_in_comes_out(came: list[Chunk]) -> None:
    """The chunks are the same after a way through bytes, and so is the whole: the answer that the chunks make."""
    entry = Entry.of(came, stored=12.5)
    again = Entry.decoded(entry.encoded())
    same = [chunk._replace(finish_reason=chunk.finish_reason or None) for chunk in came]
    answer = Answer()
    answer.add(came)
    for each in (entry, again):
        assert [chunk._replace(finish_reason=chunk.finish_reason or None) for chunk in each.chunks()] == same
        for name in WHOLE:
            assert getattr(each, name) == getattr(answer, name), name
        assert each.stored == 12.5 and each.problem is None


@given(st.lists(chunks, max_size=5), st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.data())
def test_a_seal_holds_for_one_key_and_one_secret(
    came: list[Chunk], key: bytes, secret: bytes, data: st.DataObject
) -> None:
    """It opens under its own key with its own secret; no byte of it can change; no other key or secret opens it."""
    given = sealed(key, Entry.of(came, stored=1.0), secret)
    whole = opened(key, given, secret)
    assert whole is not None and whole.chunks() == Entry.of(came, stored=1.0).chunks()
    at = data.draw(st.integers(0, len(given) - 1))
    changed = bytearray(given)
    changed[at] ^= data.draw(st.integers(1, 255))
    assert opened(key, bytes(changed), secret) is None
    assert opened(key, given[: data.draw(st.integers(0, len(given) - 1))], secret) is None
    assert opened(bytes(32) if key != bytes(32) else b"1" * 32, given, secret) is None
    assert opened(key, given, secret + b"!") is None


@pytest.mark.parametrize("other", [None, 1, "text", b"", b"x" * 16, [b"x"], memoryview(b"x" * 99)])
def test_anything_else_does_not_open(other: object) -> None:
    assert opened(bytes(32), other) is None


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_forged_bytes_raise_only_what_is_expected(data: bytes) -> None:
    """Whoever can make a seal can still not make us do anything but refuse."""
    for head in (b"", b"fcA1", b"fcA1\x00\x00\x00\x10"):
        with pytest.raises((ValueError, TypeError, KeyError, IndexError, AttributeError)):
            Entry.decoded(head + data)


def test_a_bomb_is_not_unpacked() -> None:
    """A packed body that would become gigabytes is refused at the size no answer has."""
    import zlib

    packer = zlib.compressobj(9)
    zeros = bytes(2**20)
    bomb = b"".join(packer.compress(zeros) for _ in range(80)) + packer.flush()
    entry = Entry(stored=0.0, packed=bomb)
    tracemalloc.start()
    with pytest.raises(ValueError):
        entry.chunks()
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()


def test_a_refusal_comes_back_as_itself() -> None:
    """With its class, its words and its numbers, each time as a new exception."""
    error = fc.NotFound("no such model", provider="openai", status_code=404, request_id="r", body="{}")
    entry = Entry.decoded(Entry.refusing(error, stored=3.0).encoded())
    again, other = entry.error(), entry.error()
    assert type(again) is fc.NotFound and str(again) == "no such model" and again is not other
    assert (again.provider, again.status_code, again.request_id, again.body) == ("openai", 404, "r", "{}")


def test_no_other_class_can_be_named() -> None:
    """A forged refusal names a class of the providers' errors or none."""
    for name in ("ConfigError", "annotations", "reprlib", "FastClientError", "__builtins__"):
        with pytest.raises((ValueError, TypeError, AttributeError)):
            Entry(stored=0.0, problem={"class": name, "message": "x"}).error()


def test_an_entry_shows_nothing() -> None:
    assert "secret" not in repr(Entry.of([Chunk("a secret", raw=b"secret")], stored=0.0))


def answer(random: Random, size: int) -> list[Chunk]:
    """An answer of about this many characters, as a server streams it."""
    words = [f"{random.getrandbits(24):x} " for _ in range(size // 7)]
    return [
        Chunk(
            word,
            model="gpt-5-mini-2026-08-12",
            raw=b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % word.encode(),
        )
        for word in words
    ]


@pytest.mark.parametrize("size", [20, 400])
def test_memory_is_bounded_as_configured(size: int) -> None:
    """What a store holds takes what it says it takes, and that is at most what was allowed; within 5 %."""
    random = Random(size)
    came = [answer(random, size) for _ in range(50)]
    bound = 2 * 2**20
    Entry.of(came[0], stored=0.0)
    tracemalloc.start()
    store = MemoryStore(max_bytes=bound)
    for number in range(max(400, 4 * bound // (size + 900))):
        entry = Entry.of(came[number % 50], stored=float(number) + 0.5)
        store.put(number.to_bytes(32, "big"), Entry.decoded(entry.encoded()), tag=b"", lifetime=1.0)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    stats = store.stats()
    assert stats.evicted > 0 and stats.bytes <= bound
    assert 0.95 * bound <= held <= 1.05 * bound


def test_the_least_recently_used_goes_first() -> None:
    """A hit keeps an entry; both bounds hold; what is larger than everything is not kept."""
    store = MemoryStore(max_entries=2)
    for name in (b"a", b"b"):
        store.put(name, Entry(stored=0.0, text=name.decode()))
    assert store.get(b"a") is not None
    store.put(b"c", Entry(stored=0.0))
    assert store.get(b"b") is None and store.get(b"a") is not None and store.get(b"c") is not None
    small = MemoryStore(max_bytes=2000)
    small.put(b"a", Entry(stored=0.0, text="x" * 5000))
    assert small.get(b"a") is None and small.stats().bytes == 0
    assert dataclasses.asdict(store.stats()) | {"bytes": 0} == dataclasses.asdict(store.stats()) | {
        "bytes": 0,
        "entries": 2,
        "hits": 3,
        "misses": 1,
        "stored": 3,
        "evicted": 1,
    }


@pytest.mark.parametrize("options", [{"max_bytes": 0}, {"max_bytes": "1"}, {"max_entries": 1.5}])
def test_wrong_bounds_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(fc.ConfigError) as refused:
        MemoryStore(**options)
    assert refused.value.field == f"memory.{next(iter(options))}"
