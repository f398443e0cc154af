"""Vectors over HTTP: requests shared by callers, errors with a type, nothing of it in the wrong hands."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import numpy as np
import pytest

from fastclient.cache.embedders import Provider
from fastclient.cache.embedders.port import embedded, waits
from fastclient.errors import (
    AuthenticationFailed,
    BadRequest,
    ConfigError,
    ConnectFailed,
    DeadlineExceeded,
    ServerFailed,
)
from fastclient.target import Target
from fastclient.testing import ProviderServer
from tests.cache.embedders.server import Answer, Vectors, usual, vector


@contextmanager
def serving(answer: Answer = usual, **options: Any) -> Iterator[tuple[Vectors, Provider]]:
    with Vectors(answer).running() as server:
        provider = Provider(Target("openai:small", base_url=server.base_url, api_key="sk-secret-key"), **options)
        try:
            yield server, provider
        finally:
            provider.close()


def expected(*texts: str) -> np.ndarray[Any, Any]:
    rows = np.array([vector(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def test_vectors_come_in_the_order_of_the_texts() -> None:
    """Whatever order the server answers in, and whichever event loop asks; rows have length 1."""
    with serving() as (server, provider):
        rows = await embedded(provider, ["one", "two words", "three words here"])
    assert np.allclose(rows, expected("one", "two words", "three words here"), atol=1e-6)
    assert server.requests[0]["model"] == "small" and provider.dim == 3
    assert server.headers[0]["authorization"] == "Bearer sk-secret-key"


def test_blocking_callers_get_the_same() -> None:
    """Without an event loop, from several threads."""
    found: dict[str, Any] = {}
    with serving() as (_, provider):
        threads = [threading.Thread(target=lambda n=n: found.update({n: provider.embed([n])})) for n in ("a", "b c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(np.allclose(rows, expected(name), atol=1e-6) for name, rows in found.items()) and len(found) == 2


async def test_callers_at_the_same_time_share_a_request() -> None:
    """Fifty callers, each with its own text, and one request; everyone gets their own row."""
    found: dict[str, Any] = {}

    async def ask(text: str) -> None:
        found[text] = await provider.aembed([text])

    with serving(gather=0.5, batch=50) as (server, provider):
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(ask, "x" * number + " end")
    assert [len(request["input"]) for request in server.requests] == [50]
    assert all(np.allclose(rows, expected(text), atol=1e-6) for text, rows in found.items())


async def test_no_request_holds_more_than_a_batch() -> None:
    """More texts go out in several requests, and come back as one answer."""
    texts = [f"text {'x' * number}" for number in range(10)]
    with serving(batch=4) as (server, provider):
        rows = await provider.aembed(texts)
    assert np.allclose(rows, expected(*texts), atol=1e-6)
    assert sorted(len(request["input"]) for request in server.requests) == [2, 4, 4]


async def test_callers_are_put_together_only_as_far_as_they_fit() -> None:
    """Two callers with three texts each and room for four: two requests, at once."""
    with serving(gather=0.5, batch=4) as (server, provider):
        async with anyio.create_task_group() as tasks:
            for name in "ab":
                tasks.start_soon(provider.aembed, [name * length for length in (1, 2, 3)])
    assert sorted(request["input"] for request in server.requests) == [["a", "aa", "aaa"], ["b", "bb", "bbb"]]


async def test_a_refused_text_fails_its_own_caller_only() -> None:
    """What a provider refuses in a shared request is asked again apart."""

    def picky(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        refused = any("bad" in text for text in asked["input"])
        return (400, {"error": {"message": "too long"}}) if refused else usual(asked)

    outcomes: dict[str, object] = {}

    async def ask(text: str) -> None:
        try:
            outcomes[text] = await provider.aembed([text])
        except BadRequest as error:
            outcomes[text] = error

    with serving(picky, gather=0.5, batch=3) as (_, provider):
        async with anyio.create_task_group() as tasks:
            for text in ("good", "bad", "fine"):
                tasks.start_soon(ask, text)
    assert isinstance(outcomes["bad"], BadRequest)
    assert np.allclose([outcomes["good"][0], outcomes["fine"][0]], expected("good", "fine"), atol=1e-6)  # type: ignore[index]


async def test_a_caller_who_leaves_is_not_waited_for() -> None:
    """Cancelled before the request goes out, its text does not go with it; the others get theirs."""
    with serving(gather=0.3) as (server, provider):
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.05):
                await provider.aembed(["leaves"])
            tasks.start_soon(provider.aembed, ["stays"])
    assert [request["input"] for request in server.requests] == [["stays"]]


async def test_blank_texts_are_not_sent() -> None:
    """Servers refuse them; their rows are zeros."""
    with serving() as (server, provider):
        rows = await provider.aembed(["", "word", " \n"])
        assert not (await provider.aembed([""])).any()
    assert [request["input"] for request in server.requests] == [["word"]]
    assert not rows[0].any() and not rows[2].any() and rows[1].any()


@pytest.mark.parametrize("status, cls", [(401, AuthenticationFailed), (500, ServerFailed), (400, BadRequest)])
async def test_refusals_have_a_type_and_keep_secrets(status: int, cls: type[Exception]) -> None:
    """The error is the one a call would raise, and quotes neither the key nor the text."""
    said = {"error": {"message": "key sk-secret-key may not embed: my private question"}}
    with serving(lambda _: (status, said)) as (_, provider), pytest.raises(cls) as raised:
        await provider.aembed(["my private question"])
    assert "private" not in str(raised.value) and "sk-secret" not in str(raised.value)
    assert "private" not in str(raised.value.__dict__) and "sk-secret" not in repr(provider)


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "too few": lambda asked: {"data": usual(asked)[1]["data"][1:]},
    "one twice": lambda asked: {"data": [{"index": 0, "embedding": [1.0]}] * len(asked["input"])},
    "not numbers": lambda asked: {"data": [{"index": at, "embedding": ["x"]} for at in range(len(asked["input"]))]},
    "not finite": lambda asked: {"data": [{"index": at, "embedding": [1e999]} for at in range(len(asked["input"]))]},
    "not alike": lambda asked: {"data": [{"index": at, "embedding": [1.0] * (at + 1)} for at in range(2)]},
    "odd bytes": lambda asked: {"data": [{"index": at, "embedding": "AAA="} for at in range(2)]},
    "no data": lambda _: {"object": "list"},
    "no object": lambda _: [1],
}


@pytest.mark.parametrize("how", BROKEN)
async def test_an_answer_that_is_none_is_a_failure_of_the_server(how: str) -> None:
    """Rows are never mixed up or made up: an answer that does not fit is an error."""
    with serving(lambda asked: (200, BROKEN[how](asked))) as (_, provider), pytest.raises(ServerFailed):
        await provider.aembed(["one", "two words"])


async def test_numbers_are_read_as_well_as_bytes() -> None:
    """Servers that do not know the short form send the long one."""
    plain: Answer = lambda asked: usual({**asked, "encoding_format": "float"})  # noqa: E731
    with serving(plain) as (_, provider):
        assert np.allclose(await provider.aembed(["one two"]), expected("one two"), atol=1e-6)


async def test_waiting_ends(unused_port: int) -> None:
    """A server that says nothing is given up after `timeout`, and one that is not there at once."""
    let_go = threading.Event()

    def silent(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        let_go.wait(20)
        return usual(asked)

    with serving(silent, timeout=0.2) as (_, provider):
        with pytest.raises(DeadlineExceeded):
            await provider.aembed(["one"])
        let_go.set()
    with pytest.raises(ConnectFailed):
        await Provider(Target("openai:m", base_url=f"http://127.0.0.1:{unused_port}/v1")).aembed(["one"])


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_the_test_server_answers_too() -> None:
    """An app's own tests can embed without a key."""
    with ProviderServer() as server:
        provider = Provider(Target("openai:m", base_url=server.base_url), dimensions=5)
        rows = provider.embed(["one", "two", "one"])
        provider.close()
    assert rows.shape == (3, 5) and np.array_equal(rows[0], rows[2]) and not np.array_equal(rows[0], rows[1])


def test_the_id_names_server_model_and_length() -> None:
    """Another of these is another space."""
    at = "http://127.0.0.1:1/v1"
    ids = {
        Provider(Target(name, base_url=url), dimensions=dimensions).id
        for name, url, dimensions in [
            ("openai:m", at, None), ("openai:n", at, None), ("openai:m", at[:-1] + "2", None), ("openai:m", at, 8)
        ]
    }  # fmt: skip
    assert len(ids) == 4


@pytest.mark.parametrize(
    "target, options",
    [
        ("anthropic:m", {}),
        (Target("openai:m", base_url="http://127.0.0.1/v1"), {"batch": 0}),
        (Target("openai:m", base_url="http://127.0.0.1/v1"), {"batch": 4000}),
        (Target("openai:m", base_url="http://127.0.0.1/v1"), {"gather": -1}),
        (Target("openai:m", base_url="http://127.0.0.1/v1"), {"dimensions": 0}),
        (Target("openai:m", base_url="http://127.0.0.1/v1"), {"timeout": 0}),
        (Target("openai:m", base_url="https://example.com/v1"), {}),
    ],
)
def test_what_cannot_work_is_refused(target: Target | str, options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent; a missing key as well."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError):
        Provider(target, **options)


def test_a_provider_is_awaited() -> None:
    """It takes no thread to wait in."""
    assert waits(Provider(Target("openai:m", base_url="http://127.0.0.1/v1")))


FORKED = """
import os, signal, sys, threading, time
from fastclient.cache.embedders import Provider
from fastclient.target import Target
provider = Provider(Target("openai:m", base_url=sys.argv[1]), gather=0.5)
before = provider.embed(["parent"])
waiting = threading.Thread(target=provider.embed, args=(["another"],))
waiting.start()
time.sleep(0.2)  # it is being gathered for now; if not, this test is only less strict
child = os.fork()
signal.alarm(20)
right = (provider.embed(["parent"]) == before).all()
if child == 0:
    os._exit(0 if right else 1)
print(os.waitpid(child, 0)[1], right)
"""


def test_a_forked_child_has_its_own_connections() -> None:
    """After a fork, even while callers are gathered, both sides ask on connections of their own and get their rows."""
    with Vectors(usual).running() as server:
        command = [sys.executable, "-c", FORKED, server.base_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0 True\n"
