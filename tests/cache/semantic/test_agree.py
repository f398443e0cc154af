"""Whether two answers say the same: examples both ways, and in doubt they do not."""
# ruff: noqa: RUF001 - the words of other languages are what is tested

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.cache.semantic.agree import agree, alike, gist

PLANTS = """Photosynthesis is the process by which plants convert light energy into chemical energy, producing oxygen
and glucose from carbon dioxide and water."""
LEAVES = """Photosynthesis is how plants turn light energy into chemical energy: from carbon dioxide and water they make
glucose and oxygen."""
LONG = """The service keeps logs, backups, reports and invoices for a year, and you can export them to a file in your
account whenever you like, which takes a few minutes for most customers, and longer for large teams with many members,
shared folders, archives, projects and attachments. Data is shared with partners."""
SAME = [
    ("Click \"Forgot password\" on the login page, then follow the link sent to your email to reset the password.",
     "To reset your password, click \"Forgot password\" on the login page and follow the link in the email."),
    ("You can return items within 30 days of delivery for a full refund.",
     "Items can be returned for a full refund within thirty days of delivery."),
    ("Standard shipping takes 5-7 business days.", "Standard shipping takes 5 to 7 business days."),
    ("The capital of France is Paris.", "Paris is the capital of France."),
    ("Yes, you can cancel your subscription at any time in the account settings.",
     "Yes. The subscription can be cancelled at any time in your account settings."),
    ("No, we do not ship to Brazil.", "No, we don't ship to Brazil."),
    ("1. Open the app.\n2. Tap Settings.\n3. Choose Privacy.", "Open the app, tap Settings, and choose Privacy."),
    ("- Open the app\n- Tap Settings\n- Choose Privacy", "1. Open the app\n2. Tap Settings\n3. Choose Privacy"),
    ("The store opens at 9 a.m. and closes at 6 p.m.", "The store opens at 9 am and closes at 6 pm."),
    ("**Shipping** costs $5 for orders under $50.", "Shipping costs $5.00 for orders under $50."),
    ("You need a valid passport and a visa to enter the country.",
     "To enter the country, you need a visa and a valid passport."),
    (PLANTS, LEAVES),
    ("A full refund costs you 1,000 points of your account.", "A full refund costs you 1000 points of your account."),
    ("Here is the code:\n```python\nprint(1)\n```", "Here is the code:\n```py\nprint(1)\n```\n"),
    ("Sie können innerhalb von 30 Tagen kündigen.", "Sie können innerhalb von 30 Tagen kündigen"),
    ("退款需要5天。", "退款需要5天"),
    ("42", "42."), ("B", "B."), ("Yes", "Yes."), ("Yes, it is.", "yes, it is"), ("x = 3 + y", "x = 3 + y."),
]  # fmt: skip

OTHERS = [
    # figures, dates, codes and units
    ("You can return items within 30 days of delivery for a full refund.",
     "You can return items within 14 days of delivery for a full refund."),
    ("The meeting room is on the third floor next to the kitchen.",
     "The meeting room is on the second floor next to the kitchen."),
    ("The fee is three euros per month for each user.", "The fee is four euros per month for each user."),
    ("The fee is twenty five euros per month for each user.", "The fee is twenty six euros per month for each user."),
    ("The fee is 5 euros per month for each user in your team.",
     "The fee is 5 dollars per month for each user in your team."),
    ("It costs €5.", "It costs $5."),
    ("The book is 3,5 cm thick and fits in most shelves.", "The book is 35 cm thick and fits in most shelves."),
    ("Delivery takes 3 days within the country and abroad.", "Delivery takes 3 weeks within the country and abroad."),
    ("Adults pay 10 euros and children pay 5 euros.", "Adults pay 5 euros and children pay 10 euros."),
    ("The temperature is 5 degrees outside the house.", "The temperature is -5 degrees outside the house."),
    ("Store opens at 9 am every day of the week except holidays.",
     "Store opens at 9 pm every day of the week except holidays."),
    ("The order number is AB-1234.", "The order number is AB-1235."),
    ("It was released on 2024-05-01 for all users.", "It was released on 2024-06-01 for all users."),
    ("Version 2.4 is needed to run it on your machine.", "Version 2.5 is needed to run it on your machine."),
    # yes, no, and denials
    ("Yes, you can.", "No, you can't."), ("Yes.", "No."), ("True", "False"), ("Yes, it is free.", "It is free."),
    ("You can cancel your order after it has shipped from our warehouse.",
     "You cannot cancel your order after it has shipped from our warehouse."),
    ("I cannot help with that.", "I can help with that."),
    ("It is possible to change the delivery address of a parcel on its way.",
     "It is impossible to change the delivery address of a parcel on its way."),
    ("The product contains nuts and may contain traces of soy and milk.",
     "The product contains no nuts and may contain traces of soy and milk."),
    (LONG, LONG.replace("is shared", "is not shared")),
    # refusals
    ("I'm sorry, but I can't help with that request.", "You can reset your password in the settings under security."),
    ("I'm sorry, but I can't help you to reset your password in the settings under security.",
     "You can reset your password in the settings under security."),
    # one word in place of another
    ("Our office is located in Berlin, close to the main station and the river.",
     "Our office is located in Munich, close to the main station and the river."),
    ("You can pay by credit card at the counter in the main building.",
     "You can pay by bank transfer at the counter in the main building."),
    ("The patient should take the medicine in the morning with a glass of water and food.",
     "The patient should take the medicine in the evening with a glass of water and food."),
    ("Press the button to turn on the alarm before you leave the house.",
     "Press the button to turn off the alarm before you leave the house."),
    ("You must submit the form before the deadline printed in the letter.",
     "You must submit the form after the deadline printed in the letter."),
    ("Enable the option in the menu of the program to show hidden files.",
     "Disable the option in the menu of the program to show hidden files."),
    # the same words the other way round
    ("Python is generally faster than Java for this workload.",
     "Java is generally faster than Python for this workload."),
    ("Take the train from London to Paris and change there.", "Take the train from Paris to London and change there."),
    ("Alice beats Bob in the final of the tournament.", "Bob beats Alice in the final of the tournament."),
    # letters, code and formulas
    ("B", "C"), ("The correct answer is B.", "The correct answer is C."), ("A) Paris", "B) Paris"),
    ("x = 3 - y", "x = 3 + y"), ("if x > 5 then stop the pump", "if x < 5 then stop the pump"),
    ("Use this:\n```python\nprint(a + b)\n```", "Use this:\n```python\nprint(a - b)\n```"),
    # other languages, and lists
    ("退款需要5天。", "退款需要7天。"), ("可以退款。", "不可以退款。"),
    ("您可以在我们的网站上，登录账户，选择订单，点击退款，填写原因，提交申请，等待审核。",
     "您不可以在我们的网站上，登录账户，选择订单，点击退款，填写原因，提交申请，等待审核。"),
    ("返金できます。ウェブサイトにログインし、注文を選び、返金を押し、理由を書いてください。",
     "返金できません。ウェブサイトにログインし、注文を選び、返金を押し、理由を書いてください。"),
    ("Sie können Ihren Vertrag mit einer Frist von drei Monaten zum Ende des Jahres kündigen.",
     "Sie können Ihren Vertrag nicht mit einer Frist von drei Monaten zum Ende des Jahres kündigen."),
    ("Vous pouvez résilier votre contrat à tout moment depuis votre espace client.",
     "Vous ne pouvez pas résilier votre contrat à tout moment depuis votre espace client."),
    ("Puede cancelar su contrato en cualquier momento desde su cuenta.",
     "No puede cancelar su contrato en cualquier momento desde su cuenta."),
    ("Sözleşmenizi istediğiniz zaman hesabınızdan iptal edebilirsiniz.",
     "Sözleşmenizi istediğiniz zaman hesabınızdan iptal edemezsiniz."),
    ("milk, eggs, flour, sugar, butter, salt", "milk, eggs, flour, sugar, butter, pepper"),
    # nothing to go by
    ("", "?"), ("...", "???"), ("🙂", "🙁"), ("", "Yes."),
]  # fmt: skip


@pytest.mark.parametrize("one, other", SAME)
def test_answers_that_say_the_same(one: str, other: str) -> None:
    """In other words, in another order, as a list, or with numbers spelt out."""
    assert alike(one, other) and alike(other, one)


@pytest.mark.parametrize("one, other", OTHERS)
def test_answers_that_differ_where_it_matters(one: str, other: str) -> None:
    """However many words they share."""
    assert not alike(one, other) and not alike(other, one)


WORDS = """
yes no not the a is are 5 7 10,000 3.5 days weeks Paris Berlin you can cannot pay card refund open close before after
than from to €5 $5 x = + - * nicht 退款 不 don't never two three B C ``` . , : ?
buy purchase acquire begin start convert turn power energy produce make quick fast slow
"""
words = st.sampled_from(WORDS.split())
answers = st.one_of(st.text(max_size=200), st.lists(words, max_size=30).map(" ".join))


@settings(max_examples=150, deadline=None)
@given(answers, answers)
def test_order_does_not_matter(one: str, other: str) -> None:
    """What agrees with an answer is what that agrees with."""
    assert alike(one, other) == alike(other, one)
    assert alike(one, one)


@settings(max_examples=150, deadline=None)
@given(answers)
def test_an_answer_agrees_with_itself(text: str) -> None:
    """As far as there is anything in it to compare; and the same bytes agree in any case."""
    taken = gist(text)
    again = gist.__wrapped__(text)
    assert taken == again and agree(taken, again) == agree(again, taken) == taken.said


sentences = st.lists(st.sampled_from([one for one, _ in SAME[:12]]), min_size=1, max_size=3).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(sentences, st.integers(100, 10_000), st.integers(100, 10_000))
def test_another_number_is_another_answer(text: str, one: int, other: int) -> None:
    """Wherever it stands in whatever else is said."""
    first, second = (f"{text} It takes {number} days." for number in (one, other))
    assert alike(first, second) == (one == other)


@settings(max_examples=150, deadline=None)
@given(sentences)
def test_a_denial_is_another_answer(text: str) -> None:
    """Whatever else is said."""
    assert not alike(f"{text} Refunds are granted.", f"{text} Refunds are not granted.")


@pytest.mark.parametrize(
    "piece", ["a.", "a/", "1-", "1.", "-1", "`", "```", "a ", "° ", "x = ", "从", "a1:", "* ", "1) ", "'"]
)
def test_it_takes_no_longer_for_hostile_words(piece: str) -> None:
    """100,000 characters that begin every pattern and end none take well under a second."""
    text = (piece * 100_000)[:100_000]
    began = time.perf_counter()
    gist.__wrapped__(text)
    assert time.perf_counter() - began < 3.0
