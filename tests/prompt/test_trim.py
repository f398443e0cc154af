"""Trimming: what is always sent, what goes together, and that the cut stays where it is while there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.errors import ConfigError, PromptTooLong
from fastclient.prompt.trim import trim
from tests.prompt.conversations import agent, chat

Json = dict[str, Any]
Event = tuple[str, frozenset[str]]

SYSTEM: Json = {"role": "system", "content": "Be brief."}
TASK: Json = {"role": "user", "content": "Water the ferns."}
TEXT: Json = {"role": "assistant", "content": "Done."}
NOTHING: frozenset[str] = frozenset()
CONTENTS: tuple[Any, ...] = (
    *("", None, "Grüße, 世界 \U0001f33f\u200d\u2640\ufe0f", "half \ud83c of a leaf", []),
    [{"type": "text", "text": "and this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
)
SIZES: tuple[int, ...] = (5, 6, 8, 10, 10, 15, 25, 40, 100)


def calls(*ids: object) -> Json:
    made = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": made}


def result(given: object, role: str = "tool") -> Json:
    return {"role": role, "tool_call_id": given, "content": "42"}


def blocks(*ids: object) -> Json:
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": each, "name": "f", "input": {}} for each in ids],
    }


def answers(*ids: object) -> Json:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": each, "content": "42"} for each in ids]}


def kept(messages: Sequence[Json], budget: float = 1e9, *, each: float = 10, **options: Any) -> list[int]:
    return list(trim(messages, [each] * len(messages), budget, **options).kept)


def turns(count: int) -> list[Json]:
    """A system message, the task, and so many calls with their results, as they are before the next answer."""
    return [SYSTEM, TASK, *(message for at in range(count) for message in (calls(f"c{at}"), result(f"c{at}")))]


# --- what is always sent ----------------------------------------------------------------------------------------------


def test_what_fits_is_sent_whole() -> None:
    """Under the budget, to the last token, nothing is left out."""
    cut = trim(turns(3), [10.0] * 8, 83)
    assert cut == (tuple(range(8)), 83, 0, False)


def test_the_head_and_the_task_survive() -> None:
    """System and developer messages and the first user turn are sent wherever the cut is, so the cached head stays."""
    messages = [SYSTEM, {**SYSTEM, "role": "developer"}, *turns(9)[1:]]
    assert kept(messages, 75) == [0, 1, 2, 19, 20]


def test_a_system_message_in_the_middle_stays() -> None:
    """It is sent in its place, also where all around it is cut off, and takes its room only once it was said."""
    messages = [*turns(4), SYSTEM, *turns(6)[10:]]
    assert kept(messages[:11], 113) == list(range(11))
    assert kept(messages, 113) == [0, 1, *range(6, 15)]
    assert kept(messages, 53) == [0, 1, 10, 13, 14]


def test_only_system_messages() -> None:
    """Nothing of them can be left out."""
    assert kept([SYSTEM, SYSTEM], 23) == [0, 1]
    with pytest.raises(PromptTooLong):
        kept([SYSTEM, SYSTEM], 22)
    assert kept([]) == []


def test_a_greeting_goes_first() -> None:
    """What the assistant said before the task is left out with the first cut: then the task is the first turn."""
    messages = [SYSTEM, TEXT, *turns(6)[1:]]
    assert kept(messages) == list(range(15))
    assert kept(messages, 100)[:2] == [0, 2]


def test_one_message_over_the_budget() -> None:
    """The last message is never left out nor cut: the error has both numbers, and no word of the prompt."""
    messages = [*turns(3), {"role": "user", "content": "a secret " * 500}]
    sizes = [10.0] * 8 + [1000.5]
    with pytest.raises(PromptTooLong) as caught:
        trim(messages, sizes, 500.5)
    error = caught.value
    assert (error.needed, error.limit) == (1024, 500)
    assert "1024" in str(error) and "500" in str(error) and "secret" not in repr(error)


# --- what goes together -----------------------------------------------------------------------------------------------


def test_parallel_calls_are_one() -> None:
    """A call is cut off with all results of its turn, or none."""
    turn = [calls("a", "b", "c"), result("b"), result("a"), result("c")]
    assert kept([SYSTEM, TASK, *turn, TASK], 72) == [0, 1, 6]
    assert kept([SYSTEM, TASK, *turn, TASK], 73) == list(range(7))


@pytest.mark.parametrize("ids", [("a", "b"), ("a", "a"), (None, None), (1, 2), (["a"], {"b": 1}), ("", None)])
def test_any_ids_will_do(ids: tuple[object, object]) -> None:
    """Where ids are odd, equal, or missing, the order decides; local servers give the same ones again and again."""
    for turn in (
        [calls(*ids), *map(result, ids)],
        [calls(*ids), result(None), result(None)],
        [blocks(*ids), answers(*ids)],
    ):
        assert kept([TASK, *turn, *turn, TASK]) == list(range(2 + 2 * len(turn)))


def test_both_forms_of_calls_are_cut_alike() -> None:
    """Calls may be content blocks with their results in a user message, which then is no user turn."""
    openai = [SYSTEM, TASK, *(m for at in range(9) for m in (calls(at), result(at)))]
    anthropic = [SYSTEM, TASK, *(m for at in range(9) for m in (blocks(at), answers(at)))]
    for budget in range(43, 210, 10):
        assert kept(openai, budget) == kept(anthropic, budget)


def test_the_oldest_form_of_calls() -> None:
    """One `function_call` without an id, answered by a `function` message."""
    asked = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    messages = [TASK, asked, {"role": "function", "name": "f", "content": "42"}, TEXT]
    assert kept(messages) == [0, 1, 2, 3]


def test_assistant_messages_in_a_row_are_one_turn() -> None:
    """Some write parallel calls as one message each, before the first result."""
    messages = [TASK, calls("a"), calls("b"), result("a"), result("b"), TASK]
    assert kept(messages) == list(range(6))
    assert kept(messages, 62) == [0, 5]


def test_a_call_without_result_at_the_end() -> None:
    """Its result may be on the way, as may that of one of several."""
    assert kept([TASK, calls("a")]) == [0, 1]
    assert kept([TASK, calls("a", "b"), result("b")]) == [0, 1, 2]


def test_a_call_without_result_before_the_end() -> None:
    """The whole turn is left out, but for what the assistant said beside it."""
    assert kept([TASK, calls("a", "b"), result("b"), TEXT]) == [0, 3]
    assert kept([TASK, calls("a"), SYSTEM, TASK]) == [0, 2, 3]
    assert kept([TASK, calls("a"), TEXT, TASK]) == [0, 2, 3]
    assert kept([TASK, calls("a"), {**answers("a"), "role": "system"}, TASK]) == [0, 2, 3]


def test_a_result_without_call() -> None:
    """It is left out, also if its call stands further back; as the last message it is sent."""
    assert kept([TASK, result("x"), TEXT, TASK]) == [0, 2, 3]
    assert kept([TASK, answers("x"), TASK]) == [0, 2]
    assert kept([TASK, calls("a"), result("a"), TASK, result("a"), TEXT]) == [0, 1, 2, 3, 5]
    assert kept([TASK, result(None), TEXT]) == [0, 2]
    assert kept([TASK, result("x")]) == [0, 1]


def test_a_message_with_a_foreign_result_answers_nothing() -> None:
    """It is left out whole, so its other results have to come again."""
    assert kept([TASK, blocks("a", "b"), answers("a", "x"), answers("a", "b"), TASK]) == [0, 1, 3, 4]
    assert kept([TASK, blocks("a", "b"), answers("a", "x"), answers("b"), TASK]) == [0, 4]


def test_a_second_result_stays() -> None:
    """Its call is there, so whether it may be said twice is the provider's affair."""
    assert kept([TASK, calls("a"), calls("b"), result("b"), result("b"), result("a"), TEXT]) == list(range(7))


def test_calls_without_ids() -> None:
    """Their results may have some nevertheless."""
    assert kept([TASK, calls(None, None), result("x"), result("y"), TEXT]) == list(range(5))


# --- the cut ----------------------------------------------------------------------------------------------------------


def test_a_cut_stays_for_many_requests() -> None:
    """It moves only when the budget is exceeded, and then far enough: to three quarters of the room."""
    messages = turns(40)
    cuts = [trim(messages[:point], [10] * point, 223) for point in range(2, 83, 2)]
    moved = [at for at, cut in enumerate(cuts) if cut.moved]
    assert moved == [11, 15, 19, 23, 27, 31, 35, 39]
    assert {cuts[at].needed for at in moved} == {3 + 20 + 140}  # the most whole turns that 0.75 * 200 holds
    assert all(cut.needed <= 223 for cut in cuts)


@pytest.mark.parametrize("keep, requests", [(1.0, 1), (0.9, 2), (0.5, 6), (0.0, 10)])
def test_keep_says_how_far(keep: float, requests: int) -> None:
    """The less is kept, the longer it lasts; with everything kept the window slides, with nothing one turn is left."""
    messages = turns(60)
    moved = [trim(messages[:point], [10] * point, 223, keep=keep).moved for point in range(2, 123, 2)]
    places = [at for at, each in enumerate(moved) if each]
    assert {later - one for one, later in pairwise(places)} == {requests}


def test_a_cold_cache_is_used_to_cut() -> None:
    """Where nothing was cached the cut moves early, and it is remembered by whoever replays with the same places."""
    messages = turns(10)
    assert kept(messages, 223) == list(range(22))
    early = trim(messages, [10] * 22, 223, cold={22})
    assert (early.dropped, early.moved, early.needed) == (6, True, 163)
    later = turns(11)
    assert trim(later, [10] * 24, 223, cold={22}) == ((0, 1, *range(8, 24)), 183, 6, False)


def naive(messages: Sequence[Json], sizes: Sequence[float], budget: float, keep: float) -> list[int]:
    """The rule in its own words, for conversations in OpenAI's form that no provider refuses."""
    task = next(at for at, message in enumerate(messages) if message["role"] == "user")
    pinned = [at for at, message in enumerate(messages) if message["role"] == "system" or at == task]
    legal = [at for at, m in enumerate(messages) if at not in pinned and (m["role"] == "user" or m.get("tool_calls"))]
    points = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    cut = 0
    for point in [*points, len(messages)]:
        room = budget - 3 - sum(sizes[at] for at in pinned if at < point)
        rest = {at: sum(sizes[i] for i in range(at, point) if i not in pinned) for at in [cut, *legal] if at < point}
        if rest and rest[cut] > room:
            later = [at for at in legal if cut < at < point]
            cut = next((at for at in later if rest[at] <= keep * room), later[-1] if later else cut)
    return [at for at in range(len(messages)) if at in pinned or at >= cut]


@pytest.mark.parametrize("seed", range(3))
def test_the_rule(seed: int) -> None:
    """Agents and chats are cut exactly as the rule says."""
    for conversation in (agent(seed), agent(seed, code=True), chat(seed)):
        messages = conversation.messages[:90]
        sizes = [4 + len(str(message)) // 4 for message in messages]
        for share, keep in ((0.25, 0.75), (0.45, 0.75), (0.45, 0.5), (0.8, 0.9)):
            budget = sizes[0] + sizes[1] + 3 + int(share * sum(sizes[2:]))
            assert list(trim(messages, sizes, budget, keep=keep).kept) == naive(messages, sizes, budget, keep)


# --- all of it, for everything ----------------------------------------------------------------------------------------


def invented(rng: Random) -> tuple[list[Json], list[Event]]:
    """Up to some 20 messages of all kinds, one in ten out of place; and what each is, as a provider sees it."""
    messages: list[Json] = []
    events: list[Event] = []

    def say(role: str, kind: str = "") -> None:
        messages.append({"role": role, "content": rng.choice(CONTENTS)})
        events.append((kind or role, NOTHING))

    def call(answered: Collection[int], count: int) -> None:
        ids = [f"{len(messages)}.{at}" for at in range(count)]
        plain = rng.random() < 0.7
        messages.append(calls(*ids) if plain else blocks(*ids))
        events.append(("call", frozenset(ids)))
        heard = [(ids[at],) for at in answered] if plain else [tuple(ids[at] for at in answered)] if answered else []
        messages.extend(result(*each) if plain else answers(*each) for each in heard)
        events.extend(("result", frozenset(each)) for each in heard)

    for role, chance in (("system", 0.7), ("developer", 0.1), ("assistant", 0.15), ("user", 0.95)):
        if rng.random() < chance:
            say(role)
    for _ in range(rng.randint(0, 7)):
        choice = rng.random()
        if choice < 0.5:
            count = rng.choice((1, 1, 1, 2, 3))
            call(rng.sample(range(count), count), count)
        elif choice < 0.75:
            say("assistant")
            say("user")
        elif choice < 0.85:
            say(rng.choice(("user", "user", "assistant", "system")))
        elif choice < 0.95:
            call((), 1) if choice < 0.9 else call((1,), 3)
        else:
            messages.append(result("nobody's"))
            events.append(("result", frozenset(["nobody's"])))
    return messages, events


def refused(events: Sequence[Event]) -> bool:
    """Whether a provider would refuse this: results without calls, or calls without results that are not the last."""
    waiting: frozenset[str] = NOTHING
    before = ""
    for kind, ids in events:
        if kind == "result":
            if not ids <= waiting:
                return True
            waiting -= ids
        elif kind == "call" or kind == "assistant":
            if waiting and before != "call" and before != "assistant":
                return True
            waiting |= ids
        elif kind == "user" and waiting:
            return True
        before = kind
    return False


def check(rng: Random) -> None:
    """Cut an invented conversation at every request, and look whether any promise is broken."""
    messages, events = invented(rng)
    sizes = rng.choices(SIZES, k=len(messages))
    budget = rng.randint(20, sum(sizes) + 20)
    keep = rng.choice((0.75, 0.75, 0.5, 0.9, 1.0, 0.0))
    points = [at for at, (kind, _) in enumerate(events) if kind == "call" or kind == "assistant"]
    cold = set(rng.sample(points, rng.randint(0, len(points)))) if rng.random() < 0.2 else set()
    gone: set[int] = set()
    for point in [*points, len(messages)]:
        sent = look(messages[:point], sizes[:point], events[:point], budget, keep, cold)
        if sent is not None:
            assert gone.isdisjoint(sent), "what was cut off came back"
            gone.update(set(range(point)).difference(sent))


def look(
    messages: list[Json], sizes: list[int], events: list[Event], budget: int, keep: float, cold: set[int]
) -> tuple[int, ...] | None:
    """What is sent of these messages, all promises about it checked; None if it cannot be made to fit."""
    try:
        cut = trim(messages, sizes, budget, keep=keep, cold=cold)
    except PromptTooLong as error:
        least = error.needed or 0
        assert trim(messages, sizes, least, keep=keep, cold=cold).needed == least > budget, "not the least"
        return None
    sent = cut.kept
    last = len(messages) - 1
    dropped = sorted(set(range(last + 1)).difference(sent))
    told = [events[at] for at in sent]
    users = [at for at, (kind, _) in enumerate(events) if kind == "user"]
    assert sent == tuple(sorted(set(sent))), "not in order"
    assert cut.needed == sum([sizes[at] for at in sent]) + 3 <= budget, "over the budget"
    assert cut.dropped == len(dropped) and last not in dropped, "the last message is missing"
    assert not any(events[at][0] in ("system", "developer") for at in dropped), "a system message is missing"
    assert not users or users[0] in sent, "the task is missing"
    stray = told and told[-1][0] == "result" and refused(events)
    assert not refused(told[:-1] if stray else told), "a provider would refuse it"
    if not refused(events):
        loose = [at for at in sent if events[at][0] not in ("system", "developer") and at not in users[:1]]
        assert not dropped or not loose or dropped[-1] < loose[0], "something is missing in the middle"
    if not cold and sum(sizes) + 3 <= budget:
        assert all(events[at][0] in ("call", "result") for at in dropped), "left out though it fits"
        assert not dropped or refused(events), "left out though nothing is wrong with it"
    if dropped:
        again = trim([messages[at] for at in sent], [sizes[at] for at in sent], budget, keep=keep)
        assert again.kept == tuple(range(len(sent))), "cutting what was cut already cuts again"
        first = next((kind for kind, _ in told if kind not in ("system", "developer")), "user")
        opened = next(kind for kind, _ in events if kind not in ("system", "developer"))
        assert first == "user" or opened != "user", "the first turn is not the user's"
    return sent


def test_no_promise_is_broken() -> None:
    """None of them, for 3,000 invented conversations, each at every one of its requests."""
    rng = Random(1)
    for _ in range(3000):
        check(rng)


@pytest.mark.slow
def test_no_promise_is_broken_ever() -> None:
    """The same for 100,000 of them."""
    rng = Random(2)
    for _ in range(100_000):
        check(rng)


@given(st.randoms(use_true_random=False))
def test_no_promise_is_broken_anywhere_near(rng: Random) -> None:
    """The same again, where hypothesis looks for trouble, and makes it small."""
    check(rng)


def test_a_sum_may_be_a_little_off() -> None:
    """Sizes that add up to 9 on paper fit where 9 fit, also where floats make 9.000000000000002 of them."""
    sizes = [0.3, 7.9, 0.8]
    assert sizes[0] + sizes[1] + sizes[2] + 3 > 12  # sum() makes it 9 from Python 3.12 on
    assert trim([TASK] * 3, sizes, 12).dropped == 0
    with pytest.raises(PromptTooLong) as caught:
        trim([SYSTEM] * 3, sizes, 11)
    assert caught.value.needed == 12


@given(st.lists(st.floats(0.1, 50), min_size=8, max_size=8), st.floats(4, 250))
def test_sizes_need_not_be_whole(sizes: list[float], budget: float) -> None:
    """What fits does so although fractions add up to a little more or less in another order."""
    messages = turns(3)
    try:
        cut = trim(messages, sizes, budget)
    except PromptTooLong:
        return
    left = [sizes[at] for at in cut.kept]
    assert cut.needed <= budget + 1e-6
    assert trim([messages[at] for at in cut.kept], left, budget).dropped == 0


CALLS: tuple[Any, ...] = ("calls", 7, {"id": "a"}, [None, 3, "x", {}], [], ())
IDS: tuple[Any, ...] = (7, None, ["a"], {"a": 1})
WORDS: tuple[Any, ...] = (7, [7, None, {}], {"a": 1}, b"x", [{"type": "tool_use"}, {"type": ["tool_result"]}])
ODD: list[Any] = [
    *({}, {"role": None}, {"role": ["user"]}, {"role": "robot", "content": "?"}, {"role": "user"}, {"role": "tool"}),
    *({"role": "assistant", "tool_calls": each} for each in CALLS),
    *({"role": "tool", "tool_call_id": each, "content": 7} for each in IDS),
    *({"role": "user", "content": [{"type": "tool_result", "tool_use_id": each}]} for each in IDS),
    *(
        {"role": role, "content": each, "function_call": "f"}
        for role in ("system", "user", "assistant")
        for each in WORDS
    ),
]


@given(st.lists(st.sampled_from(ODD), max_size=8), st.integers(0, 100))
def test_odd_messages_raise_nothing_odd(messages: list[Json], budget: int) -> None:
    """Whatever stands in them, the answer is a cut that holds the last message, or that the prompt is too long."""
    try:
        sent = kept(messages, budget)
    except PromptTooLong:
        return
    assert sent[-1:] == [len(messages) - 1][: len(messages)]


@pytest.mark.parametrize("keep", [-0.1, 1.01, float("nan"), True])
def test_keep_is_a_share(keep: float) -> None:
    """Anything else is named with its value."""
    with pytest.raises(ConfigError, match="keep"):
        kept([TASK], keep=keep)


def test_each_message_has_a_size() -> None:
    """A number of sizes that is not that of the messages is a mistake of the caller."""
    with pytest.raises(ConfigError, match="there are 2 for 1 messages"):
        trim([TASK], [1, 2], 10)


PROGRAM = """
from hashlib import sha256
from tests.prompt.conversations import agent, chat, extract, rag
from fastclient.prompt.trim import trim
made = [agent(7), agent(7, code=True), chat(7), rag(7), extract(7)]
cuts = [trim(c.messages, [len(str(m)) for m in c.messages], 60_000) for c in made[:3]]
print(sha256(repr((made, cuts)).encode()).hexdigest())
"""


def test_every_process_cuts_alike() -> None:
    """Neither the process nor its hash seed has a part in it; nor in the invented conversations."""
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
