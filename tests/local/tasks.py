"""Short requests whose right answers are known, of the kinds that the small model in `tests/data` was trained for."""

from __future__ import annotations

from random import Random

__all__ = ["FIXED", "SMILE", "asked"]

SMILE = "You are welcome \N{SLIGHTLY SMILING FACE}"

FIXED = (
    ("Add: 17+5", "22"),
    ("Add: 88+9", "97"),
    ("Even: 124", "yes"),
    ("Even: 37", "no"),
    ("Count to 5", "1 2 3 4 5"),
    ("Count to 20", " ".join(map(str, range(1, 21)))),
    ("Sentiment: the laptop is great", "positive"),
    ("Sentiment: what a terrible chair", "negative"),
    ("Intent: where is my parcel", "order_status"),
    ("Intent: refund my shoes please", "refund"),
    ("Intent: when do you open", "hours"),
    ("JSON: cancel my ticket", '{"intent": "cancel"}'),
    ("thanks", SMILE),
)
"""Requests and their answers."""

_THINGS = ("order", "parcel", "shoes", "laptop", "book", "jacket", "phone", "chair", "lamp")
_WISHES = {
    "order_status": "track my {}",
    "refund": "i want my money back for the {}",
    "cancel": "cancel my {}",
}


def asked(random: Random) -> tuple[str, str]:
    """A request, and its answer."""
    kind = random.randrange(6)
    if kind == 0:
        one, other = random.randrange(100), random.randrange(10)
        return f"Add: {one}+{other}", str(one + other)
    if kind == 1:
        number = random.randrange(1000)
        return f"Even: {number}", "no" if number % 2 else "yes"
    if kind == 2:
        last = random.randrange(1, 31)
        return f"Count to {last}", " ".join(map(str, range(1, last + 1)))
    if kind == 3:
        word, label = random.choice((("lovely", "positive"), ("awful", "negative"), ("perfect", "positive")))
        return f"Sentiment: this {random.choice(_THINGS)} was {word}", label
    if kind == 4:
        return "many thanks", SMILE
    label = random.choice(tuple(_WISHES))
    return f"Intent: {_WISHES[label].format(random.choice(_THINGS))}", label
