"""What real servers, gateways and apps do to a transport: odd bodies, compression, cookies, keys of gateways."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

import fastclient as fc
from fastclient.errors import ConfigError
from fastclient.testing import ProviderServer, ServerRequest, Status, faults
from fastclient.transport.recognise import Headers
from tests.doors.sdks import FAMILY, asked, sdk_client
from tests.doors.test_transport import chat

WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 40_000}, "finish_reason": "stop"}],
}


def client(policy: fc.Policy | None = None) -> Any:
    return httpx2.Client(transport=fc.Transport(policy))


def state(response: Any) -> str:
    return str(response.headers["x-fastclient-state"])


@pytest.mark.parametrize(
    "content",
    [
        lambda text: {"type": "text", "text": text},
        lambda text: [text],
        lambda text: [{"text": text}],
        lambda text: [{"type": "tool_result", "tool_use_id": "t", "content": text, "unknown": text}],
        lambda text: [{"type": "text", "text": "same", "new_field": text}],
    ],
)
def test_bodies_we_have_no_words_for_share_nothing(content: Any) -> None:
    """Two prompts that we understand only in part are two prompts; the same one again is a hit."""
    with ProviderServer() as server, client(fc.Policy(cache=fc.Cache())) as http:
        said: dict[str, Any] = {"headers": {"x-api-key": "any"}}
        url = f"{server.anthropic_url}/v1/messages"
        states = []
        for text in ("my account", "my record", "my account"):
            body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content(text)}]}
            states.append(state(http.post(url, json=body, **said)))
    assert states == ["miss", "miss", "hit"]


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "identity", "Identity", ""])
def test_answers_that_are_compressed_all_the_same(coding: str) -> None:
    """Plain bytes are asked for; a gateway that compresses is understood, and its answer arrives whole."""
    plain = json.dumps(WHOLE).encode()
    body = gzip.compress(plain) if coding.lower() == "gzip" else plain
    headers = {"content-type": "application/json", "content-encoding": coding}
    with ProviderServer(script=[(Status(200, headers, body=body),)]) as server, client() as http:
        url, said = chat(server)
        assert http.post(url, **said).json() == WHOLE
    assert len(server.exchanges) == 1


def test_an_answer_in_an_unknown_coding_is_never_cut() -> None:
    """What we cannot read, and is too long to be looked at whole, is a broken answer, and not a piece of one."""
    headers = {"content-type": "application/json", "content-encoding": "br"}
    script = [(Status(200, headers, body=b"x" * 3_000_000),)] * 9
    with ProviderServer(script=script) as server, client(fc.Policy(retry=None)) as http:
        url, said = chat(server)
        with pytest.raises(httpx2.RemoteProtocolError):
            http.post(url, **said)


def test_keys_of_gateways_stay_with_their_host() -> None:
    """A fallback target hears nothing of what the first one was told beside the request."""
    secret = {"cf-aig-authorization": "Bearer g", "x-portkey-api-key": "p", "cookie": "session=1", "x-mine": "y"}
    with ProviderServer(script=[faults.status(503)] * 9) as down, ProviderServer() as up:
        other = fc.Target("openai:other", base_url=up.base_url, api_key="its own")
        with client(fc.Policy(route=fc.Route(fallback=(other,)))) as http:
            url, said = chat(down)
            said["headers"] |= secret
            assert http.post(url, **said).status_code == 200
    assert not secret.keys() & up.exchanges[0].request.headers.keys()


def test_a_cold_burst_is_one_call() -> None:
    """Also the very first requests of a process may come at the same time."""
    for _ in range(3):
        with ProviderServer(script=[faults.silent(0.3)]) as server, client(fc.Policy.recommended()) as http:
            url, said = chat(server)
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda _, post=http.post, url=url, said=said: post(url, **said), range(16)))
        assert len(server.exchanges) == 1


def test_each_caller_has_its_own_patience() -> None:
    """Who can wait does not share the flight of one who cannot."""
    with ProviderServer(script=[faults.silent(0.6)] * 9) as server, client(fc.Policy.recommended()) as http:
        url, said = chat(server)
        with ThreadPoolExecutor(2) as pool:
            short = pool.submit(http.post, url, **said, timeout=0.2)
            patient = pool.submit(http.post, url, **said, timeout=20)
            assert patient.result().status_code == 200
            assert isinstance(short.exception(), httpx2.ReadTimeout)


def test_a_provider_that_does_not_stream_to_us() -> None:
    """Some accounts and servers refuse streams: whole answers are then asked for as such, now and later."""

    def refuse(request: ServerRequest) -> Any:
        if request.stream:
            return faults.status(400, message="Your organization must be verified to stream this model.")
        return None

    with ProviderServer(script=refuse, answer="Whole.") as server, client(fc.Policy.recommended()) as http:
        answers = []
        for text in ("one", "two"):
            url, said = chat(server, text)
            answers.append(http.post(url, **said).json()["choices"][0]["message"]["content"])
    assert answers == ["Whole."] * 2
    assert [exchange.request.stream for exchange in server.exchanges] == [True, False, False]


@pytest.mark.parametrize(
    "noise",
    [{"cookie": "__cf_bm=new; _cfuvid=new"}, {"x-datadog-trace-id": "1"}, {"b3": "1-2"}, {"sentry-trace": "1"}],
)
def test_traces_and_balancers_do_not_defeat_the_cache(noise: dict[str, str]) -> None:
    """What changes by itself with each request says nothing about the answer; a cookie of the app's own may."""
    with ProviderServer() as server, client(fc.Policy.recommended()) as http:
        url, said = chat(server)
        http.post(url, **said)
        again = {**said, "headers": {**said["headers"], **noise}}
        own = {**said, "headers": {**said["headers"], "cookie": "tenant=2"}}
        assert [state(http.post(url, **each)) for each in (again, own)] == ["hit", "miss"]


@pytest.mark.parametrize("code, wish, requests", [(429, "false", 1), (400, "true", 3)])
def test_the_providers_word_on_retries_reaches_the_sdk(code: int, wish: str, requests: int) -> None:
    """Where we do not try again, the SDK does as the provider says."""
    script = [faults.status(code, headers={"x-should-retry": wish, "retry-after-ms": "5"})] * 9
    with ProviderServer(script=script) as server:
        asked(sdk_client("openai", "threads", server, fc.Policy(retry=None)), "threads", [{"stream": False}])
    assert len(server.exchanges) == requests


def test_what_must_not_be_repeated_is_left_to_the_sdk() -> None:
    """A stored request is not tried again by us; the SDK may, as it would without us."""
    with ProviderServer(script=[faults.status(500, headers={"retry-after-ms": "5"})]) as server:
        sdk = sdk_client("openai", "threads", server, fc.Policy())
        (found,) = asked(sdk, "threads", [{"stream": False, "store": True}])
    assert found.items and len(server.exchanges) == 2


def test_clients_with_hooks_are_not_wrapped() -> None:
    """Nothing an app has set on its HTTP client is lost without a word."""
    own = openai.DefaultHttpxClient(event_hooks={"request": [lambda request: None]})
    with openai.OpenAI(api_key="any", http_client=own) as sdk, pytest.raises(ConfigError, match="its own"):
        fc.wrap(sdk)


def test_elapsed_time_is_known() -> None:
    """As with any response, once it is read."""
    with ProviderServer() as server, client() as http:
        url, said = chat(server)
        assert http.post(url, **said).elapsed.total_seconds() > 0


def test_a_host_of_ones_own_is_kept() -> None:
    """Servers with several names are told which was meant, and their answers are kept apart."""
    with ProviderServer() as server, client(fc.Policy.recommended()) as http:
        url, said = chat(server)
        http.post(url, **said)
        named = {**said, "headers": {**said["headers"], "host": "models.internal"}}
        assert state(http.post(url, **named)) == "miss"
    assert server.exchanges[1].request.headers["host"] == "models.internal"


def test_steering_is_not_sent_with_what_passes() -> None:
    """An SDK may say it for all its requests."""
    with ProviderServer() as server, client() as http:
        headers = {"authorization": "Bearer any", "x-fastclient-cache": "off"}
        response = http.get(f"{server.base_url}/models", headers=headers)
    assert response.status_code == 200 and "x-fastclient-cache" not in response.request.headers


def test_dropping_streams_leaves_no_complaints() -> None:
    """Half-read streams that the garbage collector finds are closed once, and nothing is said of it."""
    complaints: list[dict[str, Any]] = []

    async def drop(server: ProviderServer) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        make: Any = openai.AsyncOpenAI
        async with make(
            base_url=server.base_url, api_key="any", http_client=fc.async_http_client(family=FAMILY)
        ) as sdk:
            for _ in range(3):
                stream = await sdk.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
                )
                async for _chunk in stream:
                    break
                stream.itself = stream  # a circle, for the collector
                del stream
                gc.collect()
                await asyncio.sleep(0.05)

    with ProviderServer(script=[faults.slow(0.02)] * 9, answer="word " * 200) as server:
        asyncio.run(drop(server))
    assert not complaints


def test_headers_do_not_show_themselves() -> None:
    """Tools that record local variables find no key in ours."""
    assert "sk-" not in repr(Headers(authorization="Bearer sk-1"))


def test_keys_at_one_server_are_told_apart_quickly() -> None:
    """Targets that differ in their headers alone have hashes of their own."""
    targets = {fc.Target("openai:m", headers={"authorization": f"Bearer {number}"}) for number in range(100)}
    assert len({hash(target) for target in targets}) > 90
