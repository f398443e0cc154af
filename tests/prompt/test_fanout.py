"""`client.map`: replies as they come, the head start of the first call, errors, and leaving early. In every world."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

import fastclient as fc
from fastclient.testing import FakeProvider, Hang, ProviderServer, ServerRequest, Status, Tokens, Wait

PROMPTS = [f"Question {number}?" for number in range(12)]
FAILED = (Status(400),)


def client(*script: Any, **policy: Any) -> tuple[fc.AsyncClient, FakeProvider]:
    provider = FakeProvider(*script)
    return fc.AsyncClient("openai:m", wire=provider, policy=fc.Policy(retry=None, **policy)), provider


def number(request: ServerRequest) -> int:
    return int(request.text.removeprefix("Question ").removesuffix("?"))


def until(check: Callable[[], bool]) -> None:
    """Wait, on a plain thread, until something holds."""
    for _ in range(1000):
        if check():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not come about")


async def given_up(provider: FakeProvider, calls: int) -> None:
    """Wait until no call is under way; none was begun beyond so many, and none is."""
    with anyio.fail_after(5):
        while provider.live:
            await anyio.sleep(0.001)
    await anyio.sleep(0.02)
    assert len(provider.requests) <= calls and not provider.live


# --- replies ----------------------------------------------------------------------------------------------------------


async def test_replies_come_as_they_are_ready() -> None:
    """The quick one first; `index` says which prompt a reply is for."""
    asking, _ = client(lambda request: (Wait(0.2 if number(request) == 0 else 0.0), Tokens(request.text)))
    replies = [reply async for reply in asking.map(PROMPTS[:4], max_tokens=5)]
    assert replies[-1].index == 0
    assert {reply.index: reply.text for reply in replies} == dict(enumerate(PROMPTS[:4]))


def test_replies_in_a_plain_loop() -> None:
    """The blocking client does the same; its prompts may come from a generator."""
    provider = FakeProvider(lambda request: request.text)
    with fc.Client("openai:m", wire=provider) as asking:
        replies = list(asking.map(prompt for prompt in PROMPTS))
        assert {reply.index: reply.text for reply in replies} == dict(enumerate(PROMPTS))
        assert asking.stats().calls == len(PROMPTS)
        assert list(asking.map([])) == []


def test_a_plain_loop_within_an_event_loop() -> None:
    """A blocking client asked from a coroutine blocks that, but it does not matter whose loop it is."""

    async def ask() -> list[int]:
        with fc.Client("openai:m", wire=FakeProvider()) as asking:
            return sorted(int(str(reply.index)) for reply in asking.map(PROMPTS, limit=3, warm_first=True))

    assert trio.run(ask) == asyncio.run(ask()) == list(range(12))


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_so_many_at_once_and_no_more(limit: int) -> None:
    """`limit` calls are under way at the same time, if there are so many."""
    most = 0

    def answer(request: ServerRequest) -> Any:
        nonlocal most
        most = max(most, provider.live)
        return (Wait(0.01),)

    asking, provider = client(answer)
    assert len([reply async for reply in asking.map(PROMPTS, limit=limit)]) == len(PROMPTS)
    assert most == min(limit, len(PROMPTS))


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_a_slow_reader_gets_all_replies(limit: int) -> None:
    """Calls wait until there is room for their replies, which are not lost, and no more than so many are kept."""
    asking, provider = client()
    seen = 0
    with anyio.fail_after(5):
        async for _ in asking.map(PROMPTS, limit=limit):
            seen += 1
            await anyio.sleep(0.005)
            assert len(provider.requests) <= seen + 2 * limit
    assert seen == len(PROMPTS)


async def test_options_and_policy_hold_for_every_prompt() -> None:
    """Tools, limits and the cache are those of any call: equal prompts are asked once."""
    asking, provider = client(cache=fc.Cache())
    replies = [reply async for reply in asking.map(["same"] * 6, limit=3, temperature=0.5)]
    assert len(provider.requests) == 1 and provider.requests[0].json["temperature"] == 0.5
    assert {reply.cache.state for reply in replies} <= {"miss", "shared", "hit"}


# --- the head start ---------------------------------------------------------------------------------------------------


def begun_behind(provider: FakeProvider) -> list[bool]:
    """Of each call but the first: whether it began once the first answer had."""
    first, *others = provider.exchanges
    assert first.first_token is not None
    return [other.started >= first.first_token for other in others]


@pytest.mark.parametrize("warm_first", [True, False])
async def test_the_others_wait_for_the_first_answer_to_begin(warm_first: bool) -> None:
    """By then the provider's cache has what they share. It does not have to be complete."""
    first = (Wait(0.03), Tokens(1), Wait(0.1), Tokens(1))
    asking, provider = client(first, "later")
    replies = [reply async for reply in asking.map(PROMPTS[:5], warm_first=warm_first)]
    assert begun_behind(provider) == [warm_first] * 4
    assert replies[-1].index == 0


async def test_they_do_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first call that hangs costs the others a bounded time."""
    monkeypatch.setattr("fastclient.fanout._HEAD_START", 0.03)
    asking, provider = client((Hang(),), "later")
    replies = asking.map(PROMPTS[:5], warm_first=True)
    with anyio.fail_after(5):
        assert sorted([(await anext(replies)).index for _ in range(4)]) == [1, 2, 3, 4]  # type: ignore[type-var]
    first, *others = provider.exchanges
    assert min(other.started for other in others) - first.started >= 0.025
    await replies.aclose()
    await given_up(provider, 5)


async def test_a_failed_first_call_frees_the_others() -> None:
    """At once: nobody will write what they were waiting for."""
    asking, provider = client((Wait(0.01), *FAILED), "later")
    failed: list[int] = []
    replies = asking.map(PROMPTS[:5], warm_first=True, on_error=lambda index, _: failed.append(index))
    assert sorted([reply.index async for reply in replies]) == [1, 2, 3, 4]  # type: ignore[type-var]
    assert failed == [0]
    first, *others = provider.exchanges
    assert max(other.started for other in others) - first.started < 1.0


def test_the_head_start_in_threads() -> None:
    """The blocking client gives the first call the same."""
    provider = FakeProvider((Wait(0.03), Tokens(1), Wait(0.02)), "later")
    with fc.Client("openai:m", wire=provider) as asking:
        assert len(list(asking.map(PROMPTS[:5], warm_first=True))) == 5
    assert begun_behind(provider) == [True] * 4


async def test_what_they_share_is_written_once() -> None:
    """With a head start all calls but the first read the provider's cache; without one, none does."""
    shared = {"role": "system", "content": "Answer in one line. " * 400}
    prompts = [[shared, {"role": "user", "content": prompt}] for prompt in PROMPTS[:5]]
    read = {}
    for warm_first in (True, False):
        asking = fc.AsyncClient("openai:gpt-5-mini", api_key="k", wire=FakeProvider((Wait(0.01), Tokens(3))))
        replies = [reply async for reply in asking.map(prompts, warm_first=warm_first)]
        read[warm_first] = sum(bool(reply.usage.cache_read_tokens) for reply in replies)
    assert read == {True: 4, False: 0}


# --- errors -----------------------------------------------------------------------------------------------------------


def failing(request: ServerRequest) -> Any:
    return FAILED if number(request) == 3 else (Wait(0.005), Tokens(1))


async def test_an_error_ends_it_and_gives_up_the_rest() -> None:
    """It is the error of the call, not a group of errors; what was ready before it has been handed over."""
    asking, provider = client(lambda request: (Wait(0.01), *FAILED) if number(request) == 1 else (Tokens(1), Hang()))
    with pytest.raises(fc.BadRequest):
        async for _ in asking.map(PROMPTS, limit=3):
            pass
    await given_up(provider, 3)


def test_an_error_in_a_plain_loop() -> None:
    """The blocking client raises it in the caller's thread, and gives up the rest."""
    provider = FakeProvider(lambda request: (Wait(0.01), *FAILED) if number(request) == 1 else (Tokens(1), Hang()))
    with fc.Client("openai:m", wire=provider, policy=fc.Policy(retry=None)) as asking:
        with pytest.raises(fc.BadRequest):
            list(asking.map(PROMPTS, limit=3))
        until(lambda: not provider.live)
    assert len(provider.requests) == 3


async def test_with_on_error_the_others_go_on() -> None:
    """The function gets the prompt's number and the error; the prompt has no reply."""
    asking, _ = client(failing)
    errors: list[tuple[int, fc.FastClientError]] = []
    replies = asking.map(PROMPTS, limit=4, on_error=lambda *given: errors.append(given))
    assert sorted([reply.index async for reply in replies]) == [0, 1, 2, *range(4, 12)]  # type: ignore[type-var]
    ((index, error),) = errors
    assert index == 3 and isinstance(error, fc.BadRequest) and error.call_id


def test_on_error_is_called_where_the_loop_is() -> None:
    """From a plain thread it is called there, and may use the client: to ask again, for one."""
    provider = FakeProvider(failing)
    asked_again: list[str] = []
    with fc.Client("openai:m", wire=provider, policy=fc.Policy(retry=None)) as asking:

        def on_error(index: int, _: fc.FastClientError) -> None:
            assert index == 3 and threading.current_thread() is threading.main_thread()
            asked_again.append(asking.chat(PROMPTS[4]).text)

        assert len(list(asking.map(PROMPTS, on_error=on_error))) == 11
    assert len(asked_again) == 1


async def test_what_on_error_raises_ends_it() -> None:
    """As it is; calls under way are given up."""
    asking, provider = client(lambda request: FAILED if number(request) == 1 else (Tokens(1), Hang()))

    def fail(*_: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        async for _ in asking.map(PROMPTS, limit=3, on_error=fail):
            pass
    await given_up(provider, 4)


WRONG: list[tuple[str, Any, dict[str, Any]]] = [
    ("prompts", "one prompt", {}),
    ("prompts", 17, {}),
    ("limit", PROMPTS, {"limit": 0}),
    ("limit", PROMPTS, {"limit": "all"}),
    ("warm_first", PROMPTS, {"warm_first": 1}),
    ("on_error", PROMPTS, {"on_error": "raise"}),
    ("messages", ["fine", ""], {}),
    ("messages[0].role", ["fine", [{"role": "usr", "content": "x"}]], {}),
    ("priority", PROMPTS, {"priority": "high"}),
]


@pytest.mark.parametrize("field, prompts, options", WRONG)
def test_wrong_words_are_named_before_anything_is_sent(field: str, prompts: Any, options: dict[str, Any]) -> None:
    """By the call itself, not by the loop over its replies."""
    provider = FakeProvider()
    with fc.Client("openai:m", wire=provider) as asking:
        with pytest.raises(fc.ConfigError) as refused:
            asking.map(prompts, **options)
        assert refused.value.field == field
    assert not provider.requests


# --- leaving ----------------------------------------------------------------------------------------------------------


def endless(request: ServerRequest) -> Any:
    return "quick" if number(request) == 0 else (Tokens(1), Hang())


async def test_leaving_the_loop_gives_up_the_rest() -> None:
    """The provider sees the calls under way end, and gets no more."""
    asking, provider = client(endless)
    async for reply in asking.map(PROMPTS, limit=4):
        assert reply.index == 0
        break
    gc.collect()
    await given_up(provider, 5)
    assert provider.cut_early >= 3 and asking.stats().in_flight == 0


@pytest.mark.parametrize("close", ["aclose", "with"])
async def test_closing_gives_up_the_rest(close: str) -> None:
    """So does closing the replies, or leaving their block; after that there are none."""
    asking, provider = client(endless)
    replies = asking.map(PROMPTS, limit=4)
    if close == "with":
        async with replies:
            await anext(replies)
    else:
        await anext(replies)
        await replies.aclose()
    await given_up(provider, 5)
    assert [reply async for reply in replies] == []


async def test_closing_before_the_first_reply() -> None:
    """Nothing is sent by calling `map`, nor after it was closed."""
    asking, provider = client()
    replies = asking.map(PROMPTS)
    await replies.aclose()
    assert [reply async for reply in replies] == [] and not provider.requests


async def test_cancelling_the_reader_gives_up_the_rest() -> None:
    """A task that is cancelled while it waits for a reply leaves nothing behind."""
    asking, provider = client((Tokens(1), Hang()))

    async def read() -> None:
        async for _ in asking.map(PROMPTS, limit=4):
            pass

    with anyio.move_on_after(0.05):
        await read()
    gc.collect()
    await given_up(provider, 4)


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    def plan(request: ServerRequest) -> Any:
        return () if number(request) == 0 else (Tokens(1), Hang())

    with ProviderServer(script=plan) as server:
        yield server


@pytest.mark.parametrize("close", ["close", "with", "break"])
def test_leaving_a_plain_loop_gives_up_the_rest(server: ProviderServer, close: str) -> None:
    """The server sees the connections of the calls under way close; other calls of the client are not touched."""
    with fc.Client("openai:m", base_url=server.base_url) as asking:
        replies = asking.map(PROMPTS, limit=4)
        if close == "with":
            with replies:
                next(replies)
        else:
            for _ in replies:
                break
        if close == "close":
            replies.close()
        elif close == "break":
            del replies
            gc.collect()
        assert server.wait_for(lambda counters: counters.live == 0, timeout=5)
        assert asking.chat(PROMPTS[0]).text
        assert server.counters.accepted <= 6


async def test_leaving_is_seen_by_a_server(server: ProviderServer) -> None:
    """The same over real sockets on either event loop."""
    async with fc.AsyncClient("openai:m", base_url=server.base_url) as asking:
        async for _ in asking.map(PROMPTS, limit=4):
            break
        gc.collect()
        idle = lambda: server.wait_for(lambda counters: counters.live == 0, timeout=5)  # noqa: E731
        assert await anyio.to_thread.run_sync(idle)


async def test_a_client_closed_meanwhile_is_told() -> None:
    """What is left of the prompts cannot be asked: there is no client."""
    asking, provider = client()
    with pytest.raises(fc.ConfigError, match="closed"):
        async for _ in asking.map(PROMPTS, limit=1):
            await asking.aclose()
    await given_up(provider, 3)


def test_a_blocking_client_closed_meanwhile_is_told() -> None:
    with fc.Client("openai:m", wire=FakeProvider()) as asking, pytest.raises(fc.ConfigError, match="closed"):
        for _ in asking.map(PROMPTS, limit=1):
            asking.close()


def test_many_threads_map_at_once() -> None:
    """Each gets its own replies."""
    provider = FakeProvider(lambda request: request.text)
    wrong: list[object] = []
    with fc.Client("openai:m", wire=provider) as asking:

        def work(name: str) -> None:
            prompts = [f"{name} {number}" for number in range(10)]
            got = {reply.index: reply.text for reply in asking.map(prompts, limit=3, warm_first=True)}
            if got != dict(enumerate(prompts)):
                wrong.append(got)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert not wrong and len(provider.requests) == 40
