"""Messages put together from their events, as Anthropic's own SDK does it."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from anthropic.lib.streaming._beta_messages import accumulate_event
from anthropic.types import Message
from anthropic.types.beta import BetaMessage
from hypothesis import given
from hypothesis import strategies as st
from jiter import from_json

from fastclient.providers.native.blocks import partial
from fastclient.providers.native.messages import form
from fastclient.testing import ServerRequest
from fastclient.testing.dialects import DIALECTS
from tests.providers.streams import answers, written
from tests.providers.test_native_messages import PATH, inputs, text, use

USAGE = {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 0}
START = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
START |= {"stop_sequence": None, "usage": USAGE}


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    made = event("content_block_start", index=index, content_block=start)
    made += b"".join(event("content_block_delta", index=index, delta=delta) for delta in deltas)
    return made + event("content_block_stop", index=index)


def stream(*blocks: bytes, stop: str = "end_turn", **delta: Any) -> bytes:
    end = event(
        "message_delta",
        delta={"stop_reason": stop, "stop_sequence": None, "stop_details": None},
        usage={"output_tokens": 7},
        **delta,
    )
    return event("message_start", message=START) + event("ping") + b"".join(blocks) + end + event("message_stop")


def texts(*pieces: str) -> list[dict[str, Any]]:
    return [{"type": "text_delta", "text": piece} for piece in pieces]


def parts(*pieces: str) -> list[dict[str, Any]]:
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
    "file_id": None,
}
SEARCH = {
    "type": "web_search_tool_result",
    "tool_use_id": "s1",
    "content": [{"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "e", "page_age": None}],
}
STREAMS = {
    "text": stream(block(0, text(""), *texts("Hel", "lo"))),
    "thinking": stream(
        block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "so "},
            {"type": "thinking_delta", "thinking": "it"},
            {"type": "signature_delta", "signature": "si"},
            {"type": "signature_delta", "signature": "sig"},
        ),
        block(1, {"type": "redacted_thinking", "data": "xyz"}),
        block(2, text(""), *texts("yes")),
    ),
    "calls": stream(
        block(0, use("t1") | {"input": {}}, *parts("", '{"a": [1,', ' "x"]}')),
        block(1, use("t2") | {"input": {}}, *parts("")),
        stop="tool_use",
    ),
    "cut": stream(block(0, use("t1") | {"input": {}}, *parts('{"a": [1, 2], "b": "unfin')), stop="max_tokens"),
    "citations": stream(
        block(0, text("", citations=[]), *texts("a"), {"type": "citations_delta", "citation": CITATION}),
        block(1, text(""), *texts("b", "c")),
    ),
    "server": stream(
        block(
            0, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}, *parts('{"query":', '"q"}')
        ),
        block(1, SEARCH),
        block(2, text(""), *texts("found")),
        context_management={"applied_edits": []},
    ),
    "fallback": stream(block(0, {"type": "fallback", "from": {"model": "m"}, "to": {"model": "other"}})),
    "compaction": stream(
        block(
            0,
            {"type": "compaction", "content": None, "encrypted_content": None},
            {"type": "compaction_delta", "content": "in", "encrypted_content": None},
            {"type": "compaction_delta", "content": "in short", "encrypted_content": "e"},
        )
    ),
}


def gathered(body: bytes) -> dict[str, Any]:
    return orjson.loads(form.gathered(body))


@pytest.mark.parametrize("name", STREAMS)
def test_the_sdk_adds_up_the_same(name: str) -> None:
    """What is put together reads, with the SDK's own classes, like what the SDK makes of the same stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for one in STREAMS[name].split(b"\n\n")[:-1]:
        data = orjson.loads(one.partition(b"data: ")[2])
        if data["type"] not in ("ping", "message_stop"):
            headers = cast(Any, None)
            snapshot = accumulate_event(
                event=data, current_snapshot=snapshot, json_bufs=buffers, request_headers=headers
            )
    theirs = BetaMessage.construct(**snapshot.to_dict()).to_dict()
    assert BetaMessage.construct(**gathered(STREAMS[name])).to_dict() == theirs


@pytest.mark.parametrize("name", sorted(STREAMS.keys() - {"compaction", "fallback"}))
def test_a_whole_message_of_the_sdk(name: str) -> None:
    """Every message is valid for the SDK's strict class."""
    Message.model_validate(gathered(STREAMS[name]))


def test_what_is_put_together() -> None:
    """Blocks in their order, inputs as values, counts from the latest event that told them."""
    made = gathered(STREAMS["citations"])
    assert made["content"] == [text("a", citations=[CITATION]), text("bc")]
    assert made["usage"] == USAGE | {"output_tokens": 7}
    assert (made["stop_reason"], made["id"]) == ("end_turn", "m1")
    assert [each["input"] for each in gathered(STREAMS["calls"])["content"]] == [{"a": [1, "x"]}, {}]
    assert gathered(STREAMS["server"])["context_management"] == {"applied_edits": []}


def test_new_kinds_of_deltas_are_not_lost() -> None:
    """A delta of a kind that is not known yet adds its texts to the block."""
    new = [{"type": "new_delta", "thing": piece} for piece in ("a", "b")]
    assert gathered(stream(block(0, {"type": "new", "thing": ""}, *new)))["content"] == [{"type": "new", "thing": "ab"}]


def test_the_test_server_says_the_same_whole() -> None:
    """60 answers of every kind: their streams add up to what the server sends without a stream."""
    request = ServerRequest(
        path=PATH, headers={}, body=b"", json={}, dialect="anthropic", model="test", input_tokens=400
    )  # fmt: skip
    for answer in answers(seed=8, count=60):
        whole = DIALECTS["anthropic"].whole(answer, request)
        assert gathered(written("anthropic", answer).body) == orjson.loads(whole)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=3), inputs, st.integers(1, 7))
def test_any_split_into_deltas(paragraphs: list[str], value: dict[str, Any], size: int) -> None:
    """Texts and a tool's input cut into deltas anywhere come back."""

    def cut(whole: str) -> list[str]:
        return [whole[at : at + size] for at in range(0, len(whole), size)]

    blocks = [block(at, text(""), *texts(*cut(each))) for at, each in enumerate(paragraphs)]
    pieces = cut(orjson.dumps(value).decode())
    made = gathered(stream(*blocks, block(len(blocks), use("t") | {"input": {}}, *parts(*pieces))))
    assert made["content"] == [*map(text, paragraphs), use("t") | {"input": orjson.loads(orjson.dumps(value))}]


@given(inputs, st.integers(0, 100))
def test_json_that_was_cut(value: dict[str, Any], end: int) -> None:
    """What was whole of it is there, as the SDK's own reader has it."""
    written_ = orjson.dumps(value).decode()[: 1 + end]
    assert partial(written_) == from_json(written_.encode(), partial_mode=True)


def test_a_document_stays_as_it_is() -> None:
    """A server that ignored `stream` has sent the whole answer already."""
    assert form.gathered(b'{"type":  "message"}') == b'{"type":  "message"}'


@pytest.mark.parametrize(
    "status, kind", [(429, "rate_limit_error"), (400, "invalid_request_error"), (503, "api_error")]
)
def test_refusals_read_like_anthropics(status: int, kind: str) -> None:
    """An error body has the words under the names the SDK looks for."""
    body = orjson.loads(form.refused(status, "no", "anything"))
    assert body["type"] == "error"
    assert body["error"] == {"type": kind, "message": "no"}
