"""Six hundred requests at random times, many of them given up: every answer that comes is the right one."""

from __future__ import annotations

import threading
from random import Random

import anyio
import anyio.to_thread
import pytest

from fastclient.engine.clock import running_clock
from fastclient.local.handler import LocalHandler, handler_of
from fastclient.local.settings import Local
from tests.local.running import SHOP, ask, block, call_of, read
from tests.local.tasks import asked

SYSTEMS = ("", "You are a helpful assistant for a small shop.", "Answer with the label only. Be brief.")


def request(random: Random) -> tuple[list[dict[str, str]], str]:
    words, answer = asked(random)
    system = random.choice(SYSTEMS)
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": words}], answer


async def mistakes(wrong: list[tuple[list[dict[str, str]], str, str]]) -> None:
    """The model errs now and then: but in company not otherwise than alone."""
    assert len(wrong) < 10
    alone = handler_of(Local(SHOP, threads=1, slots=1, context=1024))
    try:
        assert [(await ask(alone, words)).text for words, _, _ in wrong] == [found for _, _, found in wrong]
    finally:
        alone.close()


async def test_on_an_event_loop(shop: LocalHandler) -> None:
    """Forty callers; every third leaves early."""
    right: list[tuple[list[dict[str, str]], str, str]] = []
    wrong: list[tuple[list[dict[str, str]], str, str]] = []

    async def caller(number: int) -> None:
        random = Random(number)
        for _ in range(15):
            words, answer = request(random)
            if random.random() < 0.3:
                with anyio.move_on_after(random.random() * 0.02):
                    await read(await shop(call_of(words, {}, running_clock())), most=random.randrange(3))
                continue
            found = (await ask(shop, words)).text
            (right if found == answer else wrong).append((words, answer, found))

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(caller, number)
    await mistakes(wrong)
    assert len(right) > 300
    with anyio.fail_after(10):
        while shop.state().busy or shop.state().queue:
            await anyio.sleep(0.002)


async def test_from_threads(shop: LocalHandler) -> None:
    """Eight threads that block."""
    right: list[tuple[list[dict[str, str]], str, str]] = []
    wrong: list[tuple[list[dict[str, str]], str, str]] = []

    def caller(number: int) -> None:
        random = Random(number)
        for _ in range(40):
            words, answer = request(random)
            found = block(shop, words).text
            (right if found == answer else wrong).append((words, answer, found))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        await anyio.to_thread.run_sync(each.join)
    await mistakes(wrong)
    assert len(right) + len(wrong) == 320


@pytest.mark.parametrize("seed", range(3))
async def test_together_as_alone(noise: LocalHandler, seed: int) -> None:
    """A model that is sure of nothing writes the same text in company, but for the odd tie.

    Two tokens may be so nearly alike that the order of additions decides, which depends on how a prompt was cut.
    """
    random = Random(seed)
    prompts = ["".join(random.choices("abcdef ", k=random.randrange(1, 80))) for _ in range(16)]
    alone = [(await ask(noise, prompt, max_tokens=60)).text for prompt in prompts]
    together: dict[int, str] = {}

    async def one(number: int) -> None:
        together[number] = (await ask(noise, prompts[number], max_tokens=60)).text

    async with anyio.create_task_group() as tasks:
        for number in range(16):
            tasks.start_soon(one, number)
    assert sum(together[number] != alone[number] for number in range(16)) <= 2
