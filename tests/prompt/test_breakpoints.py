"""Breakpoints stand where what is written will be read again, and lifetimes are as long as pauses."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.prompt import breakpoints
from fastclient.prompt.breakpoints import Line, Plan, Planner
from fastclient.prompt.lifetime import Gaps
from fastclient.prompt.rules import Lifetime, Rules, rules_of
from fastclient.target import Target

CLAUDE = rules_of(Target("anthropic:claude-opus-4-8"))
GPT = rules_of(Target("openai:gpt-5.6"))
SHORT, LONG = CLAUDE.lifetimes


def line(*names: object, static: int = 1, history: int | None = None, each: float = 2000.0, first: int = 0) -> Line:
    """A prompt of these blocks, each of the same length, all of them told apart by all that stands before."""
    chain = [hash(names[:count]) for count in range(len(names) + 1)]
    ends = [each * count for count in range(len(names) + 1)]
    end = len(names) if history is None else history
    return Line(ends, chain, range(len(names) + 1), static, end, first=first, family=chain[static])


def send(planner: Planner, prompt: Line, now: float, lifetime: Lifetime = SHORT, most: int = 4) -> Plan:
    """Plan a request that is answered."""
    plan = planner.plan(prompt, now, lifetime, most)
    planner.wrote([prompt.chain[position] for position in plan.written], now + lifetime.seconds)
    return plan


def shared(rate: float, lifetime: Lifetime, requests: int = 600) -> bool:
    """Whether something is marked that comes again within its lifetime so many times, after it was seen often."""
    planner, rng, marked = Planner(CLAUDE), Random(1), []
    apart = lifetime.seconds / 50
    again: list[tuple[int, Line]] = []
    for at in range(requests):
        own = line("rules", f"text {at}", history=1)
        count = int(rate) + (rng.random() < rate % 1)
        again += [(at + 3 + 3 * number, own) for number in range(count)]
        marked.append(2 in send(planner, own, at * apart, lifetime).marks)
        for _, each in (due for due in again if due[0] == at):
            planner.plan(each, at * apart, lifetime, 0)
    return sum(marked[-100:]) > 50


@pytest.mark.parametrize("rate, pays", [(0.1, False), (0.5, True)])
def test_break_even_of_five_minutes(rate: float, pays: bool) -> None:
    """At 1.25 for a write and 0.1 for a read, more than 0.28 reads pay."""
    assert shared(rate, SHORT) is pays


@pytest.mark.parametrize("rate, pays", [(0.8, False), (1.6, True)])
def test_break_even_of_an_hour(rate: float, pays: bool) -> None:
    """At 2 for a write, more than 1.11 reads pay."""
    assert shared(rate, LONG) is pays


@pytest.mark.parametrize("rules", [CLAUDE, GPT], ids=["claude", "gpt"])
def test_unique_tails_are_never_marked(rules: Rules) -> None:
    """The shared beginning is written and read, the rest costs what it cost."""
    planner = Planner(rules)
    plans = [send(planner, line("rules", f"text {n}", history=1), 2.0 * n, rules.lifetimes[0]) for n in range(50)]
    assert all(plan.marks == [1] for plan in plans)
    assert [plan.read for plan in plans] == [0.0] + [2000.0] * 49


@pytest.mark.parametrize("rules", [CLAUDE, GPT], ids=["claude", "gpt"])
def test_strangers_are_marked_no_more(rules: Rules) -> None:
    """Where no beginning comes twice, nothing is written after a few requests."""
    planner = Planner(rules)
    plans = [send(planner, line(f"rules {n}", "text", history=1), 2.0 * n, rules.lifetimes[0]) for n in range(20)]
    assert not any(plan.marks for plan in plans[8:])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=25), st.sampled_from([CLAUDE, GPT]))
def test_growing_conversations_are_read(steps: list[int], rules: Rules) -> None:
    """From the second request on all that was there before is read, though each ends in something that changes."""
    planner, blocks, before = Planner(rules), ["rules", "task"], 0.0
    for turn, count in enumerate(steps):
        blocks += [f"{turn}.{number}" for number in range(count)]
        prompt = line(*blocks, f"it is {turn} o'clock", history=len(blocks))
        plan = send(planner, prompt, 10.0 * turn, rules.lifetimes[0])
        assert plan.read == before
        assert prompt.history in plan.marks and prompt.history + 1 not in plan.marks
        before = prompt.ends[prompt.history]


@given(st.data())
def test_plans_are_possible(data: st.DataObject) -> None:
    """At most as many new marks as allowed, in order, only where they may stand; the same for the same past."""
    rules = data.draw(st.sampled_from([CLAUDE, GPT]))
    one, other = Planner(rules), Planner(rules)
    for at in range(data.draw(st.integers(1, 6))):
        names = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=30))
        static = data.draw(st.integers(0, len(names)))
        first, most = data.draw(st.integers(0, 3)), data.draw(st.integers(-1, 4))
        allowed = data.draw(st.sets(st.integers(0, len(names))))
        prompt = line(*names, static=static, history=data.draw(st.integers(static, len(names))), first=first)
        prompt = prompt._replace(markable=allowed.__contains__)
        lifetime = data.draw(st.sampled_from(rules.lifetimes))
        plan = send(one, prompt, 10.0 * at, lifetime, most)
        assert plan == send(other, prompt, 10.0 * at, lifetime, most)
        assert list(plan.marks) == sorted({*plan.marks})
        if not rules.live:
            assert len(plan.marks) <= max(0, most)
            assert all(p >= first and p in allowed and prompt.ends[p] >= rules.minimum for p in plan.marks)


def test_live_entries_stay_marked() -> None:
    """From GPT-5.6 on an entry is found only where it is marked again, in one of the latest 80 places."""
    planner, blocks = Planner(GPT), ["rules"]
    for turn in range(120):
        blocks.append(f"step {turn}")
        plan = send(planner, line(*blocks), 5.0 * turn, GPT.lifetimes[0])
        assert plan.read == (2000.0 * (turn + 1) if turn else 0.0)
        assert {1, len(blocks), len(blocks) - 1} <= {*plan.marks} or turn >= 79
        assert len(plan.marks) <= GPT.live + 1


def test_old_entries_are_within_reach() -> None:
    """Anthropic looks back 20 blocks: a step of many blocks finds the one before all the same."""
    planner, blocks = Planner(CLAUDE), ["rules", *range(10)]
    for turn in range(8):
        blocks += [f"{turn}.{number}" for number in range(18)]
        plan = send(planner, line(*blocks, each=600.0), 5.0 * turn)
        assert turn == 0 or plan.read == 600.0 * (len(blocks) - 18)


def test_the_last_place_that_takes_a_marker() -> None:
    """Where the newest message takes none, the one before it is marked."""
    prompt = line("rules", "question", "answer", "no text")._replace(markable=lambda position: position != 4)
    assert send(Planner(GPT), prompt, 0.0, GPT.lifetimes[0]).marks == [1, 3]


def test_short_prompts_are_not_marked() -> None:
    """Below the minimum the provider keeps nothing."""
    assert send(Planner(CLAUDE), line("rules", "text", each=500.0), 0.0).marks == []
    assert send(Planner(CLAUDE), line("rules", "text", each=600.0), 0.0).marks == [2]


def test_entries_end() -> None:
    """What is written lives for its lifetime, and what the provider has lost is not expected."""
    planner, prompt = Planner(CLAUDE), line("rules", "text")
    send(planner, prompt, 0.0)
    assert planner.plan(prompt, 299.0, SHORT, 4).read == 4000.0
    assert planner.plan(prompt, 301.0, SHORT, 4).read == 0.0
    send(planner, prompt, 302.0)
    planner.lost(prompt.chain)
    assert planner.plan(prompt, 303.0, SHORT, 4).read == 0.0


def test_what_was_not_written_is_not_expected() -> None:
    """A plan alone changes nothing: its request may fail."""
    planner, prompt = Planner(CLAUDE), line("rules", "text")
    assert [planner.plan(prompt, float(at), SHORT, 4).read for at in range(3)] == [0.0, 0.0, 0.0]


def test_lifetimes_do_not_disturb_each_other() -> None:
    """Requests with five minutes do not end the wait of those with an hour."""
    planner = Planner(CLAUDE)
    for at in range(60):
        send(planner, line("slow", f"text {at // 2}"), at * 600.0, LONG)
        for near in range(10):
            send(planner, line("quick", f"other {at} {near}", history=1), at * 600.0 + near, SHORT)
    plan = planner.plan(line("slow", "text 30"), 60 * 600.0, LONG, 4)
    assert 1 in plan.marks and plan.read >= 2000.0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversations that go on and on, and ever new ones, do not fill it; what is recent survives."""
    monkeypatch.setattr(breakpoints, "_NODES", 200)
    planner, blocks, plan = Planner(CLAUDE), ["rules"], Plan([], [], 0.0)
    for at in range(600):
        blocks = [*blocks[-20:], f"step {at}"] if at % 50 else ["rules"]
        plan = send(planner, line(*blocks, static=0), float(at))
        if at % 50 > 1:
            assert len(planner._live) <= 400 and len(planner._nodes) <= 400 and len(planner._seen) <= 400
            assert sum(map(len, planner._open.values())) <= 400
    assert plan.marks


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_clocks_may_jump(times: list[float]) -> None:
    """Nothing raises, and when the clock goes on as usual, entries are found again."""
    planner, prompt = Planner(CLAUDE), line("rules", "text")
    for now in times:
        send(planner, prompt, now)
    now = max(times) + 10_000
    planner.wrote(prompt.chain, now + 300)
    assert planner.plan(prompt, now + 1, SHORT, 4).read == 4000.0


# --- lifetimes --------------------------------------------------------------------------------------------------------


def chosen(gaps: Iterable[float], tokens: float = 10_000, new: float = 500) -> str:
    seen = Gaps(CLAUDE.lifetimes, CLAUDE.read)
    for gap in gaps:
        seen.add(gap)
    return seen.best(tokens, new).name


@pytest.mark.parametrize("gap, name", [(10.0, "5m"), (60.0, "5m"), (299.0, "5m"), (540.0, "1h"), (3000.0, "1h")])
def test_lifetime_follows_the_pauses(gap: float, name: str) -> None:
    """Conversations that go on within five minutes need no more; those that do within the hour pay for it."""
    assert chosen([gap] * 20) == name


@pytest.mark.parametrize("gap", [4000.0, 3 * 3600.0, 86400.0])
def test_long_pauses_outlast_both(gap: float) -> None:
    """After hours nothing is left, so the cheaper write it is."""
    assert chosen([gap] * 20) == "5m"


def test_lifetime_of_what_is_new() -> None:
    """Before anything is known the shorter one is taken; a few long pauses among short ones change nothing."""
    assert chosen([], new=10_000) == "5m"
    assert chosen([30.0] * 200 + [600.0]) == "5m"


@given(st.lists(st.floats(-1e9, 1e9), max_size=30), st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_any_pauses(gaps: list[float], tokens: float, new: float) -> None:
    """A lifetime is chosen whatever the clock says."""
    assert chosen(gaps, tokens, new) in ("5m", "1h")


def test_habits_change() -> None:
    """Many short pauses of long ago do not outweigh what happens now for ever."""
    assert chosen([10.0] * 12_000 + [540.0] * 30_000) == "1h"


def test_one_lifetime_is_no_choice() -> None:
    """Where a provider offers one, that is it."""
    assert Gaps(GPT.lifetimes, GPT.read).best(1000, 10) == GPT.lifetimes[0]
