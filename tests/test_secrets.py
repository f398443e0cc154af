"""Keys, prompts and answers stay where they belong: never in a repr, a log record, an error's text or an event.

Canaries are put into every place that takes them, and everything a user could print afterwards is searched.
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastclient as fc
from fastclient.target import Secret
from fastclient.testing import Answer, Event, FakeProvider, ProviderServer, Reset, Status, Tokens, ToolCall, faults
from fastclient.types import Chunk, Request, ToolCallDelta
from fastclient.wire.port import WireRequest

KEY = "sk-canary-91f3b7d2e0"
PROMPT = 'prompt-canary "quoted"\nsecond prompt-canary line'
ANSWER = "answer-canary, told in more than one token"
CANARIES = (KEY, KEY[3:], base64.b64encode(KEY.encode()).decode()[:16], "prompt-canary", "answer-canary")
WIRES = ("httpx2", "httpx", "direct")
QUICK = fc.Timeouts(first_token=0.2, progress=0.2, total=5)


def spilled(value: object) -> str:
    """Everything about a value that prints itself; for errors with their whole chain and traceback."""
    texts = [repr(value), str(value), f"{value!s}"]
    seen: set[int] = set()
    links = [value] if isinstance(value, BaseException) else []
    for link in links:
        seen.add(id(link))
        texts += [repr(link), str(link), repr(link.args), repr(getattr(link, "__notes__", ""))]
        texts += [repr(getattr(link, name, "")) for name in ("attempts", "timings", "body", "field", "request_id")]
        texts += traceback.format_exception(link)
        attempts = [attempt.error for attempt in getattr(link, "attempts", ())]
        nearby = (link.__cause__, link.__context__, *attempts)
        links += [near for near in nearby if near is not None and id(near) not in seen]
    return "\n".join(texts)


def clean(*values: object) -> None:
    """No canary in anything these values show."""
    for value in values:
        text = spilled(value)
        for canary in CANARIES:
            at = text.find(canary)
            assert at < 0, f"{type(value).__name__} shows it: ...{text[max(0, at - 80) : at + 8]}"


def refusal(make: Callable[[], object], kind: type[fc.FastClientError] = fc.ConfigError) -> fc.FastClientError:
    """The error something is refused with."""
    with pytest.raises(kind) as caught:
        make()
    return caught.value


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every log record of every library, down to DEBUG, is searched at the end of each test."""
    caplog.set_level(logging.DEBUG)
    for name in ("fastclient", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio", "anyio", "trio"):
        caplog.set_level(logging.DEBUG, name)
    yield
    for record in caplog.get_records("call"):
        clean(record.getMessage(), record.args, record.exc_text or "", record.__dict__)


def test_the_search_finds_what_is_there() -> None:
    """A canary in a cause, an argument or an attempt's error would be found; the other tests rest on this."""
    inner, outer = ValueError(f"key {KEY}"), fc.ConnectFailed("harmless")
    outer.__cause__ = inner
    for guilty in (outer, KeyError(ANSWER), [PROMPT], Chunk(text="x", model=ANSWER)._asdict()):
        with pytest.raises(AssertionError):
            clean(guilty)
    clean(fc.ConnectFailed("harmless"))


def test_the_logs_are_really_searched(caplog: pytest.LogCaptureFixture) -> None:
    """The libraries below do log at DEBUG, so that a clean log means something."""
    with (
        ProviderServer(answer=ANSWER) as server,
        fc.Client("openai:m", base_url=server.base_url, wire="httpx2") as client,
    ):
        client.chat(PROMPT)
    assert any(record.name.startswith("httpcore2") for record in caplog.records)


# keys


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("wire", WIRES)
def test_a_key_in_use_shows_nowhere(provider: str, wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As argument, in a Target, in the environment or as a header, the key reaches the server and nothing else."""
    events: list[object] = []
    policy = fc.Policy(observers=(events.append,))
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", KEY)
    with ProviderServer(answer=ANSWER) as server:
        url = server.base_url if provider == "openai" else server.anthropic_url
        for options in (
            {"api_key": KEY},
            {},
            {"api_key": "other-key", "headers": {"x-team": KEY, "api-key": KEY}},
        ):
            with fc.Client(f"{provider}:m", base_url=url, wire=wire, policy=policy, **options) as client:
                clean(client, client._core.target, client._core, client.warm(), client.chat(PROMPT), client.stats())
                clean(client.with_(policy=policy), client.stream(PROMPT))
        target = fc.Target(f"{provider}:m", base_url=url, api_key=KEY, headers={"cookie": KEY})
        with fc.Client(target, wire=wire, policy=policy) as client:
            clean(target, client, client.chat(PROMPT))
        assert all(KEY in str(exchange.request.headers) for exchange in server.exchanges)
    assert len(events) == 4
    clean(*events)


async def test_the_async_door_shows_no_key_either() -> None:
    """The same for `AsyncClient` and its streams."""
    async with fc.AsyncClient("openai:m", wire=FakeProvider(ANSWER), api_key=KEY, headers={"x-team": KEY}) as client:
        stream = client.stream(PROMPT)
        async with stream:
            clean(client, stream, vars(stream), stream._reading)
            clean(await stream.reply())
        clean(await client.warm(), client.stats())


@pytest.mark.parametrize(
    "spill",
    [
        copy.deepcopy,
        copy.copy,
        json.dumps,
        str.encode,
        lambda secret: secret.__reduce_ex__(4),
        lambda secret: secret._key,
    ],
)
def test_a_secret_cannot_be_spilled(spill: Callable[[Any], object]) -> None:
    """A secret is not written as JSON, pickled or copied, and the refusal does not show it."""
    secret = Secret(KEY)
    clean(secret, [secret], {"key": secret}, f"{secret}", f"{secret!r:>30}", f"{secret!s}")
    with pytest.raises((TypeError, AttributeError)) as caught:
        spill(secret)
    clean(caught.value)


@pytest.mark.parametrize("bad", [f"{KEY}\n", f"\n{KEY}", f"{KEY}\r\nx: y", f" {KEY}", f"{KEY}\x00", f"{KEY}é"])
@pytest.mark.parametrize("place", ["api_key", "environment", "target", "header", "target header"])
def test_a_key_that_cannot_be_sent_is_refused_unseen(bad: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line break in a key would make an HTTP library print it; we refuse it first, and do not print it."""
    monkeypatch.setenv("OPENAI_API_KEY", bad.replace("\x00", "\x01") if place == "environment" else "fine")
    make: Callable[[], object] = {
        "api_key": lambda: fc.Client("openai:m", api_key=bad),
        "environment": lambda: fc.Client("openai:m"),
        "target": lambda: fc.Target("openai:m", api_key=bad),
        "header": lambda: fc.Client("openai:m", headers={"x-team": bad}),
        "target header": lambda: fc.Target("openai:m", headers={"x-team": bad}),
    }[place]
    clean(refusal(make))


@pytest.mark.parametrize("name", [f"x-api-key: {KEY}", f"authorization\n{KEY}", f"{KEY} "])
def test_a_key_in_a_header_name_is_refused_unseen(name: str) -> None:
    """A whole header line written as a name is refused, and the line is not shown."""
    clean(refusal(lambda: fc.Client("openai:m", api_key="k", headers={name: "value"})))
    clean(refusal(lambda: fc.Client("openai:m", api_key="k", headers={name: "bad\n"})))


@pytest.mark.parametrize(
    "url",
    [
        f"https://{KEY}@host/v1",
        f"https://user:{KEY}@host/v1",
        f"https://user:{KEY}@a@host/v1",
        f"https://user:{KEY}%40@host/v1",
        f"https://host/v1?key={KEY}",
        f"https://host/v1?a=b&api-key={KEY}#x",
        f"https://host/v1#{KEY}",
        f"http://user:{KEY}@127.0.0.1:8080/v1",
        f"user:{KEY}@host/v1",
        f"ftp://user:{KEY}@host/v1",
        f"https://user:{KEY}@host:bad/v1",
        f"https://user:{KEY}@[::1/v1",
        f"https://user:{KEY}/x@host/v1",
        f"https://user:{KEY}?x@host/v1",
        f"https://user:{KEY}#x@host/v1",
        f"https://user:{KEY}\\@host/v1",
        f"//user:{KEY}@host/v1",
        f"https:user:{KEY}@host/v1",
        f"https://host?{KEY}",
        f"https://host;{KEY}@x/v1",
    ],
)
@pytest.mark.parametrize("place", ["client", "target", "environment"])
def test_a_url_with_a_secret_is_refused_unseen(url: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users, passwords, queries and fragments are refused in a base URL, wherever it came from, and not shown."""
    if place == "environment":
        monkeypatch.setenv("OPENAI_BASE_URL", url)
    make: Callable[[], object] = {
        "client": lambda: fc.Client("openai:m", base_url=url, api_key="k"),
        "target": lambda: fc.Target("openai:m", base_url=url),
        "environment": lambda: fc.Client("openai:m", api_key="k"),
    }[place]
    clean(refusal(make))


ECHOES = {
    "message": {"error": {"message": f"Incorrect API key provided: {KEY}.", "type": "invalid_request_error"}},
    "bearer": {"error": {"message": f"bad header 'authorization: Bearer {KEY}'"}},
    "type": {"error": {"type": KEY, "message": "no"}},
    "code": {"error": {"code": KEY, "message": "no"}},
    "detail": {"detail": f"key {KEY} is unknown"},
    "nested": {"error": {"message": "no", "metadata": {"raw": KEY}}},
    "text": {"error": f"{KEY}"},
    "cut": {"error": {"message": "x" * 290 + KEY}},
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("status", [401, 200, 500])
@pytest.mark.parametrize("echo", ECHOES)
def test_an_echoed_key_is_blotted_out(echo: str, status: int, wire: str) -> None:
    """Providers quote keys in their error bodies; ours show `***` there, in the text and in `.body`."""
    body = json.dumps(ECHOES[echo]).encode()
    events: list[object] = []
    with ProviderServer(script=lambda _: (Status(status, {"content-type": "application/json"}, body),)) as server:
        policy = fc.Policy(observers=(events.append,))
        with fc.Client("openai:m", base_url=server.base_url, api_key=KEY, policy=policy, wire=wire) as client:
            error = refusal(lambda: client.chat(PROMPT), fc.ProviderError)
    clean(error, error.body, *error.attempts, *events)


@pytest.mark.parametrize("header", ["retry-after", "location", "www-authenticate", "x-should-retry"])
def test_a_key_echoed_in_a_header_is_blotted_out(header: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nor does an answer's header carry it into an error, or into our own log."""
    with (
        ProviderServer(script=lambda _: faults.status(429, headers={header: KEY})) as server,
        fc.Client("openai:m", base_url=server.base_url, api_key=KEY) as client,
    ):
        clean(refusal(lambda: client.chat(PROMPT), fc.ProviderError))
    clean([record.__dict__ for record in caplog.records if record.name.startswith("fastclient")])
    caplog.clear()  # the HTTP libraries themselves log, at DEBUG, the headers they receive


def test_a_key_echoed_inside_a_stream_is_blotted_out() -> None:
    """An error event after the first content quotes the key: the cut says why without it."""
    event = b'data: {"error":{"message":"key %b is over its limit","type":"server_error"}}\n\n' % KEY.encode()
    with (
        ProviderServer(script=lambda _: (Tokens(ANSWER), Event(event))) as server,
        fc.Client("openai:m", base_url=server.base_url, api_key=KEY) as client,
    ):
        error = refusal(lambda: client.chat(PROMPT), fc.StreamCut)
    assert error.partial_text == ANSWER
    clean(error)


@pytest.mark.parametrize("key", ["sk/canary/91f3b7d2e0==", 'sk"canary"91f3b7d2e0', "sk\\canary\\91f3b7d2e0"])
def test_a_key_echoed_with_json_escapes_is_blotted_out(key: str) -> None:
    """In a JSON body a slash, a quote or a backslash of a key may be written in another way."""
    body = (
        b'{"error":{"message":"bad key %b"}}'
        % key.replace("\\", "\\\\").replace('"', '\\"').replace("/", "\\/").encode()
    )
    with (
        ProviderServer(script=lambda _: (Status(401, {}, body),)) as server,
        fc.Client("openai:m", base_url=server.base_url, api_key=key) as client,
    ):
        error = refusal(lambda: client.chat(PROMPT), fc.AuthenticationFailed)
    assert "canary" not in spilled(error)


@pytest.mark.parametrize("wire", WIRES)
def test_a_proxy_password_shows_nowhere(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of a proxy, taken from the environment, is in no error when that proxy is down."""
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{KEY}@127.0.0.1:9")
    monkeypatch.setenv("http_proxy", f"http://user:{KEY}@127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with fc.Client("openai:m", base_url="http://api.invalid/v1", allow_http=True, api_key="key", wire=wire) as client:
        clean(refusal(lambda: client.chat(PROMPT), fc.ConnectFailed), client.warm())


# prompts and answers

BROKEN: dict[str, tuple[Any, type[fc.FastClientError]]] = {
    "cut": ((Tokens(ANSWER), Reset()), fc.StreamCut),
    "truncated": (lambda _: (Tokens(ANSWER), *faults.truncated(1)), fc.StreamCut),
    "stalled": (lambda _: (Tokens(ANSWER), *faults.stall(1)), fc.StreamStalled),
    "malformed": (lambda _: (Tokens(ANSWER), *faults.malformed(1)[1:], *faults.malformed(1)[1:]), fc.StreamCut),
    "overloaded": (lambda _: (Tokens(ANSWER), *faults.overloaded_event(1)), fc.StreamCut),
    "no json": (
        lambda _: (Status(200, {"content-type": "application/json"}, b'{"x": "answer-canary'),),
        fc.ServerFailed,
    ),
    "wrong json": (
        lambda _: (Status(200, {"content-type": "application/json"}, b'{"choices":[{"message":"answer-canary"}]}'),),
        fc.ServerFailed,
    ),
    "html": (lambda _: (Status(200, {"content-type": "text/html"}, b"<p>answer-canary</p>"),), fc.ServerFailed),
    "silent": (faults.headers_then_silence(9), fc.FirstTokenTimeout),
    "refused": (faults.status(400, message=f"the message {PROMPT!r} is bad".replace("\\n", "\n")), fc.BadRequest),
    "rate limited": (faults.status(429, message=PROMPT), fc.RateLimited),
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", BROKEN)
def test_no_error_shows_the_prompt_or_the_answer(fault: str, wire: str) -> None:
    """Whatever breaks, the error's text, chain and attempts hold neither; the partial text is an attribute only."""
    plan, kind = BROKEN[fault]
    events: list[object] = []
    policy = fc.Policy(retry=None, timeouts=QUICK, observers=(events.append,))
    with (
        ProviderServer(script=plan if callable(plan) else (plan,)) as server,
        fc.Client("openai:m", base_url=server.base_url, api_key=KEY, wire=wire, policy=policy) as client,
    ):
        error = refusal(lambda: client.chat(PROMPT, metadata={"note": PROMPT}), kind)
    if isinstance(error, (fc.StreamCut, fc.StreamStalled)):
        assert "answer-canary" in error.partial_text
    if isinstance(error, fc.ProviderError):
        error.body = ""  # what the provider wrote is asked for by name
    clean(error, error.call_id, *events)


def test_a_reply_shows_neither() -> None:
    """`print(reply)`, its chunks, tool calls, attempts and timings show how it went and not what was said."""
    answer = Answer(ANSWER, reasoning=ANSWER, tool_calls=(ToolCall("find", {"query": ANSWER}),))
    events: list[object] = []
    with fc.Client("openai:m", wire=FakeProvider(answer), policy=fc.Policy(observers=(events.append,))) as client:
        reply = client.chat(PROMPT, user=PROMPT, metadata={"note": PROMPT}, tools=[{"description": PROMPT}])
        with client.stream(PROMPT) as stream:
            chunks = list(stream)
            clean(stream, stream._reading, vars(stream), *chunks, stream.reply())
    assert "answer-canary" in reply.text
    clean(reply, reply.timings, reply.timings._repr_html_(), *reply.attempts, *reply.tool_calls, *events)


def test_the_inner_values_show_neither() -> None:
    """Values that layers and wires handle are safe to print too."""
    request = Request(messages=({"role": "user", "content": PROMPT},), params={"user": PROMPT}, metadata={"a": PROMPT})
    wired = WireRequest(method="POST", url=f"https://host/{KEY}", headers={"x": KEY}, body=PROMPT.encode())
    chunk = Chunk(text=ANSWER, reasoning=ANSWER, tool_calls=(ToolCallDelta(0, "i", "n", ANSWER),), raw=ANSWER.encode())
    clean(request, wired, chunk, [chunk], chunk.tool_calls[0], fc.ToolCall(id="i", name="n", arguments=ANSWER))


@pytest.mark.parametrize(
    "messages, options",
    [
        ([{"role": "user", "content": [PROMPT]}], {}),
        ([{"role": "user", "content": {"text": PROMPT}}], {}),
        ([{"role": "user", "content": PROMPT}, PROMPT], {}),
        ({"role": "user", "content": PROMPT}, {}),
        (PROMPT.encode(), {}),
        ([{"content": PROMPT}], {}),
        ([{"role": "user", "content": [{"type": "text", "text": PROMPT, "x": {1}}]}], {}),
        ([{"role": "user", "content": PROMPT + "\ud800"}], {}),
        (PROMPT + "\ud800", {}),
        (PROMPT, {"extra_body": {"messages": [{"role": "user", "content": "prompt-canary"}]}}),
        (PROMPT, {"tools": [{"description": PROMPT, "parameters": {PROMPT}}]}),
        (PROMPT, {"temperature": float("nan")}),
    ],
    ids=lambda value: ascii(value)[:40],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_refused_prompt_is_not_quoted(provider: str, messages: Any, options: dict[str, Any]) -> None:
    """A ConfigError names the place of a wrong message, and not what was to be said there."""
    with fc.Client(f"{provider}:m", wire=FakeProvider(ANSWER)) as client:
        error = refusal(lambda: client.chat(messages, **options))
    clean(error, error.field)


def test_an_image_is_not_quoted() -> None:
    """A data URL holds the user's data: what is wrong with it is said without it."""
    image = {"type": "image_url", "image_url": {"url": "data:text/plain,prompt-canary"}}
    with fc.Client("anthropic:m", wire=FakeProvider(ANSWER)) as client:
        clean(refusal(lambda: client.chat([{"role": "user", "content": [image]}])))


def test_what_an_observer_raises_is_not_quoted() -> None:
    """An observer may put anything into its exception; the log names only the class."""

    def observer(event: object) -> None:
        raise RuntimeError(f"{PROMPT} {KEY}")

    with fc.Client("openai:m", wire=FakeProvider(ANSWER), policy=fc.Policy(observers=(observer,))) as client:
        assert client.chat(PROMPT).text == ANSWER


def test_a_dropped_stream_is_logged_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    """The garbage collector's note holds the call's id only."""
    events: list[object] = []
    with fc.Client("openai:m", wire=FakeProvider(ANSWER), policy=fc.Policy(observers=(events.append,))) as client:
        for _ in client.stream(PROMPT):
            break
    assert [type(event).__name__ for event in events] == ["StreamAbandoned", "CallFinished"]
    assert any("dropped" in record.getMessage() for record in caplog.records)
    clean(*events)
