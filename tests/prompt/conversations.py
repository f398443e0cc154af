"""Seeded conversations of the usual kinds: agents, chats, retrieval and extraction. For tests and benchmarks.

All of it is made up (the glasshouses of a botanical garden), in sizes and at times as real ones have them. One seed
gives the same in every process. Times are in seconds from the start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log
from random import Random
from typing import Any, TypeAlias

__all__ = ["Conversation", "Document", "Extract", "Hit", "Item", "Query", "Rag", "agent", "chat", "extract", "rag"]

Json: TypeAlias = dict[str, Any]

PLANTS = ("tree fern", "pitcher plant", "vanilla vine", "giant lily", "cycad", "moth orchid", "sundew", "banyan")
DEVICES = ("misting line", "roof vent", "shade screen", "boiler loop", "soil probe", "pond pump", "dosing valve")
TRAITS = ("humidity", "leaf temperature", "nitrate level", "light dose", "water hardness", "root depth", "acidity")
PEOPLE = ("head gardener", "night warden", "seed curator", "plumber", "plant doctor", "ticket office")
UNITS = ("percent", "lux", "millimetres", "grams per litre", "degrees", "litres an hour")
HOUSES = ("palm house", "desert house", "alpine house", "nursery", "water hall", "fern gully")
VERBS = ("read", "adjust", "book", "inspect", "compare", "retire", "label", "export", "plan")
STATES = ("ok", "late", "repeated", "ignored", "over limit")
TOOLS = [f"{verb}_{thing.replace(' ', '_')}" for verb in VERBS for thing in (*DEVICES, *PLANTS)]

SENTENCES = (
    "In the {house} the {plant} lost two leaves after the {device} had run at {n} {unit} all night.",
    "Set the {device} to {n} {unit} before noon, then let the {person} look at the {plant} again.",
    "What the {person} calls normal is a {trait} of {n} {unit}, give or take a tenth.",
    "The {plant} and the {other} share one {device}, so their {trait} can only be changed together.",
    "Two years ago the {trait} in the {house} was {n} {unit}; nobody has written it down since.",
    "Visitors ask for the {plant} first, which is why the {house} opens an hour before the others.",
    "Ask the {person} whether row {k} of the {house} still needs the {device} at all.",
    "Above {n} {unit} the {plant} closes up, below that the {other} begins to rot.",
    "A new {device} was fitted on shelf {k}, and the {trait} has been steadier ever since.",
    "For cuttings of the {plant} keep the {trait} near {n} {unit} and the glass covered.",
    "The {person} wants a list of every {plant} whose {trait} rose by more than {n} {unit} this week.",
    "It was not the {device} but an open door in the {house} that cooled the {other} by {n} degrees.",
)

FIELDS: dict[str, Json] = {
    "plant_code": {"type": "string", "description": "The code on the label, such as TF-0412."},
    "from_time": {"type": "string", "format": "date-time", "description": "First moment to look at, with its offset."},
    "until_time": {"type": "string", "format": "date-time", "description": "Last moment to look at, with its offset."},
    "house": {"type": "string", "enum": list(HOUSES), "description": "Where the plant or the device stands."},
    "rows": {"type": "integer", "minimum": 1, "maximum": 500, "description": "How many readings to give at most."},
    "above": {"type": "number", "description": "Only readings higher than this one."},
    "dry_run": {"type": "boolean", "description": "Say what would be done, and do nothing."},
    "marks": {"type": "array", "items": {"type": "string"}, "description": "Only plants that bear all these marks."},
    "contact": {"type": "object", "properties": {"name": {"type": "string"}, "pager": {"type": "string"}}},
    "remark": {"type": "string", "description": "A sentence for the garden's logbook, in the words of whoever asked."},
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """`arrivals` has one time for each assistant message: that of the request it answers."""

    tools: tuple[Json, ...]
    messages: tuple[Json, ...]
    arrivals: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A place in `Rag.docs`, and how well it matched."""

    doc: int
    score: float


@dataclass(frozen=True, slots=True)
class Query:
    time: float
    user: str
    question: str
    hits: tuple[Hit, ...]  # best first


@dataclass(frozen=True, slots=True)
class Rag:
    """The first documents are the most popular ones: that of place i is drawn with weight 1 / (i + 1)."""

    system: str
    docs: tuple[Document, ...]
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Item:
    time: float
    text: str


@dataclass(frozen=True, slots=True)
class Extract:
    """The order of the schema's keys has a meaning: the model writes its observation before its verdict."""

    system: str
    schema: Json
    items: tuple[Item, ...]


def agent(seed: int, *, code: bool = False) -> Conversation:
    """A task, 35 to 95 requests with tool calls, and a few more user turns. `code`: its results are mostly source."""
    rng = Random(f"agent {seed} {code}")
    tools = [_tool(rng, name) for name in rng.sample(TOOLS, rng.randint(8, 30))]
    parallel, reasons = rng.random() < 0.5, rng.random() < 0.4
    results = (_source, _receipt, _journal) if code else (_records, _records, _journal, _table, _report, _receipt)
    messages: list[Json] = [{"role": "system", "content": _manual(rng, 6500)}]
    gaps: list[float] = []
    requests = rng.randint(35, 95)
    while len(gaps) < requests:
        messages.append({"role": "user", "content": _prose(rng, rng.randint(200, 350))})
        gaps.append(_drawn(rng, 20, 0.5, 5, 60))
        for _ in range(min(rng.randint(2, 15), requests - len(gaps))):
            messages += _step(rng, tools, results, rng.choice((1, 1, 1, 1, 2, 3, 4)) if parallel else 1, reasons)
            gaps.append(_drawn(rng, 9, 0.5, 1.5, 50))
        messages.append({"role": "assistant", "content": _prose(rng, int(_drawn(rng, 700, 0.4, 150, 1300)))})
    return Conversation(tuple(tools), tuple(messages), _times(gaps))


def chat(seed: int, gap: float = 60.0) -> Conversation:
    """50 to 90 turns without tools; half of the gaps between them are shorter than `gap` seconds."""
    rng = Random(f"chat {seed}")
    messages: list[Json] = [{"role": "system", "content": _manual(rng, 5300)}]
    turns = rng.randint(50, 90)
    for _ in range(turns):
        messages.append({"role": "user", "content": _prose(rng, rng.randint(80, 380))})
        messages.append({"role": "assistant", "content": _prose(rng, int(_drawn(rng, 1000, 0.5, 250, 2300)))})
    return Conversation((), tuple(messages), _times([_drawn(rng, gap, 1.0, gap / 10, gap * 15) for _ in range(turns)]))


def rag(seed: int) -> Rag:
    """60 documents and 150 queries with five hits each."""
    rng = Random(f"rag {seed}")
    docs = [
        Document(_filled(rng, "On the {trait} of the {plant}"), _prose(rng, rng.randint(330, 800))) for _ in range(60)
    ]
    times = _times([rng.expovariate(1 / 6) for _ in range(150)])
    queries = [Query(at, f"reader-{rng.randint(1, 40)}", _prose(rng, 120), _hits(rng, len(docs))) for at in times]
    return Rag(_manual(rng, 4700), tuple(docs), tuple(queries))


def extract(seed: int) -> Extract:
    """150 texts, each to be read once, about a second and a half apart."""
    rng = Random(f"extract {seed}")
    fields: Json = {
        "observation": {"type": "string", "description": "What the text says, before any verdict."},
        "cause": {"type": "string", "enum": list(TRAITS)},
        "severity": {"type": "integer", "minimum": 0, "maximum": 4},
        "plants": {"type": "array", "items": {"type": "string"}},
        "advice": {"type": "string"},
    }
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    times = _times([rng.expovariate(1 / 1.4) for _ in range(150)])
    return Extract(_manual(rng, 5700), schema, tuple(Item(at, _prose(rng, rng.randint(400, 1000))) for at in times))


def _step(
    rng: Random, tools: Sequence[Json], results: Sequence[Callable[[Random], str]], calls: int, reasons: bool
) -> list[Json]:
    """An assistant message with calls, and their results."""
    said: Json = {"role": "assistant", "content": _prose(rng, 60) if rng.random() < 0.6 else None}
    said["tool_calls"] = [
        {"id": f"call_{rng.getrandbits(96):024x}", "type": "function", "function": _call(rng, rng.choice(tools))}
        for _ in range(calls)
    ]
    if reasons:
        said["reasoning_content"] = _prose(rng, rng.randint(200, 400))
    ids = [call["id"] for call in said["tool_calls"]]
    return [said, *({"role": "tool", "tool_call_id": each, "content": rng.choice(results)(rng)} for each in ids)]


def _call(rng: Random, tool: Json) -> Json:
    function = tool["function"]
    fields = list(function["parameters"]["properties"])
    asked = {name: rng.choice((rng.choice(HOUSES), rng.randint(1, 500))) for name in rng.sample(fields, 2)}
    return {"name": function["name"], "arguments": json.dumps(asked)}


def _tool(rng: Random, name: str) -> Json:
    fields = {field: FIELDS[field] for field in rng.sample(list(FIELDS), rng.randint(4, 7))}
    schema = {"type": "object", "properties": fields, "required": list(fields)[:2], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": _prose(rng, 250), "parameters": schema}}


def _records(rng: Random) -> str:
    return json.dumps([_reading(rng) for _ in range(int(_drawn(rng, 10, 0.7, 1, 35)))])


def _reading(rng: Random) -> Json:
    what = {"id": rng.randint(1, 9999), "plant": rng.choice(PLANTS), "trait": rng.choice(TRAITS), "value": _number(rng)}
    return what | {"unit": rng.choice(UNITS), "checked": rng.random() < 0.8, "read_at": _stamp(rng)}


def _journal(rng: Random) -> str:
    return "\n".join(_line(rng) for _ in range(rng.randint(8, 35)))


def _line(rng: Random) -> str:
    where = f"{rng.choice(DEVICES).replace(' ', '-')}/{rng.randint(1, 9)}"
    what = f"trace={rng.getrandbits(48):012x} {rng.randint(1, 4000)} ms {rng.choice(STATES)}"
    return f"{_stamp(rng)} {rng.choice(('info', 'warn', 'fail'))} {where} {what}"


def _table(rng: Random) -> str:
    return "\n".join(
        ("| plant | trait | value | state |", "| --- | --- | ---: | --- |", *(_row(rng) for _ in range(15)))
    )


def _row(rng: Random) -> str:
    return f"| {rng.choice(PLANTS):<14} | {rng.choice(TRAITS):<16} | {_number(rng):>7} | {rng.choice(STATES):<10} |"


def _report(rng: Random) -> str:
    return _prose(rng, int(_drawn(rng, 1300, 0.5, 300, 4500)))


def _receipt(rng: Random) -> str:
    return json.dumps({"done": True, "entry": f"{rng.getrandbits(80):020x}"})


def _source(rng: Random) -> str:
    """Numbered lines of a program, as tools that read files give them."""
    lines = []
    for _ in range(rng.randint(4, 12)):
        thing, trait = (rng.choice(words).replace(" ", "_") for words in (DEVICES, TRAITS))
        lines += [
            f"def {rng.choice(VERBS)}_{thing}({trait}: float, limit: float = {_number(rng)}) -> bool:",
            f'    """{_prose(rng, 40)}"""',
            f"    if {trait} > limit:",
            f"        return {thing}.close(after={rng.randint(1, 90)})",
            f"    return {trait} < limit / 2\n",
        ]
    return "\n".join(
        f"{number:>5}\t{line}" for number, line in enumerate("\n".join(lines).split("\n"), rng.randint(1, 400))
    )


def _manual(rng: Random, size: int) -> str:
    rules = [f"{number}. {_prose(rng, 60)}" for number in range(1, size // 100)]
    return "\n".join(("You advise the staff of a botanical garden. Name the source of each figure.", *rules))[:size]


def _prose(rng: Random, size: int) -> str:
    """Whole sentences, in paragraphs, until there are at least so many characters."""
    text = _filled(rng, rng.choice(SENTENCES))
    while len(text) < size:
        text += ("\n\n" if rng.random() < 0.15 else " ") + _filled(rng, rng.choice(SENTENCES))
    return text


def _filled(rng: Random, pattern: str) -> str:
    plant, other = rng.sample(PLANTS, 2)
    words = {"device": DEVICES, "trait": TRAITS, "person": PEOPLE, "house": HOUSES, "unit": UNITS}
    chosen = {name: rng.choice(among) for name, among in words.items()}
    return pattern.format(plant=plant, other=other, n=_number(rng), k=rng.randint(1, 60), **chosen)


def _hits(rng: Random, docs: int) -> tuple[Hit, ...]:
    found: dict[int, None] = {}
    while len(found) < 5:
        found[rng.choices(range(docs), [1 / (place + 1) for place in range(docs)])[0]] = None
    order = list(found)
    rng.shuffle(order)
    scores = sorted((round(rng.uniform(0.45, 0.95), 4) for _ in order), reverse=True)
    return tuple(map(Hit, order, scores))


def _number(rng: Random) -> float:
    return round(rng.uniform(1, 99), rng.choice((0, 1, 2)))


def _stamp(rng: Random) -> str:
    return f"2026-05-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}Z"


def _drawn(rng: Random, median: float, spread: float, low: float, high: float) -> float:
    return min(max(rng.lognormvariate(log(median), spread), low), high)


def _times(gaps: Sequence[float]) -> tuple[float, ...]:
    """The first request comes at 0."""
    return tuple(round(at, 2) for at in accumulate(gaps[1:], initial=0.0))
