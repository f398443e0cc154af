"""A support desk's questions: few meanings, many wordings, and neighbours that ask for something else. Pure.

Each topic has an answer of its own, so that it is known which answers were right.
"""

from __future__ import annotations

from random import Random

from fastclient.cli.workload import Job

__all__ = ["answer_to", "support"]

_TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Open the sign-in page, choose 'Forgotten', and follow the link in our mail.",
        (
            "How do I reset my password?",
            "How can I reset my password?",
            "I need to reset my password, how?",
            "I forgot my password, how do I reset it?",
            "What is the way to reset my password?",
        ),
    ),
    (
        "Shoes go back within thirty days, with the label that lies in the box.",
        (
            "How do I return a pair of shoes?",
            "How can I send back a pair of shoes?",
            "What do I do to return shoes?",
            "I would like to return a pair of shoes, how?",
            "How does returning shoes work?",
        ),
    ),
    (
        "Invoices are for companies, after a check that takes one working day.",
        (
            "Can I pay by invoice?",
            "Is it possible to pay by invoice?",
            "Do you accept payment by invoice?",
            "May I pay by invoice?",
            "Is paying by invoice possible?",
        ),
    ),
    (
        "To Norway a parcel travels for six working days, customs included.",
        (
            "How long does delivery to Norway take?",
            "What is the delivery time to Norway?",
            "How long is the delivery to Norway?",
            "How many days does delivery to Norway take?",
            "How long will delivery to Norway take?",
        ),
    ),
    (
        "Sweden is next door: allow two days.",
        (
            "How long does delivery to Sweden take?",
            "What is the delivery time to Sweden?",
            "How long is the delivery to Sweden?",
            "How many days does delivery to Sweden take?",
        ),
    ),
    (
        "Press 'Join' at the top, and give a mail address.",
        (
            "How do I open an account?",
            "How can I open an account?",
            "What do I do to open an account?",
            "I want to open an account, how?",
        ),
    ),
    (
        "At the foot of the settings there is a red button that ends everything.",
        (
            "How do I close my account?",
            "How can I close my account?",
            "What do I do to close my account?",
            "I want to close my account, how?",
        ),
    ),
    (
        "Gift cards come in steps of ten, and are printed at home.",
        (
            "Do you have gift cards?",
            "Do you sell gift cards?",
            "Are there gift cards?",
            "Can I buy gift cards from you?",
            "Is it possible to buy gift cards?",
        ),
    ),
    (
        "Wash wool by hand in cold water.",
        (
            "How do I wash a wool jumper?",
            "How should I wash a wool jumper?",
            "What is the best way to wash a wool jumper?",
            "How can I wash a wool jumper?",
        ),
    ),
    (
        "Leather wants a dry brush first, then a little wax.",
        (
            "How do I clean leather boots?",
            "How should I clean leather boots?",
            "What is the best way to clean leather boots?",
            "How can I clean leather boots?",
        ),
    ),
)
_BEFORE = ("", "", "", "Hi, ", "Hello, ", "Good morning! ", "Hi there, ", "Quick question: ")
_AFTER = ("", "", "", " Thanks!", " Thank you!", " Thanks in advance.", " Please help.")


def support(count: int, seed: int) -> list[Job]:
    """`count` questions; the second most common topic is asked half as often as the first, and so on."""
    rng = Random(seed)
    weights = [1 / rank for rank in range(1, len(_TOPICS) + 1)]
    topics = rng.choices(_TOPICS, weights, k=count)
    words = [rng.choice(_BEFORE) + rng.choice(wordings) + rng.choice(_AFTER) for _, wordings in topics]
    return [Job([{"role": "user", "content": each}], "", 48) for each in words]


def answer_to(words: str) -> str:
    """What the support desk says to one of these questions."""
    return next(answer for answer, wordings in _TOPICS if any(each in words for each in wordings))
