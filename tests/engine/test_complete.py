"""Answers that come in one read: everything is settled at once, and nobody can tell them from others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import fastclient as fc
from fastclient.engine.complete import Complete
from fastclient.testing import Answer, ProviderServer
from tests.engine.doors import AsyncDoor, ThreadDoor

ANSWER = Answer("word " * 20, cached_tokens=3)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of the test's world, if it has one."""
    world = request.getfixturevalue("world") if "world" in request.fixturenames else "asyncio"
    return "trio" if world.startswith("trio") else "asyncio"


@pytest.fixture(params=["plain", "recommended", "one at a time"])
def policy(request: pytest.FixtureRequest) -> fc.Policy:
    makers: dict[str, Callable[[], fc.Policy]] = {
        "plain": fc.Policy,
        "recommended": fc.Policy.recommended,
        "one at a time": lambda: fc.Policy(limits=fc.Limits(concurrency=1)),
    }
    return makers[request.param]()


async def test_a_burst_and_single_events_make_the_same_reply(world: str, policy: fc.Policy) -> None:
    """Text, usage, finish reason and attempts do not depend on how the network cut the answer."""
    home, wire = world.split("-")
    kind = ThreadDoor if home == "threads" else AsyncDoor
    made = []
    for per_event in (False, True):
        with ProviderServer(answer=ANSWER, per_event=per_event) as server:
            door = kind("openai:m", base_url=server.base_url, policy=policy, wire=wire)
            replies = [await door.chat(f"Question {number}") for number in range(3)]
            pieces: list[str] = []
            replies.append(await door.read(pieces))
            made.append([(one.text, one.usage, one.finish_reason, one.attempts[-1].outcome) for one in replies])
            assert "".join(pieces) == ANSWER.whole_text
            stats = door.client.stats()
            assert (stats.calls, stats.errors, stats.in_flight) == (4, 0, 0)
            await door.close()
    assert made[0] == made[1]
    assert made[0][0][0] == ANSWER.whole_text


async def test_chunks_of_an_answer_that_came_whole() -> None:
    """All are handed out once, in one batch; reading and closing may go on as with any other stream."""
    chunks = [fc.Chunk("a", raw=b"1"), fc.Chunk("b", usage=fc.Usage(output_tokens=2), raw=b"2")]
    stream = Complete(chunks)
    assert (stream.whole.text, stream.whole.usage.output_tokens, stream.whole.raw) == ("ab", 2, b"12")
    assert (await stream.pull(), await stream.pull()) == (chunks, ())
    await stream.aclose()
    await stream.aclose()
    assert stream.whole.text == "ab"
