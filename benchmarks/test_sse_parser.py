"""Microseconds per event of the event stream parser, beside httpx-sse's decoder over the same reads in the same run."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from pytest_benchmark.fixture import BenchmarkFixture

from fastclient.providers.sse import SSEParser

EVENT_SIZE = 160
EVENTS = 4096


def event(number: int) -> bytes:
    """One OpenAI-like event of exactly 160 bytes."""
    head = b'data: {"id":"chatcmpl-9x","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o",'
    head += b'"choices":[{"index":0,"delta":{"content":"%d' % number
    end = b'"}}]}\n\n'
    return head + b"x" * (EVENT_SIZE - len(head) - len(end)) + end


BODY = b"".join(event(number) for number in range(EVENTS))
CRLF_BODY = BODY.replace(b"\n", b"\r\n")
READS = {
    "64 KB reads": (BODY, 64 * 1024),
    "4 KB reads": (BODY, 4096),
    "1 event per read": (BODY, EVENT_SIZE),
    "CRLF, 64 KB reads": (CRLF_BODY, 64 * 1024),
    "CRLF, 1 event per read": (CRLF_BODY, EVENT_SIZE + 2),
}


def ours(pieces: list[bytes]) -> int:
    """Count the events with this package's parser."""
    parser, count = SSEParser(), 0
    for piece in pieces:
        for parsed in parser.feed(piece):
            if parsed.data:
                count += 1
    return count


def httpx_sse_lines(pieces: list[bytes]) -> Iterator[str]:
    """Lines as httpx-sse makes them: text of an incremental decoder, then its line decoder."""
    decode, lines = codecs.getincrementaldecoder("utf-8")(errors="replace").decode, SSELineDecoder()
    for piece in pieces:
        yield from lines.decode(decode(piece))
    yield from lines.flush()


def httpx_sse(pieces: list[bytes]) -> int:
    """Count the events with httpx-sse's decoder, used as its EventSource.iter_sse does."""
    decoder, count = SSEDecoder(), 0
    for line in httpx_sse_lines(pieces):
        parsed = decoder.decode(line.rstrip("\n"))
        if parsed is not None and parsed.data:
            count += 1
    return count


@pytest.mark.parametrize("parse", [ours, httpx_sse], ids=["ours", "httpx-sse"])
@pytest.mark.parametrize("reads", READS)
def test_sse_parser(benchmark: BenchmarkFixture, reads: str, parse: Callable[[list[bytes]], int]) -> None:
    """4,096 events of 160 bytes (162 with CRLF) in such reads; extra_info has us per event, best and median."""
    body, size = READS[reads]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    benchmark.group = f"SSE, {reads}"
    assert benchmark(parse, pieces) == EVENTS
    if benchmark.stats is not None:
        stats = benchmark.stats.stats
        benchmark.extra_info["us_per_event_best"] = round(stats.min / EVENTS * 1e6, 4)
        benchmark.extra_info["us_per_event_median"] = round(stats.median / EVENTS * 1e6, 4)
        print(f"\n{parse.__name__}, {reads}: {benchmark.extra_info}")
