"""The exact cache through the public clients: what is served, what is not, and that it is what was stored."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastclient as fc
from fastclient.cache.entry import Entry
from fastclient.cache.store import Found, StoreStats
from fastclient.observe.events import CallFinished
from fastclient.testing import Answer, FakeProvider, Finish, ServerRequest, Status, Tokens, ToolCall, Wait, faults
from fastclient.types import Chunk

PROMPT = "Name one prime."
ANSWER = Answer(
    text="Two, and it is even — “2”.",
    reasoning="Which one is the smallest?",
    tool_calls=(ToolCall(name="note", arguments=json.dumps({"prime": 2, "even": True})),),
)
TARGETS = ["openai:m", "anthropic:claude-sonnet-5"]


class Clock:
    """A wall clock to be set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fastclient.levers.time", clock)
    return clock


def policy(**cache: Any) -> fc.Policy:
    return fc.Policy(cache=fc.Cache(**cache))


def client(*script: Any, target: str = "openai:m", **cache: Any) -> tuple[fc.AsyncClient, FakeProvider]:
    provider = FakeProvider(*script)
    return fc.AsyncClient(target, api_key="sk-test", wire=provider, policy=policy(**cache)), provider


def numbered(request: ServerRequest) -> str:
    return f"answer {request.arrival}"


async def chunks(stream: fc.AsyncReplyStream) -> list[Chunk]:
    async with stream:
        return [chunk async for chunk in stream]


def whole(reply: fc.Reply) -> tuple[Any, ...]:
    return (
        *(reply.text, reply.reasoning, reply.tool_calls, reply.finish_reason, reply.model, reply.blocks, reply.raw),
        *(reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reasoning_tokens, reply.message),
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("first", ["chat", "stream"])
async def test_one_entry_serves_both(target: str, first: str) -> None:
    """An answer that was stored from either comes back as either: byte for byte, tool calls and usage included."""
    asking, provider = client(ANSWER, target=target)
    options: dict[str, Any] = {"tools": [{"type": "function", "function": {"name": "note", "parameters": {}}}]}
    came: list[Chunk] = []
    if first == "chat":
        original = await asking.chat(PROMPT, **options)
    else:
        async with asking.stream(PROMPT, **options) as stream:
            came = [chunk async for chunk in stream]
            original = await stream.reply()
    assert original.cache.state == "miss" and original.tool_calls and original.usage.output_tokens
    again = await asking.chat(PROMPT, **options)
    async with asking.stream(PROMPT, **options) as stream:
        replayed = [chunk async for chunk in stream]
        streamed = await stream.reply()
    for reply in (again, streamed):
        assert whole(reply) == whole(original)
        assert reply.cache.state == "hit" and reply.cache.source == "memory" and reply.cache.age is not None
        assert reply.attempts == () and reply.target == target and not reply.degraded
        assert reply.timings.ttft is not None and reply.timings.lookup is not None
        assert sum(reply.timings.parts().values()) == pytest.approx(reply.timings.total)
    assert b"".join(chunk.raw for chunk in replayed) == original.raw
    assert not came or replayed == came
    assert len(provider.requests) == 1


def test_the_blocking_client_finds_hits_without_a_loop() -> None:
    """A hit needs no event loop: another thread's call, in the middle of the engine's work, does not hold it up."""
    provider = FakeProvider("two")
    with fc.Client("openai:m", wire=provider, policy=policy()) as asking:
        asking.chat(PROMPT)
        from fastclient.engine.seam import engine

        held, release = threading.Event(), threading.Event()
        engine().call(lambda: (held.set(), release.wait(5)))
        held.wait(5)
        try:
            assert asking.chat(PROMPT).cache.state == "hit"
            with asking.stream(PROMPT) as stream:
                assert "".join(stream.text) == "two"
        finally:
            release.set()


async def test_per_call_control() -> None:
    """`"off"` neither looks nor keeps, `"refresh"` keeps without looking, and a namespace is a cache of its own."""
    asking, provider = client(numbered)
    assert (await asking.chat(PROMPT)).text == "answer 0"
    off = await asking.chat(PROMPT, cache="off")
    assert off.text == "answer 1" and off.cache.state == "bypass"
    assert (await asking.chat(PROMPT)).text == "answer 0"
    refreshed = await asking.chat(PROMPT, cache="refresh")
    assert refreshed.text == "answer 2" and refreshed.cache.state == "miss"
    assert (await asking.chat(PROMPT)).text == "answer 2"
    assert (await asking.chat(PROMPT, namespace="b")).text == "answer 3"
    assert (await asking.chat(PROMPT, namespace="default")).text == "answer 2"
    stats = asking.stats()
    assert (stats.cache_hits, stats.cache_misses, stats.cache_bypassed) == (3, 3, 1)
    assert len(provider.requests) == 4


async def test_samples_take_turns() -> None:
    """With `samples=3` three different answers are kept and served in turn, per policy or per call."""
    asking, provider = client(numbered, samples=3)
    texts = [(await asking.chat(PROMPT)).text for _ in range(7)]
    assert texts == [f"answer {number % 3}" for number in range(7)]
    other, _ = client(numbered)
    assert [(await other.chat(PROMPT, samples=2)).text for _ in range(4)] == ["answer 0", "answer 1"] * 2
    assert len(provider.requests) == 3
    with pytest.raises(fc.ConfigError) as refused:
        await other.chat(PROMPT, samples=0)
    assert refused.value.field == "samples"


async def test_an_answer_is_served_for_its_time(clock: Clock) -> None:
    """`ttl` seconds, counted from when it was stored; what is older is asked for anew and replaced."""
    asking, _ = client(numbered, ttl=100)
    await asking.chat(PROMPT)
    clock.now += 99
    reply = await asking.chat(PROMPT)
    assert reply.text == "answer 0" and reply.cache.age == 99
    clock.now += 1
    assert (await asking.chat(PROMPT)).text == "answer 1"
    assert (await asking.chat(PROMPT)).cache.age == 0


async def test_stale_while_revalidate(clock: Clock) -> None:
    """Past `ttl` it is served for `stale` more seconds, at once, and one new answer is fetched meanwhile."""
    finished: list[CallFinished] = []
    provider = FakeProvider(numbered)
    observed = fc.Policy(cache=fc.Cache(ttl=100, stale=50), observers=(finished.append,))  # type: ignore[arg-type]
    asking = fc.AsyncClient("openai:m", wire=provider, policy=observed)
    await asking.chat(PROMPT)
    clock.now += 120
    for _ in range(3):
        reply = await asking.chat(PROMPT)
        assert reply.text == "answer 0" and reply.cache.state == "stale"
    with anyio.fail_after(5):
        while (await asking.chat(PROMPT)).text == "answer 0":
            await anyio.sleep(0.001)
        while sum(event.cache.state == "miss" for event in finished) < 2:
            await anyio.sleep(0.001)
    assert len(provider.requests) == 2
    clock.now += 151
    assert (await asking.chat(PROMPT)).cache.state == "miss"


def test_stale_while_revalidate_from_a_thread(clock: Clock) -> None:
    """The same through the blocking client, where the new answer is fetched by the engine."""
    with fc.Client("openai:m", wire=FakeProvider(numbered), policy=policy(ttl=100, stale=50)) as asking:
        asking.chat(PROMPT)
        clock.now += 120
        assert asking.chat(PROMPT).cache.state == "stale"
        waited = threading.Event()
        for _ in range(500):
            if asking.chat(PROMPT).text == "answer 1":
                break
            waited.wait(0.01)
        assert asking.chat(PROMPT).cache.state == "hit"


async def test_a_failed_renewal_is_no_error(clock: Clock) -> None:
    """The stale answer goes on being served, and the next call tries again."""
    asking, provider = client("one", faults.status(400), "two", ttl=100, stale=1000)
    await asking.chat(PROMPT)
    clock.now += 200
    with anyio.fail_after(5):
        while (await asking.chat(PROMPT)).text == "one":
            await anyio.sleep(0.001)
    assert 3 <= len(provider.requests) <= 4


@pytest.mark.parametrize("status, kind", [(400, fc.BadRequest), (404, fc.NotFound), (422, fc.BadRequest)])
async def test_a_refusal_that_would_come_again_is_remembered(
    status: int, kind: type[fc.ProviderError], clock: Clock
) -> None:
    """For a short while, as the same error with the same words; not for longer, and not on request."""
    asking, provider = client(faults.status(status), negative=20)
    errors = []
    for _ in range(2):
        with pytest.raises(kind) as refused:
            await asking.chat(PROMPT)
        errors.append(refused.value)
    first, second = errors
    assert len(provider.requests) == 1 and first is not second
    assert (str(first), first.status_code, first.body) == (str(second), second.status_code, second.body)
    assert first.attempts and not second.attempts and first.call_id != second.call_id
    clock.now += 21
    with pytest.raises(kind):
        await asking.chat(PROMPT)
    with pytest.raises(kind):
        await asking.chat(PROMPT, cache="refresh")
    assert len(provider.requests) == 3
    other, provider = client(faults.status(status), negative=0)
    for _ in range(2):
        with pytest.raises(kind):
            await other.chat(PROMPT)
    assert len(provider.requests) == 2


NOT_KEPT: list[Any] = [
    Answer(text="cut at", finish_reason="length"),
    Answer(text="", finish_reason="content_filter"),
    faults.truncated(3),
    faults.status(401),
    faults.status(403),
    faults.status(500),
    faults.status(429),
    faults.malformed(5),
]


@pytest.mark.parametrize("outcome", NOT_KEPT, ids=str)
async def test_only_clean_ends_are_stored(outcome: Any) -> None:
    """Not what was cut, filtered, broken off, skipped over, or refused for reasons that may pass."""
    provider = FakeProvider(outcome)
    asking = fc.AsyncClient("openai:m", wire=provider, policy=fc.Policy(cache=fc.Cache(), retry=None))
    for _ in range(2):
        try:
            await asking.chat(PROMPT)
        except fc.FastClientError:
            pass
    assert len(provider.requests) == 2


async def test_a_limit_the_caller_set_is_part_of_the_request() -> None:
    """An answer of the length that was asked for is whole."""
    asking, provider = client(Answer(text="two three five", finish_reason="length"))
    first = await asking.chat(PROMPT, max_tokens=3)
    assert first.finish_reason == "length"
    assert (await asking.chat(PROMPT, max_tokens=3)).cache.state == "hit"
    assert len(provider.requests) == 1


async def test_an_answer_left_early_is_not_stored() -> None:
    """A reader who leaves has not seen whether it would end well."""
    asking, provider = client("one two three four five six")
    async with asking.stream(PROMPT) as stream:
        async for _ in stream:
            break
    assert (await asking.chat(PROMPT)).cache.state == "miss"
    assert len(provider.requests) == 2


async def test_another_models_answer_is_not_stored() -> None:
    """What a fallback answered is not kept under the name of the model that was asked."""
    provider = FakeProvider(faults.status(503), "from the other")
    route = fc.Route(fallback=(fc.Target("openai:other", base_url="http://127.0.0.1:9/v1"),))
    asking = fc.AsyncClient("openai:m", wire=provider, policy=fc.Policy(cache=fc.Cache(), retry=None, route=route))
    assert (await asking.chat(PROMPT)).degraded
    await asking.chat(PROMPT)
    assert len(provider.requests) > 2


@pytest.mark.parametrize("options", [{"store": True}, {"extra_body": {"background": True}}])
async def test_what_must_not_be_repeated_is_not_cached(options: dict[str, Any]) -> None:
    """A request that leaves something at the provider is sent each time."""
    asking, provider = client("x")
    for _ in range(2):
        assert (await asking.chat(PROMPT, **options)).cache.state == "bypass"
    assert len(provider.requests) == 2


async def test_copies_of_a_client_share_the_store() -> None:
    """`with_` keeps what is known, if the policy's cache is the same."""
    asking, provider = client("x")
    await asking.chat(PROMPT)
    copy = asking.with_(policy=fc.Policy(cache=asking._core.policy.cache, retry=None))
    assert (await copy.chat(PROMPT)).cache.state == "hit"
    assert len(provider.requests) == 1


async def test_clients_with_other_keys_share_nothing() -> None:
    """One store, several credentials, targets and namespaces: each sees its own answers alone."""
    store = fc.MemoryStore()
    provider = FakeProvider(numbered)
    askers = [
        fc.AsyncClient(
            target, api_key=key, base_url=url, wire=provider, policy=policy(store=store, namespace=namespace)
        )
        for target in ("openai:a", "openai:b")
        for key in ("sk-1", "sk-2")
        for url in ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")
        for namespace in ("x", "y")
    ]
    firsts = [(await asker.chat(PROMPT)).text for asker in askers]
    assert len(set(firsts)) == len(askers) == len(provider.requests)
    assert [(await asker.chat(PROMPT)).text for asker in askers] == firsts


class Broken:
    """A store in which everything goes wrong."""

    def __init__(self, *, found: Found | None = None) -> None:
        self.found = found

    def open(self) -> None:
        return

    def get(self, key: bytes) -> Found | None:
        if self.found is not None:
            return self.found
        raise OSError("a private path")

    def put(self, key: bytes, entry: Entry, *, tag: bytes, lifetime: float) -> None:
        raise OSError("a private path")

    def close(self) -> None:
        return

    def stats(self) -> StoreStats:
        return StoreStats()


async def test_a_broken_store_costs_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a store does wrong makes a slower call and a line in the log without details, never an error."""
    asking, _ = client("fine", store=Broken())
    for _ in range(2):
        reply = await asking.chat(PROMPT)
        assert reply.text == "fine" and reply.cache.state == "miss"
    assert "OSError" in caplog.text and "private" not in caplog.text


@pytest.mark.parametrize(
    "entry", [Entry(stored=1e12, packed=b"nonsense"), Entry(stored=1e12, problem={"class": "ConfigError"})], ids=repr
)
async def test_an_unreadable_entry_is_a_miss(entry: Entry) -> None:
    """Also where that shows only when it is streamed."""
    asking, _ = client("fine", store=Broken(found=Found(entry, "disk")))
    async with asking.stream(PROMPT) as stream:
        assert (await stream.reply()).text == "fine"


async def test_a_replay_at_a_pace() -> None:
    """With `pace`, stored chunks come that many a second, for those who stream; leaving ends it at once."""
    asking, _ = client("one two three four five six", pace=100)
    await asking.chat(PROMPT)
    times = []
    async with asking.stream(PROMPT) as stream:
        async for chunk in stream:
            if chunk.is_content:
                times.append(anyio.current_time())
    gaps = [after - before for before, after in pairwise(times)]
    assert len(gaps) >= 4 and min(gaps) >= 0.009
    began = anyio.current_time()
    assert (await asking.chat(PROMPT)).cache.state == "hit"
    assert anyio.current_time() - began < sum(gaps)


def test_a_replay_at_a_pace_from_a_thread() -> None:
    with fc.Client("openai:m", wire=FakeProvider("one two three"), policy=policy(pace=1000)) as asking:
        asking.chat(PROMPT)
        with asking.stream(PROMPT) as stream:
            assert "".join(stream.text) == "one two three"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("cache.ttl", {"ttl": 0}),
    ("cache.ttl", {"ttl": float("inf")}),
    ("cache.stale", {"stale": -1}),
    ("cache.negative", {"negative": "1"}),
    ("cache.namespace", {"namespace": None}),
    ("cache.samples", {"samples": 0}),
    ("cache.pace", {"pace": 0}),
    ("cache.store", {"store": "memory"}),
    ("cache.store", {"store": fc.MemoryStore}),
]


@pytest.mark.parametrize("field, options", WRONG)
def test_wrong_options_are_named(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(fc.ConfigError) as refused:
        fc.Cache(**options)
    assert refused.value.field == field


tenants = st.fixed_dictionaries(
    {
        "namespace": st.sampled_from(["a", "b"]),
        "api_key": st.sampled_from(["sk-1", "sk-2"]),
        "prompt": st.sampled_from(["x", "y"]),
        "temperature": st.sampled_from([None, 0, 1]),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(tenants, min_size=2, max_size=8))
def test_no_entry_is_visible_across(asked: list[dict[str, Any]]) -> None:
    """Whoever asks whatever in any order gets an answer made for exactly that, namespace and credential."""
    store = fc.MemoryStore()

    def echo(request: ServerRequest) -> str:
        return f"{request.headers['authorization']} {request.body}"

    provider = FakeProvider(echo)
    for tenant in asked:
        shared = policy(store=store, namespace=tenant["namespace"])
        with fc.Client("openai:m", api_key=tenant["api_key"], wire=provider, policy=shared) as asking:
            reply = asking.chat(tenant["prompt"], temperature=tenant["temperature"])
        assert tenant["api_key"] in reply.text and f'"content":"{tenant["prompt"]}"' in reply.text
    assert len(provider.requests) == len({tuple(sorted(tenant.items(), key=repr)) for tenant in asked})


async def test_single_flight_through_the_client() -> None:
    """Identical calls at the same time are one call upstream, streams and not; and the answer is kept once."""
    provider = FakeProvider((Wait(0.05), Tokens(5), Finish()))
    store = fc.MemoryStore()
    asking = fc.AsyncClient("openai:m", wire=provider, policy=policy(store=store))
    texts: list[str] = []

    async def ask(streamed: bool) -> None:
        if streamed:
            async with asking.stream(PROMPT) as stream:
                texts.append("".join([text async for text in stream.text]))
        else:
            texts.append((await asking.chat(PROMPT)).text)

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(ask, number % 2 == 0)
    assert len(texts) == 100 and len(set(texts)) == 1
    assert len(provider.requests) == 1 and store.stats().stored == 1
    stats = asking.stats()
    assert stats.shared + stats.cache_hits == 99 and stats.calls == 100


def test_single_flight_over_threads() -> None:
    """The same for a hundred threads with one blocking client."""
    provider = FakeProvider((Wait(0.2), Tokens(5), Finish()))
    with fc.Client("openai:m", wire=provider, policy=policy()) as asking:
        texts: list[str] = []
        gate = threading.Barrier(100)

        def ask() -> None:
            gate.wait()
            texts.append(asking.chat(PROMPT).text)

        threads = [threading.Thread(target=ask) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(texts) == 100 and len(set(texts)) == 1
        assert len(provider.requests) == 1


async def test_who_shares_an_answer_is_told_who_gave_it() -> None:
    """Target, degradation and request id are those of the call that was made, also where another one made it."""
    provider = FakeProvider((Wait(0.02), Status(503)), (Wait(0.02), Tokens(5), Finish()))
    other = fc.Target("openai:other", base_url="http://127.0.0.1:9/v1")
    sharing = fc.Policy(cache=fc.Cache(), retry=None, route=fc.Route(fallback=(other,)))
    asking = fc.AsyncClient("openai:m", wire=provider, policy=sharing)
    replies: list[fc.Reply] = []

    async def ask() -> None:
        replies.append(await asking.chat(PROMPT))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    assert len(provider.requests) == 2
    assert sorted(reply.cache.state for reply in replies) == ["miss", "shared", "shared"]
    assert {(reply.target, reply.degraded, reply.request_id is None) for reply in replies} == {
        ("openai:other", True, False)
    }
    assert sorted(len(reply.attempts) for reply in replies) == [0, 0, 2]


def parts(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


async def test_what_the_caller_changes_later_is_not_asked(clock: Clock) -> None:
    """A conversation that is changed while its call waits, or is renewed, is asked and kept as it was."""
    words = parts("A")

    def answer(request: ServerRequest) -> Any:
        if request.arrival == 0:
            words[0]["content"][0]["text"] = "B"
            return faults.status(503)  # and is tried again
        return f"echo {request.prompt}"

    provider = FakeProvider(answer)
    asking = fc.AsyncClient("openai:m", wire=provider, policy=policy(ttl=10, stale=100))
    assert "A" in (await asking.chat(words)).text
    clock.now += 20
    words = parts("A")
    assert (await asking.chat(words)).cache.state == "stale"
    words[0]["content"][0]["text"] = "B"
    with anyio.fail_after(5):
        while (reply := await asking.chat(parts("A"))).cache.state == "stale":
            await anyio.sleep(0.001)
    assert "A" in reply.text and all("B" not in request.prompt for request in provider.requests)


async def test_what_the_caller_does_to_a_reply_stays_there() -> None:
    """A provider's blocks go into conversations and are added to; the entry and other readers do not see it."""
    thinking = Answer(text="Two.", reasoning="Which?")
    asking, provider = client(thinking, target="anthropic:claude-sonnet-5")

    async def ask(replies: list[fc.Reply]) -> None:
        async with asking.stream(PROMPT) as stream:
            async for chunk in stream:
                for block in chunk.blocks:
                    block["cache_control"] = 1  # type: ignore[index]
            replies.append(await stream.reply())

    replies: list[fc.Reply] = []
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask, replies)
    assert len(provider.requests) == 1 and replies[0].blocks
    for _ in range(2):
        hit = await asking.chat(PROMPT)
        assert hit.cache.state == "hit" and hit.blocks and "cache_control" not in hit.blocks[0]
        hit.blocks[0]["cache_control"] = 2  # type: ignore[index]


async def test_copies_with_another_way_do_not_share_a_flight() -> None:
    """A copy without a fallback does not get the fallback's answer, nor one with retries another's failure."""
    provider = FakeProvider((Wait(0.02), Status(503)), (Wait(0.02), Status(503)), "from the other")
    other = fc.Target("openai:other", base_url="http://127.0.0.1:9/v1")
    cache = fc.Cache()
    loose = fc.Policy(cache=cache, retry=None, route=fc.Route(fallback=(other,)))
    asking = fc.AsyncClient("openai:m", wire=provider, policy=loose)
    strict = asking.with_(policy=fc.Policy(cache=cache, retry=None))
    outcomes: list[Any] = []

    async def ask(asker: fc.AsyncClient) -> None:
        try:
            outcomes.append((await asker.chat(PROMPT)).text)
        except fc.Overloaded as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, asking)
        tasks.start_soon(ask, strict)
    assert "from the other" in outcomes and sum(isinstance(one, fc.Overloaded) for one in outcomes) == 1
    same = asking.with_(policy=fc.Policy(cache=cache, retry=None, route=loose.route, observers=(lambda _: None,)))
    assert same._core._common.flights is asking._core._common.flights


async def test_another_accounts_answer_is_not_stored() -> None:
    """A fallback of the same name at another server, or with another key, is another target."""
    provider = FakeProvider(faults.status(503), "theirs", "ours")
    store = fc.MemoryStore()
    other = fc.Target("openai:m", base_url="http://127.0.0.1:9/v1", api_key="k2")
    route = fc.Route(fallback=(other,))
    asking = fc.AsyncClient(
        "openai:m", wire=provider, policy=fc.Policy(cache=fc.Cache(store=store), retry=None, route=route)
    )
    assert (await asking.chat(PROMPT)).text == "theirs" and store.stats().stored == 0


async def test_a_leader_who_leaves_is_not_charged_for_the_others() -> None:
    """What is spent after it left is counted once, and its tokens are not wasted, for others got the answer."""
    provider = FakeProvider((Wait(0.01), Tokens(3), Wait(0.02), Tokens(5), Finish()))
    asking = fc.AsyncClient("openai:m", wire=provider, policy=policy())
    begun = anyio.Event()
    replies: list[fc.Reply] = []

    async def lead() -> None:
        async with asking.stream(PROMPT) as stream:
            async for _ in stream:
                begun.set()
                break

    async def follow() -> None:
        replies.append(await asking.chat(PROMPT))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await anyio.sleep(0.002)
        tasks.start_soon(follow)
    stats = asking.stats()
    (reply,) = replies
    assert len(provider.requests) == 1 and reply.cache.state == "shared"
    assert stats.output_tokens == reply.usage.output_tokens and stats.input_tokens == reply.usage.input_tokens
    assert (stats.attempts, stats.wasted_tokens, stats.calls, stats.cancelled) == (1, 0, 2, 1)


async def test_a_refusal_that_may_pass_is_not_remembered() -> None:
    """An empty account, a lock, a request that came too early: 4xx that go away by themselves."""
    for status in (402, 423, 424, 425):
        asking, provider = client(faults.status(status))
        for _ in range(2):
            with pytest.raises(fc.ProviderError):
                await asking.chat(PROMPT)
        assert len(provider.requests) == 2, status


async def test_a_pace_ends_with_the_calls_time() -> None:
    """When the next pause would outlast the call, the rest comes at once."""
    asking, _ = client("one two three four five six seven eight nine ten", pace=10)
    await asking.chat(PROMPT)
    began = anyio.current_time()
    async with asking.stream(PROMPT, timeout=0.25) as stream:
        assert (await stream.reply()).text.startswith("one two")
    assert anyio.current_time() - began < 0.6


def test_a_store_is_closed_without_an_engine() -> None:
    """A client that only had hits lets go of its files too."""
    closed = []

    class Noted(Broken):
        def close(self) -> None:
            closed.append(True)

    with fc.Client("openai:m", wire=FakeProvider("x"), policy=policy(store=Noted())):
        pass
    assert closed
