"""A model in a process of its own answers like one in this process, and its death is an error here and no crash."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import anyio
import pytest

from fastclient.engine.clock import running_clock
from fastclient.errors import BadRequest, LocalUnavailable, PromptTooLong, StreamCut
from fastclient.local.handler import LocalHandler, handler_of
from fastclient.local.isolated import Isolated
from fastclient.local.settings import Local
from tests.local.running import RANDOM, SHOP, ask, block, call_of, read
from tests.local.tasks import FIXED


@pytest.fixture
def shop_apart(llama: None) -> Iterator[LocalHandler]:
    handler = handler_of(Local(SHOP, threads=1, isolation="process"))
    yield handler
    handler.close()


@pytest.fixture
def noise_apart(llama: None) -> Iterator[LocalHandler]:
    handler = handler_of(Local(RANDOM, threads=1, isolation="process"))
    yield handler
    handler.close()


def process_of(handler: LocalHandler) -> int:
    host = handler._host
    assert isinstance(host, Isolated) and host._child is not None
    return host._child._process.pid


async def test_its_answers_are_right(shop_apart: LocalHandler) -> None:
    """All at once, more than there are slots."""
    found: dict[str, str] = {}

    async def one(words: str) -> None:
        found[words] = (await ask(shop_apart, words)).text

    async with anyio.create_task_group() as tasks:
        for words, _ in FIXED[:10]:
            tasks.start_soon(one, words)
    assert found == dict(FIXED[:10])
    assert process_of(shop_apart) != os.getpid()


def test_threads_can_ask_it(shop_apart: LocalHandler) -> None:
    """Through the engine's loop."""
    assert block(shop_apart, *FIXED[0][:1]).text == FIXED[0][1]


async def test_errors_come_as_they_are(noise_apart: LocalHandler) -> None:
    """With what they say; and the process goes on."""
    with pytest.raises(PromptTooLong) as caught:
        await ask(noise_apart, "x" * 2000)
    assert caught.value.limit == 1024
    with pytest.raises(BadRequest):
        await ask(noise_apart, "x", grammar="root ::= (((")
    answer = await ask(noise_apart, "x", max_tokens=5, logprobs=True)
    assert len(answer.text) == 5 and answer.usage.output_tokens == 5 and b'"logprob":' in answer.raw


async def test_leaving_frees_its_slot(noise_apart: LocalHandler) -> None:
    """The other process is told."""
    for _ in range(20):
        await read(await noise_apart(call_of("hi", {"max_tokens": 900}, running_clock())), most=1)
    answer = await ask(noise_apart, "hi", max_tokens=5)
    assert len(answer.text) == 5 and noise_apart.state().busy == 0


async def test_its_death_is_an_error(noise_apart: LocalHandler) -> None:
    """With the partial text for who was reading, and the next call starts another one."""
    stream = await noise_apart(call_of("hi", {"max_tokens": 900}, running_clock()))
    first = process_of(noise_apart)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(StreamCut) as caught:
        await read(stream)
    assert caught.value.partial_text
    assert len((await ask(noise_apart, "hi", max_tokens=5)).text) == 5
    assert process_of(noise_apart) != first


async def test_a_bad_file_is_an_error(llama: None) -> None:
    """The other process says so."""
    handler = handler_of(Local("missing.gguf", isolation="process"))
    with pytest.raises(LocalUnavailable, match="no such file"):
        await ask(handler, "hi")
    handler.close()


async def test_it_ends_when_it_is_closed(llama: None) -> None:
    """No process is left."""
    handler = handler_of(Local(RANDOM, threads=1, isolation="process"))
    await handler.warm()
    process = process_of(handler)
    handler.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
