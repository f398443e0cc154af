"""Requests an app might send, with their times: agents, chats, questions over documents, extraction, and fleets.

A conversation's request j is everything before its j-th assistant message. Each request ends in a line that changes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from random import Random
from typing import Any

import orjson

from benchmarks._prefix_peers import PINNED, Turns
from fastclient import parts as fc
from fastclient.parts import Part
from fastclient.providers.dialect import find
from fastclient.request import checked
from fastclient.target import Target
from fastclient.types import Message

__all__ = ["Ask", "Conversation", "Data", "asks", "extraction", "fleet", "generated", "loaded", "naive", "questions"]

_CASE = "Case (number). "
_PLAIN = Target("openai:gpt-5.6", api_key="none")
_START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
_GENERATOR = Path(__file__).resolve().parents[1] / "tests" / "prompt" / "conversations.py"


@dataclass(frozen=True, slots=True)
class Conversation:
    """`arrivals` are the seconds at which its answers were asked for."""

    tools: Sequence[Mapping[str, object]]
    messages: Sequence[Message]
    arrivals: Sequence[float]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what is given, without the line that changes."""

    at: float
    given: Sequence[Message | Part]
    tools: Sequence[Mapping[str, object]] = ()

    @property
    def clock(self) -> str:
        now = _START + timedelta(seconds=self.at)
        return f"Current time {now:%Y-%m-%dT%H:%M:%S%z}, User anonymous-17 of the night shift."

    @property
    def parts(self) -> list[Message | Part]:
        return [*self.given, fc.volatile(self.clock)]

    @property
    def params(self) -> dict[str, object]:
        return {"tools": list(self.tools)} if self.tools else {}

    def body(self) -> bytes:
        """On the wire with all in a good order and nothing marked: tools by name, the changing line at the end."""
        tools = sorted(self.tools, key=_name)
        return _written(self.parts, replace(self, tools=tools).params)


def _written(messages: Sequence[Message | Part], params: Mapping[str, object]) -> bytes:
    return find("openai").write(checked(messages, params), _PLAIN).body


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool["function"]["name"])


def naive(asked: Iterable[Ask]) -> Iterator[tuple[float, bytes]]:
    """The same requests with that line at the head of the system text, and tools that are shuffled half of the time."""
    rng = Random(3)
    for ask in asked:
        system, *rest = ask.given
        assert isinstance(system, Mapping)
        tools = [*ask.tools]
        if rng.random() < 0.5:
            rng.shuffle(tools)
        text = f"{ask.clock}\n\n{system['content']}"
        yield ask.at, _written([_system(text), *rest], replace(ask, tools=tools).params)


# --- workloads --------------------------------------------------------------------------------------------------------


def asks(conversation: Conversation, cuts: Sequence[int] | None = None) -> list[Ask]:
    """The requests of a conversation; `cuts`: how many units behind the pinned messages each one leaves out."""
    messages, starts = conversation.messages, Turns(conversation.messages).starts
    points = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    firsts = [starts[cut] if cut else PINNED for cut in cuts] if cuts else [PINNED] * len(points)
    return [
        Ask(at, [*messages[:PINNED], *messages[first:point]], conversation.tools)
        for at, first, point in zip(conversation.arrivals, firsts, points, strict=True)
    ]


def fleet(conversation: Conversation, turns: int, count: int = 20, span: float = 1800.0) -> list[Ask]:
    """Many conversations of one app that start within `span` seconds, each a stretch of `2 * turns` units."""
    messages, rng, sent = conversation.messages, Random(2), []
    users = [at for at, message in enumerate(messages) if message["role"] == "user"]
    starts = [at for at, message in enumerate(messages) if message["role"] in ("user", "assistant")]
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    for number in range(count):
        first = users[7 * number % max(1, len(users) - turns - 1)]
        units = [at for at in starts if at >= first][: 2 * turns]
        begins, times = rng.uniform(0, span), dict(zip(answers, conversation.arrivals, strict=True))
        points = [at for at in units if at in times]
        for point in points:
            at = begins + times[point] - times[points[0]]
            sent.append(Ask(at, [messages[0], *messages[first:point]], conversation.tools))
    return sorted(sent, key=lambda ask: ask.at)


def questions(data: Mapping[str, Any], *, popular: bool = False) -> list[Ask]:
    """Questions over documents, best first or (`popular`) those first that are found most often."""
    return [
        Ask(
            query["time"],
            [fc.static(data["system"]), fc.documents(_found(data["docs"], query, popular)), fc.user(query["question"])],
        )
        for query in data["queries"]
    ]


def _found(docs: Sequence[Mapping[str, Any]], query: Mapping[str, Any], popular: bool) -> list[Mapping[str, object]]:
    hits = [hit["doc"] for hit in query["hits"]]
    return [{"title": docs[hit]["title"], "text": docs[hit]["text"]} for hit in (sorted(hits) if popular else hits)]


def extraction(data: Mapping[str, Any]) -> list[Ask]:
    """One-shot texts under one system text with a schema."""
    system = f"{data['system']}\n\nAnswer as JSON of this schema:\n{orjson.dumps(data['schema']).decode()}"
    return [Ask(item["time"], [fc.static(system), fc.user(item["text"])]) for item in data["items"]]


def unique(data: Mapping[str, Any]) -> dict[str, list[Ask]]:
    """Long texts that come once: behind a system text, behind one too short to be cached, and with one each."""
    items, rng = data["items"], Random(4)
    texts = ["\n\n".join(each["text"] for each in rng.sample(items, 12)) for _ in items]
    system = data["system"]
    heads = {"one system text": system, "a short one": system[:1500], "one for each": f"{_CASE}{system}", "none": _CASE}
    return {"extraction": extraction(data)} | {
        title: [
            Ask(item["time"], [_system(head.replace(_CASE, f"Case {number}. ")), {"role": "user", "content": text}])
            for number, (item, text) in enumerate(zip(items, texts, strict=True))
        ]
        for title, head in heads.items()
    }


def _system(text: str) -> Message:
    return {"role": "system", "content": text}


# --- data -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Data:
    """What workloads are made of."""

    agents: list[Conversation] = field(default_factory=list)
    chats: list[Conversation] = field(default_factory=list)
    rags: list[Mapping[str, Any]] = field(default_factory=list)
    extracts: list[Mapping[str, Any]] = field(default_factory=list)


def loaded(folder: Path) -> Data:
    """From JSON files in the order of their names: objects with a `kind`, and all times in seconds.

    agent, chat: tools, messages, arrivals (one for each assistant message); rag: system, docs (title, text), queries
    (t, question, hits: doc, score); extract: system, schema, items (t, text).
    """
    data = Data()
    for path in sorted(folder.glob("*.json")):
        content = orjson.loads(path.read_bytes())
        match content.get("kind"):
            case "agent":
                data.agents.append(_conversation(content))
            case "chat":
                data.chats.append(_conversation(content))
            case "rag":
                data.rags.append(_timed(content))
            case "extract":
                data.extracts.append(_timed(content))
    return data


def generated() -> Data:
    """From the generator of the tests."""
    spec = spec_from_file_location("conversations", _GENERATOR)
    assert spec is not None and spec.loader is not None
    made = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(made)
    agents = [made.agent(1), made.agent(2, code=True), made.agent(3), made.agent(4)]
    chats = [made.chat(seed, gap) for seed, gap in ((1, 60.0), (2, 560.0), (3, 60.0), (4, 60.0))]
    return Data(
        [_conversation(asdict(each)) for each in agents],
        [_conversation(asdict(each)) for each in chats],
        [asdict(made.rag(seed)) for seed in (1, 2)],
        [asdict(made.extract(1))],
    )


def _conversation(content: Mapping[str, Any]) -> Conversation:
    """Without the reasoning: not every provider takes it back."""
    messages = [
        {name: value for name, value in each.items() if name != "reasoning_content"} for each in content["messages"]
    ]
    return Conversation(content["tools"], messages, content["arrivals"])


def _timed(content: dict[str, Any]) -> dict[str, Any]:
    """Times have a shorter name in files."""
    for each in (*content.get("queries", ()), *content.get("items", ())):
        each["time"] = each.pop("t")
    return content
