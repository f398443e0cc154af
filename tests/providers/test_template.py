"""Events that repeat the one before but for their text: read without parsing, and never read differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.providers.decoder import Decoder
from fastclient.providers.dialect import Json, find
from fastclient.providers.sse import Event
from fastclient.request import checked
from fastclient.types import Chunk
from tests.providers.streams import TARGETS

# Whole events and events with holes for one text, which is put there as it is: it may break the event or change it.
HOLE = b"@@"
OPENAI = (
    b'{"choices":[{"index":0,"delta":{"content":"@@"}}]}',
    b'{"id":"1","model":"m","choices":[{"delta":{"content":"@@"},"finish_reason":null}],"usage":null}',
    b'{"choices": [{"delta": {"role": "assistant", "content": "@@"}}]}',
    b'{"choices":[{"delta":{"content":"@@"}}],"model":"@@"}',
    b'{"choices":[{"delta":{"content":"@@","content":"b"}}]}',
    b'{"choices":[{"delta":{"content":"b","content":"@@"}}]}',
    b'{"x":{"content":"b"},"choices":[{"delta":{"content":"@@"}}],"y":{"content":"@@"}}',
    b'{"x":{"content":"@@"},"choices":[{"delta":{"content":"b"}}]}',
    b'{"choices":[{"delta":{"content":"\\u0062"}}],"x":"@@"}',
    b'{"choices":[{"delta":{"content":[{"text":"a"},{"text":"@@"}]}}],"x":"a@@","y":"@@"}',
    b'{"choices":[{"delta":{"content":"","refusal":"@@"}}]}',
    b'{"choices":[{"delta":{"content":"@@","reasoning":"@@"}}]}',
    b'{"choices":[{"delta":{"content":"@@"}}],"obfuscation":"n@@"}',
    b'{"choices":[{"delta":{"content":"a"}}],"obfuscation":"@@"}',
    b'{"choices":[{"delta":{"content":"@@"}}],"obfuscation":"xy","obfuscation":"z"}',
    b'{"choices":[{"delta":{"reasoning_content":"@@"}}]}',
    b'{"choices":[{"delta":{"content":"@@"},"finish_reason":"stop"}]}',
    b'{"choices":[{"delta":{"content":"@@"}}],"usage":{"prompt_tokens":3}}',
    b'{"choices":[{"delta":{"content":"@@"}}],"timings":{"prompt_ms":3}}',
    b'{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"@@"}}]}}]}',
    b'{"choices":[],"usage":{"prompt_tokens":1}}',
    b'{"error":{"message":"@@"}}',
    b"{broken",
    b"[DONE]",
)
ANTHROPIC = (
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"@@"}}',
    b'{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"@@"}}',
    b'{"type": "content_block_delta", "index": 0, "delta": {"text": "@@", "type": "text_delta"}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"@@"}}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"@@"}}',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"@@"}}',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"1","name":"f","input":{}}}',
    b'{"type":"content_block_stop","index":0}',
    b'{"type":"message_delta","delta":{"stop_reason":"@@"},"usage":{"output_tokens":3}}',
    b'{"type":"ping"}',
    b'{"type":"message_stop"}',
)
SHELLS = {"openai": OPENAI, "anthropic": ANTHROPIC}
LINES = (
    *(b"data: %b\n\n", b"event: content_block_delta\ndata: %b\n\n"),
    *(b"id: 7\ndata: %b\n\n", b": ping\n\ndata: %b\n\n", b"data: %b\n: x\n\n"),
)
NASTY = st.sampled_from(
    [
        *(b":", b",", b"", b"\\n", b"\\u0041", b'\\"', b"\\", b'"', b'b","x":"b', b'b"}}],"y":[{"z":{"w":"b'),
        *("é漢🙂\u2028".encode(), b"\xe9", b"\xed\xa0\x80", b"\x00", b"\t", b"\x7f", b"\n", b"\n\n", b"content", b"m"),
    ]
)
TEXTS = st.lists(st.one_of(st.sampled_from([b"b", b"word "]), NASTY, st.binary(max_size=3)), min_size=1, max_size=6)


@st.composite
def bodies(draw: st.DrawFn, dialect: str) -> bytes:
    """Streams of runs of like events, with a few bytes changed, in any line ends."""
    runs = st.lists(st.tuples(st.sampled_from(SHELLS[dialect]), st.sampled_from(LINES), TEXTS), max_size=5)
    body = bytearray().join(line % shell.replace(HOLE, said) for shell, line, texts in draw(runs) for said in texts)
    if body and draw(st.booleans()):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.sampled_from(b'"\\\n x{}\x00\xff'))
    return bytes(body).replace(b"\n", draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])))


class Reading(NamedTuple):
    """All that a decoder says about a body."""

    chunks: Sequence[Chunk]
    done: bool
    error: str
    malformed: int
    pings: int
    thinking: bool


def read(dialect: str, pieces: Sequence[bytes], *, lazily: bool) -> Reading:
    reader = find(dialect).reader(checked("a question", {}), TARGETS[dialect])
    if not lazily:
        reader.verbatim = False
    decoder, chunks = Decoder(reader), list[Chunk]()
    for piece in pieces:
        chunks += decoder.feed(piece)
        if decoder.done or decoder.error is not None:
            break
    else:
        chunks += decoder.finish()
    return Reading(chunks, decoder.done, repr(decoder.error), decoder.malformed, decoder.pings, decoder.thinking)


@pytest.mark.parametrize("dialect", SHELLS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_nothing_is_read_differently(dialect: str, data: st.DataObject) -> None:
    """Any stream, broken ones too, in any split: the chunks, errors and counts are those of parsing every event."""
    body = data.draw(bodies(dialect))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=4)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True) if start < end]
    assert read(dialect, pieces, lazily=True) == read(dialect, pieces, lazily=False)


class Counting:
    """A reader that counts the events it is shown."""

    def __init__(self, dialect: str) -> None:
        self.shown = 0
        self._reader = find(dialect).reader(checked("a question", {}), TARGETS[dialect])

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def chunk(self, data: Json, event: Event) -> Chunk:
        self.shown += 1
        return self._reader.chunk(data, event)


def shown(dialect: str, events: Sequence[bytes]) -> int:
    """How many events of a burst the reader was shown, all of which were read."""
    counting = Counting(dialect)
    decoder = Decoder(counting)  # type: ignore[arg-type]  # what it does not count, it passes on
    chunks = decoder.feed(b"".join(events))
    assert [chunk.raw for chunk in chunks] == list(events)
    return counting.shown


@pytest.mark.parametrize("dialect", SHELLS)
def test_a_burst_is_parsed_once(dialect: str) -> None:
    """Of five hundred pieces of text in one read, the reader is shown one."""
    events = [b"data: " + SHELLS[dialect][0].replace(HOLE, b"%d " % number) + b"\n\n" for number in range(500)]
    assert shown(dialect, events) == 1


def test_noise_is_not_parsed() -> None:
    """OpenAI puts a string of random letters into each event: that does not make it worth parsing."""
    event = b'data: {"choices":[{"delta":{"content":"%d"}}],"obfuscation":"%b"}\n\n'
    assert shown("openai", [event % (number, b"x" * (1 + number % 7)) for number in range(500)]) == 1


def test_escapes_are_parsed_and_nothing_else() -> None:
    """One piece in ten holds a line break: those are parsed, and the pieces around them still are not."""
    said = [b"\\n" if number % 10 == 5 else b"word " for number in range(500)]
    events = [b"data: " + OPENAI[1].replace(HOLE, each) + b"\n\n" for each in said]
    assert shown("openai", events) == 51


LIKE = {
    "a text that is a model's name too": (b'{"model":"b",@}', b'{"model":"c",@}'),
    "a text written with an escape": (
        b'{"choices":[{"delta":{"content":"\\u0062"}}],"x":"b"}',
        b'{"choices":[{"delta":{"content":"\\u0062"}}],"x":"c"}',
    ),
    "a head and a tail that overlap": (b"{@}", b'{"choices":[{"delta":{"content":"}}]}'),
    "a text that closes its string": (b"{@}", b'{"choices":[{"delta":{"content":"c","content":"d"}}]}'),
    "a reason to stop": (
        b'{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}',
        b'{"choices":[{"delta":{"content":"c"},"finish_reason":"stop"}]}',
    ),
    "a thought with the text": (
        b'{"choices":[{"delta":{"content":"b","reasoning":"r"}}]}',
        b'{"choices":[{"delta":{"content":"c","reasoning":"r"}}]}',
    ),
    "counts with the text": (b'{@,"usage":{"prompt_tokens":3}}', b'{@,"usage":{"prompt_tokens":3}}'),
    "times with the text": (b'{@,"timings":{"prompt_ms":3}}', b'{@,"timings":{"prompt_ms":3}}'),
}


@pytest.mark.parametrize("kind", LIKE)
def test_what_is_no_repetition(kind: str) -> None:
    """An event that only looks as if it repeated the one before is read as it is."""
    pair = (said.replace(b"@", b'"choices":[{"delta":{"content":"b"}}]') for said in LIKE[kind])
    body = b"".join(b"data: %b\n\n" % said for said in pair)
    assert read("openai", [body], lazily=True) == read("openai", [body], lazily=False)


def test_a_text_in_parts() -> None:
    """A text that is put together from parts is put together each time, whatever stands elsewhere."""
    event = b'data: {"choices":[{"delta":{"content":[{"text":"a"},{"text":"b"}]}}],"x":"%b"}\n\n'
    reading = read("openai", [event % b"ab" + event % b"cd"], lazily=True)
    assert [chunk.text for chunk in reading.chunks] == ["ab", "ab"]


def test_a_thought_between_two_texts() -> None:
    """A text after a thought ends it, though it is like the text before the thought."""
    text, thought = (b'data: {"choices":[{"delta":{"%b":"b"}}]}\n\n' % name for name in (b"content", b"reasoning"))
    reading = read("openai", [text * 2 + thought + text * 2], lazily=True)
    assert [chunk.text for chunk in reading.chunks] == ["b", "b", "", "b", "b"]
    assert not reading.thinking
