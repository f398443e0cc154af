"""Layouts on the wire: what a provider refuses is never sent, what it keeps is found again, and answers correct us."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from threading import Thread
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks._prefix_caches import Anthropic, Breakpoints
from fastclient import parts as fc
from fastclient.config import Prompt
from fastclient.prompt.align import Aligner
from fastclient.prompt.layout import Layout
from fastclient.prompt.prepare import Preparer
from fastclient.providers.dialect import find
from fastclient.request import checked
from fastclient.target import Target
from fastclient.types import Usage
from tests.prompt.conversations import agent, chat

Json = dict[str, Any]

CLAUDE = Target("anthropic:claude-opus-5", base_url="https://api.anthropic.com", api_key="none")
GPT = Target("openai:gpt-5.6", base_url="https://api.openai.com/v1", api_key="none")
OLDER = Target("openai:gpt-5.5", base_url="https://api.openai.com/v1", api_key="none")
GATEWAY = Target("openai:anthropic/claude-opus-5", base_url="https://openrouter.ai/api/v1", api_key="none")
LONG = "The fern stands beside the pond and waits for rain. " * 120
TOOLS = [{"type": "function", "function": {"name": f"look_{n}", "description": LONG, "parameters": {}}} for n in "ba"]
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/fern.png"}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "x"}


class Sender:
    """Prepares, lays out and writes requests as a client does."""

    def __init__(self, target: Target, **options: Any) -> None:
        prompt = Prompt(squeeze=False, **options)
        self.target = target
        self.preparer, self.aligner = Preparer(prompt, target), Aligner(prompt, target)

    def layout(self, messages: Any, now: float = 0.0, **params: Any) -> Layout:
        return self.aligner.align(self.preparer.prepare(checked(messages, params), now), now)

    def body(self, layout: Layout | None, messages: Any = (), **params: Any) -> Json:
        request = checked(messages, params) if layout is None else layout.prepared.request
        return dict(orjson.loads(find(self.target.provider).write(request, self.target, layout).body))

    def send(self, messages: Any, now: float = 0.0, *, read: int | None = None, **params: Any) -> Json:
        """A request that is answered, with the body that was sent."""
        layout = self.layout(messages, now, **params)
        self.aligner.settle(layout, Usage(cache_read_tokens=read))
        return self.body(layout)


def system(text: str = LONG) -> Json:
    return {"role": "system", "content": text}


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def called(content: Any = None) -> Json:
    calls = [{"id": n, "type": "function", "function": {"name": f"look_{n}", "arguments": "{}"}} for n in "ab"]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(identity: str, content: Any = LONG) -> Json:
    return {"role": "tool", "tool_call_id": identity, "content": content}


def blocks(body: Json) -> Iterator[tuple[str, Json]]:
    """All blocks of a body in the order in which a provider reads them, each with its role."""
    yield from (("tools", tool) for tool in body.get("tools", ()))
    system_ = body.get("system", ())
    yield from (("system", block) for block in system_ if isinstance(block, dict))
    for message in body["messages"]:
        content = message.get("content")
        yield from ((message["role"], part) for part in content or () if isinstance(part, dict))


def lifetimes(value: Any) -> list[str]:
    """The lifetimes of all markers in a value, in order."""
    if isinstance(value, list):
        return [each for item in value for each in lifetimes(item)]
    if not isinstance(value, dict):
        return []
    own = [value["cache_control"].get("ttl", "5m")] if "cache_control" in value else []
    return [each for name, item in value.items() if name != "cache_control" for each in lifetimes(item)] + own


def all_lifetimes(body: Json) -> list[str]:
    ordered = [lifetimes(body.get(name, [])) for name in ("tools", "system", "messages")]
    whole = body.get("cache_control")
    return [*(each for found in ordered for each in found), *([whole.get("ttl", "5m")] if whole else [])]


def bare(value: Any) -> Any:
    """The body without markers, and single parts of text as text."""
    if isinstance(value, list):
        return [bare(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {
        name: bare(item) for name, item in value.items() if name not in ("cache_control", "prompt_cache_breakpoint")
    }
    content = kept.get("content")
    if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}:
        kept["content"] = content[0]["text"]
    return kept


texts = st.sampled_from([LONG, LONG + "Again.", "short", "yes"])
marks = st.none() | st.sampled_from(["5m", "1h"])
text_parts = st.builds(lambda text: {"type": "text", "text": text}, st.sampled_from([LONG, "short", ""]))
contents = texts | st.lists(text_parts | st.just(IMAGE), min_size=1, max_size=3)
steps = st.one_of(
    st.builds(lambda content: [user(content)], contents),
    st.builds(lambda content: [{"role": "assistant", "content": content}], texts),
    st.builds(
        lambda content, a, b: [called(content), result("a", a), result("b", b)],
        st.sampled_from([None, "", "look", [THOUGHT], [{"type": "text", "text": "so"}, THOUGHT]]),
        st.sampled_from([LONG, "", "ok"]),
        st.sampled_from([LONG, "", [{"type": "text", "text": LONG}]]),
    ),
    st.builds(lambda text: [system(text)], st.sampled_from([LONG, "be brief"])),
)
conversations = st.builds(
    lambda start, rest: [*start, user(LONG), *(message for step in rest for message in step)],
    st.sampled_from([[], [system()], [system("short"), {"role": "developer", "content": LONG}]]),
    st.lists(steps, max_size=9),
)


def turns(messages: list[Json]) -> list[int]:
    """Up to where the conversation is sent: to each user turn, and all of it."""
    return [at + 1 for at, each in enumerate(messages) if each["role"] == "user"] + [len(messages)]


def with_marks(messages: list[Json], wanted: list[str]) -> list[Json]:
    """The conversation with a caller's own markers in its texts, the longer lifetimes first as they are sent."""
    order = [at for at, each in enumerate(messages) if each["role"] in ("system", "developer")]
    order += [at for at in range(len(messages)) if at not in order]
    places = [at for at in order if isinstance(messages[at]["content"], str) and messages[at]["content"]]
    places = places[:: max(1, len(places) // 4)]
    marked = list(messages)
    for at, ttl in zip(places, sorted(wanted), strict=False):  # "1h" sorts before "5m"
        part = {"type": "text", "text": messages[at]["content"], "cache_control": {"type": "ephemeral", "ttl": ttl}}
        marked[at] = {**messages[at], "content": [part]}
    return marked


@settings(deadline=None)
@given(conversations, st.lists(st.sampled_from(["5m", "1h"]), max_size=5), marks, st.booleans(), st.floats(1, 2000))
def test_anthropic_takes_every_body(
    messages: list[Json], wanted: list[str], whole: str | None, tools: bool, gap: float
) -> None:
    """At most four markers with the caller's, an hour before five minutes, none on thinking or on empty text."""
    if whole and "5m" in wanted:
        whole = "5m"
    messages = with_marks(messages, wanted[: 3 if whole else 4])
    params: Json = {"tools": TOOLS} if tools else {}
    if whole:
        params["cache_control"] = {"type": "ephemeral", "ttl": whole}
    sender = Sender(CLAUDE)
    for turn, end in enumerate(turns(messages)):
        body = sender.send(messages[:end], turn * gap, **params)
        found = all_lifetimes(body)
        assert len(found) <= 4
        assert found == sorted(found)
        for _, block in blocks(body):
            if "cache_control" in block:
                assert block.get("type") not in ("thinking", "redacted_thinking")
                assert block.get("text") != ""


@settings(deadline=None)
@given(conversations, st.booleans(), st.sampled_from([CLAUDE, GPT, GATEWAY]))
def test_only_markers_are_added(messages: list[Json], tools: bool, target: Target) -> None:
    """Without its markers, a body is that of the same request without breakpoints."""
    sender, params = Sender(target), {"tools": TOOLS} if tools else {}
    for now in (0.0, 1.0):
        layout = sender.layout(messages, now, **params)
        sender.aligner.settle(layout, Usage())
        body, plain = sender.body(layout), bare(sender.body(None, layout.prepared.request.messages, **params))
        for name in ("prompt_cache_options", "prompt_cache_key"):
            body.pop(name, None)
        assert bare(body)["messages"] == plain["messages"]
        assert bare(body).get("system") == plain.get("system")
        assert body.keys() == plain.keys()


@settings(deadline=None)
@given(conversations, st.booleans())
def test_openai_takes_every_body(messages: list[Json], tools: bool) -> None:
    """From 5.6 on, markers stand on texts and images of everybody but the assistant, and only where they are taken."""
    params: Json = {"tools": TOOLS} if tools else {}
    sender = Sender(GPT)
    for end in turns(messages):
        body = sender.send(messages[:end], 1.0 * end, **params)
        assert body["prompt_cache_options"] == {"mode": "explicit"}
        marked = [(role, block) for role, block in blocks(body) if "prompt_cache_breakpoint" in block]
        assert len(marked) <= 83
        for role, block in marked:
            assert role in ("system", "developer", "user", "tool")
            assert block["type"] in ("text", "image_url", "file") and block.get("text") != ""
        assert not lifetimes(body)


@settings(deadline=None, max_examples=30)
@given(conversations, st.sampled_from([CLAUDE, GPT, OLDER, GATEWAY]))
def test_layouts_are_deterministic(messages: list[Json], target: Target) -> None:
    """The same requests at the same times get the same bodies."""
    one, other = Sender(target), Sender(target)
    for at, end in enumerate((turns(messages)[0], len(messages), len(messages))):
        assert one.send(messages[:end], 9.0 * at) == other.send(messages[:end], 9.0 * at)


@settings(deadline=None, max_examples=30)
@given(conversations, st.sampled_from([OLDER, Target("openai:qwen3", base_url="http://localhost/v1", api_key="none")]))
def test_no_markers_where_they_are_unknown(messages: list[Json], target: Target) -> None:
    """Older models answer the new fields with an error."""
    sender = Sender(target)
    for now in (0.0, 1.0):
        sent = orjson.dumps(sender.send(messages, now))
        assert b"breakpoint" not in sent and b"cache_options" not in sent and b"cache_control" not in sent


@pytest.mark.parametrize("param", ["prompt_cache_options", "prompt_cache_retention"])
def test_callers_who_lay_out_themselves(param: str) -> None:
    """Who says how OpenAI is to keep a prompt, or marks it himself, gets nothing added."""
    params: Json = {param: "mine"}
    body = Sender(GPT).send([system(), user(LONG)], **params)
    assert body[param] == "mine"
    assert b"breakpoint" not in orjson.dumps(body)
    own = {"type": "text", "text": LONG, "prompt_cache_breakpoint": {"mode": "explicit"}}
    body = Sender(GPT).send([user([own]), user(LONG)])
    assert "prompt_cache_options" not in body
    assert orjson.dumps(body).count(b"prompt_cache_breakpoint") == 1


def test_off_is_off() -> None:
    """Nothing is added, and what is found is still looked after."""
    sender = Sender(GPT, provider_cache="off")
    body = sender.send([system(), user("one")])
    assert {"prompt_cache_key", "prompt_cache_options"}.isdisjoint(body)
    assert body["messages"][0]["content"] == LONG


def test_documents_beside_the_callers_own_marks() -> None:
    """Markers of the caller, whatever their lifetime and wherever they stand, leave room for ours."""
    for ttl in ("5m", "1h"):
        marked = [{**TOOLS[0], "cache_control": {"type": "ephemeral", "ttl": ttl}}]
        asked = [fc.static(LONG), fc.documents([LONG, LONG + "b"]), fc.user("which?")]
        body = Sender(CLAUDE).send(asked, tools=marked)
        assert all_lifetimes(body)[0] == ttl
        assert len(all_lifetimes(body)) > 1


def test_a_marker_for_the_whole_request() -> None:
    """Anthropic's own marker stands behind all of ours, so it is not for an hour where ours are for less."""
    sender = Sender(CLAUDE)
    for ttl, found in (("1h", ["1h"]), ("5m", ["5m", "5m", "5m"])):
        whole = {"type": "ephemeral", "ttl": ttl}
        body = sender.send(
            [system(), user(LONG), {"role": "assistant", "content": "ok"}, user(LONG)], cache_control=whole
        )
        assert all_lifetimes(body) == found


def test_callers_markers_that_move() -> None:
    """A caller who marks the newest message each time continues one conversation."""
    sender, messages = Sender(CLAUDE), [system(), user("How tall is it?" + LONG)]
    for turn in range(4):
        newest = {"type": "text", "text": messages[-1]["content"], "cache_control": {"type": "ephemeral"}}
        layout = sender.layout([*messages[:-1], user([newest])], 10.0 * turn)
        sender.aligner.settle(layout, Usage())
        assert layout.drift is None
        assert turn == 0 or layout.expected > 1000
        messages += [{"role": "assistant", "content": f"answer {turn} {LONG}"}, user(f"and {turn}?" + LONG)]


def test_marked_pictures_stay_marked() -> None:
    """A caller's marker on a picture is translated with it."""
    body = Sender(CLAUDE).body(None, [user([{**IMAGE, "cache_control": {"type": "ephemeral"}}])])
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


def test_late_system_messages_at_anthropic() -> None:
    """They are sent in front, so what stood behind the first of them is not found again."""
    sender, said = Sender(CLAUDE), [system(), user(LONG), {"role": "assistant", "content": LONG}, user(LONG)]
    sender.send(said)
    found = sender.layout([*said, {"role": "assistant", "content": "ok"}, user("go on")], 1.0).expected
    later = sender.layout([*said, {"role": "assistant", "content": "ok"}, system("be brief"), user("go on")], 2.0)
    assert 0 < later.expected < found / 2


def test_gateways_have_no_room_on_calls() -> None:
    """In OpenAI's form a turn of nothing but calls takes no marker: it is not believed to be written."""
    sender, said = Sender(GATEWAY), [system(), user(LONG), called(), result("a"), result("b"), called([THOUGHT])]
    for now in (0.0, 1.0):
        layout = sender.layout(said, now, tools=TOOLS)
        body = sender.body(layout)
        assert len(layout.places) == len(all_lifetimes(body)) > 0
        sender.aligner.settle(layout, Usage())


@pytest.mark.parametrize("target, cache", [(CLAUDE, Anthropic), (GPT, Breakpoints)], ids=["claude", "gpt"])
@pytest.mark.parametrize("kind", ["agent", "chat"])
def test_conversations_are_read(target: Target, cache: Any, kind: str) -> None:
    """From the third request on everything but the newest messages is read, as the provider's rules have it."""
    given_ = agent(5) if kind == "agent" else chat(5)
    sender, provider, sizes = Sender(target), cache(), []
    ends = [at for at, each in enumerate(given_.messages) if each["role"] == "assistant"][:25]
    for turn, end in enumerate(ends):
        volatile = fc.volatile(f"It is minute {turn}.")
        params = {"tools": list(given_.tools)} if given_.tools else {}
        layout = sender.layout([fc.history(given_.messages[:end]), volatile], 5.0 * turn, **params)
        read = provider.answer(orjson.dumps(sender.body(layout)), 5.0 * turn)
        sender.aligner.settle(layout, Usage(input_tokens=read.size, cache_read_tokens=read.read))
        sizes.append(read.size)
        if turn >= 2:
            assert read.read >= sizes[-2] - 60
            assert layout.expected == pytest.approx(read.read, rel=0.05)


def test_failed_requests_wrote_nothing() -> None:
    """What was not answered is not expected in the cache."""
    sender, said = Sender(CLAUDE), [system(), user("one")]
    sender.aligner.settle(sender.layout(said), None)
    assert sender.layout(said, 1.0).expected == 0
    sender.send(said, 2.0)
    assert sender.layout(said, 3.0).expected > 1000


@pytest.mark.parametrize("target", [CLAUDE, GPT, OLDER])
def test_answers_correct_what_is_expected(target: Target) -> None:
    """Nothing read where something was expected: it is gone, documents too, and only what was written now is there."""
    sender = Sender(target)
    asked = [fc.static(LONG), fc.documents([LONG, LONG + "b"]), fc.user("which?")]
    for now in range(3):
        sender.send(asked, float(now))
    expected = sender.layout(asked, 4.0)
    assert expected.expected > 1000
    sender.aligner.settle(expected, Usage(cache_read_tokens=0))
    live = sender.aligner._planner._live
    assert set(expected.beginnings) & set(live) == set(expected.written)


@pytest.mark.parametrize("target", [CLAUDE, GPT, OLDER])
def test_a_provider_without_a_cache(target: Target) -> None:
    """After three misses in a row nothing is expected any more, until the provider reads something after all."""
    sender, said = Sender(target), [system(), user(LONG), {"role": "assistant", "content": LONG}, user(LONG)]
    expected = []
    for now in range(6):
        layout = sender.layout(said, float(now))
        expected.append(layout.expected > 0)
        sender.aligner.settle(layout, Usage(cache_read_tokens=0))
    assert expected == [False, True, True, True, False, False]
    sender.send(said, 6.0, read=2000)
    assert sender.layout(said, 7.0).expected > 1000


def test_markers_that_are_not_ours_promise_nothing() -> None:
    """Where breakpoints are left to the caller, nothing is known of what they will find."""
    sender = Sender(CLAUDE, provider_cache="off")
    said = [system(), user(LONG), {"role": "assistant", "content": LONG}, user(LONG)]
    sender.send(said, 0.0)
    assert sender.layout(said, 1.0).expected == 0 and "cache_control" not in str(sender.send(said, 2.0))


@pytest.mark.parametrize("target, params", [(GPT, "response_format"), (OLDER, "response_format"), (CLAUDE, "thinking")])
def test_other_parameters_find_less(target: Target, params: str) -> None:
    """Schemas of answers stand in front of a prompt; Claude's messages are kept for one way of thinking."""
    sender = Sender(target)
    said = [system(), user(LONG), {"role": "assistant", "content": LONG}, user(LONG)]
    sender.send(said, 0.0)
    same = sender.layout(said, 1.0).expected
    other = sender.layout(said, 2.0, **{params: {"type": "enabled"}}).expected
    assert same > 3000 and other < same / 2
    assert (other > 0) == (target is CLAUDE)


def test_sparse_conversations_are_kept_for_an_hour() -> None:
    """Where turns are nine minutes apart five are not enough; where they are close together they are."""
    for gap, ttl in ((60.0, "5m"), (540.0, "1h"), (3 * 3600.0, "5m")):
        sender, said = Sender(CLAUDE), [system(), user(LONG)]
        for turn in range(8):
            sender.send(said, gap * turn)
            said += [{"role": "assistant", "content": f"{turn} {LONG}"}, user(f"and {turn}?")]
        assert set(all_lifetimes(sender.send(said, gap * 8))) <= {ttl}


# --- keys -------------------------------------------------------------------------------------------------------------


def key(sender: Sender, text: str, now: float = 0.0, rules: str = LONG, **options: Any) -> str:
    found: object = sender.layout([system(rules), user(text)], now, **options).params["prompt_cache_key"]
    assert isinstance(found, str)
    return found


@given(st.text(max_size=300), st.text(max_size=20), st.none() | st.text(max_size=300))
def test_keys_are_short_and_tell_nothing(text: str, rules: str, namespace: str | None) -> None:
    """At most 64 plain characters, the same in another client, and none of the prompt's."""
    own = key(Sender(OLDER), text, rules=rules or "x", namespace=namespace)
    assert own == key(Sender(OLDER), text, rules=rules or "x", namespace=namespace)
    assert len(own) <= 64 and own.isascii() and own.startswith("fc-")


def test_keys_of_namespaces() -> None:
    """They share no key, and one long beginning has one whoever asks."""
    sender = Sender(OLDER)
    assert len({key(sender, "x", namespace=each) for each in (None, "a", "b", "a\n", "\na")}) == 5
    assert key(sender, "one") == key(sender, "two")
    assert key(sender, "one", rules="short") != key(sender, "two", rules="short")


def test_as_many_keys_as_the_rate_needs() -> None:
    """15 requests a minute share a key; more of them are spread, each conversation to one, and later less again."""
    sender, counts = Sender(OLDER), []
    for minute, rate in enumerate((10, 10, 60, 60, 60, 5, 5)):
        keys = {key(sender, f"question {n}", 60.0 * minute + n * 59 / rate) for n in range(rate)}
        counts.append(len(keys))
    assert counts == [1, 1, 1, 4, 4, pytest.approx(4, abs=1), 1]
    assert key(sender, "question 1", 400.0) == key(sender, "question 1", 401.0)


def test_rates_survive_a_clock_that_jumps_back() -> None:
    """They are counted anew instead of waiting for the old time to come."""
    sender = Sender(OLDER)
    for n in range(100):
        key(sender, f"{n}", 1e6 + n)
    keys = [key(sender, f"{n}", n / 2) for n in range(300)]
    assert len({*keys[200:]}) > 1


def test_own_keys_are_kept() -> None:
    """Who names a key means it."""
    assert Sender(OLDER).send([system(), user("x")], prompt_cache_key="mine")["prompt_cache_key"] == "mine"


def test_one_machine_per_conversation() -> None:
    """Where a header does it, each conversation has its own."""
    sender = Sender(Target("openai:grok-4", base_url="https://api.x.ai/v1", api_key="none"))
    one, other = (sender.layout([system(), user(text)]).headers["x-grok-conv-id"] for text in ("one", "two"))
    assert one != other and len(one) <= 64


# --- whatever comes ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8), st.sampled_from([CLAUDE, GPT, OLDER]))
def test_clocks_may_jump(times: list[float], target: Target) -> None:
    """Nothing raises, and soon afterwards all is as usual."""
    sender, said = Sender(target), [system(), user("one")]
    for now in times:
        sender.send(said, now)
    for second in range(4):
        sender.send(said, max(times) + 1e5 + second)
    assert sender.layout(said, max(times) + 1e5 + 4).expected > 1000


ODD: list[list[Json]] = [
    [{"role": "user", "content": []}],
    [{"role": "user", "content": [{}]}],
    [{"role": "user", "content": [{"type": 5, "text": 5}]}, {"role": "assistant", "content": ""}],
    [{"role": "user", "content": [{"type": ["text"], "text": None}]}],
    [{"role": "system", "content": ""}],
    [called(), {"role": "user", "content": "x", "tool_calls": 5, "cache_control": 7}],
    [{"role": "function", "name": "f", "content": LONG}, {"role": "user", "content": LONG, "cache_control": None}],
    [{"role": "assistant", "content": LONG, "tool_calls": "odd"}, {"role": "system", "content": LONG}],
]


@pytest.mark.parametrize("messages", ODD)
@pytest.mark.parametrize("target", [CLAUDE, GPT, OLDER, GATEWAY])
def test_odd_messages(messages: list[Json], target: Target) -> None:
    """Whatever stands in a prompt, it is laid out."""
    sender = Sender(target)
    for params in ({}, {"cache_control": 3, "response_format": 5, "tool_choice": [1], "thinking": "yes"}):
        layout = sender.layout(messages, 0.0, **params)
        sender.aligner.settle(layout, Usage(input_tokens=0, cache_read_tokens=0))


def test_functions_take_no_parts() -> None:
    """OpenAI's old function messages hold a text and nothing else."""
    said = [system(), user("x"), {"role": "function", "name": "f", "content": LONG}]
    assert isinstance(Sender(GPT).send(said)["messages"][2]["content"], str)


def test_many_threads() -> None:
    """Requests of many threads at once are laid out as ever."""
    sender, failed = Sender(CLAUDE), []

    def work(own: int) -> None:
        try:
            for turn in range(20):
                body = sender.send([system(), user(f"{own}"), *[user(f"{n}") for n in range(turn)]], float(turn))
                assert len(all_lifetimes(body)) <= 4
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=work, args=(own,)) for own in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_trimming_keeps_what_is_marked() -> None:
    """When the oldest turns go, markers stand where the messages are now, and the head is still found."""
    sender = Sender(CLAUDE, max_input_tokens=14000)
    said, layouts = [system(), user(LONG)], []
    for turn in range(25):
        layout = sender.layout(said, 5.0 * turn)
        sender.aligner.settle(layout, Usage())
        sent = layout.prepared.request.messages
        assert all(place.message is not None and place.message < len(sent) for place in layout.places)
        layouts.append(layout)
        said += [{"role": "assistant", "content": f"{turn} {LONG[:2000]}"}, user(f"and {turn}? {LONG[:2000]}")]
    cuts = [layout.prepared.cut for layout in layouts]
    assert cuts == sorted(cuts) and cuts[-1] > 0
    assert all(layout.expected > 1000 for layout in layouts[1:])
    moved = [later for earlier, later in pairwise(layouts) if earlier.prepared.cut != later.prepared.cut]
    assert 0 < len(moved) < 8 and not any(layout.drift for layout in moved)
