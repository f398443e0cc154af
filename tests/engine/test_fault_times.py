"""How long a call waits for what, to the second: hours of silence in virtual time, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import orjson
import pytest
from trio.testing import MockClock

from fastclient import AsyncClient, Policy, Timeouts
from fastclient.errors import (
    DeadlineExceeded,
    FastClientError,
    FirstTokenTimeout,
    ServerFailed,
    StreamStalled,
)
from fastclient.testing import Comment, Event, FakeProvider, Hang, Ping, Role, Send, Status, Tokens, Wait, faults

PROVIDERS = ["openai", "anthropic"]
both = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
async def ask() -> AsyncIterator[Any]:
    """Ask a provider that plays one plan: the reply or the error, and the seconds it took."""
    fakes: list[FakeProvider] = []

    async def ask(plan: Any, provider: str = "openai", *, pause: float = 0.0, options: Any = None, **limits: float):
        fakes.append(FakeProvider(plan))
        policy = Policy(retry=None, timeouts=Timeouts(**{"total": 1e6, **limits}))
        start = anyio.current_time()
        async with AsyncClient(f"{provider}:m", wire=fakes[-1], policy=policy) as client:
            try:
                async with client.stream("Say something.", **(options or {})) as stream:
                    async for _ in stream:
                        await anyio.sleep(pause)
                    outcome: Any = await stream.reply()
            except FastClientError as error:
                outcome = error
        return outcome, anyio.current_time() - start

    yield ask
    assert [fake.live for fake in fakes] == [0] * len(fakes)


def event(data: object, name: str = "message") -> Event:
    return Event(b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data)))


def delta(**delta: object) -> Event:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def block(kind: str) -> Event:
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": kind, kind: ""}}
    return event(start, "content_block_start")


THINKS = (Role(), block("thinking"))


def repeated(step: Any, every: float, total: float) -> tuple[Any, ...]:
    return (step, Wait(every)) * round(total / every)


# --- the first token --------------------------------------------------------------------------------------------------

NOT_CONTENT = {
    "nothing": ("openai", ()),
    "headers": ("openai", (Status(200),)),
    "role": ("openai", (Role(),)),
    "null-content": ("openai", (delta(role="assistant", content=None),)),
    "empty-delta": ("openai", (delta(),)),
    "empty-strings": ("openai", (delta(content="", reasoning_content="", tool_calls=[]),)),
    "no-choices": ("openai", (event({"choices": [], "prompt_filter_results": []}),)),
    "usage-first": ("openai", (event({"choices": [], "usage": {"prompt_tokens": 3}}),)),
    "comment": ("openai", (Comment("OPENROUTER PROCESSING"),)),
    "blank-lines": ("openai", (Send(b"\n\r\n\n"),)),
    "half-an-event": ("openai", (Send(b'data: {"choices":[{"index":0,"delta":{"content":"Hel'),)),
    "message-start": ("anthropic", (Role(),)),
    "text-block": ("anthropic", (Role(), block("text"))),
    "ping": ("anthropic", (Ping(),)),
    "unknown-event": ("anthropic", (event({"type": "news"}, "news"),)),
}


@pytest.mark.parametrize("provider, prelude", NOT_CONTENT.values(), ids=NOT_CONTENT)
async def test_only_content_stops_the_first_token_clock(ask, provider, prelude) -> None:
    """From the start of the attempt to the first content: nothing else starts that clock again, or stops it."""
    error, seconds = await ask((Wait(7), *prelude, Hang()), provider, first_token=60, liveness=1000)
    assert type(error) is FirstTokenTimeout
    assert seconds == pytest.approx(60)
    assert "60 s" in str(error)
    assert error.timings.ttft is None


async def test_a_cold_model_gets_the_default(ask) -> None:
    """Thirty seconds to the first token are fine by default, and sixty are not."""
    reply, seconds = await ask(faults.silent(30))
    assert (reply.text != "", seconds, reply.timings.ttft) == (True, pytest.approx(30), pytest.approx(30))
    error, seconds = await ask(faults.silent(61))
    assert (type(error), seconds, error.phase) == (FirstTokenTimeout, pytest.approx(60), "headers")


@both
async def test_keep_alives_are_no_progress(ask, provider) -> None:
    """A ping every second keeps the byte watch quiet; the first-token limit ends the call all the same."""
    for keep_alive in (Ping(), Comment()):
        error, seconds = await ask(repeated(keep_alive, 1, 100), provider)
        assert (type(error), seconds, error.phase) == (FirstTokenTimeout, pytest.approx(60), "first_token")


async def test_silence_after_the_headers(ask) -> None:
    """The byte watch begins with the headers, and ends a dead connection before the first-token limit does."""
    error, seconds = await ask((Wait(5), Status(200), Hang()), liveness=45, first_token=600)
    assert (type(error), seconds) == (FirstTokenTimeout, pytest.approx(50))
    assert "no byte for 45 s" in str(error)


# --- after the first token --------------------------------------------------------------------------------------------


@both
async def test_a_stall_ends_at_the_progress_limit(ask, provider) -> None:
    """Thirty seconds after the last token, not sooner and not later, whatever the first one took."""
    error, seconds = await ask((Wait(20), Tokens(20, gap=2), Hang()), provider)
    assert (type(error), error.phase, error.tokens) == (StreamStalled, "decode", 20)
    assert seconds == pytest.approx(20 + 19 * 2 + 30)


@both
async def test_slow_tokens_are_progress(ask, provider) -> None:
    """A token every twenty-nine seconds is a slow answer, not a stalled one."""
    reply, seconds = await ask((Tokens("one two three "), Tokens(" and four", gap=29)), provider)
    assert reply.text == "one two three  and four"
    assert seconds == pytest.approx(29 * 2)


@both
async def test_pings_between_tokens_do_not_add_up_to_patience(ask, provider) -> None:
    """The progress limit is one wait, in however many pieces pings cut it."""
    error, seconds = await ask((Tokens(3), *repeated(Ping(), 7, 700)), provider)
    assert (type(error), seconds) == (StreamStalled, pytest.approx(30))
    reply, _ = await ask((Tokens(3), *repeated(Ping(), 7, 28), Tokens(3), *repeated(Ping(), 7, 28)), provider)
    assert reply.text


async def test_the_deadline_ends_everything(ask) -> None:
    """Tokens that come for ever are stopped by `Timeouts.total`, exactly."""
    error, seconds = await ask((Tokens(1000, gap=1),), total=99.5)
    assert (type(error), error.phase, error.tokens) == (DeadlineExceeded, "decode", 100)
    assert seconds == pytest.approx(99.5)


# --- thinking ---------------------------------------------------------------------------------------------------------

THINKERS = {
    "block": ("anthropic", THINKS, {}),
    "redacted": ("anthropic", (Role(), block("redacted_thinking")), {}),
    "asked-anthropic": ("anthropic", (Role(),), {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    "asked-openai": ("openai", (Role(),), {"reasoning_effort": "high"}),
    "reasoning-content": ("openai", (Role(), delta(reasoning_content="Hm.")), {}),
    "reasoning": ("openai", (Role(), delta(reasoning="Hm.")), {}),
}
thinkers = pytest.mark.parametrize("provider, thought, options", THINKERS.values(), ids=THINKERS)


@thinkers
async def test_ten_minutes_of_thought(ask, provider, thought, options) -> None:
    """A model that thinks for ten minutes and pings is waited for, if it may think that long."""
    plan = (*thought, *repeated(Ping(), 5, 600), Tokens("Forty-two."))
    reply, seconds = await ask(plan, provider, options=options, thinking=900)
    assert (getattr(reply, "text", reply), seconds) == ("Forty-two.", pytest.approx(600))


@thinkers
async def test_thought_has_a_limit(ask, provider, thought, options) -> None:
    """Pings or not, at the thinking limit it is over."""
    error, seconds = await ask((*thought, *repeated(Ping(), 5, 600)), provider, options=options, thinking=300)
    assert seconds == pytest.approx(300)
    assert isinstance(error, FirstTokenTimeout | StreamStalled)
    assert "300 s" in str(error)


@thinkers
async def test_a_thinker_that_never_pings_may_be_silent(ask, provider, thought, options) -> None:
    """Silence is how some servers think: one ping at the opening, as Anthropic sends it, is no habit to go by."""
    reply, seconds = await ask((*thought, Wait(250), Tokens("Done.")), provider, options=options)
    assert (getattr(reply, "text", reply), seconds) == ("Done.", pytest.approx(250))


@thinkers
async def test_a_thinker_that_stops_pinging_is_dead(ask, provider, thought, options) -> None:
    """Where pings came, their absence for the byte limit means the connection is gone."""
    error, seconds = await ask((*thought, *repeated(Ping(), 5, 50), Hang()), provider, options=options)
    assert isinstance(error, FirstTokenTimeout | StreamStalled)
    assert seconds == pytest.approx(45 + 45)


CALL = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{"}}]


@pytest.mark.parametrize("content", [delta(content="So"), delta(tool_calls=CALL)], ids=["text", "tool-call"])
async def test_thought_that_is_over_is_over(ask, content) -> None:
    """With the first text or tool call the usual progress limit is back, also where thinking was asked for."""
    plan = (delta(reasoning_content="Hm."), Wait(100), content, *repeated(Ping(), 5, 300))
    error, seconds = await ask(plan, options={"reasoning_effort": "high"})
    assert (type(error), seconds) == (StreamStalled, pytest.approx(130))


def thought(text: str) -> Event:
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": text}}
    return event(piece, "content_block_delta")


@pytest.mark.parametrize("before", [(), (thought("Hm."),)], ids=["silent", "aloud"])
async def test_the_end_of_a_long_thought_is_progress(ask, before) -> None:
    """The block that ends a thought may come a moment before its text: thinking time is not held against the text."""
    plan = (*THINKS, *before, *repeated(Ping(), 5, 100), block("text"), Wait(3), Tokens("Forty-two."))
    reply, seconds = await ask(plan, "anthropic")
    assert getattr(reply, "text", reply) == "Forty-two."
    assert seconds == pytest.approx(103)


async def test_thinking_switched_off_buys_no_time(ask) -> None:
    """`reasoning_effort="none"` and disabled thinking have the usual first-token limit."""
    asked = {"openai": {"reasoning_effort": "none"}, "anthropic": {"thinking": {"type": "disabled"}}}
    for provider, options in asked.items():
        error, seconds = await ask(faults.pings(5, 600), provider, options=options)
        assert (type(error), seconds) == (FirstTokenTimeout, pytest.approx(60))


# --- errors and readers -----------------------------------------------------------------------------------------------


async def test_an_error_body_may_take_two_seconds(ask) -> None:
    """An error whose body does not end is raised within two seconds, also if it drips."""
    for rest in ((Hang(),), repeated(Send(b"."), 0.3, 30)):
        error, seconds = await ask((Status(500), Send(b"Oh no"), *rest))
        assert type(error) is ServerFailed
        assert 1 <= seconds <= 2
        assert error.body.startswith("Oh no")


async def test_an_error_body_may_not_outlast_the_deadline(ask) -> None:
    """The call's deadline ends the wait for an error body, too; the error is still the provider's."""
    error, seconds = await ask((Wait(9), Status(500), Send(b"Oh no"), Hang()), total=10)
    assert (type(error), error.body) == (ServerFailed, "Oh no")
    assert seconds == pytest.approx(10)


@both
async def test_a_reader_may_take_its_time(ask, provider) -> None:
    """A minute between two chunks trips no limit: only waiting for the network counts."""
    reply, seconds = await ask((Tokens(5), *repeated(Ping(), 20, 60), Tokens(5, gap=20)), provider, pause=60)
    assert reply.attempts[0].outcome == "won"
    assert seconds == pytest.approx(reply.timings.total)
    assert reply.timings.consumer > 60 * 10
