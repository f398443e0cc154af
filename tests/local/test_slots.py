"""A prompt begins with what any slot has read of it, and overwrites what is missed least."""

from __future__ import annotations

from array import array
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from fastclient.local.slots import Slot, choose, shared

tokens = st.lists(st.integers(0, 2), max_size=300)


def slot(number: int, held: str = "", *, busy: bool = False, used: int = 0) -> Slot:
    return Slot(number, array("i", map(ord, held)), busy, used)


def prompt(text: str) -> array[int]:
    return array("i", map(ord, text))


@given(tokens, tokens)
def test_the_common_beginning_is_counted(one: list[int], other: list[int]) -> None:
    """It is what comparing them one by one gives."""
    expected = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
    assert shared(array("i", one), array("i", other)) == expected


@given(tokens, tokens, tokens)
def test_the_common_beginning_of_long_ones_is_counted(start: list[int], one: list[int], other: list[int]) -> None:
    """Also where most is the same."""
    a, b = array("i", start * 9 + one), array("i", start * 9 + other)
    count = shared(a, b)
    assert a[:count] == b[:count] and (count == min(len(a), len(b)) or a[count] != b[count])


def test_a_conversation_goes_on_in_its_own_slot() -> None:
    """Nothing is copied, and nothing of it forgotten, even where another slot is empty."""
    first, second = slot(0), slot(1, "hello world", used=5)
    choice = choose([first, second], prompt("hello world, how are you"))
    assert choice == (second, second, 11)


def test_a_system_prompt_is_taken_from_another_slot() -> None:
    """What one slot has read is not read again for another, and the first keeps its answer."""
    system = "You are a helpful assistant. "
    held = slot(0, system + "A long question and a long answer to it", used=5)
    free = slot(1)
    assert choose([held, free], prompt(system + "Other")) == (free, held, len(system))


def test_a_busy_slot_lends_what_it_has_read() -> None:
    """Two twins at once: the second need not wait for the first to end."""
    busy = slot(0, "a prompt of some length", busy=True)
    free = slot(1)
    assert choose([busy, free], prompt("a prompt of some length, and more")) == (free, busy, 23)


def test_one_token_is_always_read() -> None:
    """The same prompt again: its last token is read for what comes after it."""
    same = slot(0, "the same prompt")
    assert choose([same], prompt("the same prompt")) == (same, same, 14)


def test_the_oldest_is_overwritten() -> None:
    """Where a prompt has nothing in common with any slot, the one that was used longest ago goes."""
    old, young = slot(0, "x" * 500, used=1), slot(1, "y", used=2)
    assert choose([young, old], prompt("something else")) == (old, old, 0)


def test_a_few_tokens_are_not_worth_a_copy() -> None:
    """Copying a slot costs more than reading some tokens."""
    held, free = slot(0, "<s>abcdefghi" * 20), slot(1)
    assert choose([held, free], prompt("<s>xyz")) == (free, free, 0)


def test_there_may_be_no_slot() -> None:
    """All busy: wait."""
    assert choose([slot(0, busy=True)], prompt("a")) is None
