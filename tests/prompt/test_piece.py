"""What is remembered of messages never changes what is sent: neither by growing, nor by editing, nor by mutation."""

from __future__ import annotations

import copy
import random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.config import Prompt
from fastclient.prompt.piece import chained
from fastclient.prompt.prepare import Preparer
from fastclient.prompt.tokens import size_of
from fastclient.request import checked
from fastclient.target import Target

TARGET = Target("openai:gpt-5.6", api_key="k")


def sent(preparer: Preparer, messages: list[dict[str, Any]]) -> bytes:
    return orjson.dumps(preparer.prepare(checked(messages, {}), 0.0).request.messages)


def fresh(messages: list[dict[str, Any]]) -> bytes:
    return sent(Preparer(Prompt(), TARGET), messages)


def conversation(rng: random.Random) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go."}]
    for number in range(rng.randrange(1, 8)):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": '{ "b": [1, 2] }'})
        messages.append({"role": "user", "content": [{"type": "text", "text": f"Part {number}"}]})
    return messages


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(["grow", "edit", "mutate", "drop", "same"]), max_size=6))
def test_what_is_remembered_changes_nothing(seed: int, changes: list[str]) -> None:
    """A preparer that has seen other turns of a conversation sends the bytes that a new one sends."""
    rng = random.Random(seed)
    used, messages = Preparer(Prompt(), TARGET), conversation(rng)
    sent(used, messages)
    for change in changes:
        place = rng.randrange(2, len(messages))
        if change == "grow":
            messages = [*messages, {"role": "user", "content": f"More {rng.random()}"}]
        elif change == "edit":
            messages = [*messages[:place], {"role": "user", "content": f"Other {rng.random()}"}, *messages[place + 1 :]]
        elif change == "drop":
            messages = [*messages[:place], *messages[place + 1 :], {"role": "user", "content": "Last"}]
        elif change == "mutate":
            for part in messages[place].get("tool_calls") or ():
                part["function"]["arguments"] = orjson.dumps({"a": rng.random()}).decode()
            if isinstance(messages[place]["content"], list):
                messages[place]["content"].append({"type": "text", "text": str(rng.random())})
        assert sent(used, copy.copy(messages)) == fresh(messages)


def test_what_was_sent_is_out_of_the_callers_reach() -> None:
    """Changing a message after it was prepared changes neither that request nor what is remembered of it."""
    block = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
    messages = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": [block]}]
    preparer = Preparer(Prompt(), TARGET)
    ready = preparer.prepare(checked(messages, {}), 0.0)
    before = orjson.dumps(ready.request.messages)
    block["input"] = {"a": 2}
    assert orjson.dumps(ready.request.messages) == before
    assert sent(preparer, messages) == fresh(messages) != before


def test_fingerprints_of_beginnings() -> None:
    """Equal beginnings have equal fingerprints, and no others do: not another order, nor a message more or less."""
    preparer = Preparer(Prompt(), TARGET)
    texts = [f"Turn {number}" for number in range(40)]
    messages = [{"role": "user", "content": text} for text in texts]
    pieces = preparer.prepare(checked(messages, {}), 0.0).pieces
    chain = chained(7, pieces)
    assert chain[:20] == chained(7, pieces[:19]) and chain[0] == 7
    assert len({*chain, *chained(7, pieces[::-1])[1:], *chained(8, pieces), *chained(7, pieces[1:])[1:]}) == 41 * 2 + 79


def test_where_there_is_a_limit_long_texts_are_measured_in_full() -> None:
    """Slices of a text are good enough to tell long from short; what decides whether a prompt fits is all of it."""
    text = "".join(f"Line {number} of a long report about nothing.\n" for number in range(2000))
    limited = Preparer(Prompt(max_input_tokens=100_000), TARGET).prepare(checked(text, {}), 0.0)
    assert limited.size == size_of({"role": "user", "content": text}).n
    rough = Preparer(Prompt(), TARGET).prepare(checked(text, {}), 0.0)
    assert abs(rough.size / limited.size - 1) < 0.04
