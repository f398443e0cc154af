"""What is no call passes through: the server gets the asking library's very bytes, and the library the server's."""

from __future__ import annotations

import gzip
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import httpx2
import openai
import pytest

import fastclient as fc
from fastclient.testing import ProviderServer
from tests.doors.recorder import Recorder
from tests.doors.sdks import MESSAGES, STYLES, sdk_client
from tests.doors.styles import run, settled

FAMILIES = {"httpx": httpx, "httpx2": httpx2}
JSON = {"content-type": "application/json"}
CHAT = "/v1/chat/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
FORM = {"content-type": "multipart/form-data; boundary=between"}

Asked = tuple[str, str, dict[str, Any]]
"""A method, a path, and all else that is said to an HTTP client."""

NO_CALLS: dict[str, Asked] = {
    "the models": ("GET", "/v1/models?limit=3", {}),
    "a head": ("HEAD", "/", {}),
    "a path nobody knows": ("DELETE", "/v1/files/f%2F1?force=true", {"headers": {"X-Odd": "Yes", "x-odd": "no"}}),
    "options": ("OPTIONS", CHAT, {}),
    "a call's path, but a GET": ("GET", CHAT, {}),
    "embeddings": ("POST", "/v1/embeddings", {"json": {"model": "m", "input": "Hi"}}),
    "an upload": (
        "POST",
        "/v1/files",
        {"files": {"file": ("a.txt", b"abc")}, "data": {"purpose": "x"}, "headers": FORM},
    ),
    "a form": ("POST", CHAT, {"data": {"model": "m", "messages": "Hi"}}),
    "no JSON": ("POST", CHAT, {"content": b"model=m", "headers": JSON}),
    "an empty body": ("POST", CHAT, {"content": b"", "headers": JSON}),
    "a list": ("POST", CHAT, {"content": b"[1, 2]", "headers": JSON}),
    "a number too large": ("POST", CHAT, {"content": b'{"model":1e999}', "headers": JSON}),
    "no messages": ("POST", CHAT, {"json": {"model": "m"}}),
    "no model": ("POST", CHAT, {"json": {"model": None, "messages": HELLO["messages"]}}),
    "no content type": ("POST", CHAT, {"content": b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'}),
    "gzip": ("POST", CHAT, {"content": gzip.compress(b"{}", mtime=0), "headers": {**JSON, "content-encoding": "gzip"}}),
    "a message of a thread": ("POST", "/v1/threads/t1/messages", {"json": {"role": "user", "content": "Hi"}}),
    "a stored completion": ("POST", f"{CHAT}/c1", {"json": {"metadata": {"a": "b"}}}),
    "a stored response": ("POST", "/v1/responses/r1/cancel", {"content": b"", "headers": JSON}),
    "responses without input": ("POST", "/v1/responses", {"json": {"model": "m"}}),
    "counting for Anthropic": ("POST", "/v1/messages/count_tokens", {"json": HELLO}),
    "a batch for Anthropic": ("POST", "/v1/messages/batches", {"json": {"requests": []}}),
    "counting for Gemini": (
        "POST",
        "/v1beta/models/m:countTokens",
        {"json": {"contents": [{"parts": [{"text": "Hi"}]}]}},
    ),
    "no contents": ("POST", "/v1beta/models/m:generateContent", {"json": {"contents": []}}),
}

styles = pytest.mark.parametrize("style", STYLES)
families = pytest.mark.parametrize("family", FAMILIES)

# On trio openai's own streams leave generators to the garbage collector, with any HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2?)[.]:ResourceWarning")


def clients(family: str, style: str) -> tuple[Any, Any]:
    """One as it is, and one with ours under it, with every lever on."""
    module, policy = FAMILIES[family], fc.Policy.recommended()
    if style == "threads":
        return module.Client(follow_redirects=True), fc.http_client(policy, family=family)
    return module.AsyncClient(follow_redirects=True), fc.async_http_client(policy, family=family)


async def closed(http: Any) -> None:
    await settled(http.aclose() if hasattr(http, "aclose") else http.close())


def answers(family: str, style: str, origin: str, asked: Mapping[str, Asked]) -> list[dict[str, Any]]:
    """The responses that each of both clients gets, as what can be compared."""

    async def all_of(http: Any) -> dict[str, Any]:
        found = {}
        for name, (method, path, said) in asked.items():
            response = await settled(http.request(method, origin + path, **said))
            found[name] = (response.status_code, list(response.headers.items()), response.content, str(response.url))
        await closed(http)
        return found

    async def both() -> list[dict[str, Any]]:
        return [await all_of(http) for http in clients(family, style)]

    return run(style, both)


@families
@styles
def test_no_calls(family: str, style: str) -> None:
    """Request and response are the same to the byte."""
    with Recorder() as server:
        own, through = answers(family, style, server.url, NO_CALLS)
    assert through == own
    half = len(NO_CALLS)
    assert server.requests[half:] == server.requests[:half]


def once(style: str, *pieces: bytes) -> Any:
    """A body that can be read a single time."""
    if style == "threads":
        return iter(pieces)

    async def each() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return each()


@families
@styles
@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", CHAT])
def test_bodies_that_can_be_read_once(path: str, family: str, style: str) -> None:
    """They arrive whole, also where they have to be looked into first; a file's pieces leave as they come."""
    pieces = (b'--between\r\ncontent-disposition: form-data; name="file"\r\n\r\n', b"abc" * 10_000, b"\r\n--between--")

    async def send(url: str) -> int:
        _, http = clients(family, style)
        headers = FORM if path != CHAT else JSON
        response = await settled(http.post(url, content=once(style, *pieces), headers=headers))
        await closed(http)
        status: int = response.status_code
        return status

    with Recorder() as server:
        assert run(style, send, server.url + path) == 200
    assert server.bodies == [b"".join(pieces)]
    assert server.requests[0].count(b"\r\n7530\r\n") == (path != CHAT)


@families
@styles
def test_redirects(family: str, style: str) -> None:
    """The HTTP client follows them, with ours under it as without; each hop goes through."""
    moved = {"/v1/found": (302, "/v1/new"), "/v1/kept": (307, "/v1/new"), "/v1/other": (303, "/v1/new")}
    asked: dict[str, Asked] = {
        "a GET": ("GET", "/v1/found", {}),
        "a POST": ("POST", "/v1/kept", {"json": {"a": 1}}),
        "a POST that becomes a GET": ("POST", "/v1/other", {"json": {"a": 1}}),
    }
    with Recorder(moved) as server:
        own, through = answers(family, style, server.url, asked)
    assert through == own
    assert {url for *_, url in own.values()} == {f"{server.url}/v1/new"}
    assert server.requests[6:] == server.requests[:6]


@styles
def test_what_else_an_sdk_does(style: str) -> None:
    """Models, embeddings, files, threads and stored completions: the server sees what it would have seen."""
    with Recorder() as server:
        for policy in (None, fc.Policy.recommended()):
            address: Any = server
            run(style, _others, sdk_client("openai", style, address, policy))
    half = len(server.requests) // 2
    assert half == 6
    own, through = ([_unbound(each) for each in some] for some in (server.requests[:half], server.requests[half:]))
    assert through == own


def _unbound(request: bytes) -> bytes:
    """Without the boundary that each upload makes up anew."""
    _, found, rest = request.partition(b"boundary=")
    return request.replace(rest.partition(b"\r\n")[0], b"boundary") if found else request


async def _others(client: openai.OpenAI | openai.AsyncOpenAI) -> None:
    await settled(client.models.list())
    await settled(client.embeddings.create(model="m", input=["one", "two"], encoding_format="float"))
    await settled(client.files.create(file=("a.txt", io.BytesIO(b"abc")), purpose="batch"))
    await settled(client.chat.completions.update("c1", metadata={"a": "b"}))
    await settled(client.chat.completions.retrieve("c1"))
    await settled(client.post("/threads/t1/messages", cast_to=object, body={"role": "user", "content": "Hi"}))
    await settled(client.close())


@styles
def test_what_an_sdk_gets(style: str) -> None:
    """Models and embeddings of a server are the same objects, with and without our transport."""

    async def ask(client: Any) -> list[Any]:
        models = await settled(client.models.list())
        vectors = await settled(client.embeddings.create(model="m", input=["one", "two"]))
        await settled(client.close())
        return [models.model_dump(), vectors.model_dump()]

    with ProviderServer() as server:
        own = run(style, ask, sdk_client("openai", style, server, None))
        through = run(style, ask, sdk_client("openai", style, server, fc.Policy.recommended()))
    assert through == own
    assert len(own[1]["data"][0]["embedding"]) == 8


@styles
@pytest.mark.parametrize("stream", [False, True])
def test_responses_that_are_read_by_hand(style: str, stream: bool) -> None:
    """`with_streaming_response` gives the same lines, of a call as of anything else."""
    found = []
    for policy in (None, fc.Policy()):
        with ProviderServer(answer="It will rain all day.") as server:
            found.append(run(style, _lines, sdk_client("openai", style, server, policy), stream))
    assert found[0] == found[1]
    assert len(found[0]) == (19 if stream else 2)


async def _lines(client: Any, stream: bool) -> list[str]:
    lines: list[str] = []
    asked = client.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES, stream=stream)
    for manager in (client.models.with_streaming_response.list(), asked):
        if isinstance(client, openai.OpenAI):
            with manager as response:
                lines += response.iter_lines()
        else:
            async with manager as response:
                lines += [line async for line in response.iter_lines()]
    await settled(client.close())
    return lines


@families
@styles
def test_an_answer_comes_as_it_is_written(family: str, style: str) -> None:
    """What passes through is handed on piece by piece: the first is there while the server keeps back the rest."""

    async def read(url: str, server: Recorder) -> bytes:
        _, http = clients(family, style)
        request = http.build_request("GET", url)
        response = await settled(http.send(request, stream=True))
        first = b""
        if style == "threads":
            for piece in response.iter_bytes():
                first = first or piece
                server.rest.set()
        else:
            async for piece in response.aiter_bytes():
                first = first or piece
                server.rest.set()
        await closed(http)
        return first

    with Recorder() as server:
        first = run(style, read, f"{server.url}/v1/files/f1/content", server)
    assert first == b'{"data":'
