"""The transport by itself: steering, refusals of our own, other targets, clients that are wrapped, and being left."""

from __future__ import annotations

import gc
import json
import time
from typing import Any

import anyio
import httpx
import httpx2
import openai
import pytest

import fastclient as fc
from fastclient.errors import ConfigError
from fastclient.testing import ProviderServer, faults
from tests.doors.sdks import FAMILY

FAMILIES = {"httpx": httpx, "httpx2": httpx2}
both = pytest.mark.parametrize("family", FAMILIES)


def chat(server: ProviderServer, text: str = "Hi", **said: Any) -> tuple[str, dict[str, Any]]:
    """What to post."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **said}
    return f"{server.base_url}/chat/completions", {"json": body, "headers": {"authorization": "Bearer any"}}


def client(family: str, policy: fc.Policy | None = None) -> Any:
    return FAMILIES[family].Client(transport=fc.Transport(policy))


@both
def test_it_answers_in_the_library_it_is_asked_in(family: str) -> None:
    """One transport serves both libraries: its responses and its errors are of the one that asks."""
    transport = fc.Transport(fc.Policy(retry=None))
    module = FAMILIES[family]
    with ProviderServer(script=[None, faults.unanswered()]) as server, module.Client(transport=transport) as http:
        url, said = chat(server)
        assert type(http.post(url, **said)) is module.Response
        with pytest.raises(module.ReadTimeout):
            http.post(url, **said, timeout=0.1)


@both
def test_what_the_levers_did_stands_in_the_headers(family: str) -> None:
    """State, number of attempts and time to the first content can be read off each response."""
    with ProviderServer() as server, client(family, fc.Policy.recommended()) as http:
        url, said = chat(server)
        told = [http.post(url, **said).headers for _ in range(2)]
    assert [each["x-fastclient-state"] for each in told] == ["miss", "hit"]
    assert [each["x-fastclient-attempts"] for each in told] == ["1", "0"]
    assert 0 < float(told[1]["x-fastclient-ttft"]) < float(told[0]["x-fastclient-ttft"])


def test_headers_steer_a_call_and_are_not_sent() -> None:
    """What the own client takes as an option, an SDK's `extra_headers` can say too."""
    with ProviderServer() as server, client("httpx2", fc.Policy.recommended()) as http:
        url, said = chat(server)
        http.post(url, **said)
        for name, value in (("cache", "off"), ("namespace", "42"), ("cache", "refresh"), ("hedge", "false")):
            steered = {**said, "headers": {**said["headers"], f"x-fastclient-{name}": value}}
            response = http.post(url, **steered)
            assert response.headers["x-fastclient-state"] == (
                "hit" if name == "hedge" else "bypass" if value == "off" else "miss"
            )
    assert not any(name.startswith("x-fastclient") for each in server.exchanges for name in each.request.headers)


@pytest.mark.parametrize(
    "name, value",
    [("cache", "sometimes"), ("samples", "many"), ("timeout", "-1"), ("hedge", "maybe"), ("colour", "red")],
)
def test_steering_that_cannot_be(name: str, value: str) -> None:
    """A wrong word is a refusal that names it, in a form that the SDKs understand, and nothing is sent."""
    with (
        ProviderServer() as server,
        openai.OpenAI(base_url=server.base_url, api_key="any", http_client=fc.http_client(family=FAMILY)) as sdk,
        pytest.raises(openai.BadRequestError, match=name),
    ):
        messages: Any = [{"role": "user", "content": "Hi"}]
        sdk.chat.completions.create(model="m", messages=messages, extra_headers={f"x-fastclient-{name}": value})
    assert not server.exchanges


def test_a_prompt_that_cannot_fit() -> None:
    """The SDK's own error for a bad request, with nothing sent."""
    policy = fc.Policy(prompt=fc.Prompt(max_input_tokens=50))
    with ProviderServer() as server, client("httpx2", policy) as http:
        url, said = chat(server, "word " * 500)
        response = http.post(url, **said)
    assert response.status_code == 400 and not server.exchanges
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_a_line_that_is_too_long() -> None:
    """Refused by our own gate: the status of a rate limit, and when to come again."""
    policy = fc.Policy(retry=None, limits=fc.Limits())
    with ProviderServer(script=[faults.status(429, retry_after="30")]) as server, client("httpx2", policy) as http:
        url, said = chat(server)
        http.post(url, **said)
        second = http.post(url, **{**said, "headers": {**said["headers"], "x-fastclient-timeout": "1"}})
    assert second.status_code == 429 and float(second.headers["retry-after"]) > 20
    assert len(server.exchanges) == 1


def test_the_prompt_is_laid_out_for_the_providers_cache() -> None:
    """Levers that change prompts change the SDK's body, and keep what they do not know."""
    with ProviderServer() as server, client("httpx2", fc.Policy(prompt=fc.Prompt())) as http:
        tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "ba"]
        url, said = chat(server, tools=tools, some_new_field={"kept": True})
        http.post(url, **said)
    sent = json.loads(server.exchanges[0].request.body)
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["a", "b"]
    assert sent["some_new_field"] == {"kept": True} and "stream" not in sent


def test_another_server_of_the_same_format() -> None:
    """A fallback target gets the request with its own model and key, and its answer is handed on."""
    with ProviderServer(script=[faults.status(503)] * 9) as down, ProviderServer(answer="From the other.") as up:
        other = fc.Target("openai:other", base_url=up.base_url, api_key="its own")
        policy = fc.Policy(route=fc.Route(fallback=(other, fc.Target("gemini:never", api_key="any"))))
        with client("httpx2", policy) as http:
            url, said = chat(down)
            answer = http.post(url, **said).json()
    assert answer["choices"][0]["message"]["content"] == "From the other."
    request = up.exchanges[0].request
    assert (request.model, request.headers["authorization"]) == ("other", "Bearer its own")


def test_credentials_do_not_share_answers() -> None:
    """A hit is for the key it was made with; so are other headers that may change an answer."""
    with ProviderServer() as server, client("httpx2", fc.Policy.recommended()) as http:
        url, said = chat(server)
        http.post(url, **said)
        for header in ({"authorization": "Bearer other"}, {"openai-project": "p"}, {"x-of-my-gateway": "blue"}):
            response = http.post(url, **{**said, "headers": {**said["headers"], **header}})
            assert response.headers["x-fastclient-state"] == "miss"
        noise = {"x-stainless-arch": "x", "traceparent": "00-1", "user-agent": "me"}
        again = http.post(url, **{**said, "headers": {**said["headers"], **noise}})
    assert again.headers["x-fastclient-state"] == "hit"


def test_repeated_response_headers_stay_apart() -> None:
    """Cookies of a load balancer reach the HTTP client as they were set."""
    with ProviderServer(headers={"set-cookie": "a=1"}) as server, client("httpx2") as http:
        url, said = chat(server)
        http.post(url, **said)
        assert http.cookies["a"] == "1"


class TestWrapping:
    """`fc.wrap` gives an SDK client our transport, and keeps the rest."""

    def test_options_stay(self) -> None:
        """Key, URL, timeout, retries and headers are those of the client that was wrapped."""
        own = openai.OpenAI(
            base_url="http://127.0.0.1:1/v1", api_key="key", timeout=7.0, max_retries=1, default_headers={"x-a": "b"}
        )
        wrapped = fc.wrap(own, fc.Policy.recommended())
        assert type(wrapped) is openai.OpenAI
        assert (wrapped.base_url, wrapped.api_key, wrapped.timeout, wrapped.max_retries) == (
            own.base_url,
            own.api_key,
            own.timeout,
            own.max_retries,
        )
        assert wrapped.default_headers["x-a"] == "b"
        wrapped.close()
        own.close()

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_asynchronous_clients(self, backend: str) -> None:
        """An asynchronous client gets the asynchronous transport."""
        with ProviderServer(answer="Hello.") as server:

            async def ask() -> str:
                async with openai.AsyncOpenAI(base_url=server.base_url, api_key="any") as own, fc.wrap(own) as sdk:
                    messages: Any = [{"role": "user", "content": "Hi"}]
                    raw = await sdk.chat.completions.with_raw_response.create(model="m", messages=messages)
                    assert raw.headers["x-fastclient-state"] == "bypass"
                    return raw.parse().choices[0].message.content or ""

            assert anyio.run(ask, backend=backend) == "Hello."

    def test_what_cannot_be_wrapped(self) -> None:
        """Other objects, and clients whose own transport would be lost, are refused by name."""
        with pytest.raises(ConfigError, match="client"):
            fc.wrap(object())
        module = FAMILIES[FAMILY]
        with (
            module.Client(transport=module.MockTransport(lambda request: module.Response(200))) as http,
            openai.OpenAI(api_key="any", http_client=http) as own,
            pytest.raises(ConfigError, match="its own"),
        ):
            fc.wrap(own)

    def test_a_wrapped_client_can_be_wrapped_again(self) -> None:
        """With another policy, for instance."""
        with (
            openai.OpenAI(api_key="any", base_url="http://127.0.0.1:1/v1") as own,
            fc.wrap(own) as once,
            fc.wrap(once) as twice,
        ):
            assert type(twice) is openai.OpenAI


def test_only_two_families() -> None:
    """A misspelt family is a ConfigError that says which there are."""
    with pytest.raises(ConfigError, match="httpx2"):
        fc.http_client(family="http")  # type: ignore[call-overload]


def test_a_closed_client_takes_no_more_calls() -> None:
    """And closing it stops nothing that other clients do."""
    transport = fc.Transport()
    with ProviderServer() as server:
        url, said = chat(server)
        with httpx2.Client(transport=transport) as http:
            assert http.post(url, **said).status_code == 200
        with pytest.raises(httpx2.ConnectError, match="closed"):
            transport.handle_request(httpx2.Request("POST", url, **said))
        with client("httpx2") as other:
            assert other.post(url, **said).status_code == 200


def test_stats_count_calls_and_nothing_else() -> None:
    """What passes through is not among them."""
    transport = fc.Transport(fc.Policy.recommended())
    with ProviderServer() as server, httpx2.Client(transport=transport) as http:
        url, said = chat(server)
        http.post(url, **said)
        http.post(url, **said)
        http.get(f"{server.base_url}/models", headers=said["headers"])
        stats = transport.stats()
    assert (stats.calls, stats.cache_hits) == (2, 1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stream_that_is_dropped_is_closed(backend: str) -> None:
    """A response that nobody closes stops the server when it is collected."""
    with ProviderServer(script=[faults.slow(0.02)], answer="word " * 500) as server:

        async def drop() -> None:
            async with httpx2.AsyncClient(transport=fc.AsyncTransport()) as http:
                url, said = chat(server, stream=True)
                response = await http.send(http.build_request("POST", url, **said), stream=True)
                assert response.status_code == 200
                del response
                gc.collect()
                with anyio.fail_after(5):
                    while server.counters.live:
                        await anyio.sleep(0.01)

        anyio.run(drop, backend=backend)
    assert server.counters.cut_early == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelling_stops_the_server(backend: str) -> None:
    """Before the first content as well as after it."""
    with ProviderServer(script=[faults.silent(30)]) as server:

        async def cancel() -> None:
            async with httpx2.AsyncClient(transport=fc.AsyncTransport(fc.Policy.recommended())) as http:
                url, said = chat(server, stream=True)
                with anyio.move_on_after(0.2):
                    await http.post(url, **said)
                with anyio.fail_after(5):
                    while server.counters.live:
                        await anyio.sleep(0.01)

        anyio.run(cancel, backend=backend)
    assert server.counters.cut_early == 1


def test_many_threads_share_one_client() -> None:
    """Identical calls at the same time are one call upstream, also from blocking SDK clients."""
    from concurrent.futures import ThreadPoolExecutor

    with ProviderServer(script=[faults.silent(0.2)]) as server, client("httpx2", fc.Policy.recommended()) as http:
        url, said = chat(server)
        with ThreadPoolExecutor(16) as pool:
            responses = list(pool.map(lambda _: http.post(url, **said), range(16)))
    assert len(server.exchanges) == 1
    assert len({response.content for response in responses}) == 1
    states = {response.headers["x-fastclient-state"] for response in responses}
    assert states <= {"miss", "shared", "hit"} and len(states) > 1


def test_nothing_secret_is_shown() -> None:
    """Neither key nor prompt stands in a repr or an error of the transport."""
    with ProviderServer(script=[faults.unanswered()]) as server, client("httpx2", fc.Policy(retry=None)) as http:
        url, said = chat(server, "my secret prompt")
        said["headers"]["authorization"] = "Bearer sk-very-secret"
        with pytest.raises(httpx2.ReadTimeout) as caught:
            http.post(url, **said, timeout=0.1)
    shown = repr(caught.value) + repr(caught.value.__cause__) + repr(http._transport)
    assert "secret" not in shown


def test_redirects_of_calls_are_not_followed() -> None:
    """A redirect would take the prompt, and a key under a name the HTTP library does not know, to another host."""
    with ProviderServer() as other:
        script = [faults.status(307, headers={"location": f"{other.base_url}/chat/completions"})] * 3
        with ProviderServer(script=script) as server, fc.http_client() as http:
            url, said = chat(server)
            assert http.post(url, **said).status_code == 307
    assert not other.exchanges


def test_time_runs_out_once() -> None:
    """The SDK's own timeout bounds each wait, also across our retries, and not the sum of what others waited."""
    with ProviderServer(script=[faults.silent(30)] * 9) as server, client("httpx2") as http:
        url, said = chat(server)
        began = time.monotonic()
        with pytest.raises(httpx2.ReadTimeout):
            http.post(url, **said, timeout=0.2)
    assert time.monotonic() - began < 5
