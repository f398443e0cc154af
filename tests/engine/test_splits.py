"""However the network cuts an answer into pieces, it is the same answer: every cut of every body, without a socket."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import pytest

from fastclient import AsyncClient
from fastclient.engine.answer import Answer
from fastclient.errors import StreamCut
from fastclient.providers.decoder import Decoder
from fastclient.providers.dialect import find
from fastclient.target import Target
from fastclient.testing import FakeProvider, Finish, Split, Tokens
from fastclient.types import Request

PIECES = ["Grüße ", "🎉", "漢字\r\n", "data: e\u0301\u2028"]


def openai() -> bytes:
    bodies = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in PIECES]
    events = [b"data: %b\n\n" % orjson.dumps(body) for body in bodies]
    return b"\xef\xbb\xbf: ping\n\n" + b"".join(events) + b"data: [DONE]\n\n"


def anthropic() -> bytes:
    deltas = [{"type": "text_delta", "text": piece} for piece in PIECES]
    bodies = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    events = [b"event: content_block_delta\ndata: %b\n\n" % orjson.dumps(body) for body in bodies]
    ping = b'event: ping\ndata: {\ndata: "type":"ping"}\n\n'
    return ping + b"".join(events) + b"event: message_stop\ndata: {}\n\n"


BODIES = {"openai": openai(), "anthropic": anthropic()}
TERMINAL = {"openai": b"data: [DONE]", "anthropic": b"event: message_stop"}
bodies = pytest.mark.parametrize("provider", BODIES)
ends = pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])


def decoded(provider: str, pieces: Iterable[bytes]) -> tuple[Answer, Decoder]:
    target = Target(f"{provider}:m")
    decoder = Decoder(find(provider).reader(Request(messages=()), target))
    answer = Answer()
    for piece in pieces:
        answer.add(decoder.feed(piece))
    if not decoder.done:
        answer.add(decoder.finish())
    return answer, decoder


@bodies
@ends
def test_two_pieces_cut_anywhere(provider: str, end: bytes) -> None:
    """A cut at any byte, also inside a character, a CRLF or `data:`, changes neither the text nor the raw bytes."""
    body = BODIES[provider].replace(b"\n", end)
    for at in range(len(body) + 1):
        answer, decoder = decoded(provider, [body[:at], body[at:]])
        assert (answer.text, answer.raw.rstrip()) == ("".join(PIECES), body.rstrip()), f"cut at {at}"
        assert (decoder.error, decoder.malformed) == (None, 0)


@bodies
@ends
@pytest.mark.parametrize("size", [1, 2, 3, 5, 16])
def test_pieces_of_one_size(provider: str, end: bytes, size: int) -> None:
    """Single bytes or small segments throughout give the same answer, too."""
    body = BODIES[provider].replace(b"\n", end)
    answer, decoder = decoded(provider, [body[at : at + size] for at in range(0, len(body), size)])
    assert (answer.text, answer.raw.rstrip(), decoder.error) == ("".join(PIECES), body.rstrip(), None)


@bodies
def test_a_body_cut_off_anywhere_is_no_success(provider: str) -> None:
    """Before its terminal event is there, an answer that ends is cut; what came of it is a beginning of the text."""
    body = BODIES[provider]
    for at in range(body.index(TERMINAL[provider]) + 1):
        answer, decoder = decoded(provider, [body[:at]])
        assert type(decoder.error) is StreamCut, f"cut off at {at}"
        assert "".join(PIECES).startswith(answer.text)


@bodies
@pytest.mark.parametrize("every", [1, 2, 3, 7])
async def test_the_engine_reads_any_split(provider: str, every: int) -> None:
    """The whole way from the wire to the reply, with a provider whose every read is a few bytes."""
    plan = tuple(Split(Tokens(piece), every) for piece in PIECES)
    async with AsyncClient(f"{provider}:m", wire=FakeProvider((*plan, Split(Finish(), every)))) as client:
        reply = await client.chat("Say something.")
    assert (reply.text, reply.malformed_events) == ("".join(PIECES), 0)
