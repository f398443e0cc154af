"""`assert_stable`: what it accepts, when it fails, and what it says then."""

from __future__ import annotations

import doctest
from types import SimpleNamespace
from typing import Any

import httpx2
import orjson
import pytest

import fastclient as fc
from fastclient.errors import ConfigError
from fastclient.testing import FakeProvider, ProviderServer, assert_stable, stable

SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "Rain in Oslo?"}
ANSWER = {"role": "assistant", "content": "Yes."}
FIRST: dict[str, Any] = {"model": "m", "messages": [SYSTEM, QUESTION]}
SECOND: dict[str, Any] = {"model": "m", "messages": [SYSTEM, QUESTION, ANSWER, QUESTION]}
THIRD: dict[str, Any] = {"model": "m", "messages": [SYSTEM, QUESTION, ANSWER, QUESTION, ANSWER, QUESTION]}
DRIFTED: dict[str, Any] = {"model": "m", "messages": [{**SYSTEM, "content": "Be kind."}, QUESTION, ANSWER, QUESTION]}


def test_the_example_of_its_docstring() -> None:
    """It runs as it stands."""
    found = doctest.testmod(stable)
    assert (found.failed, found.attempted > 0) == (0, True)


def test_requests_that_continue_each_other() -> None:
    """Two or more, each longer than the one before."""
    assert_stable(FIRST, SECOND)
    assert_stable(FIRST, SECOND, SECOND, THIRD)


def test_which_request_where_and_why() -> None:
    """The error names the first that does not continue its predecessor, and says nothing of the prompt."""
    with pytest.raises(AssertionError) as failed:
        assert_stable(FIRST, DRIFTED, THIRD)
    first, advice = str(failed.value).splitlines()
    assert first == "request 2 does not continue request 1: system_text_changed at messages[0].content, character 3"
    assert "behind the history" in advice
    with pytest.raises(AssertionError, match="request 3 does not continue request 2"):
        assert_stable(FIRST, SECOND, DRIFTED)


def test_what_the_prompts_say_is_shown_if_asked_for() -> None:
    """Both sides of the difference."""
    with pytest.raises(AssertionError, match=r"before: 'Be brief\.'\nafter:  'Be kind\.'"):
        assert_stable(FIRST, DRIFTED, show=True)


@pytest.mark.parametrize(
    "wrap",
    [
        orjson.dumps,
        lambda body: orjson.dumps(body).decode(),
        lambda body: SimpleNamespace(body=orjson.dumps(body)),
        lambda body: SimpleNamespace(json=body),
        lambda body: SimpleNamespace(request=SimpleNamespace(body=orjson.dumps(body))),
        lambda body: httpx2.Request("POST", "http://x.example", json=body),
    ],
)
def test_the_forms_a_request_may_have(wrap: Any) -> None:
    """JSON as bytes or text, something recorded, and a request of an HTTP library."""
    assert_stable(wrap(FIRST), SECOND, wrap(THIRD))
    with pytest.raises(AssertionError):
        assert_stable(wrap(FIRST), wrap(DRIFTED))


def test_what_an_app_has_sent() -> None:
    """The requests of a fake provider and the exchanges of a server can be given as they are."""
    fake = FakeProvider()
    with ProviderServer() as server, fc.Client("openai:m", wire=fake) as one:
        target = fc.Target("openai:m", base_url=server.base_url, api_key="any")
        with fc.Client(target) as other:
            for client in (one, other):
                for body in (FIRST, SECOND, DRIFTED):
                    client.chat(body["messages"])
        for recorded in (fake.requests, server.exchanges):
            assert_stable(*recorded[:2])
            with pytest.raises(AssertionError, match="system_text_changed"):
                assert_stable(*recorded)


@pytest.mark.parametrize("odd", [None, 5, b"{", "no JSON", [], {}, {"messages": None}, {"input": []}, object()])
def test_what_is_no_request(odd: object) -> None:
    """An error that names which one it is; it is no failed assertion."""
    with pytest.raises(ConfigError, match="request 2: is no "):
        assert_stable(FIRST, odd)
