"""Drift is told where a conversation has lost its beginning, and nowhere else: requests may merely look alike."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.config import Prompt
from fastclient.prompt.drift import Drift
from fastclient.prompt.lineage import Sent
from fastclient.prompt.prepare import Preparer
from fastclient.prompt.watch import Watch
from fastclient.request import checked
from fastclient.target import Target
from tests.prompt.conversations import agent, chat, extract, rag

Json = dict[str, Any]
TARGET = Target("openai:gpt-5.6", base_url="https://api.openai.com/v1", api_key="none")
RULES = "You look after a garden. " + "The fern stands beside the pond and waits for rain. " * 150
TOOLS = [{"type": "function", "function": {"name": f"look_{n}", "description": RULES[:900]}} for n in "abcd"]


class Watcher:
    """Prepares requests as a client does, and watches them."""

    def __init__(self, *, stable: bool = True, minimum: int = 1024) -> None:
        self.preparer, self.watch = Preparer(Prompt(stable=stable, squeeze=False), TARGET), Watch(minimum)

    def send(self, messages: Sequence[Json], **params: Any) -> Drift | None:
        ready = self.preparer.prepare(checked(list(messages), params), now=0.0)
        return self.watch.look(ready.linked())

    def causes(self, *requests: Sequence[Json]) -> list[str | None]:
        return [None if (drift := self.send(each)) is None else drift.cause for each in requests]


def system(text: str = RULES) -> Json:
    return {"role": "system", "content": text}


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def said(text: str) -> Json:
    return {"role": "assistant", "content": text}


def talk(turns: int, rules: str = RULES, own: str = "") -> list[Json]:
    """A conversation of so many user turns, up to the newest of them."""
    messages = [system(rules)]
    for turn in range(turns):
        messages.append(
            user(f"{own} What about plant number {turn} in the palm house, and how much water does it want?")
        )
        messages.append(said(f"{own} Plant number {turn} wants two litres a day, and a look at its roots in spring."))
    return messages[:-1]


def grown(messages: Sequence[Json], more: int = 1) -> list[Json]:
    """The same, so many turns later."""
    later = list(messages)
    for turn in range(more):
        later += [
            said(f"As to that, {turn}: yes, and mind the roots when the pots are moved."),
            user(f"And then {turn}?"),
        ]
    return later


# --- no alarm ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6), st.booleans())
def test_conversations_that_grow(seed: int, many: int, stable: bool) -> None:
    """However many run side by side, nothing is reported while each only grows."""
    rng, watcher = Random(seed), Watcher(stable=stable)
    running = [(agent if rng.random() < 0.5 else chat)(rng.randrange(20)) for _ in range(min(many, 3))]
    ends = [[at for at, each in enumerate(one.messages) if each["role"] == "assistant"][:8] for one in running]
    while any(ends):
        number = rng.choice([number for number, left in enumerate(ends) if left])
        one = running[number]
        params: Json = {"tools": list(one.tools)} if one.tools else {}
        assert watcher.send(one.messages[: ends[number].pop(0)], **params) is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["yes", "go on", "thanks", RULES[:400]])), max_size=30))
def test_conversations_that_begin_alike(steps: list[tuple[int, str]]) -> None:
    """Many begin with "Hi" and say short things; none is taken for another, even if some of it was never sent."""
    watcher, running = Watcher(), [[system(), user("Hi")] for _ in range(5)]
    for number, text in steps:
        if number % 2 or len(running[number]) > 2:  # of the others, the first request was answered from a cache
            assert watcher.send(running[number]) is None
        running[number] += [said(f"Answer {number}.{len(running[number])} and what else there is."), user(text)]


def test_ever_new_conversations() -> None:
    """Also when there were so many that the first request of one is forgotten."""
    watcher = Watcher()
    running = [[system(), user("Hi")] for _ in range(100)]
    for turn in range(3):
        for number, each in enumerate(running):
            assert watcher.send(each) is None
            each += [said(f"{number}: hello to you, {turn}"), user("yes")]


def test_extraction_and_questions() -> None:
    """Requests that share nothing but their instructions."""
    watcher, work, found = Watcher(), extract(3), rag(3)
    for item in work.items[:40]:
        assert watcher.send([system(work.system), user(item.text)]) is None
    for query in found.queries[:40]:
        texts = [{"type": "text", "text": found.docs[hit.doc].text} for hit in query.hits]
        content = [*texts, {"type": "text", "text": query.question}]
        assert watcher.send([system(found.system), {"role": "user", "content": content}]) is None


def test_examples_in_front() -> None:
    """With a few examples in each prompt, the newest turns may differ in as little as a number or a date."""
    watcher, examples = Watcher(), talk(3)
    for n in range(10):
        question = f"What of order 6f9619ff-8b86-d011-b42d-00c04fc964{n:02x} of 2026-05-{n + 1:02}?"
        assert watcher.send([*examples, said("Two litres."), user(question)]) is None


def test_regenerated_answers() -> None:
    """The same again, another answer to the same turn, another turn, and an earlier place to go on from."""
    watcher, first = Watcher(), talk(4)
    for messages in (
        *(first[: 2 * turn] for turn in (1, 2, 3, 4)),
        first,
        [*first[:-2], said("Another answer to the turn before."), first[-1]],
        [*first[:-1], user("Something else altogether, if you please, about the ferns.")],
        grown([*first[:-1], user("Something else altogether, if you please, about the ferns.")]),
        [*first[:3], user("What if we begin again from here, with less water?")],
        grown([*first[:3], user("What if we begin again from here, with less water?")], 3),
        grown(first),
    ):
        assert watcher.send(messages) is None


def test_scripts_played_again() -> None:
    """The same user turns with other answers each time, as in an evaluation."""
    watcher = Watcher()
    for run in range(4):
        played = talk(5)
        for at, each in enumerate(played):
            if each["role"] == "assistant":
                played[at] = said(f"{each['content']} That is what run {run} says.")
        for turn in range(1, 6):
            assert watcher.send(played[: 2 * turn]) is None


def test_one_task_for_several_agents() -> None:
    """The same turn under other instructions, or for another kind of answer, is another request on purpose."""
    watcher, text = Watcher(), talk(1)[1]
    for turn in range(3):
        for number, rules in enumerate(
            (RULES + "Plan it.", RULES + "Criticise it.", RULES[:6000] + "Say where it goes.")
        ):
            later = grown([system(rules), text], turn)
            later = [said(f"{number} {m['content']}") if m["role"] == "assistant" else m for m in later]
            assert watcher.send(later) is None
        for kind in ("text", "json_object"):
            assert watcher.send(grown([system(), text], turn), response_format={"type": kind}) is None


def test_one_key_for_an_app() -> None:
    """A prompt_cache_key names no conversation."""
    watcher = Watcher()
    for number in range(6):
        assert watcher.send(talk(2, own=f"{number}"), prompt_cache_key="app") is None


def test_users_with_instructions_of_their_own() -> None:
    """An id in the instructions may be that of a user, who has many conversations."""
    watcher = Watcher()
    for number in range(6):
        rules = f"{RULES} You talk to 6f9619ff-8b86-d011-b42d-00c04fc964{number:02x}."
        for turn in (1, 2):
            assert watcher.send(talk(turn, rules)) is None
        assert watcher.send([system(rules), user("Hi")]) is None


def test_tools_that_come_later() -> None:
    """Each conversation keeps its own order of tools, and that is no drift of another."""
    watcher = Watcher()
    watcher.send(talk(1), tools=TOOLS[1:])
    watcher.send(grown(talk(1)), tools=TOOLS)
    for number in range(4):
        assert watcher.send(talk(1, own=f"{number}"), tools=TOOLS) is None


def test_short_prompts() -> None:
    """Where nothing is kept, nothing is lost."""
    watcher = Watcher()
    assert (
        watcher.causes(talk(2, "Be brief. It is 10:01:22."), grown(talk(2, "Be brief. It is 10:02:59."))) == [None] * 2
    )


def test_prompts_cut_to_fit() -> None:
    """What we leave out ourselves is no drift of the caller's."""
    preparer, watch = Preparer(Prompt(max_input_tokens=6000), TARGET), Watch(1024)
    messages, cut = talk(1), 0
    for turn in range(20):
        ready = preparer.prepare(checked(messages, {}), now=float(turn)).linked()
        assert watch.look(ready) is None
        cut = ready.cut
        messages = [*messages, said(f"{turn} {RULES[:1500]}"), user(f"and {turn}? {RULES[:700]}")]
    assert cut > 0


# --- alarms -----------------------------------------------------------------------------------------------------------


def clock(messages: list[Json]) -> list[Json]:
    return [system("It is 2026-05-04 10:02:59. " + RULES), *messages[1:]]


def number(messages: list[Json]) -> list[Json]:
    return [system("Request 6f9619ff-8b86-d011-b42d-00c04fc964ff. " + RULES), *messages[1:]]


def edited(messages: list[Json]) -> list[Json]:
    return [*messages[:3], user("What about that one over there?"), *messages[4:]]


def inserted(messages: list[Json]) -> list[Json]:
    return [*messages[:5], system("Remember to be brief."), *messages[5:]]


def inserted_last(messages: list[Json]) -> list[Json]:
    return [*messages[:-3], system("Remember to be brief."), *messages[-3:]]


def slid(messages: list[Json]) -> list[Json]:
    return [messages[0], *messages[3:]]


def rewritten(messages: list[Json]) -> list[Json]:
    return [system(RULES + "And be brief."), *messages[1:]]


@pytest.mark.parametrize(
    "change, cause",
    [
        (clock, "system_timestamp"),
        (number, "system_random_id"),
        (edited, "history_edited"),
        (inserted, "message_inserted"),
        (inserted_last, "message_inserted"),
        (slid, "history_trimmed"),
        (rewritten, "system_text_changed"),
    ],
)
@pytest.mark.parametrize("crowd", [0, 10])
def test_what_a_conversation_has_lost(change: Callable[[list[Json]], list[Json]], cause: str, crowd: int) -> None:
    """What changes before the end is found, though all earlier turns were sent and others are under way."""
    watcher, rules = Watcher(), RULES
    if change is clock:
        rules = "It is 2026-05-04 10:01:22. " + RULES
    if change is number:
        rules = "Request 6f9619ff-8b86-d011-b42d-00c04fc964aa. " + RULES
    for turn in range(1, 6):
        assert watcher.send(talk(turn, rules)) is None
    for other in range(crowd):
        watcher.send(talk(2, rules, own=f"{other}"))
    assert watcher.causes(change(grown(talk(5, rules)))) == [cause]
    assert watcher.causes(grown(change(grown(talk(5, rules))))) == [None]


@pytest.mark.parametrize(
    "param, values",
    [
        ("reasoning_effort", ("low", "high")),
        ("tool_choice", ("auto", "none")),
        ("thinking", ({"type": "enabled"}, {"type": "disabled"})),
        ("response_format", ({"type": "text"}, {"type": "json_object"})),
        ("prompt_cache_key", ("a", "b")),
    ],
)
def test_other_parameters(param: str, values: tuple[Any, Any]) -> None:
    """A conversation that goes on with another parameter begins anew; one that keeps it does not."""
    watcher, messages = Watcher(), talk(3)
    assert watcher.send(messages, **{param: values[0]}) is None
    drift = watcher.send(grown(messages), **{param: values[1]})
    assert drift is not None and (drift.cause, drift.path) == ("param_changed", param)
    assert watcher.send(grown(messages, 2), **{param: values[1]}) is None


def test_clock_in_one_shots() -> None:
    """Also where each request is a conversation of its own, and others are sent in between."""
    watcher = Watcher()
    for n in range(5):
        drift = watcher.send(
            [system(f"It is 2026-05-04 10:0{n}:22. {RULES}"), user(f"Question {n} about this and that?")]
        )
        assert (drift is None) == (n == 0)
        assert drift is None or drift.cause == "system_timestamp"
        assert watcher.send([system(RULES[:6000]), user(f"Something else, {n}?")]) is None


@pytest.mark.parametrize("one_shot", [False, True])
def test_shuffled_tools(one_shot: bool) -> None:
    """Left as they come, they are reported; put in order, they are no trouble."""
    for stable in (False, True):
        watcher, rng = Watcher(stable=stable), Random(5)
        causes: set[str | None] = set()
        for turn in range(8):
            messages = talk(1, own=f"{turn}") if one_shot else grown(talk(1), turn)
            drift = watcher.send(messages, tools=rng.sample(TOOLS, len(TOOLS)))
            causes.add(None if drift is None else drift.cause)
        assert causes == ({None} if stable else {None, "tools_reordered"})


def test_shortened_results() -> None:
    """A tool's result that is cut when the next step is sent, even if nothing else came behind it."""
    call = {"id": "c1", "type": "function", "function": {"name": "look_a", "arguments": "{}"}}
    before = [*talk(2), {"role": "assistant", "content": None, "tool_calls": [call]}]
    result = {"role": "tool", "tool_call_id": "c1", "content": RULES[:900]}
    watcher = Watcher()
    watcher.send([*before, result])
    assert watcher.causes(grown([*before, {**result, "content": RULES[:100] + "..."}])) == ["history_edited"]


def test_a_time_that_is_given_anew() -> None:
    """The newest turn said the time, and says another once it is history."""
    watcher, before = Watcher(), [*talk(2), said("Yes.")]
    watcher.send([*before, user("[10:01:22] What now?")])
    assert watcher.causes(grown([*before, user("[10:05:01] What now?")])) == ["history_timestamp"]


def test_named_conversations() -> None:
    """Who names a conversation gets to know of each change, and still may send other prompts in between."""
    watcher, name = Watcher(), {"conversation_id": "c7"}
    title = [system(RULES[:6000] + "Find a title."), talk(1)[1]]
    for turn in (1, 2, 3):
        assert watcher.send(talk(turn), metadata=name) is None
        assert watcher.send(title, metadata=name) is None
    watcher.send(talk(3), metadata=name)
    drift = watcher.send(grown([*talk(3)[:3], user("x"), said("y"), user("z")]), metadata=name)
    assert drift is not None and drift.cause == "history_edited"


def test_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The second drift of one cause is worth a line, with what to do and nothing of the prompt; later ones are not."""
    watcher = Watcher()
    with caplog.at_level(logging.WARNING, logger="fastclient"):
        for minute in range(6):
            watcher.send(grown(talk(2, f"It is 10:0{minute}:22 in the secret garden. " + RULES), minute))
            assert len(caplog.records) == (minute >= 2)
    assert "system_timestamp" in caplog.text and "move the time out" in caplog.text
    assert "secret" not in caplog.text and "pond" not in caplog.text


def test_memory_is_bounded() -> None:
    """Only the latest requests are kept, by whatever they are found."""
    watcher = Watcher()
    for n in range(300):
        watcher.send(talk(1, own=f"{n}"), metadata={"conversation_id": n}, tools=[{"type": f"t{n}"}])
    sent: Sent = watcher.watch._sent
    kept: list[Any] = [sent._by_end, sent._by_task, sent._by_last, sent._by_name, sent._by_front]
    assert [len(each._known) for each in kept] == [64] * 5
    for n in range(40):  # of long prompts fewer: 32 MB of them
        watcher.send([system(), user(f"{n} " + "x" * 2_000_000)])
    assert len(sent._by_end._known) < 17 and watcher.send([system(), user("x" * 40_000_000)]) is None
    assert len(sent._by_end._known) == 0


@given(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=6), st.data())
def test_any_messages(roles: list[str], data: st.DataObject) -> None:
    """Whatever is sent, looking at it raises nothing."""
    watcher = Watcher(minimum=0)
    contents = st.sampled_from(["", "a", [], [{}], [{"type": 3, "text": 4}], "\ud800"[:0]])
    for _ in range(3):
        messages = [{"role": role, "content": data.draw(contents), "tool_call_id": 5} for role in roles]
        watcher.send(messages, tool_choice=data.draw(st.sampled_from([None, 5, ["x"], {"a": {}}])), metadata={})
