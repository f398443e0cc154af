"""Who may be answered by what was said to others: examples both ways, and nothing that it stumbles over."""
# ruff: noqa: RUF001 - the words of other languages are what is tested

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.cache.semantic.asked import Asked, asked
from fastclient.types import Request, Shape

FINE = """
How do I reset my password?
how can i change the email address of my account
What is the capital of Australia?
How do I track my order?
Can I return my order after 30 days?
Where do I find my invoice?
How can I check my balance?
What do I do if my parcel is lost?
How to cancel my subscription
How do I add a member to my plan?
I want to change my password.
Do I need a visa for Japan?
Why do I need a VPN?
My password is not working
What are your opening hours on Sunday?
How long does shipping take?
Is a current account free?
Where do koalas live?
Is fastclient open source?
Are you open on Sundays?
What is the time limit for returns?
What is the difference between TCP and UDP?
Write a haiku about autumn.
Which documents do I need for my tax return?
How do I know whether my account is verified?
Explain how a breaking change differs from a deprecation
Is the product available in Germany?
When did the Second World War end?
How many people live in Iceland?
error 404 in nginx, what does it mean
What does HTTP 503 mean?
Is 1009 a prime?
How far is the Moon?
Wie kann ich mein Passwort zurücksetzen?
Comment puis-je annuler mon abonnement ?
¿Cómo cambio mi contraseña?
Come posso cambiare la password?
如何重置密码？
パスワードを変更するにはどうすればいいですか
비밀번호를 어떻게 바꾸나요?
Как изменить пароль?
""".strip().splitlines()

PERSONAL = """
Where is my order 12345?
Where's my parcel?
where is my order
What is the status of my order?
Can you tell me where my package is?
Has my refund arrived?
Why has my refund not arrived?
Is my flight delayed?
When is my appointment?
When will I get my refund?
What is my account balance?
How much is my bill?
when does my subscription renew
Why was I charged twice?
Was I charged for the trial?
Track my order
Show me my invoices
please check my balance
Where is order 88123?
Order #AB-12345 is late
What happened to ticket 4711?
My booking number is 993412, can I change it?
Case #887 again
My name is Ann. Which plan suits me?
I'm called Bob, what should I read?
Write to ann.lee@example.org about the fees
Call me at 555 123 4567
Is 4111 1111 1111 1111 a valid card?
Is DE89 3704 0044 0532 0130 00 a correct IBAN?
My password is hunter22, is that safe?
My phone number is +49 30 123456
Is sk-proj-abcdefgh12345 a good key?
What is 123e4567-e89b-12d3-a456-426614174000?
What's my name?
How old am I, what is my age?
Wo ist meine Bestellung?
Wann kommt mein Paket an?
Rechnung Nr. 2024001
Ich heiße Anna
Où est ma commande ?
Commande n° 55120
¿Dónde está mi pedido?
Dov'è il mio ordine?
我的订单在哪里？
Где мой заказ?
""".strip().splitlines()

MOMENT = """
What is the weather in Oslo?
What time is it?
What's the time?
what day is it today
Is the shop open now?
Are you open?
Is your site down?
is it out yet?
What is the latest version of Python?
Who is the current president of France?
What happened yesterday?
What's on this weekend?
Which trains leave tomorrow morning?
What did the fed decide last week?
What is the exchange rate of the dollar?
What is the price of bitcoin?
How much is a dollar in yen?
Any news?
Who is winning?
How many days until Christmas?
live scores please
Is the blue one in stock?
What was released 3 days ago?
Wie wird das Wetter heute?
Wie spät ist es jetzt?
Quel temps fait-il aujourd'hui ?
¿Qué tiempo hace hoy?
Che tempo fa oggi?
今天天气怎么样
今日の天気は
오늘 날씨 어때
Какая погода сегодня?
""".strip().splitlines()


def of(content: Any, **options: Any) -> Any:
    """What is made of one user turn."""
    return asked(Request(messages=({"role": "user", "content": content},), **options))


@pytest.mark.parametrize("question", FINE)
def test_questions_that_anybody_may_have_asked(question: str) -> None:
    """Their answer depends on the words alone."""
    found = of(question)
    assert isinstance(found, Asked), found
    assert found.question == question


@pytest.mark.parametrize("question", PERSONAL)
def test_questions_about_the_one_who_asks(question: str) -> None:
    """Their answer is nobody else's business."""
    assert of(question) == "personal"


@pytest.mark.parametrize("question", MOMENT)
def test_questions_about_the_moment(question: str) -> None:
    """Their answer is another one later."""
    assert of(question) == "time"


HI = {"role": "user", "content": "How do I sing?"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FORMS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("tools", [HI], {"tools": [{"type": "function"}]}),
    ("tools", [HI], {"functions": [{"name": "f"}]}),
    ("tools", [HI], {"tool_choice": "required"}),
    ("tools", [HI], {"web_search_options": {}}),
    ("tools", [HI], {"plugins": [{"id": "web"}]}),
    ("tools", [HI], {"search_parameters": {"mode": "auto"}}),
    ("tools", [HI], {"enable_search": True}),
    ("tools", [{"role": "assistant", "content": None, "tool_calls": [CALL]}, HI], {}),
    ("tools", [{"role": "assistant", "content": "", "function_call": {"name": "f"}}, HI], {}),
    ("tools", [{"role": "tool", "content": "1", "tool_call_id": "1"}, HI], {}),
    ("tools", [HI, {"role": "function", "name": "f", "content": "1"}, HI], {}),
    ("media", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], {}),
    ("media", [{"role": "user", "content": [{"type": "input_audio"}, {"type": "text", "text": "?"}]}, HI], {}),
    ("media", [{"role": "user", "content": []}], {}),
    ("form", [{"role": "user", "content": "  \n"}], {}),
    ("form", [{"role": "user", "content": [{"type": "text", "text": ""}]}], {}),
    ("form", [HI, {"role": "assistant", "content": "La la"}], {}),
    ("form", [{"role": "system", "content": "Sing."}], {}),
    ("form", [], {}),
    ("length", [{"role": "user", "content": "la " * 1000}], {}),
]


@pytest.mark.parametrize("kind, messages, params", FORMS)
def test_requests_of_another_form(kind: str, messages: list[Any], params: dict[str, Any]) -> None:
    """Tools, earlier calls of tools, media, no question at the end, an empty one, and one too long to be compared."""
    assert asked(Request(messages=tuple(messages), params=params)) == kind


def test_what_asks_for_no_tool() -> None:
    """An empty list of tools, and a search that is switched off."""
    assert isinstance(of("How do I sing?", params={"tools": [], "enable_search": False, "plugins": []}), Asked)


def test_parts_that_change_every_time() -> None:
    """The caller has said so."""
    assert of("How do I sing?", shape=Shape(tail=1)) == "time"


def test_only_the_question_is_taken_out() -> None:
    """Everything else of the last turn stays where it is, and so do the instructions and what was said before."""
    system, developer = {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Be kind."}
    document = {"type": "text", "text": "A song book.", "cache_control": {"type": "ephemeral"}}
    last = {"role": "user", "name": "ann", "content": [document, {"type": "text", "text": "How?", "citations": True}]}
    found = asked(Request(messages=(system, HI, {"role": "assistant", "content": "So."}, developer, last)))
    assert isinstance(found, Asked)
    assert found.question == "How?" and found.instructions == (system, developer)
    *before, rest = found.rest
    assert before == [system, HI, {"role": "assistant", "content": "So."}, developer]
    content: Any = rest["content"]
    assert rest["name"] == "ann" and content[0] == document and content[1]["citations"] is True
    assert "How?" not in str(rest)


texts = st.one_of(st.text(max_size=60), st.sampled_from([*FINE, *PERSONAL, *MOMENT]))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
data = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "input_text", "image_url", "", None])}, optional={"text": data}
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "", None]),
        "content": st.one_of(texts, st.lists(parts, max_size=3), data),
        "tool_calls": data,
        "name": data,
    },
)


@settings(max_examples=100, deadline=None)
@given(st.lists(messages, max_size=4), st.dictionaries(st.sampled_from(["tools", "plugins", "x"]), data, max_size=2))
def test_it_never_stumbles(said: list[Any], params: dict[str, Any]) -> None:
    """Whatever JSON the messages are, there is a question, or a word for why there is none."""
    found = asked(Request(messages=tuple(said), params=params))
    if isinstance(found, str):
        assert found in ("tools", "media", "personal", "time", "form", "length")
    else:
        assert found.question.strip() and len(found.question) <= 2_000 and len(found.rest) == len(said)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PERSONAL + MOMENT), st.text(max_size=20).filter(lambda text: not text or text[-1].isspace()))
def test_a_preface_changes_nothing(question: str, preface: str) -> None:
    """Who greets first is as personal as before."""
    greeting = f"Hello there! {preface.strip()} "
    if not question.lower().startswith(("track", "show", "please")):
        assert of(greeting.replace("?", "") + question) in ("personal", "time")


@pytest.mark.parametrize(
    "piece",
    ["my ", "a", "1", "1 ", "1-", "@", "a@", ".", "is my ", "#1", "order ", "where is ", "I was ", "a1", "是", "wo "],
)
def test_it_takes_no_longer_for_hostile_words(piece: str) -> None:
    """2,000 characters that begin every pattern and end none take milliseconds."""
    text = (piece * 2000)[:2000]
    began = time.perf_counter()
    for _ in range(3):
        of(text)
    assert time.perf_counter() - began < 0.3
