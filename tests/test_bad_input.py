"""Whatever cannot work is refused before anything is sent, by an error that names the field and the value."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastclient as fc
from fastclient.observe.events import CallFinished, StreamAbandoned
from fastclient.target import Secret
from fastclient.testing import FakeProvider
from fastclient.types import Call, Request, ToolCallDelta

NAN, INF = math.nan, math.inf
DURATIONS = ("total", "connect", "queue", "first_token", "progress", "liveness", "thinking")
NOT_SECONDS = [-1, 0, 0.0, NAN, INF, -INF, True, "5", None, (1,)]


def shown(error: BaseException, *words: object) -> bool:
    """Whether a ConfigError names its field and says all these words."""
    assert isinstance(error, fc.ConfigError)
    assert isinstance(error, ValueError)
    assert error.field, "the field is not named"
    assert str(error).startswith(error.field)
    return all(str(word) in str(error) for word in words)


def refused(make: Callable[[], object], *words: object) -> None:
    with pytest.raises(fc.ConfigError) as caught:
        make()
    assert shown(caught.value, *words), str(caught.value)


@pytest.fixture
def unasked() -> Iterator[FakeProvider]:
    """A provider that must have seen nothing at the end of the test."""
    provider = FakeProvider("never")
    yield provider
    assert provider.requests == []


# targets and clients


@pytest.mark.parametrize(
    "target", ["gpt-5-mini", "", ":", "openai:", ":gpt", "openai", 7, None, b"openai:m", ["openai:m"]]
)
def test_a_target_needs_a_provider_and_a_model(target: Any) -> None:
    """Without a colon between two words a target is refused, and the form it should have is shown."""
    refused(lambda: fc.Client(target), repr(target) if isinstance(target, str) else "target")
    refused(lambda: fc.Target(target), '"provider:model"')


def test_an_unknown_provider_is_named() -> None:
    """The error holds the provider asked for and those that are known."""
    refused(lambda: fc.Client("opnai:gpt", api_key="k"), "'opnai'", "openai", "anthropic")
    refused(lambda: fc.AsyncClient("opnai:gpt", api_key="k"), "'opnai'")


@pytest.mark.parametrize(
    "url, word",
    [
        ("api.example.com/v1", "api.example.com/v1"),
        ("", "base_url"),
        ("ftp://host/v1", "ftp://host/v1"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("https://", "https://"),
        ("https:///v1", "https:///v1"),
        ("http://api.example.com/v1", "must be https"),
        ("http://127.0.0.1.evil.example/v1", "must be https"),
        ("http://localhost.evil.example", "must be https"),
        ("http://10.0.0.1/v1", "must be https"),
        ("http://0.0.0.0:80/v1", "must be https"),
        ("https://user:word@host/v1", "https://host/v1"),
        ("https://user@host/v1", "https://host/v1"),
        ("https://host/v1?key=1", "https://host/v1"),
        ("https://host/v1#part", "https://host/v1"),
        ("https://host:99999/v1", "https://host:99999/v1"),
        ("https://host:port/v1", "https://host:port/v1"),
        ("https://host:-1/v1", "https://host:-1/v1"),
        ("https://[::1/v1", "https://[::1/v1"),
        (7, "int"),
        (b"https://host", "bytes"),
        ("https://ho st/v1", "https://ho st/v1"),
        ("https://host/v 1", "https://host/v 1"),
        ("https://host\n/v1", "base_url"),
        ("https://host/v1\r\nx: y", "base_url"),
        ("https://host/\x00", "base_url"),
        (" https://host/v1", "base_url"),
        ("https://höst/\u2028", "base_url"),
    ],
)
def test_a_base_url_that_cannot_work(url: Any, word: str) -> None:
    """No scheme, no host, a bad port, secrets, white space, or plain http off this machine: refused."""
    refused(lambda: fc.Client("openai:m", base_url=url, api_key="k"), "base_url", word)
    refused(lambda: fc.Target("openai:m", base_url=url), "base_url", word)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/v1",
        "http://127.8.9.1/v1",
        "http://[::1]:8080/v1",
        "http://x.localhost/",
        "https://host",
        "HTTP://LOCALHOST:1",
    ],
)
def test_base_urls_that_are_fine(url: str) -> None:
    """https anywhere, and plain http on this machine."""
    fc.Client("openai:m", base_url=url, api_key="k").close()


def test_plain_http_elsewhere_must_be_asked_for() -> None:
    """`allow_http` is the one way to send a key in the clear."""
    fc.Client("openai:m", base_url="http://10.0.0.1/v1", api_key="k", allow_http=True).close()
    fc.Client(fc.Target("openai:m", base_url="http://10.0.0.1/v1", allow_http=True), api_key="k").close()


@pytest.mark.parametrize("provider, variable", [("openai", "OPENAI"), ("anthropic", "ANTHROPIC")])
def test_a_missing_key_names_its_variable(provider: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off this machine a key is needed, and the error says which variable would hold it."""
    for name in (f"{variable}_API_KEY", f"{variable}_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    refused(lambda: fc.Client(f"{provider}:m"), "api_key", f"{variable}_API_KEY")
    monkeypatch.setenv(f"{variable}_API_KEY", "")
    refused(lambda: fc.Client(f"{provider}:m"), f"{variable}_API_KEY")
    monkeypatch.setenv(f"{variable}_API_KEY", "k")
    fc.Client(f"{provider}:m").close()


@pytest.mark.parametrize("key", ["with\nnewline", "with\r\nx: y", "tail ", " head", "tab\t", "nul\x00", "ключ", "kéy"])
def test_a_key_that_is_no_header_value(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a line break, white space at its ends or letters no header holds is refused and not shown."""
    refused(lambda: fc.Client("openai:m", api_key=key), "api_key")
    monkeypatch.setenv("OPENAI_API_KEY", key.replace("\x00", "\x01"))
    refused(lambda: fc.Client("openai:m"), "api_key")


@pytest.mark.parametrize("key", [7, b"bytes", ["k"], True])
def test_a_key_of_another_type(key: Any) -> None:
    """A key is a text."""
    refused(lambda: fc.Client("openai:m", api_key=key), "api_key")
    refused(lambda: fc.Target("openai:m", api_key=key), "api_key")


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb: c", "a\x00", 7, None, b"x", "ü", " x"])
def test_a_header_value_that_is_none(value: Any) -> None:
    """Header values are printable ASCII; the error names the header."""
    refused(lambda: fc.Client("openai:m", api_key="k", headers={"x-team": value}), "x-team")


@pytest.mark.parametrize("name", ["x\ny", "x: y", "", "x y", "x\r\n", "ü", "x\x00", 7])
def test_a_header_name_that_is_none(name: Any) -> None:
    """A header name is a token: no space, colon, line break or letter outside ASCII."""
    refused(lambda: fc.Client("openai:m", api_key="k", headers={name: "value"}), "headers")


@pytest.mark.parametrize("headers", [7, "x: y", ["x"], [("x", "y", "z")]])
def test_headers_that_are_no_mapping(headers: Any) -> None:
    """Headers are a mapping of names to values."""
    refused(lambda: fc.Client("openai:m", api_key="k", headers=headers), "headers")
    refused(lambda: fc.Target("openai:m", headers=headers), "headers")


@pytest.mark.parametrize("wire", ["httpx3", "", "direct?", "HTTPX"])
def test_an_unknown_wire(wire: str) -> None:
    """The error names the wire asked for and the known ones."""
    refused(lambda: fc.Client("openai:m", api_key="k", wire=wire), repr(wire), "httpx2")


@pytest.mark.parametrize("wire", [None, 7, object(), FakeProvider])
def test_a_wire_that_is_none(wire: Any) -> None:
    """An object that cannot send, or a class in place of its instance, is refused when the client is made."""
    refused(lambda: fc.Client("openai:m", api_key="k", wire=wire), "wire")


@pytest.mark.parametrize("policy", [{}, "fast", fc.Timeouts(), fc.Policy, 7])
def test_a_policy_of_another_type(policy: Any, unasked: FakeProvider) -> None:
    """Only a Policy is one, also in `with_`."""
    refused(lambda: fc.Client("openai:m", api_key="k", policy=policy), "policy", "Policy")
    with fc.Client("openai:m", wire=unasked) as client:
        refused(lambda: client.with_(policy=policy), "policy")


# policy parts


@pytest.mark.parametrize("value", NOT_SECONDS, ids=repr)
@pytest.mark.parametrize("name", DURATIONS)
def test_a_timeout_that_is_none(name: str, value: Any) -> None:
    """Every duration is a finite number of seconds above zero."""
    refused(lambda: fc.Timeouts(**{name: value}), f"timeouts.{name}", repr(value)[:8])


@pytest.mark.parametrize("value", [value for value in NOT_SECONDS if value is not None], ids=repr)
def test_a_timeout_of_a_call_that_is_none(value: Any, unasked: FakeProvider) -> None:
    """The same holds for `timeout=` of one call."""
    with fc.Client("openai:m", wire=unasked) as client:
        refused(lambda: client.chat("Hi", timeout=value), "timeout", repr(value)[:8])
        refused(lambda: client.stream("Hi", timeout=value), "timeout", repr(value)[:8])


@pytest.mark.parametrize(
    "part, field, values",
    [
        (fc.Retry, "attempts", [0, -1, 1.5, True, "3", None, NAN]),
        (fc.Retry, "budget", [-0.1, 1.1, NAN, INF, True, "0.1", None]),
        (fc.Hedge, "budget", [-0.1, 1.1, NAN, INF, True, "0.1", None]),
        (fc.Limits, "concurrency", [0, -1, 1.5, True, "3", NAN]),
        (fc.Limits, "pace", [0, 1, None, "yes"]),
        (fc.Prompt, "max_input_tokens", [0, -1, 1.5, True, "3"]),
        (fc.Prompt, "squeeze", [0, None, "yes"]),
        (fc.Prompt, "stable", [1, None, "yes"]),
        (fc.Prompt, "provider_cache", ["on", None, True, "AUTO"]),
        (fc.Policy, "timeouts", [None, 5, {}, fc.Retry()]),
        (fc.Policy, "retry", [3, fc.Hedge(), {}, False]),
        (fc.Policy, "hedge", [3, fc.Retry(), {}]),
        (fc.Policy, "limits", [3, fc.Retry(), {}]),
        (fc.Policy, "prompt", [3, "stable", {}]),
        (fc.Policy, "observers", [[print], print, None, (7,), (print, "x"), {print}]),
    ],
)
def test_parts_of_a_policy(part: type, field: str, values: list[Any]) -> None:
    """Every option names its part, its field and the value when it refuses."""
    for value in values:
        refused(lambda value=value: part(**{field: value}), f"{part.__name__.lower()}.{field}", repr(value)[:6])


@pytest.mark.parametrize("field", ["input", "output", "cache_read", "cache_write"])
@pytest.mark.parametrize("value", [-1, -0.01, NAN, INF, "1", True, (1,)], ids=repr)
def test_a_price_that_is_none(field: str, value: Any) -> None:
    """A price is a finite number of money, 0 or above."""
    refused(lambda: fc.Price(**{"input": 1, "output": 1, field: value}), f"price.{field}", repr(value)[:6])


@pytest.mark.parametrize("price", [7, {"input": 1, "output": 2}, (1, 2)])
def test_a_price_of_another_type(price: Any) -> None:
    """A target's price is a Price: found out now and not in the middle of an answer."""
    refused(lambda: fc.Target("openai:m", price=price), "price")


@pytest.mark.parametrize("targets", [7, "openai:m", ("gpt",), (7,), None])
def test_hedge_targets_that_are_none(targets: Any) -> None:
    """Targets of a hedge are a tuple of targets; one text is not a tuple of its letters."""
    refused(lambda: fc.Hedge(targets=targets), "target")


# messages


@pytest.mark.parametrize(
    "messages, words",
    [
        ("", ["messages", "must not be empty"]),
        ([], ["messages", "[]"]),
        ((), ["messages", "()"]),
        (None, ["messages", "NoneType"]),
        (7, ["messages", "int"]),
        (b"Hi", ["messages", "bytes"]),
        ({"role": "user", "content": "Hi"}, ["messages", "dict"]),
        ({"Hi"}, ["messages", "set"]),
        (["Hi"], ["messages[0]", "str"]),
        ([{"role": "user", "content": "Hi"}, 7], ["messages[1]", "int"]),
        ([None], ["messages[0]", "NoneType"]),
        ([{}], ["messages[0].role", "None"]),
        ([{"content": "Hi"}], ["messages[0].role"]),
        ([{"role": "usr", "content": "Hi"}], ["messages[0].role", "'usr'", "did you mean 'user'?"]),
        ([{"role": "asistant", "content": "Hi"}], ["did you mean 'assistant'?"]),
        ([{"role": "human", "content": "Hi"}], ["'human'", "must be one of"]),
        ([{"role": 7, "content": "Hi"}], ["messages[0].role", "7"]),
        ([{"role": ["user"], "content": "Hi"}], ["messages[0].role"]),
        ([{"role": "user"}], ["messages[0].content", "missing"]),
        ([{"role": "user", "content": None}], ["messages[0].content"]),
        ([{"role": "user", "content": 7}], ["messages[0].content", "int"]),
        ([{"role": "user", "content": {"type": "text"}}], ["messages[0].content", "dict"]),
        ([{"role": "user", "content": ["Hi"]}], ["messages[0].content"]),
        ([{"role": "user", "content": b"Hi"}], ["messages[0].content", "bytes"]),
        ([{"role": "user", "content": [{"type": "text", "text": "x"}, 7]}], ["messages[0].content"]),
        ([{"role": "assistant", "content": None}], ["messages[0].content"]),
        ([{"role": "assistant", "content": None, "tool_calls": []}], ["messages[0].content"]),
        ([{"role": "user", "content": "\ud800"}], ["messages"]),
        ("\ud800", ["messages"]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_messages_that_are_none(messages: Any, words: list[str], unasked: FakeProvider) -> None:
    """Each message is a dict with a known role and content that is text or parts; the error names the place."""
    with fc.Client("openai:m", wire=unasked) as client:
        refused(lambda: client.chat(messages), *words)
        refused(lambda: client.stream(messages).reply(), *words)


async def test_the_async_door_refuses_the_same(unasked: FakeProvider) -> None:
    """Both doors check alike, and `stream` checks words when it is called."""
    async with fc.AsyncClient("openai:m", wire=unasked) as client:
        with pytest.raises(fc.ConfigError, match=r"messages\[0\]\.role"):
            await client.chat([{"role": "usr", "content": "Hi"}])
        with pytest.raises(fc.ConfigError, match=r"messages"):
            client.stream("")


# options of a call


@pytest.mark.parametrize(
    "options, words",
    [
        ({"temperature": NAN}, ["temperature", "nan"]),
        ({"top_p": INF}, ["top_p", "inf"]),
        ({"extra_body": {"min_p": NAN}}, ["min_p", "nan"]),
        ({"n": 2}, ["n", "2"]),
        ({"n": 0}, ["n", "0"]),
        ({"stream": True}, ["stream"]),
        ({"stream": False}, ["stream"]),
        ({"model": "gpt-x"}, ["model", "gpt-x"]),
        ({"extra_body": {"model": "gpt-x"}}, ["model"]),
        ({"extra_body": {"messages": []}}, ["messages"]),
        ({"extra_body": {"stream": False}}, ["stream"]),
        ({"extra_body": 7}, ["extra_body"]),
        ({"extra_body": "x"}, ["extra_body"]),
        ({"extra_body": [1]}, ["extra_body"]),
        ({"metadata": 7}, ["metadata"]),
        ({"metadata": "user"}, ["metadata"]),
        ({"namespace": 7}, ["namespace"]),
        ({"priority": "high"}, ["priority", "'high'", "interactive"]),
        ({"priority": 1}, ["priority", "1"]),
        ({"priority": None}, ["priority", "None"]),
        ({"priority": ["default"]}, ["priority"]),
        ({"cache": "no"}, ["cache", "'no'", "refresh"]),
        ({"cache": False}, ["cache", "False"]),
        ({"hedge": fc.Hedge()}, ["hedge"]),
        ({"stream_options": 7}, ["stream_options"]),
        ({"tools": [{"f": object()}]}, ["tools[0].f", "object"]),
        ({"tools": [{"function": {"parameters": {"x": {"enum": {1, 2}}}}}]}, ["tools[0].function.parameters.x.enum"]),
        ({"tools": [{"ok": 1}, {"a": [1, {"b": 3j}]}]}, ["tools[1].a[1].b", "complex"]),
        ({"metadata_": b"bytes"}, ["metadata_", "bytes"]),
        ({"logit_bias": {50256: -100}}, ["logit_bias", "50256"]),
        ({"seed": 2**70}, ["seed"]),
        ({"user": "\ud800"}, ["user"]),
        ({"response_format": {"schema": {"minimum": NAN}}}, ["response_format.schema.minimum", "nan"]),
        ({"logit_bias": {"1": INF}}, ["logit_bias", "inf"]),
    ],
    ids=lambda value: re.sub(r" at 0x[0-9a-f]+", "", ascii(value))[:50],
)
def test_options_that_cannot_be_sent(options: dict[str, Any], words: list[str], unasked: FakeProvider) -> None:
    """Numbers JSON has no word for, values it cannot hold, and names that belong elsewhere; each with its path."""
    with fc.Client("openai:m", wire=unasked) as client:
        refused(lambda: client.chat("Hi", **options), *words)
        refused(lambda: client.stream("Hi", **options).reply(), *words)


def test_a_circular_option_is_refused(unasked: FakeProvider) -> None:
    """A structure without an end is an error about it, not a crash."""
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with fc.Client("openai:m", wire=unasked) as client:
        refused(lambda: client.chat("Hi", response_format=loop), "response_format")


def test_a_refused_call_is_no_call(unasked: FakeProvider) -> None:
    """Refusals leave nothing in flight, wherever in the stack they were found."""
    with fc.Client("openai:m", wire=unasked) as client:
        for options in ({"temperature": NAN}, {"n": 2}, {"tools": [{"f": object()}]}):
            refused(lambda options=options: client.chat("Hi", **options))
        assert client.stats().in_flight == 0


def test_a_closed_client_says_so(unasked: FakeProvider) -> None:
    """After `close` every call is refused, before its words are even looked at."""
    client = fc.Client("openai:m", wire=unasked)
    client.close()
    for call in (lambda: client.chat("Hi"), lambda: client.stream("Hi"), lambda: client.chat("")):
        with pytest.raises(fc.ConfigError, match="closed"):
            call()


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("tool", [{"function": {"name": "f", "parameters": {"x": {1, 2}}}, "type": "function"}])
def test_unwritable_tools_name_their_path_everywhere(
    provider: str, tool: dict[str, Any], unasked: FakeProvider
) -> None:
    """Whatever the provider's own format, the path is where the caller wrote it."""
    with fc.Client(f"{provider}:m", wire=unasked) as client:
        refused(lambda: client.chat("Hi", tools=[tool]), "tools[0].", "x", "set")


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_two_answers_cannot_be_asked_for(provider: str, unasked: FakeProvider) -> None:
    """A reply holds one answer, so `n=2` is refused for every provider, also for those that would ignore it."""
    with fc.Client(f"{provider}:m", wire=unasked) as client:
        refused(lambda: client.chat("Hi", n=2), "n", "2")


@pytest.mark.parametrize(
    "options, place",
    [
        ({"tools": 7}, "tools"),
        ({"tools": [7]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": 7}]}, "tools[0]"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice"),
    ],
)
def test_tools_that_cannot_be_translated(options: dict[str, Any], place: str, unasked: FakeProvider) -> None:
    """Where a provider's format needs a part that is missing, its place is named."""
    with fc.Client("anthropic:m", wire=unasked) as client:
        refused(lambda: client.chat("Hi", **options), place)


@pytest.mark.parametrize(
    "message, place",
    [
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": 7}]}, "messages[0].content"),
        ({"role": "tool", "content": "42"}, "messages[0].tool_call_id"),
        ({"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}, "messages[0].tool_calls"),
        ({"role": "assistant", "content": "", "tool_calls": [7]}, "messages[0].tool_calls"),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]},
            "messages[0].tool_calls",
        ),
    ],
)
def test_messages_that_cannot_be_translated(message: dict[str, Any], place: str, unasked: FakeProvider) -> None:
    """The same for messages: an image without a URL, a result without its call, a call without a name."""
    with fc.Client("anthropic:m", wire=unasked) as client:
        refused(lambda: client.chat([message]), place)


# the values themselves

FROZEN: list[Any] = [
    fc.Timeouts(), fc.Retry(), fc.Hedge(), fc.Limits(), fc.Prompt(), fc.Policy(), fc.Price(input=1, output=2),
    fc.Target("openai:m"), fc.Usage(), fc.Timings(total=1.0), ToolCallDelta(0), fc.Cache(),
    fc.ToolCall(id="i", name="n", arguments="{}"), StreamAbandoned(call_id="x"),
    fc.Attempt(role="primary", target="t", outcome="won", timings=fc.Timings(total=1.0)),
]  # fmt: skip


@pytest.mark.parametrize("value", FROZEN, ids=lambda value: type(value).__name__)
def test_values_are_frozen(value: Any) -> None:
    """No field of a value can be set, deleted or added."""
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(value, field.name)
    with pytest.raises((AttributeError, TypeError)):
        value.no_such_field = 1


@pytest.mark.parametrize(
    "kind",
    [
        *(fc.Timeouts, fc.Retry, fc.Hedge, fc.Limits, fc.Prompt, fc.Policy, fc.Price, fc.Usage, fc.Timings, fc.Reply),
        *(fc.Attempt, fc.ToolCall, fc.Cache, Request, Call, CallFinished, StreamAbandoned),
    ],
)
def test_values_take_keywords_only(kind: type) -> None:
    """Options have names where they are written, so that a new one can be added anywhere."""
    assert all(field.kw_only for field in dataclasses.fields(kind))
    with pytest.raises(TypeError):
        kind(1)


def test_only_the_name_of_a_target_has_a_place() -> None:
    """`Target("openai:m", "https://...")` could be read two ways, so it is not allowed."""
    with pytest.raises(TypeError):
        fc.Target("openai:m", "https://host/v1")


@pytest.mark.parametrize("kind", [fc.Client, fc.AsyncClient])
def test_clients_take_keywords_only(kind: type) -> None:
    """All but the target has a name."""
    with pytest.raises(TypeError):
        kind("openai:m", "https://host/v1")
    with pytest.raises(TypeError, match="unknown"):
        kind("openai:m", unknown=1)


def test_a_secret_stays_inside() -> None:
    """It cannot be pickled, copied deeply, or written as JSON."""
    import copy
    import json

    secret = Secret("sk-canary")
    for spill in (copy.deepcopy, json.dumps, lambda value: value.__reduce_ex__(2)):
        with pytest.raises(TypeError) as caught:
            spill(secret)
        assert "canary" not in str(caught.value)
