"""The event stream parser against the WHATWG standard: known cases, random nasty streams, every kind of cut, time."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.providers.sse import Event, EventTooLarge, SSEParser
from tests.providers.whatwg import Message, interpret, read, utf8_decode

BOM = b"\xef\xbb\xbf"
JSON = '{"id":"c-1","choices":[{"index":0,"delta":{"content":"né 日本 \\n\\u2028"}}]}'.encode()

# Tokens of the random streams, in three weights: those that make whole events, those that disturb, and long ones.
COMMON = [
    *[b"data:", b"data: ", b"\ndata", b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r", b"\r\n\r\n", b"x", b"\ndata: " + JSON],
    *[b"\ndata: 1\n\n", b"\ndata:2\n\n", b"data: 3\n\n", b"\r\ndata: 4\r\n\r\n", b"\rdata:5\r\r"],
]
UNUSUAL = [
    *[b"event:", b"event: ping", b"event", b"id:", b"id: 7", b"id", b"id:\x00", b"retry:", b"retry: 3000", b"retry"],
    *[b":", b" ", b"  ", b": keep-alive", b"\x00", b"\t", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"Data:", b"datax:"],
    *[b" data:", b"data :", b"da", b"ta:", b"i", b"12", b"+5", b"-1", b"1_0", "²".encode(), "٣".encode(), b"[DONE]"],
    *[BOM, BOM[:1], BOM[:2], BOM[1:], "\u2028".encode(), "\u2029".encode(), "\u0085".encode(), "😀".encode()],
    *[b"\x80", b"\xbf", b"\xc0\xaf", b"\xc3", b"\xe2\x82", b"\xe0\x80", b"\xed\xa0\x80", b"\xf0\x9f", b"\xf5", b"\xff"],
]
LONG = [b"y" * 300, b":" + b"z" * 200, JSON * 4, b"data:" * 40, b"\n" * 20, b"\r\n" * 10]
TOKENS = COMMON * 12 + UNUSUAL * 2 + LONG


LF_TOKENS = [token for token in TOKENS if b"\r" not in token]


def nasty(rng: random.Random) -> bytes:
    """A stream of a few tokens: LF only, CRLF only, all line ends, or LF first and then all; a BOM at times."""
    how, count = rng.random(), int(rng.random() * 12) + 1
    tokens = [BOM] if rng.random() < 0.08 else []
    if how < 0.65:
        tokens += rng.choices(LF_TOKENS, k=count)
    if how > 0.4:
        tokens += rng.choices(TOKENS, k=count)
    stream = b"".join(tokens)
    return stream.replace(b"\n", b"\r\n") if how < 0.12 else stream


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream in pieces; a place that comes twice gives an empty piece."""
    edges = [0, *sorted(places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def bytewise(stream: bytes) -> list[bytes]:
    """The stream one byte at a time."""
    return [stream[at : at + 1] for at in range(len(stream))]


def random_cut(rng: random.Random, stream: bytes) -> list[bytes]:
    """The stream in one piece, in single bytes, or cut at a few random places."""
    how = rng.random()
    if how < 0.1:
        return [stream]
    if how < 0.2:
        return bytewise(stream)
    size = len(stream) + 1
    return cut(stream, [int(rng.random() * size) for _ in range(int(rng.random() * 6) + 1)])


def text(event: Event) -> tuple[str, str]:
    """Type and data of an event, as the standard has them."""
    return event.name, event.data.decode("utf-8", "replace")


def difference(stream: bytes, pieces: list[bytes]) -> str | None:
    """Where the parser's reading of the pieces departs from the standard or loses bytes; None if nowhere."""
    expected, last_event_id, *retries = read(stream)
    ids = [message.last_event_id for message in expected]
    parser, events = SSEParser(), list[Event]()
    for piece in pieces:
        events += (fresh := parser.feed(piece))
        if fresh and len(piece) == 1 and ids[len(events) - 1 : len(events)] != [parser.last_event_id]:
            return f"last_event_id {parser.last_event_id!r} after event {len(events)}, expected {expected}"
    if [text(event) for event in events] != [message[:2] for message in expected]:
        return f"events {events}, expected {expected}"
    if parser.last_event_id != last_event_id or parser.retry not in retries:
        return f"ID {parser.last_event_id!r} and retry {parser.retry}, expected {last_event_id!r} and {retries}"
    tail = parser.tail
    if b"".join([event.raw for event in events]) + tail != stream:
        return f"raw bytes of {events} and tail {tail!r}"
    last = parser.finish()
    left = [message[:2] for message in interpret(stream + b"\n\n")[len(expected) :]]
    if ([] if last is None else [text(last)]) != left or parser.tail != tail:
        return f"finish() {last} with tail {parser.tail!r}, expected {left} with tail {tail!r}"
    return None


def fuzz(seeds: Iterable[int]) -> list[str]:
    """Compare one random stream in one random cut for each seed; the first five differences."""
    rng, found = random.Random(), list[str]()
    for seed in seeds:
        rng.seed(seed)
        stream = nasty(rng)
        pieces = random_cut(rng, stream)
        if (what := difference(stream, pieces)) is not None:
            found.append(f"seed {seed}, pieces {pieces}: {what}")
            if len(found) == 5:
                break
    return found


def test_random_streams_are_worth_it() -> None:
    """At least half of the random streams hold an event, a tenth three or more, and a quarter have no CR at all."""
    streams = [nasty(random.Random(seed)) for seed in range(2_000)]
    counts = [len(interpret(stream)) for stream in streams]
    assert sum(count >= 1 for count in counts) >= 1_000
    assert sum(count >= 3 for count in counts) >= 200
    assert sum(b"\r" not in stream for stream in streams) >= 500


def test_random_streams() -> None:
    """20,000 random nasty streams in random pieces: the same events as the standard's, no byte lost, 0 differences."""
    assert fuzz(range(20_000)) == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.environ.get("FASTCLIENT_SOAK") != "1", reason="the full size runs with FASTCLIENT_SOAK=1")
def test_random_streams_full_size() -> None:
    """1,000,000 random nasty streams, none of them one of the 20,000: 0 differences."""
    assert fuzz(range(1_000_000, 2_000_000)) == []


@settings(deadline=None)
@given(stream=st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6))).map(b"".join), data=st.data())
def test_any_cut_of_any_bytes(stream: bytes, data: st.DataObject) -> None:
    """Any split of any bytes gives the events of the uncut stream, and raw bytes plus tail are all that was fed."""
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert difference(stream, [stream]) is None
    assert difference(stream, cut(stream, places)) is None
    assert difference(stream, bytewise(stream)) is None


@settings(deadline=None)
@given(stream=st.lists(st.sampled_from(TOKENS)).map(b"".join))
def test_raw_holds_its_own_event(stream: bytes) -> None:
    """The raw bytes of an event, read alone, are that one event: nothing before it and nothing of the next."""
    for at, event in enumerate(SSEParser().feed(stream)):
        alone = interpret(event.raw if at == 0 else b"\n" + event.raw)
        assert [message[:2] for message in alone] == [text(event)]


def only(*data: str) -> list[Message]:
    """Unnamed events without an ID."""
    return [Message("message", each, "") for each in data]


CORPUS: dict[str, tuple[bytes, list[Message]]] = {
    "bom": (BOM + b"data: first\n\n" + BOM + b"data: not a field\n\ndata: third\n\ndata: cut", only("first", "third")),
    "bom-2": (BOM + BOM + b"data: hidden\n\ndata: seen\n\ndata: cut", only("seen")),
    "comments": (
        b"data:a\r:\x00\n:\r\ndata:b\n:" + b"-" * 64 + b"\rdata:c\n:data:no\r:" + b"-" * 64 + b"\ndata:d\n\n",
        only("a\nb\nc\nd"),
    ),
    "data-before-final-empty-line": (b"retry:400\ndata:whole\n\nid:half\ndata:half", only("whole")),
    "final-line-without-blank": (b"data:whole\n\nid:half\ndata:half\n", only("whole")),
    "field-data": (b"data:\n\ndata\ndata\n\ndata:z\n\n", only("", "\n", "z")),
    "field-event": (b"event:ping\ndata:p\n\ndata:m\n\n", [Message("ping", "p", ""), Message("message", "m", "")]),
    "field-event-empty": (b"event:ping\nevent: \ndata:m\n\nevent\ndata:n\n\n", only("m", "n")),
    "field-event-without-data": (b"event:ping\n\ndata:m\n\n", only("m")),
    "field-id": (
        b"id: 1\ndata:a\n\ndata:b\n\nid\ndata:c\n\nid:2\n\ndata:d\n\n",
        [Message("message", data, last) for data, last in zip("abcd", ["1", "1", "", "2"], strict=True)],
    ),
    "field-id-null": (
        b"id:ok\ndata:a\n\nid:n\x00\ndata:b\n\nid:\x00n\ndata:c\n\nid:\x00\ndata:d\n\n",
        [Message("message", data, "ok") for data in "abcd"],
    ),
    "field-parsing": (
        (
            b"data:\x00\ndata:  two\rData:no\ndata\x00:no\ndata:three\r\x00data:no\nda-ta:no\rdata_no\ndata:four\r"
            b"data:\r\n data:no\ndata:six\n\n"
        ),
        only("\x00\n two\nthree\nfour\n\nsix"),
    ),
    "field-retry": (b"retry:3000\ndata:x\n\n", only("x")),
    "field-retry-bogus": (b"retry:3000\nretry:1000x\nretry:+1\nretry: \nretry:1_0\ndata:x\n\n", only("x")),
    "field-unknown": (b"data:a\n data\ndata\nother:b\nno colon here\n:a comment\ndata:c\n\n", only("a\n\nc")),
    "leading-space": (b"data:\ta\rdata: \ndata:b\ndata:  c\n\n", only("\ta\n\nb\n c")),
    "newlines": (b"data:a\r\ndata\ndata:b\r\n\rdata:c\r\rdata:d\n\r\ndata:e\r\n\ndata:f\n\n", only("a\n\nb", *"cdef")),
    "null-character": (b"data:\x00\n\n\n\n", only("\x00")),
    "no-other-line-end": (
        "data:a\x0bb\x0cc\x1cd\u0085e\u2028f\u2029g\n\n".encode(),
        only("a\x0bb\x0cc\x1cd\u0085e\u2028f\u2029g"),
    ),
    "utf-8": ("data:ok… 日本 😀\n\n".encode(), only("ok… 日本 😀")),
    "utf-8-invalid": (
        b"data:\xff\xe2\x82\ndata:\xc3\ndata:\xed\xa0\x80\xf0\x9f\x98z\n\n",
        only("\ufffd\ufffd\n\ufffd\n" + "\ufffd" * 4 + "z"),
    ),
}


@pytest.mark.parametrize("case", CORPUS)
def test_format_corpus(case: str) -> None:
    """The known format cases give the events listed here, cut nowhere, at each position, and between all bytes."""
    stream, expected = CORPUS[case]
    assert interpret(stream) == expected
    for pieces in (*(cut(stream, [at]) for at in range(len(stream) + 1)), bytewise(stream)):
        assert difference(stream, pieces) is None


def test_last_event_id_of_each_event() -> None:
    """An ID holds for its own event and those after it; the ID of a block that was never dispatched does not show."""
    parser, seen = SSEParser(), list[str]()
    for block in (b"data:a\n\n", b"id:1\ndata:b\n\n", b"data:c\n\n", b"id\ndata:d\n\n", b"id:9\ndata:e\n"):
        seen.append(f"{len(parser.feed(block))} {parser.last_event_id}")
    assert seen == ["1 ", "1 1", "1 1", "1 ", "0 "]


@pytest.mark.parametrize("value", [b"", b"x", b"-5", b"+5", b"1_0", b"5 ", b"  5", b"1.0", b"\xc2\xb2", b"5\x00"])
def test_retry_takes_ascii_digits_only(value: bytes) -> None:
    """A retry field of anything but ASCII digits leaves the earlier value as it was."""
    parser = SSEParser()
    assert parser.retry is None
    parser.feed(b"retry: 250\nretry:" + value + b"\ndata:x\n\n")
    assert parser.retry == 250


def test_retry_of_absurd_length() -> None:
    """A retry of 5,000 digits, more than int() converts by default, does not stop the stream."""
    events = SSEParser().feed(b"retry:" + b"9" * 5000 + b"\ndata:x\n\n")
    assert [text(event) for event in events] == [("message", "x")]


def test_event_comes_with_its_last_byte() -> None:
    """An event is handed over with the byte that ends its blank line, a bare CR too; nothing waits for a next byte."""
    for stream in (b"data:x\n\n", b"data:x\r\r", b"data:x\n\r", b"data:x\r\n\n", b"data:x\r\n\r"):
        parser = SSEParser()
        counts = [len(parser.feed(piece)) for piece in bytewise(stream)]
        assert counts == [0] * (len(stream) - 1) + [1]
        assert parser.tail == b""


def test_line_feed_after_a_bare_carriage_return() -> None:
    """The LF of a CRLF that was cut in two ends no second line; its byte counts to the next event, or to the tail."""
    parser = SSEParser()
    (first,) = parser.feed(b"data:x\r\n\r")
    assert parser.feed(b"\n") == []
    assert (first.raw, parser.tail) == (b"data:x\r\n\r", b"\n")
    (second,) = parser.feed(b"data:y\r\n\r\n")[:1]
    assert second.data == b"y"
    assert second.raw.startswith(b"\ndata:y")


def test_many_events_in_one_piece() -> None:
    """Each event of one piece has exactly its own bytes, and the rest of the piece is the tail."""
    parser = SSEParser()
    events = parser.feed(b":c\n\ndata:1\n\nevent:e\ndata:2\r\n\r\ndata:3")
    assert events == [Event(b"1", "message", b":c\n\ndata:1\n\n"), Event(b"2", "e", b"event:e\ndata:2\r\n\r\n")]
    assert parser.tail == b"data:3"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_finish_hands_over_what_no_blank_line_ended(end: bytes) -> None:
    """A body that stops after 'data: [DONE]' still gives that event, but only to the caller who asks for it."""
    for pieces in ([b"data: 1\n\ndata: [DONE]" + end], bytewise(b"data: 1\n\ndata: [DONE]" + end)):
        parser = SSEParser()
        events = [event for piece in pieces for event in parser.feed(piece)]
        assert [event.data for event in events] == [b"1"]
        assert parser.tail == b"data: [DONE]" + end
        last = parser.finish()
        assert last is not None
        assert text(last) == ("message", "[DONE]")


@pytest.mark.parametrize("rest", [b"", b"\n", b": bye\n", b"event: stop", b"event: stop\n", b"id: 4\n", b"dat", BOM])
def test_finish_without_data_is_nothing(rest: bytes) -> None:
    """Without a data line there is no last event: comments, names and IDs alone are dropped, as the standard does."""
    parser = SSEParser()
    assert len(parser.feed(b"data: 1\n\n" + rest)) == 1
    assert parser.finish() is None
    assert parser.tail == rest


def test_finish_without_an_event_takes_no_fields() -> None:
    """Where finish() gives no event, the cut block's ID (here half of 42) and retry do not count either."""
    parser = SSEParser()
    parser.feed(b"retry: 100\nid: 1\ndata: a\n\nretry: 5\nid: 4")
    retry = parser.retry
    assert parser.finish() is None
    assert (parser.last_event_id, parser.retry) == ("1", retry)


def test_finish_keeps_the_name() -> None:
    """The last event has its name, the lines before the cut, and what there was of its last line."""
    parser = SSEParser()
    assert parser.feed(b"event: error\ndata: a\ndata: b\xe2\x82") == []
    last = parser.finish()
    assert last is not None
    assert text(last) == ("error", "a\nb\ufffd")


@pytest.mark.parametrize("size", [1, 64, 1 << 20])
@pytest.mark.parametrize("line", [b"x", b"data: " + b"x" * 50 + b"\n", b": comment\n", b"id: 1\r", b": ping\n\n"])
def test_event_too_large(line: bytes, size: int) -> None:
    """One event over max_event raises EventTooLarge, whatever it consists of (its raw counts) and however it is cut."""
    body = line * (8192 // len(line))
    with pytest.raises(EventTooLarge):
        feed_all(SSEParser(max_event=4096), body, size)
    assert issubclass(EventTooLarge, ValueError)


@pytest.mark.parametrize("size", [1, 64, 1 << 20])
def test_many_events_are_not_one_large_event(size: int) -> None:
    """max_event bounds each event, not the stream: a thousand events just under it all arrive."""
    event = b"data: " + b"x" * 1000 + b"\n\n"
    assert feed_all(SSEParser(max_event=1024), event * 100, size) == 100


@pytest.mark.parametrize("size", [64, 1 << 20])
def test_event_too_large_that_ends(size: int) -> None:
    """An event over max_event is refused also when its blank line is already there, between others that are small."""
    body = b"data: 1\n\ndata: " + b"x" * 8192 + b"\n\ndata: 2\n\n"
    with pytest.raises(EventTooLarge):
        feed_all(SSEParser(max_event=4096), body, size)


def feed_all(parser: SSEParser, body: bytes, size: int) -> int:
    """Feed the body in pieces of one size; the number of events."""
    return sum(len(parser.feed(body[at : at + size])) for at in range(0, len(body), size))


def one_line(size: int) -> Iterator[bytes]:
    """One event of one long line, in pieces of 64 bytes."""
    body = b"data: " + b"x" * (size - 8) + b"\n\n"
    return (body[at : at + 64] for at in range(0, size, 64))


def many_lines(size: int) -> Iterator[bytes]:
    """One event of many short lines, in pieces of 64 bytes."""
    body = b"data: 9\n" * (size // 8 - 1) + b"data:9\n\n"
    return (body[at : at + 64] for at in range(0, size, 64))


def bare_returns(size: int) -> Iterator[bytes]:
    """One event of many short lines that end in a bare CR, in pieces of 64 bytes."""
    return (piece.replace(b"\n", b"\r") for piece in many_lines(size))


def one_burst(size: int) -> Iterator[bytes]:
    """Many short events in one single piece."""
    return iter([b"data: 90\r\n\r\n" * (size // 12)])


def cost(shape: Callable[[int], Iterator[bytes]], size: int) -> float:
    """CPU seconds to parse a body of this size, best of seven."""
    best = float("inf")
    for _ in range(7):
        pieces, parser = list(shape(size)), SSEParser()
        start = time.process_time()
        count = sum(len(parser.feed(piece)) for piece in pieces)
        best = min(best, time.process_time() - start)
        assert count >= 1
    return best


@pytest.mark.parametrize("shape", [one_line, many_lines, bare_returns, one_burst])
def test_time_is_linear(shape: Callable[[int], Iterator[bytes]]) -> None:
    """8 times the bytes take at most 16 times the CPU time: 512 KB against 64 KB, in the best of three rounds."""
    ratios = list[float]()
    for _ in range(3):
        ratios.append(cost(shape, 512 * 1024) / max(cost(shape, 64 * 1024), 1e-6))
        if ratios[-1] <= 16:
            return
    pytest.fail(f"times the CPU time for 8 times the bytes: {[round(ratio, 1) for ratio in ratios]}")


def test_reference_decodes_as_python_does() -> None:
    """The reference's decoder and Python's own agree on 5,000 random streams, so that callers may use the latter."""
    rng = random.Random(7)
    for _ in range(5_000):
        stream = nasty(rng)
        assert utf8_decode(b" " + stream) == (b" " + stream).decode("utf-8", "replace")
