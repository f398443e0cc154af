"""Counting without a tokenizer: estimates, what they make of odd messages, the memo, and anchored counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.prompt.tokens import (
    Anchor,
    Count,
    Size,
    Sizes,
    anchored,
    counted,
    estimate,
    estimated,
    size_of,
    size_of_text,
    size_of_tool,
    sized,
)

ENGLISH = """The night train leaves the harbour a little after ten and follows the coast until the rain begins. Nobody
on board expects to sleep much: the heating rattles, the lamps cannot be turned down, and the guard wakes everyone at
the border to ask the same two questions. Still, there are people who would not travel any other way. They bring their
own bread and a thermos of tea, they read until the tunnel, and then they talk to whoever sits opposite, quietly, about
work and weather and the price of houses, as if the whole carriage were one long kitchen with the windows open.
"""

CODE = """class Ledger:
    def __init__(self, currency: str = "EUR") -> None:
        self.currency = currency
        self.entries: list[Entry] = []

    def add(self, amount: Decimal, *, account: str, note: str | None = None) -> Entry:
        if not amount.is_finite():
            raise ValueError(f"amount must be finite, not {amount}")
        entry = Entry(amount=amount, account=account, note=note or "", number=len(self.entries) + 1)
        self.entries.append(entry)
        return entry

    def balance(self, account: str) -> Decimal:
        # refunds are entries of their own
        return sum((entry.amount for entry in self.entries if entry.account == account), Decimal(0))
"""

ROWS = json.dumps(
    [
        {"id": 4000 + 37 * row, "name": f"pump-{row:02}", "ok": row % 3 > 0, "pressure": 1.25 * row, "site": "north"}
        for row in range(12)
    ]
)

CHINESE = "今天下午的会议改到三点。请大家带上上个月的报告。如果不能参加。请提前告诉我。"

O200K = {ENGLISH: 124, CODE: 162, ROWS: 410, CHINESE: 26}
"""What tiktoken's o200k_base makes of these texts."""

TOOL = {
    "type": "function",
    "function": {
        "name": "read_pressure",
        "description": "Read the pressure of a pump, in bar.",
        "parameters": {"type": "object", "properties": {"pump": {"type": "string"}}, "required": ["pump"]},
    },
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=8) | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "data", "source", "image_url", "function", "name", "input"])
            | st.text(max_size=3),
            inner
            | st.sampled_from(
                ["text", "tool_result", "tool_use", "thinking", "document", "input_audio", "image", "file", "base64"]
            ),
            max_size=4,
        )
    ),
    max_leaves=12,
)


# --- a text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, tokens", [("", 0.0), ("a", 1.0), ("Hello, world!", 3.13), ('{"id": 12345, "ok": true}', 11.91)]
)
def test_check_values(text: str, tokens: float) -> None:
    """The estimator is this one: its results on known texts, and nothing for nothing."""
    assert estimate(text) == pytest.approx(tokens, abs=0.005)


@pytest.mark.parametrize("text", O200K, ids=["english", "code", "json", "chinese"])
def test_an_estimate_is_near_the_truth(text: str) -> None:
    """A short text is at most 6 % off, one in Chinese 20 %; what it really has is below the upper bound."""
    assert estimate(text) == pytest.approx(O200K[text], rel=0.06 if text.isascii() else 0.20)
    assert O200K[text] <= size_of_text(text).high


def test_errors_cancel_out() -> None:
    """Prose, code and JSON together are at most 3 % off."""
    texts = (ENGLISH, CODE, ROWS)
    assert sum(map(estimate, texts)) == pytest.approx(sum(O200K[text] for text in texts), rel=0.03)


@pytest.mark.parametrize(
    "text",
    [ENGLISH * 60, CODE * 60, ROWS * 60, CHINESE * 500, ENGLISH * 30 + ROWS * 40, CODE * 30 + CHINESE * 300],
    ids=["prose", "code", "JSON", "Chinese", "prose and JSON", "code and Chinese"],
)
def test_slices_of_a_long_text_tell_its_size(text: str) -> None:
    """To some percent of what all of it tells, also where it is one thing in front and another behind."""
    quick, full = sized(text), size_of_text(text)
    assert quick.n == pytest.approx(full.n, rel=0.04)
    assert quick.high / quick.n == pytest.approx(full.high / full.n, rel=0.04)
    assert sized(text) == quick


@given(st.text())
def test_a_short_text_is_measured_in_full(text: str) -> None:
    """Slices are for long ones only."""
    assert sized(text) == size_of_text(text)


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_every_text_has_a_size(text: str) -> None:
    """Any text, half a surrogate pair included, has at least one token, and an upper bound in the promised range."""
    size = size_of_text(text)
    assert size.n == estimate(text)
    assert size.n >= 1 or not text
    assert 1.06 * size.n <= size.high + 1e-9 and size.high <= 1.4 * size.n + 1e-9


@given(st.text(st.characters(codec="ascii")))
def test_a_text_in_ascii_is_uncertain_by_six_percent(text: str) -> None:
    """Latin letters, digits and marks get the small margin."""
    assert size_of_text(text).high == pytest.approx(1.06 * estimate(text))


def test_the_margin_grows_with_the_share_of_other_scripts() -> None:
    """Accents cost nothing, and a text that is all Chinese has the whole margin."""

    def margin(text: str) -> float:
        return size_of_text(text).high / estimate(text) - 1

    assert margin("déjà vu à Genève") == pytest.approx(0.06)
    assert margin("今天下午的会议") == pytest.approx(0.40)
    assert margin(ENGLISH) < margin(ENGLISH + CHINESE) < margin(ENGLISH + 9 * CHINESE) < 0.40


@pytest.mark.parametrize(
    "text", [" " * 10**6, "a" * 10**6, "👩\u200d👩\u200d👧" * 10**5, "\ud800" * 10**5, "\n" * 10**6]
)
def test_extreme_texts_are_counted(text: str) -> None:
    """A megabyte of one character is counted like anything else, and never as next to nothing."""
    assert len(text) / 100 < estimate(text) < 4 * len(text)


# --- a message, a tool ------------------------------------------------------------------------------------------------


def tokens(*texts: str, frames: int = 1) -> float:
    return 4 * frames + sum(map(estimate, texts))


CALL = {"id": "c1", "type": "function", "function": {"name": "read_pressure", "arguments": '{"pump": "P-7"}'}}
ASKED = tokens("read_pressure", '{"pump": "P-7"}', frames=2)


@pytest.mark.parametrize(
    "message, expected",
    [
        ({"role": "user", "content": ENGLISH}, tokens(ENGLISH)),
        ({"role": "user", "content": ""}, 4),
        ({"role": "user"}, 4),
        ({"role": "user", "content": ENGLISH, "name": "harbour_master"}, tokens(ENGLISH, "harbour_master")),
        ({"role": "user", "content": [{"type": "text", "text": ENGLISH}, {"type": "text", "text": CODE}]},
         tokens(ENGLISH, CODE)),
        ({"role": "user", "content": [{"type": "input_text", "text": ENGLISH}]}, tokens(ENGLISH)),
        ({"role": "user", "content": [ENGLISH]}, tokens(ENGLISH)),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, ASKED),
        ({"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}, 2 * ASKED - 4),
        ({"role": "assistant", "content": None, "function_call": CALL["function"]}, ASKED),
        ({"role": "assistant", "tool_calls": [{"custom": {"name": "read_pressure", "input": ENGLISH}}]},
         tokens("read_pressure", ENGLISH, frames=2)),
        ({"role": "assistant", "content": CODE, "reasoning_content": ENGLISH}, tokens(CODE, ENGLISH)),
        ({"role": "assistant", "content": None, "refusal": ENGLISH}, tokens(ENGLISH)),
        ({"role": "tool", "tool_call_id": "c1", "content": ROWS}, tokens(ROWS)),
    ],
)  # fmt: skip
def test_messages_of_openai(message: Mapping[str, object], expected: float) -> None:
    """A message has the tokens of its texts, four around it and four around each call; ids have none."""
    assert size_of(message).n == pytest.approx(expected)


@pytest.mark.parametrize(
    "block, expected",
    [
        ({"type": "text", "text": ENGLISH, "cache_control": {"type": "ephemeral"}}, tokens(ENGLISH)),
        ({"type": "thinking", "thinking": ENGLISH, "signature": "A" * 400}, tokens(ENGLISH)),
        ({"type": "redacted_thinking", "data": "A" * 4000}, tokens('{"type":"redacted_thinking","data":""}')),
        ({"type": "tool_use", "id": "t1", "name": "read_pressure", "input": {"pump": "P-7"}},
         tokens("read_pressure", '{"pump":"P-7"}', frames=2)),
        ({"type": "tool_result", "tool_use_id": "t1", "content": ROWS}, tokens(ROWS, frames=2)),
        ({"type": "tool_result", "tool_use_id": "t1"}, 8),
        ({"type": "tool_result", "content": [{"type": "text", "text": ROWS}, {"type": "text", "text": CODE}]},
         tokens(ROWS, CODE, frames=2)),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": ENGLISH}},
         tokens(ENGLISH)),
    ],
)  # fmt: skip
def test_blocks_of_anthropic(block: Mapping[str, object], expected: float) -> None:
    """Blocks have the tokens of what the model reads of them: no ids, signatures or markers."""
    assert size_of({"role": "user", "content": [block]}).n == pytest.approx(expected)


BINARY = "iVBORw0KGgo" * 20_000


@pytest.mark.parametrize(
    "part, low, high",
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BINARY}", "detail": "low"}}, 85, 85),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BINARY}"}}, 765, 1600),
        ({"type": "input_image", "image_url": f"data:image/png;base64,{BINARY}", "detail": "low"}, 85, 85),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BINARY}}, 765, 1600),
        ({"type": "input_audio", "input_audio": {"data": BINARY, "format": "mp3"}}, 111, 441),
        ({"type": "input_audio", "input_audio": {}}, 2700, 10_800),
        ({"type": "file", "file": {"file_data": BINARY, "filename": "a.pdf"}}, 7334, 22_001),
        ({"type": "document", "source": {"type": "base64", "data": BINARY}}, 7334, 22_001),
        ({"type": "input_file", "file_id": "file-1"}, 2700, 10_800),
    ],
)  # fmt: skip
def test_media_are_not_counted_as_text(part: Mapping[str, object], low: float, high: float) -> None:
    """Images, recordings and files have a guess of their own: their base64 as text would be 100,000 tokens."""
    size = size_of({"role": "user", "content": [part]})
    assert (size.n - 4, size.high - 4) == pytest.approx((low, high), abs=1)


def test_unknown_parts_are_counted_as_their_json() -> None:
    """A kind of part that is yet to be invented has its words counted, and not its binary data."""
    part = {"type": "hologram", "caption": ENGLISH, "data": BINARY}
    expected = tokens(json.dumps({**part, "data": ""}, separators=(",", ":")))
    assert size_of({"role": "user", "content": [part]}).n == pytest.approx(expected)


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls", "function_call", "refusal"]), anything)
)
def test_odd_messages_are_counted(message: dict[str, Any]) -> None:
    """Whatever stands where, a message has a size of at least its frame."""
    size = size_of(message)
    assert 4 <= size.n <= size.high < inf


def test_circles_and_depths_are_counted() -> None:
    """What no JSON can say ends too: a list in itself, and a thousand results in one another."""
    circle: list[object] = []
    circle.append(circle)
    deep: object = "end"
    for _ in range(2000):
        deep = {"type": "tool_result", "content": [deep]}
    assert size_of({"role": "user", "content": circle}).n >= 4
    assert size_of({"role": "user", "content": [deep]}).n >= 4


def test_a_tool_has_the_size_of_its_schema() -> None:
    """A definition is its JSON without blanks, a little denser than other JSON, and four tokens around it."""
    text = json.dumps(TOOL, separators=(",", ":"))
    assert size_of_tool(TOOL).n == pytest.approx(4 + estimate(text), rel=0.1)
    assert size_of_tool(TOOL).n > 4 + estimate(text)


# --- many of them -----------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls"]), anything), max_size=4))
def test_the_memo_changes_no_size(messages: list[dict[str, Any]]) -> None:
    """A remembered size is the size, the first time and the second."""
    sizes = Sizes()
    expected = [size_of(message) for message in messages]
    assert [sizes.of(message) for message in messages] == expected
    assert [sizes.of(message) for message in messages] == expected
    assert sizes.of_tool(TOOL) == sizes.of_tool(TOOL) == size_of_tool(TOOL)


class Counter:
    """Counts characters, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, text: str) -> int:
        self.asked += 1
        return len(text)


def test_a_text_is_counted_once() -> None:
    """What was counted before is looked up, also if the same text comes as another object."""
    counter = Counter()
    sizes = Sizes(counter)
    for _ in range(3):
        assert sizes.of_text("pump" + str(7)) == pytest.approx((5, 5.05))
    assert counter.asked == 1


def test_an_exact_counter_is_taken_at_its_word() -> None:
    """With a vocabulary loaded, messages and tools have what it counts, and a margin of one percent."""
    sizes = Sizes(len)
    assert sizes.of({"role": "user", "content": "12345678"}) == pytest.approx((12, 12.08))
    assert sizes.of_tool(TOOL).n == 4 + len(json.dumps(TOOL, separators=(",", ":")))


def test_texts_in_use_are_kept_and_others_are_forgotten() -> None:
    """However many texts come by, one that is asked for now and then is not counted again."""
    counter = Counter()
    sizes = Sizes(counter)
    for number in range(40_000):
        sizes.of_text(f"text {number}")
        if number % 4000 == 0:
            sizes.of_text("always")
    assert counter.asked == 40_001
    sizes.of_text("text 0")
    assert counter.asked == 40_002


def test_long_texts_do_not_pile_up() -> None:
    """What the memo holds is bounded in characters too, and a text above all bounds is counted all the same."""
    sizes = Sizes(len)
    for number in range(20):
        sizes.of_text(str(number) * 900_000)
    kept = sum(map(len, (*sizes._young, *sizes._old)))
    assert kept <= 8_000_000
    assert sizes.of_text("x" * 5_000_000).n == 5_000_000
    assert kept == sum(map(len, (*sizes._young, *sizes._old)))


def test_threads_share_a_memo() -> None:
    """Many threads that fill and empty it at once all get the right sizes."""
    sizes = Sizes(len)

    def work(first: int) -> bool:
        return all(sizes.of_text("x" * (number % 50) + str(number)).n > 0 for number in range(first, first + 5000))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(0, 20_000, 2500)))
    assert sizes._length == sum(map(len, sizes._young))


# --- a whole prompt ---------------------------------------------------------------------------------------------------


def test_an_anchored_count() -> None:
    """What was reported, the answer and four around it, and the new messages at the rate of the old ones."""
    anchor = Anchor.of(1200, 1000.0)
    assert anchor == Anchor(1200, 1.2)
    assert anchored(anchor, added=100.0, resent=50) == Count(1374, 1360, 1388, "usage")
    assert anchored(anchor, added=0.0, dropped=500.0) == Count(600, 594, 606, "usage")


@given(
    st.integers(0, 10**7), st.floats(0, 10**6), st.floats(0, 10**6), st.integers(0, 10**5), st.floats(allow_nan=True)
)
def test_an_anchored_count_lies_in_its_range(
    reported: int, added: float, dropped: float, resent: int, ratio: float
) -> None:
    """The range is at least one token each way, nothing is below zero, and no ratio is so silly that it breaks this."""
    count = anchored(Anchor(reported, ratio), added=added, dropped=dropped, resent=resent)
    assert 0 <= count.low <= count.n < count.high
    assert count.low < count.n or count.n == 0


@pytest.mark.parametrize("ratio, used", [(1.5, 1.5), (0.0, 0.3), (-3.0, 0.3), (90.0, 4.0), (inf, 4.0), (nan, 0.3)])
def test_silly_ratios_are_clamped(ratio: float, used: float) -> None:
    """A report of nothing, or of a wrong request, does not spoil what is counted later."""
    assert anchored(Anchor(100, ratio), added=1000.0).n == 100 + 1000 * used
    assert counted(Size(1000, 1060), ratio=ratio).n == 1000 * used


@pytest.mark.parametrize("reported, n, ratio", [(100, 50.0, 2.0), (100, 0.0, 1.0), (0, 50.0, 0.3), (10**9, 1.0, 4.0)])
def test_an_anchor_has_a_sane_ratio(reported: int, n: float, ratio: float) -> None:
    """Also if nothing was estimated, or nothing was reported."""
    assert Anchor.of(reported, n) == (reported, ratio)


def test_an_unanchored_count() -> None:
    """The size with its own margin either way; with the ratio of an older prompt, two percent around the product."""
    assert counted(Size(1000.0, 1060.0)) == Count(1000, 940, 1060, "estimate")
    assert counted(Size(1000.0, 1010.0), "tiktoken") == Count(1000, 990, 1010, "tiktoken")
    assert counted(Size(1000.0, 1060.0), ratio=1.25) == Count(1250, 1225, 1275, "estimate")
    assert counted(Size(0.0, 0.0)) == Count(0, 0, 0, "estimate")


def test_an_unknown_tokenizer_is_followed() -> None:
    """Counts by a provider with half as many tokens again, and 37 on top, are met within a percent at each turn."""

    def reported(messages: list[dict[str, str]]) -> int:
        return 37 + round(sum(4 + 1.5 * estimate(message["content"]) for message in messages))

    texts = [ENGLISH, CODE, ROWS]
    messages = [{"role": "system", "content": "\n".join(texts * 3)}]
    messages += [{"role": "user", "content": texts[turn % 3][: 150 + 97 * turn % 400]} for turn in range(40)]
    for end in range(1, len(messages), 2):
        sent, answer, question = messages[:end], messages[end], messages[end + 1]
        anchor = Anchor.of(reported(sent), sum(size_of(message).n for message in sent))
        count = anchored(anchor, added=size_of(question).n, resent=round(1.5 * estimate(answer["content"])))
        assert count.low <= reported([*sent, answer, question]) <= count.high


# --- the rough one ----------------------------------------------------------------------------------------------------


def test_the_rough_count_is_a_quarter_of_the_characters() -> None:
    """Texts, and texts of parts, by their length; nothing else."""
    assert estimated([]) == 0
    assert estimated([{"role": "user", "content": "x" * 400}, {"role": "assistant", "content": None}]) == 108
    assert estimated([{"role": "user", "content": [{"type": "text", "text": "x" * 40}, {"type": "image_url"}]}]) == 14
