"""Asking ahead of need: what is asked, what is not, how it is told, and how it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.testing import Answer, FakeProvider, ServerRequest, Wait, faults
from fastclient.testing.script import Finish

PROMPTS = [f"Question {number}?" for number in range(10)]


def policy(**cache: Any) -> fc.Policy:
    return fc.Policy(cache=fc.Cache(**cache), retry=None)


async def test_a_round_fills_the_cache() -> None:
    """Afterwards every prompt is a hit; a second round finds all of it there and sends nothing."""
    provider = FakeProvider()
    seen: list[fc.Precomputed] = []
    async with fc.AsyncClient("openai:m", wire=provider, policy=policy()) as client:
        done = await client.precompute(PROMPTS, progress=seen.append, max_tokens=5)
        assert (done.total, done.stored, done.fresh, done.failed, done.done) == (10, 10, 0, 0, 10)
        assert [one.done for one in seen] == list(range(1, 11)) and done.seconds >= seen[-1].seconds
        for prompt in PROMPTS:
            assert (await client.chat(prompt, max_tokens=5)).cache.state == "hit"
        again = await client.precompute(PROMPTS, max_tokens=5)
        assert (again.stored, again.fresh) == (0, 10)
    assert len(provider.requests) == 10


def test_a_round_from_a_thread() -> None:
    """The blocking client does the same and returns when all is through."""
    provider = FakeProvider()
    with fc.Client("openai:m", wire=provider, policy=policy()) as client:
        assert client.precompute(iter(PROMPTS)).stored == 10
        assert client.chat(PROMPTS[3]).cache.state == "hit"
    assert len(provider.requests) == 10


async def test_so_many_at_once_and_no_more() -> None:
    """`limit` calls run at the same time, whatever the number of prompts, and in the background's line."""
    provider = FakeProvider((Wait(0.01), Finish()))
    most = 0
    async with fc.AsyncClient("openai:m", wire=provider, policy=policy()) as client, anyio.create_task_group() as tasks:

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, provider.live)
                await anyio.sleep(0.001)

        tasks.start_soon(watch)
        assert (await client.precompute(PROMPTS, limit=3)).stored == 10
        tasks.cancel_scope.cancel()
    assert most == 3


async def test_failures_are_counted() -> None:
    """An error, and an answer that is not kept, fail one prompt and no other."""

    def outcome(request: ServerRequest) -> Any:
        return (faults.status(500), Answer(text="cut", finish_reason="length"), "fine")[request.index % 3]

    async with fc.AsyncClient("openai:m", wire=FakeProvider(outcome), policy=policy()) as client:
        done = await client.precompute(PROMPTS[:9])
    assert (done.stored, done.failed, done.done) == (3, 6, 9)


async def test_when_says_no() -> None:
    """What `when` does not allow is left out and counted."""
    answers = iter([True, True, False, True] + [False] * 6)
    async with fc.AsyncClient("openai:m", wire=FakeProvider(), policy=policy()) as client:
        done = await client.precompute(PROMPTS, limit=1, when=lambda: next(answers))
    assert (done.stored, done.skipped) == (3, 7)


@pytest.mark.parametrize("name", ["when", "progress"])
async def test_what_the_users_function_raises_comes_out(name: str) -> None:
    """As it is, not in a group, and nothing more is sent."""
    provider = FakeProvider()

    def fail(*_: object) -> bool:
        raise KeyError("mine")

    functions: dict[str, Callable[..., bool]] = {name: fail}
    async with fc.AsyncClient("openai:m", wire=provider, policy=policy()) as client:
        with pytest.raises(KeyError, match="mine"):
            await client.precompute(PROMPTS, limit=1, **functions)  # type: ignore[arg-type]
    assert len(provider.requests) == (name == "progress")


async def test_rounds_renew_what_would_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `every`, an answer that is good now, but not until the next round, is asked anew."""
    now = 1000.0
    monkeypatch.setattr("fastclient.levers.time", lambda: now)
    provider = FakeProvider()
    asked: list[tuple[int, int]] = []
    async with fc.AsyncClient("openai:m", wire=provider, policy=policy(ttl=100)) as client:
        with anyio.move_on_after(5) as scope:

            def progress(done: fc.Precomputed) -> None:
                nonlocal now
                asked.append((done.stored, done.fresh))
                now += 50.0 if len(asked) == 1 else 49.995  # half of its time; then all but less than a round of it
                if len(asked) == 3:
                    scope.cancel()

            await client.precompute(["a"], every=0.01, progress=progress)
    assert asked == [(1, 0), (0, 1), (1, 0)] and len(provider.requests) == 2


def test_a_schedule_goes_on_in_the_background() -> None:
    """From a thread, rounds go on until they are stopped; the last one can be looked at; then nothing more is sent."""
    provider = FakeProvider()
    with fc.Client("openai:m", wire=provider, policy=policy(ttl=0.02)) as client:
        rounds = threading.Semaphore(0)

        def progress(_: fc.Precomputed) -> None:
            rounds.release()

        with client.precompute(PROMPTS[:2], every=0.02, progress=progress) as schedule:
            for _ in range(6):
                assert rounds.acquire(timeout=5)
        assert schedule.last is not None and schedule.last.total == 2 and schedule.error is None
        threading.Event().wait(0.05)
        sent = len(provider.requests)
        threading.Event().wait(0.1)
        assert len(provider.requests) == sent >= 4


def test_a_schedule_tells_what_ended_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> bool:
        raise KeyError("mine")

    with fc.Client("openai:m", wire=FakeProvider(), policy=policy()) as client:
        schedule = client.precompute(PROMPTS, every=1.0, when=fail)
        for _ in range(500):
            if schedule.error is not None:
                break
            threading.Event().wait(0.01)
        assert isinstance(schedule.error, KeyError)
    assert "KeyError" in caplog.text and "mine" not in caplog.text


WRONG: list[tuple[str, Any, dict[str, Any]]] = [
    ("prompts", "one prompt", {}),
    ("prompts", 7, {}),
    ("messages", [""], {}),
    ("messages[0].role", [[{"role": "usr", "content": "x"}]], {}),
    ("limit", PROMPTS, {"limit": 0}),
    ("every", PROMPTS, {"every": -1}),
    ("when", PROMPTS, {"when": True}),
    ("progress", PROMPTS, {"progress": 1}),
    ("samples", PROMPTS, {"samples": 0}),
]


@pytest.mark.parametrize("field, prompts, options", WRONG)
def test_wrong_words_are_named_before_anything_is_sent(field: str, prompts: Any, options: dict[str, Any]) -> None:
    provider = FakeProvider()
    with fc.Client("openai:m", wire=provider, policy=policy()) as client:
        with pytest.raises(fc.ConfigError) as refused:
            client.precompute(prompts, **options)
        assert refused.value.field == field
    assert not provider.requests


def test_without_a_cache_there_is_nothing_to_fill() -> None:
    with fc.Client("openai:m", wire=FakeProvider()) as client, pytest.raises(fc.ConfigError) as refused:
        client.precompute(PROMPTS)
    assert refused.value.field == "precompute"


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_function_that_ends_the_program_does_not_end_the_engine(raised: BaseException) -> None:
    """It comes out where precompute was called; other calls go on."""

    def fail(_: object) -> None:
        raise raised

    with fc.Client("openai:m", wire=FakeProvider(), policy=policy()) as client:
        with pytest.raises(type(raised)):
            client.precompute(PROMPTS[:2], progress=fail)
        assert client.chat("still here").cache.state == "miss"


async def test_stale_answers_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may still be served, but is too old, is asked anew and counted as stored."""
    now = 1000.0
    monkeypatch.setattr("fastclient.levers.time", lambda: now)
    async with fc.AsyncClient("openai:m", wire=FakeProvider(), policy=policy(ttl=10, stale=1000)) as client:
        assert (await client.precompute(PROMPTS[:2])).stored == 2
        now += 20
        again = await client.precompute(PROMPTS[:2])
        assert (again.stored, again.fresh, again.failed) == (2, 0, 0)
        assert (await client.chat(PROMPTS[0])).cache.age == 0


async def test_all_samples_are_asked_for() -> None:
    """With several samples a prompt is through when all of them are there."""
    provider = FakeProvider()
    async with fc.AsyncClient("openai:m", wire=provider, policy=policy(samples=3)) as client:
        assert (await client.precompute(PROMPTS[:2])).stored == 2
        assert len(provider.requests) == 6
        assert [(await client.chat(PROMPTS[0])).cache.state for _ in range(3)] == ["hit"] * 3


async def test_a_function_gives_each_round_its_prompts() -> None:
    """It is called once for each round, and not before."""
    given = [["x1", "x2"]]
    async with fc.AsyncClient("openai:m", wire=FakeProvider(), policy=policy()) as client:
        assert (await client.precompute(lambda: given.pop(0))).stored == 2


async def test_twins_that_are_not_kept_have_both_failed() -> None:
    """Two equal prompts share an answer, also one that is not kept."""
    cut = FakeProvider(Answer(text="x", finish_reason="length"))
    async with fc.AsyncClient("openai:m", wire=cut, policy=policy()) as client:
        assert (await client.precompute(["a", "a"])).failed == 2


def test_a_client_closed_meanwhile_is_told() -> None:
    """The rest of the prompts did not fail: there is nobody to ask them."""
    with (
        fc.Client("openai:m", wire=FakeProvider(), policy=policy()) as client,
        pytest.raises(fc.ConfigError, match="closed"),
    ):
        client.precompute(PROMPTS, limit=1, progress=lambda done: client._core.refuse() if done.done == 2 else None)


def test_nothing_to_fill_is_refused() -> None:
    with (
        fc.Client("openai:m", wire=FakeProvider(), policy=policy()) as client,
        pytest.raises(fc.ConfigError) as refused,
    ):
        client.precompute(PROMPTS, cache="off")
    assert refused.value.field == "cache"
