"""A request in a local model's words, or the reason why it cannot be one."""

from __future__ import annotations

import pytest

from fastclient.errors import BadRequest, LocalUnavailable
from fastclient.local.ask import Ask, asked, refusal
from fastclient.local.message import asking, understood
from fastclient.request import checked
from fastclient.types import Request

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]


def request(words: object = "hi", **params: object) -> Request:
    return checked(words, params)  # type: ignore[arg-type]


def test_plain_words() -> None:
    """Nothing said: the likeliest tokens, as many as fit."""
    ask = asked(request())
    assert ask.messages == (("user", "hi"),) and ask.greedy and ask.limit is None


def test_parts_of_text_are_joined() -> None:
    """A message may come in pieces; a developer is the system."""
    words = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    assert asked(request(words)).messages == (("system", "Be brief."), ("user", "ab"))


@pytest.mark.parametrize(
    "words, params",
    [
        ("hi", {"tools": [TOOL]}),
        (IMAGE, {}),
        ("hi", {"logit_bias": {"1": 2}}),
        ("hi", {"modalities": ["audio"]}),
        ([{"role": "tool", "content": "x"}], {}),
    ],
)
def test_what_it_cannot_do_is_said_beforehand(words: object, params: dict[str, object]) -> None:
    """A router asks, and sends the request elsewhere; who does not ask gets the same words."""
    reason = refusal(request(words, **params))
    assert reason
    with pytest.raises(LocalUnavailable, match=reason):
        asked(request(words, **params))


@pytest.mark.parametrize("params", [{}, {"tools": []}, {"user": "me", "stream_options": {}}, {"modalities": ["text"]}])
def test_what_changes_nothing_is_no_reason(params: dict[str, object]) -> None:
    """Empty lists, and names that say nothing about the answer."""
    assert refusal(request(**params)) is None and asked(request(**params)) == Ask(messages=(("user", "hi"),))


def test_parameters_have_openais_names() -> None:
    """The newer name of the limit wins; a seed is any whole number."""
    ask = asked(request(max_tokens=5, max_completion_tokens=7, temperature=0.5, stop="x", seed=-1, logprobs=True))
    assert (ask.limit, ask.temperature, ask.stops, ask.seed, ask.probabilities) == (7, 0.5, ("x",), 2**32 - 1, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": "x"},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 2},
        {"stop": [1]},
        {"stop": ["x"] * 99},
        {"seed": 0.5},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "a"}}}},
        {"guided_choice": []},
        {"grammar": "root ::= x", "guided_choice": ["a"]},
    ],
)
def test_nonsense_is_a_bad_request(wrong: dict[str, object]) -> None:
    """Like a provider's answer 400, so nobody tries it again."""
    with pytest.raises(BadRequest) as caught:
        asked(request(**wrong))
    assert caught.value.status_code == 400


def test_a_request_shows_no_prompt() -> None:
    """Neither what was said nor what the answer must look like."""
    assert "secret" not in repr(asked(request("secret", stop="secret", guided_choice=["secret"])))


def test_a_request_travels_to_another_process() -> None:
    """It arrives as it was."""
    import orjson

    ask = asked(request("hi", stop=["a", "b"], seed=3, guided_choice=["x", "y"], max_tokens=4))
    kind, number, fields = orjson.loads(asking(7, ask))
    assert (kind, number, understood(fields)) == ("ask", 7, ask)
