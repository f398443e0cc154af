"""A real model in this process gives the answers it was trained for, on every kind of loop."""

from __future__ import annotations

from math import exp

import anyio
import orjson
import pytest

from fastclient.config import Policy
from fastclient.core import Core
from fastclient.engine.clock import running_clock
from fastclient.local.handler import LocalHandler
from fastclient.local.stream import LocalStream
from fastclient.request import checked
from fastclient.target import Target
from tests.local.running import ask, block, call_of, read
from tests.local.tasks import FIXED, SMILE


@pytest.mark.parametrize("words, answer", FIXED)
async def test_the_answer_is_right(shop: LocalHandler, words: str, answer: str) -> None:
    """Letter by letter, and it ends by itself."""
    found = await ask(shop, words)
    assert (found.text, found.finish_reason, found.model) == (answer, "stop", "tiny-shop")


@pytest.mark.parametrize("words, answer", FIXED[:4])
def test_a_thread_that_blocks_gets_it_too(shop: LocalHandler, words: str, answer: str) -> None:
    """Through the engine's loop."""
    assert block(shop, words).text == answer


async def test_several_at_once(shop: LocalHandler) -> None:
    """More than there are slots; each gets its own answer."""
    found: dict[str, str] = {}

    async def one(words: str) -> None:
        found[words] = (await ask(shop, words)).text

    async with anyio.create_task_group() as tasks:
        for words, _ in FIXED:
            tasks.start_soon(one, words)
    assert found == dict(FIXED)


async def test_it_comes_in_pieces(noise: LocalHandler) -> None:
    """The first content is in hand before the last is written; the pieces are the answer."""
    stream = await noise(call_of("hello", {"max_tokens": 400}, running_clock()))
    first = await stream.pull()
    rest = await read(stream)
    whole = await ask(noise, "hello", max_tokens=400)
    assert first[0].text and rest.text and "".join(chunk.text for chunk in first) + rest.text == whole.text
    assert len(whole.text) == 400 and whole.finish_reason == "length"


async def test_tokens_are_counted(noise: LocalHandler) -> None:
    """The prompt with its template, what was there already, and what was written."""
    first = (await ask(noise, "x" * 100, max_tokens=5)).usage
    again = (await ask(noise, "x" * 100, max_tokens=5)).usage
    assert (first.output_tokens, again.output_tokens) == (5, 5)
    assert first.input_tokens == again.input_tokens and again.cache_read_tokens == (again.input_tokens or 0) - 1


async def test_a_client_gets_a_reply(shop: LocalHandler) -> None:
    """With timings whose parts add up, usage, and the attempt that won."""
    core = Core.of(shop, Target("local:tiny-shop"), Policy(), wire=None, blocking=False)
    reply = await core.chat(checked("Count to 20", {}))
    timings = reply.timings
    assert reply.text == FIXED[5][1] and reply.attempts[0].outcome == "won"
    assert sum(timings.parts().values()) == pytest.approx(timings.total, rel=1e-6)
    assert timings.prefill is not None and timings.basis["prefill"] == "reported"
    assert timings.ttft is not None and timings.ttft >= timings.prefill


async def test_its_bytes_are_chat_completions(shop: LocalHandler) -> None:
    """What an SDK reads: a role, texts, a reason, counts, and the end."""
    answer = await ask(shop, "thanks")
    lines = [line.removeprefix(b"data: ") for line in answer.raw.split(b"\n\n") if line]
    events = [orjson.loads(line) for line in lines[:-1]]
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    assert lines[-1] == b"[DONE]" and events[0]["object"] == "chat.completion.chunk"
    assert deltas[0]["role"] == "assistant" and "".join(delta.get("content", "") for delta in deltas) == SMILE
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["total_tokens"] == events[-1]["usage"]["prompt_tokens"] + answer.usage.output_tokens


async def test_probabilities_are_told_where_asked_for(shop: LocalHandler) -> None:
    """Of each token that was chosen; the smallest stands at the stream, for whoever has to decide."""
    stream = await shop(call_of("Add: 17+5", {"logprobs": True}, running_clock()))
    assert isinstance(stream, LocalStream)
    answer = await read(stream)
    events = [orjson.loads(line[6:]) for line in answer.raw.split(b"\n\n") if line.startswith(b"data: {")]
    told = [
        each
        for event in events
        for choice in event["choices"]
        for each in (choice.get("logprobs") or {}).get("content", ())
    ]
    assert "".join(each["token"] for each in told) == "22"
    assert stream.confidence is not None and 0.5 < exp(stream.confidence) <= 1.0


async def test_it_can_be_warm(noise: LocalHandler) -> None:
    """Loaded, and with a prompt read: the first call finds it."""
    prompt = checked([{"role": "system", "content": "s" * 300}, {"role": "user", "content": "x"}], {})
    read_tokens = await noise.warm(prompt)
    assert read_tokens is not None and read_tokens > 300 and noise.state().loaded
    words = [{"role": "system", "content": "s" * 300}, {"role": "user", "content": "another"}]
    assert ((await ask(noise, words, max_tokens=1)).usage.cache_read_tokens or 0) > 300
