"""A prompt given in parts: what stands where in each provider's request, and what plain messages keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastclient as fc
from fastclient.testing import FakeProvider

GPT, CLAUDE, OTHER = "openai:gpt-5-mini", "anthropic:claude-sonnet-5", "openai:some-open-model"
RULES, CLOCK, QUESTION = "Answer in one line.", "It is 12:03.", "Is the pond pump running?"
TURNS = [{"role": "user", "content": "Good morning."}, {"role": "assistant", "content": "Hello."}]
TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object", "properties": {}}}}


def sent(messages: Any, target: str = GPT, *, prompt: fc.Prompt | None = None, **options: Any) -> dict[str, Any]:
    """The body of the request that a prompt becomes."""
    provider = FakeProvider("ok")
    with fc.Client(target, api_key="k", wire=provider, policy=fc.Policy(prompt=prompt)) as client:
        client.chat(messages, **options)
    return dict(provider.requests[0].json)


def said(messages: Sequence[dict[str, Any]]) -> list[str]:
    """What stands in each message; parts one after the other."""
    return [
        content if isinstance(content, str) else "".join(part["text"] for part in content)
        for content in (message["content"] for message in messages)
    ]


def document(text: str, attributes: str = "") -> str:
    return f"<document{attributes}>\n{text}\n</document>"


# --- order ------------------------------------------------------------------------------------------------------------


def test_static_parts_go_first_and_volatile_ones_last() -> None:
    """The others stay in the order given, whatever the order of the parts."""
    parts = [fc.volatile(CLOCK), fc.history(TURNS), fc.static(RULES), fc.user(QUESTION), fc.static("Be kind.")]
    messages = sent(parts, prompt=fc.Prompt())["messages"]
    assert said(messages) == [RULES, "Be kind.", "Good morning.", "Hello.", QUESTION, CLOCK]
    assert [message["role"] for message in messages] == ["system", "system", "user", "assistant", "user", "system"]


def test_messages_among_parts_stay_where_they_are() -> None:
    """A plain message is part of the conversation, a system message of the caller's own too."""
    parts = [*TURNS, {"role": "system", "content": "Be brief."}, fc.user(QUESTION), fc.static(RULES)]
    messages = sent(parts, prompt=fc.Prompt())["messages"]
    assert said(messages) == [RULES, "Good morning.", "Hello.", "Be brief.", QUESTION]


@pytest.mark.parametrize("target", [GPT, CLAUDE, OTHER])
def test_without_the_lever_all_parts_are_sent(target: str) -> None:
    """A client without a Prompt policy lays parts out too; what is volatile stands in tags at the end."""
    parts = [fc.volatile(CLOCK), fc.static(RULES), fc.documents(["One.", "Two."]), fc.user(QUESTION), fc.tools([TOOL])]
    body = sent(parts, target)
    whole = "".join(said(body["messages"])) + str(body.get("system", ""))
    assert all(text in whole for text in (RULES, "One.", "Two.", QUESTION, f"<context>\n{CLOCK}\n</context>"))
    assert len(body["tools"]) == 1


# --- what changes each time -------------------------------------------------------------------------------------------


def test_volatile_is_a_late_system_message_at_openai() -> None:
    """Behind the newest turn, without tags."""
    messages = sent([fc.static(RULES), fc.volatile(CLOCK), fc.user(QUESTION)], GPT, prompt=fc.Prompt())["messages"]
    assert messages[-1] == {"role": "system", "content": CLOCK} and messages[-2]["content"] == QUESTION


def test_volatile_is_a_tagged_block_at_anthropic() -> None:
    """The last block of the last user turn; the system prompt has none of it."""
    body = sent([fc.static(RULES), fc.volatile(CLOCK), fc.user(QUESTION)], CLAUDE, prompt=fc.Prompt())
    (turn,) = body["messages"]
    assert said([turn]) == [f"{QUESTION}<context>\n{CLOCK}\n</context>"] and len(turn["content"]) == 2
    assert said([{"content": body["system"]}]) == [RULES]


def test_volatile_is_joined_to_the_last_user_text_elsewhere() -> None:
    """Templates of open models often take no two user turns in a row, and no system message but the first."""
    messages = sent([fc.volatile(CLOCK), fc.static(RULES), fc.user(QUESTION)], OTHER, prompt=fc.Prompt())["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[1]["content"] == f"{QUESTION}\n\n<context>\n{CLOCK}\n</context>"


@pytest.mark.parametrize("target", [GPT, CLAUDE, OTHER])
def test_nothing_but_a_volatile_part(target: str) -> None:
    """A prompt without a turn of its own is sent as well."""
    assert CLOCK in str(sent([fc.volatile(CLOCK)], target, prompt=fc.Prompt(max_input_tokens=100))["messages"])


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [None, fc.Prompt()], ids=["without", "with"])
def test_documents_are_one_message_with_the_turn_behind_them(prompt: fc.Prompt | None) -> None:
    """Each is a text part in tags with its id and title, and the question follows in the same message."""
    found: list[str | dict[str, object]] = ["Plain.", {"text": "Titled.", "id": 7, "title": 'The "A" & <B>'}]
    (turn,) = sent([fc.documents(found), fc.user(QUESTION)], prompt=prompt)["messages"]
    attributes = ' id="7" title="The &quot;A&quot; &amp; &lt;B>"'
    assert [part["text"] for part in turn["content"]] == [document("Plain."), document("Titled.", attributes), QUESTION]


def test_documents_join_the_turn_that_opens_a_history() -> None:
    """The first of several messages takes them; a turn of the assistant does not."""
    messages = sent([fc.documents(["One."]), fc.history(TURNS), fc.user(QUESTION)])["messages"]
    assert said(messages) == [document("One.") + "Good morning.", "Hello.", QUESTION]
    messages = sent([fc.documents(["One."]), fc.history(TURNS[1:]), fc.user(QUESTION)])["messages"]
    assert said(messages) == [document("One."), "Hello.", QUESTION]


def test_a_document_found_twice_is_sent_once() -> None:
    """At the place where it came first."""
    parts = [fc.documents(["One.", "Two.", {"text": "One."}, "Three."]), fc.user(QUESTION)]
    (message,) = sent(parts, prompt=fc.Prompt())["messages"]
    assert said([message]) == ["".join(map(document, ("One.", "Two.", "Three."))) + QUESTION]


def test_no_documents_are_no_message() -> None:
    """An empty result of a search leaves the turn as it is."""
    assert sent([fc.documents([]), fc.user(QUESTION)])["messages"] == [{"role": "user", "content": QUESTION}]


def test_popular_documents_come_first() -> None:
    """Those found most often before, and only where the caller asked for it."""
    provider = FakeProvider("ok")
    with fc.Client(OTHER, api_key="k", wire=provider, policy=fc.Policy(prompt=fc.Prompt())) as client:
        for found in (["A", "B"], ["C", "B"], ["C", "A", "B"]):
            client.chat([fc.documents(found, order="popular"), fc.user(QUESTION)])
        client.chat([fc.documents(["C", "A", "B"]), fc.user(QUESTION)])
    orders = [said(list(request.messages))[0] for request in provider.requests]  # type: ignore[arg-type]
    expected = (["A", "B"], ["B", "C"], ["B", "C", "A"], ["C", "A", "B"])
    assert orders == ["".join(map(document, order)) + QUESTION for order in expected]


# --- tools ------------------------------------------------------------------------------------------------------------


def test_tools_may_be_a_part() -> None:
    """It says the same as the option."""
    assert sent([fc.user(QUESTION), fc.tools([TOOL])]) == sent(QUESTION, tools=[TOOL])


def test_tools_given_twice_are_refused() -> None:
    """Nobody could tell which were meant."""
    with pytest.raises(fc.ConfigError) as refused:
        sent([fc.user(QUESTION), fc.tools([TOOL])], tools=[TOOL])
    assert refused.value.field == "tools"


# --- wrong words ------------------------------------------------------------------------------------------------------

SECRET = "the secret of the pond"
WRONG: list[tuple[str, Any]] = [
    ("static", lambda: fc.static(17)),  # type: ignore[arg-type]
    ("static", lambda: fc.static("")),
    ("static", lambda: fc.static([SECRET])),  # type: ignore[arg-type]
    ("volatile", lambda: fc.volatile(None)),  # type: ignore[arg-type]
    ("volatile", lambda: fc.volatile("")),
    ("documents", lambda: fc.documents(SECRET)),
    ("documents", lambda: fc.documents({SECRET})),  # type: ignore[arg-type]
    ("documents.order", lambda: fc.documents([SECRET], order="best")),  # type: ignore[arg-type]
    ("documents[1]", lambda: fc.documents(["x", [SECRET]])),  # type: ignore[list-item]
    ("documents[1].text", lambda: fc.documents(["x", {"title": SECRET}])),
    ("documents[0].text", lambda: fc.documents([""])),
    ("history", lambda: fc.history(SECRET)),  # type: ignore[arg-type]
    ("history", lambda: fc.history(turn for turn in TURNS)),  # type: ignore[arg-type]
    ("tools", lambda: fc.tools(TOOL)),  # type: ignore[arg-type]
    ("messages", lambda: sent(fc.user(SECRET))),
    ("messages", lambda: sent([fc.history([])])),
    ("messages", lambda: sent([fc.tools([TOOL])])),
    ("messages[0]", lambda: sent([fc.history([SECRET])])),  # type: ignore[list-item]
    ("messages[1].content", lambda: sent([fc.static("x"), fc.user({SECRET})])),  # type: ignore[arg-type]
    ("messages[0].content", lambda: sent([fc.documents([SECRET]), fc.user(None)])),  # type: ignore[arg-type]
    ("messages[0].content", lambda: sent([fc.documents([SECRET]), fc.user([17])])),  # type: ignore[list-item]
]


@pytest.mark.parametrize("field, make", WRONG, ids=[f"{number}-{field}" for number, (field, _) in enumerate(WRONG)])
def test_wrong_words_are_named_but_not_shown(field: str, make: Any) -> None:
    """The error says which part is wrong; what may be a prompt stays out of it."""
    with pytest.raises(fc.ConfigError) as refused:
        make()
    assert refused.value.field == field and SECRET not in str(refused.value)


def test_a_part_does_not_show_its_text() -> None:
    """Neither in a log nor in a traceback."""
    made = (fc.static(SECRET), fc.volatile(SECRET), fc.documents([SECRET]), fc.user(SECRET), fc.history(TURNS))
    assert SECRET not in repr(made) and "Good morning" not in repr(made)


# --- plain messages ---------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[{|"), min_size=1, max_size=60)
roles = st.sampled_from(["system", "user", "assistant"])
turns = st.builds(lambda role, text: {"role": role, "content": text}, roles, texts)
conversations = st.lists(turns, min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(conversations=st.lists(conversations, min_size=1, max_size=3))
def test_plain_messages_are_sent_as_they_are(conversations: list[list[dict[str, str]]]) -> None:
    """Where there is nothing to gain, the lever changes no byte: no text is moved, whatever it says."""
    plain, aligned = FakeProvider("ok"), FakeProvider("ok")
    policy = fc.Policy(prompt=fc.Prompt(max_input_tokens=100_000))
    for provider, chosen in ((plain, fc.Policy()), (aligned, policy)):
        with fc.Client(OTHER, api_key="k", wire=provider, policy=chosen) as client:
            for messages in conversations:
                client.chat(messages, max_tokens=5, temperature=0.5)
    assert [request.body for request in aligned.requests] == [request.body for request in plain.requests]


@pytest.mark.parametrize("target", [GPT, "openai:gpt-5.6", CLAUDE])
def test_only_marks_and_keys_are_added(target: str) -> None:
    """At providers that take them; the text is the same, also of a message that says the time."""
    messages = [{"role": "system", "content": f"{CLOCK} {RULES} " * 400}, *TURNS, {"role": "user", "content": QUESTION}]
    plain, aligned = sent(messages, target), sent(messages, target, prompt=fc.Prompt())
    added = {name: aligned.pop(name) for name in ("prompt_cache_key", "prompt_cache_options") if name in aligned}
    assert bool(added) == (target != CLAUDE)
    assert aligned.keys() == plain.keys()
    for name in ("messages", "system"):
        assert said(_listed(aligned.get(name))) == said(_listed(plain.get(name)))


def _listed(value: Any) -> list[dict[str, Any]]:
    """Messages, or Anthropic's blocks of a system prompt as if they were one message."""
    if value and "text" in value[0]:
        return [{"content": value}]
    return value or []
