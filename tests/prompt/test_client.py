"""The prompt lever through the public clients: what is sent, what is told about it, and what a fault in it costs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

import fastclient as fc
from fastclient.observe.events import Event, PrefixDrifted
from fastclient.prompt.align import Aligner
from fastclient.prompt.prepare import Preparer
from fastclient.tail.hedge import Hedging, Ticket
from fastclient.testing import Answer, FakeProvider, Hang, ProviderServer, ServerRequest, assert_stable, faults

GPT, MARKED, CLAUDE = "openai:gpt-5-mini", "openai:gpt-5.6", "anthropic:claude-sonnet-5"
OTHER = "openai:some-open-model"
SECRET = "the orchid is behind the boiler"
LONG = "Name the source of each figure, and its house. " * 300  # some 3,000 tokens


def client(target: str = GPT, *script: Any, **options: Any) -> tuple[fc.AsyncClient, FakeProvider]:
    """A client with the lever; options that are not of Prompt are of Policy."""
    provider = FakeProvider(*script)
    return fc.AsyncClient(target, api_key="k", wire=provider, policy=policy(**options)), provider


def policy(**options: Any) -> fc.Policy:
    names = ("max_input_tokens", "squeeze", "stable", "provider_cache")
    chosen = {name: options.pop(name) for name in names if name in options}
    return fc.Policy(prompt=fc.Prompt(**chosen), **options)


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def tool(name: str, *fields: str) -> dict[str, Any]:
    properties = {field: {"type": "string", "description": f"What {field} is."} for field in fields}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return {"type": "function", "function": {"name": name, "description": f"To {name}.", "parameters": schema}}


def steps(count: int) -> list[dict[str, Any]]:
    """So many tool calls of an agent, each with its result."""
    turns: list[dict[str, Any]] = []
    for number in range(count):
        call = {"id": f"call_{number}", "type": "function", "function": {"name": "read", "arguments": "{}"}}
        turns.append({"role": "assistant", "content": None, "tool_calls": [call]})
        turns.append({"role": "tool", "tool_call_id": f"call_{number}", "content": f"reading {number}: " + "dry " * 40})
    return turns


def backwards(value: Any) -> Any:
    """The same JSON with the keys of its objects the other way round, but for those of properties."""
    if isinstance(value, Mapping):
        names = reversed(value)
        return {
            name: {each: backwards(schema) for each, schema in value[name].items()}
            if name == "properties"
            else backwards(value[name])
            for name in names
        }
    return [backwards(each) for each in value] if isinstance(value, list) else value


def marks(request: ServerRequest) -> int:
    return request.body.count(b'"cache_control"') + request.body.count(b'"prompt_cache_breakpoint"')


# --- the same bytes ---------------------------------------------------------------------------------------------------

TOOLS = [tool(name, "zone", "amount", "before") for name in ("water", "read", "open", "book", "label")]


@pytest.mark.parametrize("target", [GPT, CLAUDE, OTHER])
async def test_shuffled_tools_are_the_same_bytes(target: str) -> None:
    """Whatever order a caller's tools come in, and the keys in them, each call sends the same."""
    asking, provider = client(target)
    rng = Random(5)
    for number in range(6):
        tools = rng.sample(TOOLS, len(TOOLS))
        await asking.chat("Which pump?", tools=backwards(tools) if number % 2 else tools, max_tokens=5)
    assert len({request.body for request in provider.requests}) == 1


async def test_the_order_of_properties_is_the_callers() -> None:
    """Models write their answers in that order, so it has a meaning: in tools as in schemas of answers."""
    asking, provider = client()
    schema = {"type": "object", "properties": {"why": {"type": "string"}, "answer": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    await asking.chat("Which pump?", tools=TOOLS, response_format=form)
    body: Any = provider.requests[0].json
    for sent in body["tools"]:
        assert list(sent["function"]["parameters"]["properties"]) == ["zone", "amount", "before"]
        assert sent["function"]["parameters"]["required"] == ["zone", "amount", "before"]
    assert list(body["response_format"]["json_schema"]["schema"]["properties"]) == ["why", "answer"]


async def test_new_tools_come_behind_those_that_were_there() -> None:
    """Within a conversation, so that what stands in front of them is found again."""
    asking, provider = client()
    await asking.chat("Which pump?", tools=[TOOLS[0], TOOLS[1]])
    await asking.chat([user("Which pump?"), assistant("That one."), user("Sure?")], tools=[TOOLS[3], *TOOLS[:2]])
    names = [[each["function"]["name"] for each in request.json["tools"]] for request in provider.requests]  # type: ignore[attr-defined]
    assert names == [["read", "water"], ["read", "water", "book"]]


PROGRAM = """
import sys
import fastclient as fc

names = {"water", "read", "open", "book", "label", "prune", "export"}
words = {"strict": True, "description": "Does it.", "parameters": {"type": "object", "properties": {}}}
parts = [{"name": name, **{word: words[word] for word in set(words)}} for name in names]
tools = [{"type": "function", "function": part} for part in parts]
options = {name: value for name, value in {("temperature", 0.5), ("seed", 7), ("max_tokens", 9), ("top_p", 0.5)}}
policy = fc.Policy(prompt=fc.Prompt(max_input_tokens=5000))
with fc.Client("openai:gpt-5.6", base_url=sys.argv[1], policy=policy) as client:
    conversation = [fc.static("Say the source. " * 500), fc.user("Which pump?")]
    client.chat(conversation, tools=tools, **options)
    client.chat([*conversation, {"role": "assistant", "content": "That."}, fc.user("Sure?")], tools=tools, **options)
"""


def test_every_process_sends_the_same_bytes() -> None:
    """Also where tools and keys come from sets, whose order depends on the process."""
    root = Path(__file__).parents[2]
    with ProviderServer() as server:
        for seed in ("1", "2"):
            env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root / "src"), "PYTHONWARNINGS": "error"}
            command = [sys.executable, "-c", PROGRAM, server.base_url]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
            assert done.returncode == 0 and not done.stderr, done.stderr
        first, second, *others = [exchange.request.body for exchange in server.exchanges]
    assert others == [first, second] and b"prompt_cache_breakpoint" in second and b"prompt_cache_key" in first


# --- what each option does --------------------------------------------------------------------------------------------

WIDE = json.dumps({"plant": "tree fern", "humidity": [71, 72.50]}, indent=4)


@pytest.mark.parametrize("on", [True, False])
async def test_squeeze_shows_on_the_wire(on: bool) -> None:
    """JSON of users and tools loses its blanks, instructions and answers keep theirs; `squeeze=False` touches none."""
    asking, provider = client(squeeze=on)
    call = {"id": "c", "type": "function", "function": {"name": "read", "arguments": '{"zone":  1}'}}
    result = {"role": "tool", "tool_call_id": "c", "content": WIDE}
    said = {"role": "assistant", "content": WIDE, "tool_calls": [call]}
    await asking.chat([system(WIDE), user(WIDE), said, result])
    contents = [message["content"] for message in provider.requests[0].messages]  # type: ignore[index]
    small = '{"plant":"tree fern","humidity":[71,72.5]}' if on else WIDE
    assert contents == [WIDE, small, WIDE, small]
    assert ('{\\"zone\\":1}' if on else '{\\"zone\\":  1}').encode() in provider.requests[0].body


async def test_without_stable_tools_stay_as_they_are() -> None:
    """`stable=False` leaves their order, and that of every key, to the caller."""
    asking, provider = client(OTHER, stable=False)
    plain = fc.AsyncClient(OTHER, api_key="k", wire=provider, policy=fc.Policy())
    for given in (TOOLS, backwards(TOOLS)):
        for one in (asking, plain):
            await one.chat([{"content": "Which pump?", "role": "user"}], top_p=0.5, tools=given, max_tokens=5)
    bodies = [request.body for request in provider.requests]
    assert bodies[0] == bodies[1] and bodies[2] == bodies[3] and bodies[0] != bodies[2]


@pytest.mark.parametrize("target", [GPT, MARKED, CLAUDE])
async def test_the_providers_cache_may_be_left_alone(target: str) -> None:
    """With `provider_cache="off"` nothing is added: no marks, no key, no options."""
    conversation = [system(LONG), user("Which pump?"), assistant("That one."), user("Sure?")]
    off, left = client(target, provider_cache="off")
    auto, helped = client(target)
    plain = FakeProvider()
    await off.chat(conversation)
    await auto.chat(conversation)
    await fc.AsyncClient(target, api_key="k", wire=plain).chat(conversation)
    assert left.requests[0].body == plain.requests[0].body != helped.requests[0].body
    assert (marks(helped.requests[0]) > 0) == (target != GPT)


async def test_a_header_may_bring_a_conversation_back() -> None:
    """Where a provider wants that instead of a parameter; off means off there too."""
    provider = FakeProvider()
    for chosen in (fc.Prompt(), fc.Prompt(provider_cache="off")):
        target = fc.Target("openai:grok-5", base_url="https://api.x.ai/v1", api_key="k")
        await fc.AsyncClient(target, wire=provider, policy=fc.Policy(prompt=chosen)).chat("Which pump?")
    first, second = [request.headers.get("x-grok-conv-id") for request in provider.requests]
    assert first and second is None


async def test_the_callers_own_key_is_kept() -> None:
    """A `prompt_cache_key` that was given is sent, and no other."""
    asking, provider = client(MARKED)
    await asking.chat([system(LONG), user("Which pump?")], extra_body={"prompt_cache_key": "mine"})
    assert provider.requests[0].json["prompt_cache_key"] == "mine"
    assert provider.requests[0].body.count(b"prompt_cache_key") == 1


async def test_keys_tell_nothing_and_are_not_shared() -> None:
    """The same prompt has another key in another namespace, and none of its text."""
    asking, provider = client()
    for namespace in ("a", "b", "a"):
        await asking.chat(SECRET, namespace=namespace)
    first, second, third = [str(request.json["prompt_cache_key"]) for request in provider.requests]
    assert first == third != second and len(first) <= 64 and "orchid" not in first


def test_recommended_has_the_lever() -> None:
    """`Policy.recommended` squeezes and aligns, and trims to the budget it is given."""
    assert fc.Policy.recommended().prompt == fc.Prompt()
    assert fc.Policy.recommended(max_input_tokens=900).prompt == fc.Prompt(max_input_tokens=900)
    provider = FakeProvider()
    recommended = fc.Policy.recommended(max_input_tokens=900)
    with fc.Client(GPT, api_key="k", wire=provider, policy=recommended) as asking:
        asking.chat([user("Water the ferns."), *steps(60), user("And now?")], tools=TOOLS)
    assert provider.requests[0].input_tokens < 1200 and len(provider.requests[0].messages) < 60


WRONG = [("max_input_tokens", 0), ("max_input_tokens", "9"), ("squeeze", 1), ("stable", None), ("provider_cache", "on")]


@pytest.mark.parametrize("name, value", WRONG)
def test_wrong_options_are_named(name: str, value: Any) -> None:
    """When the policy is made, before any call."""
    with pytest.raises(fc.ConfigError) as refused:
        fc.Prompt(**{name: value})
    assert refused.value.field == f"prompt.{name}"
    with pytest.raises(fc.ConfigError):
        fc.Policy(prompt=True)  # type: ignore[arg-type]


# --- a budget ---------------------------------------------------------------------------------------------------------


def kept_whole(messages: Sequence[Any]) -> bool:
    """Whether each result has its call in the message before it, and each call its result behind it."""
    calls = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    results = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    return calls == results and [message["role"] for message in messages[-3:-1]] == ["assistant", "tool"]


async def test_a_long_conversation_is_trimmed() -> None:
    """Instructions, the first user turn and the newest message stay; calls keep their results; it fits."""
    asking, provider = client(max_input_tokens=1000)
    conversation = [system("Be brief."), user("Water the ferns."), *steps(40), user("And now?")]
    assert asking.count(conversation).high <= 1000
    await asking.chat(conversation)
    messages: Any = provider.requests[0].messages
    assert messages[:2] == conversation[:2] and messages[-1] == conversation[-1]
    assert 8 < len(messages) < 40 and kept_whole(messages)


def test_a_blocking_client_trims_too() -> None:
    """On the caller's thread, and while streaming."""
    provider = FakeProvider("ok")
    conversation = [user("Water the ferns."), *steps(40), user("And now?")]
    with (
        fc.Client(CLAUDE, api_key="k", wire=provider, policy=policy(max_input_tokens=1000)) as asking,
        asking.stream(conversation) as stream,
    ):
        assert stream.reply().text == "ok"
    messages: Any = provider.requests[0].messages
    assert messages[0]["content"][0]["text"] == "Water the ferns." and "And now?" in str(messages[-1])
    assert 6 < len(messages) < 40


async def test_the_cut_stays_for_many_requests() -> None:
    """A conversation that grows moves its cut seldom: between two moves each request continues the one before it."""
    asking, provider = client(OTHER, max_input_tokens=1000)
    turns = steps(40)
    for end in range(20, 80, 2):
        await asking.chat([system("Be brief."), user("Water the ferns."), *turns[:end]])
    moved = 0
    for old, new in zip(provider.requests, provider.requests[1:], strict=False):
        try:
            assert_stable(old, new)
        except AssertionError:
            moved += 1
    assert 1 <= moved <= 10 and all(request.input_tokens < 1100 for request in provider.requests)


async def test_documents_go_before_turns() -> None:
    """Of too many documents those of the lowest rank are left out, and the conversation stays."""
    asking, provider = client(max_input_tokens=600)
    found = [f"Document {number}: " + "moss " * 60 for number in range(20)]
    turns = [user("Water the ferns."), assistant("Done.")]
    await asking.chat([fc.static("Be brief."), fc.history(turns), fc.documents(found), fc.user("And now?")])
    messages: Any = provider.requests[0].messages
    texts = [part["text"] for part in messages[-1]["content"]]
    assert messages[1:3] == turns and texts[-1] == "And now?"
    assert 2 < len(texts) < 10 and [text[11:21] for text in texts[:-1]] == [
        f"Document {number}"[:10] for number in range(len(texts) - 1)
    ]


@pytest.mark.parametrize("target", [GPT, CLAUDE, OTHER])
async def test_what_cannot_fit_is_not_sent(target: str) -> None:
    """The error says how many tokens are needed and allowed, in a chat and in a stream; nothing goes out."""
    asking, provider = client(target, max_input_tokens=200)
    prompt = [fc.static("Be brief."), fc.user(f"{SECRET} " * 100), fc.volatile("Noon.")]
    with pytest.raises(fc.PromptTooLong) as refused:
        await asking.chat(prompt)
    assert refused.value.limit == 200 and refused.value.needed and refused.value.needed > 500
    assert "orchid" not in str(refused.value)
    with pytest.raises(fc.PromptTooLong):
        async with asking.stream(prompt):
            pass
    with pytest.raises(fc.PromptTooLong):
        async for _ in asking.stream(prompt):
            pass
    assert not provider.requests and asking.stats().errors == 3


def test_what_cannot_fit_is_not_sent_from_a_thread() -> None:
    """The same through the blocking client."""
    provider = FakeProvider()
    with fc.Client(GPT, api_key="k", wire=provider, policy=policy(max_input_tokens=50)) as asking:
        with pytest.raises(fc.PromptTooLong) as refused:
            asking.chat("word " * 500)
        assert refused.value.limit == 50 and isinstance(refused.value, ValueError) and refused.value.call_id
        with pytest.raises(fc.PromptTooLong), asking.stream("word " * 500):
            pass
        with pytest.raises(fc.PromptTooLong):
            next(iter(asking.stream("word " * 500)))
    assert not provider.requests


# --- other levers -----------------------------------------------------------------------------------------------------


async def test_the_exact_cache_sees_the_prepared_request() -> None:
    """What means the same is a hit: shuffled tools, keys in another order, JSON with other blanks."""
    asking, provider = client(cache=fc.Cache())
    rng = Random(9)
    for text in (WIDE, json.dumps(json.loads(WIDE)), WIDE):
        given = backwards(rng.sample(TOOLS, len(TOOLS)))
        await asking.chat([{"content": text, "role": "user"}], tools=given)
    assert len(provider.requests) == 1 and asking.stats().cache_hits == 2


async def test_a_hit_is_no_request_to_the_provider() -> None:
    """It is not in the provider's cache, so nothing is expected or learned of it."""
    asking, _ = client(cache=fc.Cache())
    first = await asking.chat([system(LONG), user("Which pump?")])
    hit = await asking.chat([system(LONG), user("Which pump?")])
    assert first.cache.expected_tokens == 0 and hit.cache.state == "hit" and hit.cache.expected_tokens is None


CONVERSATION = [system(LONG), user("Which pump?"), assistant("That one."), user("Sure?")]


@pytest.mark.parametrize("first, second", [(CLAUDE, GPT), (CLAUDE, OTHER), (MARKED, CLAUDE), (MARKED, OTHER)])
async def test_a_fallback_carries_no_foreign_marks(first: str, second: str) -> None:
    """What was laid out for one provider's cache says nothing to another's, which may refuse it."""
    route = fc.Route(fallback=(fc.Target(second, api_key="k"),))
    asking, provider = client(first, faults.status(503), "ok", route=route, retry=None)
    reply = await asking.chat(CONVERSATION)
    primary, fallback = provider.requests
    assert reply.target == second and marks(primary) > 0 and marks(fallback) == 0
    assert b"prompt_cache" not in fallback.body and "Sure?" in fallback.text
    assert reply.cache.read_tokens is None


async def test_a_copy_carries_no_foreign_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the copy of a late request; here every request counts as late after a hundredth of a second."""
    monkeypatch.setattr(Hedging, "start", lambda _, now, **__: Ticket(now, 1.0, wake=now + 0.01))
    monkeypatch.setattr(Hedging, "send_copy", lambda *_, **__: True)
    hedge = fc.Hedge(targets=(fc.Target(OTHER, api_key="k"),))
    asking, provider = client(MARKED, (Hang(),), "ok", hedge=hedge, retry=None)
    reply = await asking.chat(CONVERSATION)
    primary, copied = provider.requests
    assert reply.target == OTHER and marks(primary) > 0 and marks(copied) == 0
    assert b"prompt_cache" not in copied.body and reply.cache.read_tokens is None


async def test_a_retry_is_the_same_request() -> None:
    """Byte for byte, so that the provider's cache can have what the first try wrote; and it is no drift."""
    asking, provider = client(CLAUDE, faults.status(529), "ok", retry=fc.Retry())
    reply = await asking.chat(CONVERSATION)
    first, second = provider.requests
    assert first.body == second.body and marks(first) > 0 and reply.cache.drift is None


async def test_a_copy_has_its_own_options() -> None:
    """`with_` another prompt policy sends as that says, and the first client as before."""
    asking, provider = client(MARKED)
    off = asking.with_(policy=fc.Policy())
    for one in (asking, off, asking):
        await one.chat(CONVERSATION)
    assert [b"prompt_cache_key" in request.body for request in provider.requests] == [True, False, True]


# --- faults -----------------------------------------------------------------------------------------------------------


def failing(*_: object) -> Any:
    raise RuntimeError(SECRET)


@pytest.mark.parametrize("where, step", [(Preparer, "prepare"), (Aligner, "align")])
async def test_a_fault_sends_the_request_as_it_is(
    where: type, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The call goes on without the lever's help, and one line in the log says so, without a word of the prompt."""
    monkeypatch.setattr(where, step, failing)
    asking, provider = client(CLAUDE, max_input_tokens=100_000)
    plain = FakeProvider()
    prompt = [system(LONG), user(SECRET)]
    await fc.AsyncClient(CLAUDE, api_key="k", wire=plain).chat(prompt)
    reply = await asking.chat(prompt)
    assert provider.requests[0].body == plain.requests[0].body and reply.cache.expected_tokens is None
    (line,) = caplog.records
    assert line.levelno == logging.WARNING and "RuntimeError" in line.message and "orchid" not in caplog.text


async def test_a_fault_in_learning_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is whole, and the line in the log has no word of the prompt."""
    monkeypatch.setattr(Aligner, "settle", failing)
    asking, _ = client(GPT, "fine")
    assert (await asking.chat(SECRET)).text == "fine"
    assert len(caplog.records) == 1 and "orchid" not in caplog.text


@pytest.mark.parametrize("prompt", [None, fc.Prompt()], ids=["without", "with"])
async def test_what_json_cannot_say_is_named_as_ever(prompt: fc.Prompt | None) -> None:
    """The lever does not get in the way of the error that says where it is."""
    asking = fc.AsyncClient(GPT, api_key="k", wire=FakeProvider(), policy=fc.Policy(prompt=prompt))
    odd = {"type": "function", "function": {"name": "read", "parameters": {"enum": {1}}}}
    for messages, options in (("half \ud800 a pair", {}), ("x", {"tools": [odd]})):
        with pytest.raises(fc.ConfigError) as refused:
            await asking.chat(messages, **options)  # type: ignore[arg-type]
        assert refused.value.field and refused.value.field.startswith(("messages[0].content", "tools[0]"))


# --- what is told -----------------------------------------------------------------------------------------------------


async def grown(asking: fc.AsyncClient, turns: int, first: str = LONG) -> list[fc.Reply]:
    """The replies of a conversation of so many turns."""
    messages = [system(first), user("Which pump?")]
    replies = []
    for number in range(turns):
        reply = await asking.chat(messages)
        replies.append(reply)
        messages += [assistant(reply.text), user(f"And number {number}?")]
    return replies


@pytest.mark.parametrize("target", [GPT, CLAUDE, MARKED, OTHER])
async def test_a_reply_says_what_was_expected_of_the_cache(target: str) -> None:
    """Nothing of the first request, then nearly all; the statistics add it up."""

    def answer(request: ServerRequest) -> Answer:
        read = 2000 if request.arrival else 0
        return Answer("That one.", input_tokens=3000, cached_tokens=read, cache_write_tokens=0)

    asking, _ = client(target, answer)
    replies = await grown(asking, 3)
    expected = [reply.cache.expected_tokens or 0 for reply in replies]
    assert expected[0] == 0 and all(2500 < tokens < 3500 for tokens in expected[1:])
    assert [reply.cache.read_tokens for reply in replies] == [0, 2000, 2000]
    assert all(reply.cache.drift is None for reply in replies)
    stats = asking.stats()
    assert (stats.cache_expected_tokens, stats.cache_read_tokens, stats.drifts) == (sum(expected), 4000, 0)


async def test_without_the_lever_nothing_is_told() -> None:
    """None means that nothing is known."""
    asking = fc.AsyncClient(GPT, api_key="k", wire=FakeProvider())
    for reply in await grown(asking, 2):
        assert (reply.cache.expected_tokens, reply.cache.read_tokens, reply.cache.drift) == (None, None, None)


@pytest.mark.parametrize("target", [GPT, CLAUDE])
async def test_a_drift_is_told(target: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the reply, in the statistics, to observers, and after two of them in the log; never with the prompt's text."""
    seen: list[Event] = []
    asking, _ = client(target, observers=(seen.append,))
    replies = []
    for minute in range(4):
        messages = [system(f"It is 2026-05-01T12:0{minute}:00Z. {SECRET}. {LONG}"), user(SECRET)]
        turns = [each for number in range(minute) for each in (assistant(f"{SECRET} {number}"), user(SECRET))]
        replies.append(await asking.chat([*messages, *turns]))
    assert [reply.cache.drift for reply in replies] == [None, *["system_timestamp"] * 3]
    drifts = [event for event in seen if isinstance(event, PrefixDrifted)]
    assert [event.call_id for event in drifts] == [reply.call_id for reply in replies[1:]]
    assert all(event.target == target and event.tokens_lost > 1000 and event.advice for event in drifts)
    assert asking.stats().drifts == 3
    (line,) = caplog.records
    assert "system_timestamp" in line.message
    for told in (repr(drifts), caplog.text, repr(replies)):
        assert "orchid" not in told and "12:0" not in told.replace("12:00:00", "")


async def test_the_same_with_parts_does_not_drift() -> None:
    """What was drift becomes none where the time is said in a volatile part."""
    asking, provider = client()
    turns: list[Any] = []
    for minute in range(4):
        parts = [fc.volatile(f"It is 12:0{minute}."), fc.static(LONG), fc.history(turns), fc.user(f"And {minute}?")]
        reply = await asking.chat(parts)
        assert reply.cache.drift is None and (reply.cache.read_tokens or 0) >= (2000 if minute else 0)
        turns += [user(f"And {minute}?"), assistant(reply.text)]
    assert asking.stats().drifts == 0 and len(provider.requests) == 4


# --- counting ---------------------------------------------------------------------------------------------------------


async def test_counting_before_and_after_a_call() -> None:
    """An estimate before there was one, anchored on the provider's own count afterwards; it sends nothing."""
    asking, provider = client(OTHER, lambda request: Answer("That one.", input_tokens=5000, output_tokens=3))
    messages = [system(LONG), user("Which pump?")]
    before = asking.count(messages)
    assert before.source == "estimate" and before.low <= before.n <= before.high and not provider.requests
    reply = await asking.chat(messages)
    after = asking.count([*messages, assistant(reply.text), user("Sure?")])
    assert after.source == "usage" and 5003 < after.n < 5030 and after.low <= after.n <= after.high
    assert len(provider.requests) == 1


@pytest.mark.parametrize("chosen", [None, fc.Prompt()], ids=["without", "with"])
def test_counting_whatever_it_is(chosen: fc.Prompt | None) -> None:
    """With and without the lever: no content, halves of characters, tools, what no JSON can say."""
    provider = FakeProvider()
    with fc.Client(GPT, api_key="k", wire=provider, policy=fc.Policy(prompt=chosen)) as asking:
        short = asking.count("Which pump?").n
        assert short < asking.count("Which pump?", tools=TOOLS).n
        assert asking.count([user("x"), *steps(1)]).n > short
        assert asking.count("Which \ud800 pump?").n >= short
        assert asking.count("Which pump?", tools=[{"function": {"name": {1}}}]).n > short
        assert asking.count([fc.static("Be brief."), fc.documents(["One."]), fc.user("x"), fc.volatile("Noon.")]).n > 10
        with pytest.raises(fc.ConfigError):
            asking.count("")
    assert not provider.requests


def test_a_count_is_of_what_would_be_sent() -> None:
    """Squeezed, and trimmed to the budget; what cannot fit is told like in a call."""
    with fc.Client(GPT, api_key="k", wire=FakeProvider(), policy=policy(max_input_tokens=1000)) as asking:
        plain = asking.with_(policy=fc.Policy())
        wide = json.dumps(list(range(300)), indent=8)
        assert asking.count(wide).n < plain.count(wide).n
        long = [user("Water the ferns."), *steps(60), user("And now?")]
        assert asking.count(long).n <= 1000 < plain.count(long).n
        with pytest.raises(fc.PromptTooLong):
            asking.count("word " * 5000)


# --- warming ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target, tokens", [(OTHER, 1), (CLAUDE, 0)])
async def test_warming_has_the_provider_read_a_prompt(target: str, tokens: int) -> None:
    """One request for as good as no answer; the next call finds what was read."""
    asking, provider = client(target)
    prompt = [fc.static(LONG), fc.user("Which pump?")]
    done = await asking.warm(prompt=prompt, tools=TOOLS, max_tokens=500, temperature=0.5)
    (request,) = provider.requests
    limits = [request.json[name] for name in ("max_tokens", "max_completion_tokens") if name in request.json]
    assert limits == [tokens] and request.json["temperature"] == 0.5 and len(request.json["tools"]) == 5  # type: ignore[arg-type]
    assert done.error is None and done.ready == 1 and done.prompt_tokens == request.input_tokens > 2000
    reply = await asking.chat(prompt, tools=TOOLS, max_tokens=500, temperature=0.5)
    assert reply.cache.expected_tokens and (reply.cache.read_tokens or 0) > 2000


def test_warming_from_a_thread() -> None:
    """The blocking client does the same, and without a prompt sends none."""
    provider = FakeProvider()
    with fc.Client(GPT, api_key="k", wire=provider, policy=policy()) as asking:
        assert asking.warm().prompt_tokens is None and not provider.requests
        done = asking.warm(prompt=[system(LONG), user("Which pump?")])
    assert done.prompt_tokens and done.prompt_tokens > 2000 and len(provider.requests) == 1


async def test_a_failure_of_warming_is_reported() -> None:
    """Not raised: warming is a favour. What cannot be asked at all is an error."""
    asking, provider = client(GPT, faults.status(400), max_input_tokens=100)
    refused = await asking.warm(prompt="Which pump?")
    assert refused.error == "BadRequest" and refused.prompt_tokens is None
    assert (await asking.warm(prompt="word " * 500)).error == "PromptTooLong" and len(provider.requests) == 1
    with pytest.raises(fc.ConfigError):
        await asking.warm(prompt="")
