"""The semantic cache through the public clients: what is served, to whom, and that it is what was stored."""

from __future__ import annotations

import json
from typing import Any

import anyio
import openai
import pytest

import fastclient as fc
from fastclient.cache.semantic.local import LocalQuestions
from fastclient.testing import Answer, FakeProvider, ProviderServer, faults
from fastclient.types import Chunk
from tests.cache.semantic.asking import (
    Meanings,
    answer,
    asker,
    blocked,
    learned,
    numbered,
    policy,
    question,
    semantics,
    settled,
    worded,
)

FAMILY: Any = "httpx" if int(openai.__version__.partition(".")[0]) < 3 else "httpx2"
TARGETS = ["openai:m", "anthropic:claude-sonnet-5"]
THOUGHT = Answer(text="Turn it twice — “gently”.", reasoning="Which way?")


def whole(reply: fc.Reply) -> tuple[Any, ...]:
    return (
        *(reply.text, reply.reasoning, reply.tool_calls, reply.finish_reason, reply.model, reply.blocks, reply.raw),
        *(reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reasoning_tokens, reply.message),
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("first", ["chat", "stream"])
async def test_other_words_get_the_stored_answer(target: str, first: str) -> None:
    """Byte for byte, whole or as a stream, without a call; and the reply says where it came from."""
    async with asker(THOUGHT, target=target) as (client, provider):
        came: list[Chunk] = []
        if first == "chat":
            original = await learned(client, question(1))
        else:
            async with client.stream(question(1)) as stream:
                came = [chunk async for chunk in stream]
                original = await stream.reply()
            await settled(lambda: semantics(client).kept)
        again = await client.chat(worded(1, 1))
        async with client.stream(worded(1, 2)) as stream:
            replayed = [chunk async for chunk in stream]
            streamed = await stream.reply()
        for reply in (again, streamed):
            assert whole(reply) == whole(original)
            assert (reply.cache.state, reply.cache.source) == ("hit", "semantic")
            assert reply.cache.similarity is not None and 0.5 < reply.cache.similarity <= 1.0
            assert reply.cache.age is not None and 0 <= reply.cache.age < 60
            assert reply.attempts == () and not reply.degraded and reply.target == target
            assert reply.timings.ttft is not None and reply.timings.lookup is not None
            assert sum(reply.timings.parts().values()) == pytest.approx(reply.timings.total)
        assert b"".join(chunk.raw for chunk in replayed) == original.raw
        assert not came or replayed == came
        assert len(provider.requests) == 1


def test_threads_get_it_too() -> None:
    """The same through the blocking client."""
    provider = FakeProvider(numbered)
    with fc.Client("openai:m", wire=provider, policy=policy()) as client:
        original = client.chat(question(1))
        blocked(lambda: semantics(client).kept)
        assert whole(client.chat(worded(1, 1))) == whole(original)
        with client.stream(worded(1, 3)) as stream:
            assert "".join(stream.text) == original.text
        assert len(provider.requests) == 1 and client.stats().cache_hits == 2


@pytest.mark.parametrize("streamed", [False, True])
def test_an_sdk_gets_it_in_its_own_format(streamed: bool) -> None:
    """Through the transport door the official SDK reads a stored answer as it reads the provider's."""

    def ask(sdk: openai.OpenAI, text: str) -> tuple[str, str]:
        messages: Any = [{"role": "user", "content": text}]
        if streamed:
            chunks = list(sdk.chat.completions.create(model="m", messages=messages, stream=True))
            return "".join(each.choices[0].delta.content or "" for each in chunks if each.choices), chunks[0].id
        answer = sdk.chat.completions.create(model="m", messages=messages)
        return answer.choices[0].message.content or "", answer.id

    with ProviderServer(answer=answer(1)) as server, fc.http_client(policy(), family=FAMILY) as http:
        sdk = openai.OpenAI(base_url=server.base_url, api_key="any", http_client=http)
        first = ask(sdk, question(1))
        assert first[0] == answer(1)
        for number in range(1, 200):  # it is kept behind our back: sooner or later it is there
            told = ask(sdk, worded(1, number))
            if len(server.exchanges) == number:
                break
        assert told == first
        assert ask(sdk, worded(1, 500)) == first
        assert len(server.exchanges) < 5


async def test_an_sdk_whose_form_holds_all_words_is_left_alone() -> None:
    """Where the key of a request holds all of its body, no lookup is made, and nothing is kept for nobody."""
    embedder = Meanings()
    with ProviderServer(answer="The same.") as server:
        async with fc.async_http_client(policy(embedder=embedder), family=FAMILY) as http:
            for wording in (0, 1, 2):
                body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": worded(1, wording)}]}
                response = await http.post(f"{server.anthropic_url}/v1/messages", json=body)
                assert response.headers["x-fastclient-state"] == "miss"
        assert len(server.exchanges) == 3 and not embedder.asked


async def test_what_differs_around_the_question_is_another_question() -> None:
    """Other instructions, history, parameters, model, key, namespace: each has answers of its own."""
    system = {"role": "system", "content": "Be brief."}
    asked = {"role": "user", "content": worded(1, 1)}
    before = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    named = {**asked, "name": "ann"}
    document = {"type": "text", "text": "A document."}
    others: list[tuple[Any, dict[str, Any]]] = [
        ([system, asked], {}),
        ([{**system, "content": "Be kind."}, asked], {}),
        ([{"role": "developer", "content": "Be brief."}, asked], {}),
        ([*before, asked], {}),
        ([*before[:1], {**before[1], "content": "Hey."}, asked], {}),
        ([named], {}),
        ([{"role": "user", "content": [document, {"type": "text", "text": worded(1, 1)}]}], {}),
        ([asked], {"temperature": 0.5}),
        ([asked], {"max_tokens": 500}),
        ([asked], {"seed": 7}),
        ([asked], {"user": "ann"}),
        ([asked], {"response_format": {"type": "json_object"}}),
        ([asked], {"extra_body": {"whatever": 1}}),
        ([asked], {"namespace": "b"}),
    ]
    async with asker() as (client, provider):
        await learned(client, question(1))
        for number, (messages, options) in enumerate(others, start=1):
            reply = await learned(client, messages, **options)
            assert len(provider.requests) == number + 1, (messages, options)
            again = [*messages[:-1], _reworded(messages[-1])]
            assert (await client.chat(again, **options)).cache.source == "semantic"
            assert reply.text == answer(1)


def _reworded(message: Any) -> Any:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": worded(1, 3)}
    return {**message, "content": [*content[:-1], {**content[-1], "text": worded(1, 3)}]}


async def test_other_clients_share_nothing_they_should_not() -> None:
    """One store, one index, one provider: another model, server, key, header or namespace finds nothing."""
    store = fc.MemoryStore()
    cache, index = fc.Cache(store=store), LocalQuestions(store)
    provider = FakeProvider(numbered)
    askers = [
        {"target": "openai:m", "api_key": "k1"},
        {"target": "openai:n", "api_key": "k1"},
        {"target": "openai:m", "api_key": "k2"},
        {"target": "openai:m", "api_key": "k1", "base_url": "http://127.0.0.1:9/v1"},
        {"target": "openai:m", "api_key": "k1", "headers": {"x-tenant": "b"}},
        {
            "target": "openai:m",
            "api_key": "k1",
            "policy": policy(cache=fc.Cache(store=store, namespace="b"), index=index),
        },
    ]
    for number, told in enumerate(askers, start=1):
        options: dict[str, Any] = {"policy": policy(cache=cache, index=index), **told}
        client = fc.AsyncClient(**options, wire=provider)
        await learned(client, worded(1, number))
        assert len(provider.requests) == number
        assert (await client.chat(worded(1, number + 20))).cache.source == "semantic"


async def test_vectors_of_two_embedders_are_never_compared() -> None:
    """A copy with another embedder starts from nothing, though store, target and words are the same."""
    cache = fc.Cache()
    async with asker(cache=cache, embedder=Meanings(lambda _: "one", name="a")) as (client, provider):
        await learned(client, question(1))
        assert (await client.chat(worded(1, 1))).cache.source == "semantic"
        other = client.with_(policy=policy(cache=cache, embedder=Meanings(lambda _: "one", name="b")))
        assert (await other.chat(worded(1, 2))).cache.state == "miss"
        assert len(provider.requests) == 2


LEFT_ALONE: list[tuple[Any, dict[str, Any]]] = [
    ("{}", {"tools": [{"type": "function", "function": {"name": "note", "parameters": {}}}]}),
    ("{}", {"extra_body": {"web_search_options": {}}}),
    ("{}", {"cache": "off"}),
    ("{}", {"samples": 2}),
    ("{} My name is Ann.", {}),
    ("{} It's order 12345.", {}),
    ("{} I need it today.", {}),
    ("{} " + "Please. " * 300, {}),
    ([fc.static("Be brief."), fc.volatile("It is noon."), fc.user("{}")], {}),
]


@pytest.mark.parametrize("prompt, options", LEFT_ALONE, ids=[str(number) for number in range(len(LEFT_ALONE))])
async def test_what_is_not_for_others_is_always_asked(prompt: Any, options: dict[str, Any]) -> None:
    """Tools, other samples, who asks, the moment, parts that change, and what is too long to compare."""

    def words(wording: int) -> Any:
        text = worded(1, wording)
        return prompt.format(text) if isinstance(prompt, str) else [*prompt[:-1], fc.user(text)]

    async with asker(answer(1)) as (client, provider):
        for wording in range(3):
            assert (await client.chat(words(wording), **options)).cache.state in ("miss", "bypass")
        assert len(provider.requests) == 3
        assert semantics(client).requests == semantics(client).kept == 0


async def test_pictures_are_always_asked() -> None:
    """Whatever is not text, now or earlier in the conversation."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    async with asker("A door.") as (client, provider):
        for wording in range(2):
            text = {"type": "text", "text": worded(1, wording)}
            await client.chat([{"role": "user", "content": [picture, text]}])
            seen: Any = [{"role": "user", "content": [picture]}, {"role": "assistant", "content": "Yes?"}]
            await client.chat([*seen, {"role": "user", "content": worded(1, wording)}])
        assert len(provider.requests) == 4 and semantics(client).requests == 0


async def test_a_policy_with_samples_takes_turns() -> None:
    """Several answers to the same question are wanted in turn, not one answer to all its wordings."""
    async with asker(cache=fc.Cache(samples=2)) as (client, provider):
        for wording in (0, 0, 1, 1):
            assert (await client.chat(worded(1, wording))).cache.state == "miss"
        assert len(provider.requests) == 4


async def test_refresh_asks_and_is_kept() -> None:
    """`cache="refresh"` never gets a stored answer, and what it brings is for others from then on."""
    async with asker("one", "two") as (client, provider):
        await learned(client, question(1))
        assert (await learned(client, worded(1, 1), cache="refresh")).text == "two"
        assert len(provider.requests) == 2
        assert (await client.chat(worded(1, 2))).text in ("one", "two")
        assert len(provider.requests) == 2


async def test_what_the_caller_does_to_a_reply_stays_there() -> None:
    """A provider's blocks are added to by their readers; the entry and other readers do not see it."""
    async with asker(THOUGHT, target="anthropic:claude-sonnet-5") as (client, _):
        await learned(client, question(1))
        for wording in (1, 2, 3):
            async with client.stream(worded(1, wording)) as stream:
                async for chunk in stream:
                    for block in chunk.blocks:
                        assert "cache_control" not in block
                        block["cache_control"] = 1  # type: ignore[index]
                reply = await stream.reply()
            assert reply.cache.source == "semantic"
            hit = await client.chat(worded(1, wording + 6))
            assert hit.blocks and all("cache_control" not in block for block in hit.blocks)
            hit.blocks[0]["cache_control"] = 2  # type: ignore[index]


async def test_auto_serves_once_the_evidence_allows() -> None:
    """At first nothing; after enough of the provider's own answers it serves, within the error that is allowed."""
    wrong = 0
    async with asker(mode="auto", max_error=0.2, rate=0.5, agree=lambda one, other: one == other) as (client, provider):
        for number in range(240):
            reply = await client.chat(worded(number % 8, number // 8))
            wrong += reply.text != answer(number % 8)
            assert number > 20 or reply.cache.source != "semantic"
            await anyio.sleep(0.002)  # as between callers; lessons have their turn
        with anyio.fail_after(20):  # the last lessons end behind the caller's back
            while (stats := semantics(client)).served + stats.kept < stats.requests - 8:
                await anyio.sleep(0.01)
        assert wrong == 0
        assert stats.served > 50 and stats.serving == 1
        assert stats.wrong == 0 and stats.at_most <= 0.2
        assert len(provider.requests) < 200


async def test_hits_cost_no_call_where_the_provider_is_down() -> None:
    """Known questions are answered although nobody else can be."""
    async with asker(answer(1), faults.status(503)) as (client, _):
        await learned(client, question(1))
        assert (await client.chat(worded(1, 1))).text == answer(1)


def test_it_needs_a_cache() -> None:
    """Answers have to be kept somewhere."""
    with pytest.raises(fc.ConfigError) as refused:
        fc.Policy(semantic=fc.Semantic())
    assert refused.value.field == "policy.semantic"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("semantic.max_error", {"max_error": 0}),
    ("semantic.max_error", {"max_error": 1}),
    ("semantic.max_error", {"max_error": "0.1"}),
    ("semantic.mode", {"mode": "always"}),
    ("semantic.rate", {"rate": 1.5}),
    ("semantic.agree", {"agree": "equal"}),
    ("semantic.index", {"index": object()}),
    ("semantic.audit", {"audit": 3}),
    ("semantic.most", {"most": 0}),
    ("embedder", {"embedder": 3}),
]


@pytest.mark.parametrize("field, options", WRONG)
def test_wrong_options_are_named(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(fc.ConfigError) as refused:
        fc.Semantic(**options)
    assert refused.value.field == field


def test_why_is_explained() -> None:
    """In words, for a pair that may be served and for one that must not be."""
    semantic = fc.Semantic()
    fine = semantic.explain(question(1), worded(1, 2))
    assert fine.probability > 0.9 and not fine.vetoes
    other = semantic.explain("Can I pay in 3 rates?", "Can I pay in 12 rates?")
    assert other.vetoes and other.probability == 0.0
    assert "12" not in repr(other) and json.dumps(str(other))
