"""How an answer ends: by itself, at its length, at a stop string, by its form, by its reader, or by an error."""

from __future__ import annotations

import json

import anyio
import pytest

from fastclient.engine.clock import running_clock
from fastclient.errors import BadRequest, DeadlineExceeded, LocalUnavailable, PromptTooLong
from fastclient.local.handler import LocalHandler, handler_of
from fastclient.local.settings import Local
from tests.local.running import RANDOM, ask, call_of, read
from tests.local.tasks import SMILE

SCHEMA = {
    "type": "object",
    "properties": {"intent": {"enum": ["refund", "hours", "cancel", "order_status"]}},
    "required": ["intent"],
    "additionalProperties": False,
}


async def until(handler: LocalHandler, **wanted: object) -> None:
    """Wait until the model's state is this."""
    with anyio.fail_after(20):
        while any(getattr(handler.state(), name) != value for name, value in wanted.items()):
            await anyio.sleep(0.002)


@pytest.mark.parametrize(
    "stop, text", [(" 6", "1 2 3 4 5"), (["9", "4 5"], "1 2 3 "), ("3 4 5 6 7", "1 2 "), ("x", None)]
)
async def test_a_stop_string_ends_it(shop: LocalHandler, stop: object, text: str | None) -> None:
    """And is not part of it, though it spans several tokens."""
    answer = await ask(shop, "Count to 20", stop=stop)
    assert answer.finish_reason == "stop" and (text is None or answer.text == text)


@pytest.mark.parametrize("limit", [1, 2, 7, 20, 21, 22, 23, 24])
async def test_the_limit_ends_it_also_within_a_character(shop: LocalHandler, limit: int) -> None:
    """A smile is four tokens: one that is not whole becomes the replacement character, and the limit holds."""
    answer = await ask(shop, "thanks", max_tokens=limit)
    assert answer.usage.output_tokens is not None and answer.usage.output_tokens <= limit
    assert SMILE.startswith(answer.text.rstrip("\ufffd"))
    assert answer.finish_reason == ("stop" if answer.text == SMILE and limit > 23 else answer.finish_reason)


async def test_a_smile_comes_whole(shop: LocalHandler) -> None:
    """No piece of the stream holds a part of a character."""
    stream = await shop(call_of("thanks", {}, running_clock()))
    pieces = [
        chunk.text for batch in [await stream.pull(), await stream.pull(), await stream.pull()] for chunk in batch
    ]
    await stream.aclose()
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("sampled", [{}, {"temperature": 1.5, "seed": 3}, {"temperature": 0, "repeat_penalty": 1.3}])
async def test_an_answer_fits_its_schema(noise: LocalHandler, sampled: dict[str, object]) -> None:
    """Even from a model that knows nothing of JSON."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    answer = await ask(noise, "go", response_format=form, max_tokens=200, **sampled)
    assert json.loads(answer.text)["intent"] in SCHEMA["properties"]["intent"]["enum"]  # type: ignore[index]
    assert answer.finish_reason == "stop"


async def test_a_schema_leaves_a_right_answer_as_it_is(shop: LocalHandler) -> None:
    """A model that follows it is not bent."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    plain = await ask(shop, "JSON: cancel my ticket")
    assert (await ask(shop, "JSON: cancel my ticket", response_format=form)).text == plain.text


@pytest.mark.parametrize("seed", range(6))
async def test_one_of_the_choices_comes(noise: LocalHandler, seed: int) -> None:
    """Whatever the model would rather say."""
    choices = ["yes", "no", "perhaps, but äöü 🙂"]
    answer = await ask(noise, f"go {seed}", guided_choice=choices, temperature=2.0, seed=seed)
    assert answer.text in choices


async def test_a_seed_gives_the_same_again(noise: LocalHandler) -> None:
    """And another one something else."""
    texts = [(await ask(noise, "go", temperature=1.5, seed=seed, max_tokens=40)).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


async def test_a_bad_grammar_ends_one_request(noise: LocalHandler) -> None:
    """Others go on."""
    with pytest.raises(BadRequest):
        await ask(noise, "go", grammar="root ::= (((")
    assert len((await ask(noise, "go", max_tokens=9)).text) == 9


async def test_a_prompt_too_long_says_by_how_much(noise: LocalHandler) -> None:
    """In tokens, and nothing of it is read."""
    with pytest.raises(PromptTooLong) as caught:
        await ask(noise, "x" * 5000)
    assert caught.value.limit == 2048 and (caught.value.needed or 0) > 5000


async def test_the_rest_of_the_context_is_the_limit(noise: LocalHandler) -> None:
    """An answer ends where its slot is full."""
    answer = await ask(noise, "x" * 2000, max_tokens=10_000)
    assert answer.finish_reason == "length"
    assert (answer.usage.input_tokens or 0) + (answer.usage.output_tokens or 0) == 2048


async def test_leaving_frees_the_slot(noise: LocalHandler) -> None:
    """What was written by then stays, as the beginning of a later prompt."""
    stream = await noise(call_of("hello", {"max_tokens": 2000}, running_clock()))
    await read(stream, most=1)
    await until(noise, busy=0)
    assert max(noise.state().cached) < 1900


async def test_a_dropped_stream_frees_the_slot(noise: LocalHandler) -> None:
    """Nobody closed it, and nobody can read it any more."""
    stream = await noise(call_of("hello", {"max_tokens": 2000}, running_clock()))
    assert noise.state().busy == 1
    del stream
    await until(noise, busy=0)
    assert max(noise.state().cached) < 1900


async def test_a_cancelled_caller_frees_the_slot(noise: LocalHandler) -> None:
    """Also while the prompt is still being read, or while it waits for a slot."""
    async with anyio.create_task_group() as tasks:
        for number in range(9):
            tasks.start_soon(ask, noise, f"{number}" + "x" * 1900)
        await until(noise, busy=4)
        tasks.cancel_scope.cancel()
    await until(noise, busy=0, queue=0)
    assert len((await ask(noise, "hello", max_tokens=5)).text) == 5


async def test_the_deadline_ends_it(noise: LocalHandler) -> None:
    """With what had come by then, and the slot is free again."""
    call = call_of("hello", {"max_tokens": 2000}, running_clock(), timeout=0.05)
    with pytest.raises(DeadlineExceeded) as caught:
        await read(await noise(call))
    await until(noise, busy=0)
    assert call.record.attempts[0].outcome == "failed" and caught.value.tokens == call.record.attempts[0].content_chunks


async def test_a_full_queue_refuses_at_once(llama: None) -> None:
    """So that another target can answer instead."""
    handler = handler_of(Local(RANDOM, threads=1, slots=1, max_queue=1, context=2048))
    try:
        async with anyio.create_task_group() as tasks:
            for number in range(2):
                tasks.start_soon(ask, handler, f"{number} hello")
            await until(handler, busy=1, queue=1)
            with pytest.raises(LocalUnavailable):
                await ask(handler, "one more")
            tasks.cancel_scope.cancel()
    finally:
        handler.close()


async def test_tools_are_refused(shop: LocalHandler) -> None:
    """Before anything is loaded, and a router can ask."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    call = call_of("hi", {"tools": [tool]}, running_clock())
    assert shop.able(call.request)
    with pytest.raises(LocalUnavailable):
        await shop(call)
    assert call.record.attempts[0].outcome == "failed"


async def test_after_closing_nothing_is_answered(llama: None) -> None:
    """Nor is there a crash; another handler for the same file begins anew."""
    handler = handler_of(Local(RANDOM, threads=1))
    await handler.warm()
    handler.close()
    handler.close()
    with pytest.raises(LocalUnavailable):
        await ask(handler, "hi")
    other = handler_of(Local(RANDOM, threads=1))
    assert len((await ask(other, "hi", max_tokens=3)).text) == 3
    other.close()


async def test_what_is_under_way_ends_with_an_error(llama: None) -> None:
    """When its model is closed."""
    handler = handler_of(Local(RANDOM, threads=1))
    stream = await handler(call_of("hi", {"max_tokens": 900}, running_clock()))
    handler.close()
    with pytest.raises(Exception, match="broke") as caught:
        await read(stream)
    assert caught.value.partial_text  # type: ignore[attr-defined]
