"""Gemini as Google's SDK writes and reads it: recognised, looked at, and put together from a stream."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.prompt.tokens import estimated, size_of
from fastclient.providers.native.gemini import form
from fastclient.providers.native.original import Asked
from fastclient.target import Target
from fastclient.types import Request
from tests.providers.test_gemini import CALL, FULL, USAGE, piece

PATH = "/v1beta/models/gemini-x:generateContent"
STREAM = "/v1beta/models/gemini-x:streamGenerateContent"


def document(**more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **more}


def asked(body: dict[str, Any], path: str = PATH) -> Asked:
    found = form.asked(path, body, exact=True)
    assert found is not None
    return found


def gathered(*pieces: bytes) -> dict[str, Any]:
    return orjson.loads(form.gathered(b"".join(pieces)))


@pytest.mark.parametrize(
    "path, model, streamed",
    [
        (PATH, "gemini-x", False),
        (f"{PATH}?key=k", "gemini-x", False),
        (f"{STREAM}?key=k&alt=sse", "gemini-x", True),
        ("/v1/projects/p/locations/l/publishers/google/models/x%20y:generateContent", "x y", False),
        ("/v1beta/tunedModels/mine:generateContent", "mine", False),
    ],
)
def test_requests_are_recognised(path: str, model: str, streamed: bool) -> None:
    """By the path, which names the model, at Google's and at Vertex."""
    found = asked(document(), path)
    assert (found.model, found.streamed, found.rigid) == (model, streamed, True)


@pytest.mark.parametrize(
    "path, body",
    [
        (STREAM, document()),
        (f"{STREAM}?alt=json", document()),
        ("/v1beta/models/x:countTokens", document()),
        ("/v1beta/models/x", document()),
        (PATH, {}),
        (PATH, {"contents": "hi"}),
        (PATH, {"contents": []}),
    ],
)
def test_what_is_not_of_this_form(path: str, body: dict[str, Any]) -> None:
    """Other paths, a stream that is a JSON array, and malformed bodies are left to the provider."""
    assert form.asked(path, body, exact=True) is None


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
def test_words_are_for_looking_at_only(name: str) -> None:
    """System and contents as messages, all else as parameters; nothing of it can be changed."""
    body = document(generationConfig={"topK": 3}, **{name: {"parts": [{"text": "be brief"}]}})
    body["contents"].append({"role": "model", "parts": [CALL]})
    found = asked(body)
    assert found.messages == (
        {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [CALL]},
    )
    assert found.params == {"generationConfig": {"topK": 3}}
    assert form.rewritten(body, Request(messages=()), None) is body


parts = st.one_of(
    st.fixed_dictionaries({"text": st.text()}, optional={"thought": st.just(True)}),
    st.just(CALL),
    st.fixed_dictionaries({"functionResponse": st.dictionaries(st.text(), st.text())}),
    st.none() | st.integers(-9, 9),
)
contents = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "model"]), "parts": st.lists(parts)}), st.none()
    ),
    min_size=1,
)  # fmt: skip


@given(contents, contents)
def test_requests_are_told_apart(one: list[Any], other: list[Any]) -> None:
    """Two prompts that differ have messages that differ, whatever their parts are; all of them can be measured."""
    first, second = asked({"contents": one}).messages, asked({"contents": other}).messages
    assert (first == second) == (one == other)
    assert estimated(first) >= 0
    assert all(size_of(message).n > 0 for message in first)


@pytest.mark.parametrize(
    "more, streamable",
    [
        ({}, True),
        ({"tools": [{"functionDeclarations": []}], "generationConfig": {"candidateCount": 1}}, True),
        ({"tools": [{"googleSearch": {}}]}, False),
        ({"generationConfig": {"candidateCount": 2}}, False),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, False),
        ({"generation_config": {"response_logprobs": True}}, False),
    ],
)
def test_what_can_be_fetched_as_a_stream(more: dict[str, Any], streamable: bool) -> None:
    """One answer of text, thoughts and calls; not sound, grounding and probabilities."""
    assert form.streamable(document(**more)) is streamable


def test_a_stream_is_asked_for_in_the_url() -> None:
    """The body stays as it is, and so does the rest of the query."""
    body = document()
    url, sent = form.streaming(f"https://a.test{PATH}?key=k&alt=json", body)
    assert url == f"https://a.test{STREAM}?key=k&alt=sse"
    assert sent is body


def test_another_target_does_not_see_the_key() -> None:
    """Its own URL and model; of the query only what says how the answer comes."""
    target = Target("gemini:other", base_url="https://b.test")
    url, _ = form.elsewhere(document(), f"https://a.test{STREAM}?key=secret&alt=sse", target)
    assert url == "https://b.test/v1beta/models/other:streamGenerateContent?alt=sse"
    url, _ = form.elsewhere(document(), f"https://a.test{PATH}?key=secret", target)
    assert url == "https://b.test/v1beta/models/other:generateContent"


def test_everything_is_put_together() -> None:
    """Neighbouring texts of one kind are one, thoughts apart; calls stay apart; the latest counts stand."""
    made = gathered(FULL)
    [candidate] = made["candidates"]
    assert candidate["content"] == {
        "role": "model",
        "parts": [
            {"text": "hm", "thought": True},
            {"text": "é 漢\u2028🙂"},
            CALL,
            {"functionCall": {"id": "c2", "name": "g"}},
            {"text": "", "thoughtSignature": "s"},
        ],
    }
    assert (candidate["finishReason"], candidate["index"]) == ("STOP", 0)
    assert made["usageMetadata"] == USAGE
    assert (made["modelVersion"], made["responseId"]) == ("m", "r1")


@pytest.mark.parametrize("last", [{"text": "", "thoughtSignature": "s"}, {"thoughtSignature": "s"}])
def test_a_signature_belongs_to_the_text_before_it(last: dict[str, Any]) -> None:
    """What is signed is whole: a text behind it is one of its own."""
    made = gathered(piece({"text": "a"}), piece({"text": "b"}), piece(last), piece({"text": "c"}, finish="STOP"))
    expected = [{"text": "ab", "thoughtSignature": "s"}, {"text": "c"}]
    assert made["candidates"][0]["content"]["parts"] == expected


@given(st.lists(st.tuples(st.booleans(), st.text(min_size=1)), min_size=1), st.integers(1, 5))
def test_any_split_into_pieces(said: list[tuple[bool, str]], size: int) -> None:
    """Thoughts and texts cut anywhere come back as they alternated."""
    whole: list[dict[str, Any]] = []
    pieces = []
    for thought, text in said:
        kind = {"thought": True} if thought else {}
        if whole and bool(whole[-1].get("thought")) == thought:
            whole[-1]["text"] += text
        else:
            whole.append({"text": text, **kind})
        pieces += [piece({"text": text[at : at + size], **kind}) for at in range(0, len(text), size)]
    made = gathered(*pieces, piece(finish="STOP"))
    assert made["candidates"][0]["content"]["parts"] == whole


def test_a_blocked_prompt() -> None:
    """An answer without candidates has none when it is put together."""
    assert gathered(b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\n\n') == {
        "promptFeedback": {"blockReason": "SAFETY"}
    }


def test_a_document_stays_as_it_is() -> None:
    """A server that sent the whole answer has sent it already."""
    assert form.gathered(b'{"candidates":  []}') == b'{"candidates":  []}'


@pytest.mark.parametrize("status, word", [(429, "RESOURCE_EXHAUSTED"), (400, "INVALID_ARGUMENT"), (500, "INTERNAL")])
def test_refusals_read_like_googles(status: int, word: str) -> None:
    """An error body has the words under the names the SDK looks for."""
    assert orjson.loads(form.refused(status, "no", "any")) == {
        "error": {"code": status, "message": "no", "status": word}
    }
