"""Short prompts take a shorter way, and come out as on the long one."""

from __future__ import annotations

from dataclasses import fields
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.config import Prompt
from fastclient.prompt.align import Aligner
from fastclient.prompt.piece import Piece, Pieces, Prepared
from fastclient.prompt.prepare import Preparer
from fastclient.prompt.watch import Watch
from fastclient.request import checked
from fastclient.target import Target
from fastclient.types import Request, Usage

Json = dict[str, Any]
TARGETS = (
    Target("openai:gpt-5.5", base_url="https://api.openai.com/v1", api_key="none"),
    Target("openai:gpt-5.6", base_url="https://api.openai.com/v1", api_key="none"),
    Target("anthropic:claude-opus-5", base_url="https://api.anthropic.com", api_key="none"),
    Target("openai:m", base_url="http://127.0.0.1:1/v1"),
    Target("openai:grok-5", base_url="https://api.x.ai/v1", api_key="none"),
)
WORDS = (
    "the fern",
    "stands",
    "beside the pond",
    "17",
    "2026-01-02T03:04:05",
    '{"a": [1, 2]}',
    "null",
    "ä",
    "漢字",
    "|-",
)
TOOLS = [{"type": "function", "function": {"name": name, "description": "Look. " * 300}} for name in "ba"]


class LongWatch(Watch):
    """Takes every prompt for one that the provider keeps."""

    def _is_long(self, prepared: Prepared) -> bool:
        return True


class LongWay(Aligner):
    """Passes no prompt by."""

    def __init__(self, target: Target) -> None:
        super().__init__(Prompt(), target)
        self._watch = LongWatch(self._rules.minimum)

    def _is_passed_by(self, prepared: Prepared) -> bool:
        return False


class Talk:
    """Conversations that begin, go on, and change on the way, of all lengths, mostly short ones."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.known: list[tuple[list[Json], Json]] = []
        self.texts = [self.text() for _ in range(6)]

    def text(self) -> str:
        return " ".join(self.rng.choice(WORDS) for _ in range(self.rng.choice([1, 3, 10, 40, 400, 1500])))

    def turn(self) -> tuple[list[Json], Json]:
        """The next request: its messages and parameters."""
        rng = self.rng
        if self.known and rng.random() < 0.5:
            at = rng.randrange(len(self.known))
            messages, params = list(self.known[at][0]), self.known[at][1]
            if rng.random() < 0.2:
                messages[rng.randrange(len(messages))]["content"] = self.text()
            if rng.random() < 0.1:
                del messages[1:-2]
            messages += [{"role": "assistant", "content": self.text()}, self.user()]
            self.known[at] = (messages, params)
        else:
            system = [{"role": "system", "content": rng.choice(self.texts)}] if rng.random() < 0.6 else []
            messages, params = [*system, self.user()], self.params()
            self.known.append((messages, params))
        return [dict(message) for message in messages], params

    def user(self) -> Json:
        return {"role": "user", "content": self.rng.choice([*self.texts, self.text()])}

    def params(self) -> Json:
        rng = self.rng
        given: Json = {"metadata": {"conversation_id": rng.choice("xy")}} if rng.random() < 0.3 else {}
        if rng.random() < 0.2:
            given["tools"] = TOOLS
        if rng.random() < 0.2:
            given["tool_choice"] = "auto"
        return given


@settings(deadline=None, max_examples=40)
@given(target=st.sampled_from(TARGETS), seed=st.integers(0, 10**6))
def test_both_ways_lead_to_the_same_layout(target: Target, seed: int) -> None:
    """What is added to requests, what should be read, and what has drifted, in any order of long and short prompts."""
    rng = Random(seed)
    talk, now = Talk(rng), 0.0
    ways = [(Preparer(Prompt(), target), aligner) for aligner in (Aligner(Prompt(), target), LongWay(target))]
    for _ in range(25):
        now += rng.choice([0.01, 1.0, 30.0, 400.0, 4000.0])
        messages, params = talk.turn()
        counted, read = rng.uniform(0.8, 1.3), rng.choice([None, 0, 0.5, 1])
        said = []
        for preparer, aligner in ways:
            ready = preparer.prepare(checked(messages, params), now)
            layout = aligner.align(ready, now)
            drift = None if layout.drift is None else (layout.drift.cause, layout.drift.path, layout.drift.tokens_lost)
            said.append((layout.places, layout.params, layout.headers, layout.expected, drift, preparer.count(ready)))
            found = None if read is None else int(read * layout.expected)
            usage = Usage(input_tokens=int(ready.size * counted), output_tokens=9, cache_read_tokens=found)
            aligner.settle(layout, usage)
        assert said[0] == said[1]


class InFull(Pieces):
    """Looks at every message as if there were more to it than a role and a text."""

    def _made(self, key: object, message: Any) -> Piece:
        return super()._made(None, message)


@given(
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    text=st.one_of(
        st.text(), st.lists(st.sampled_from(WORDS)).map(" ".join), st.sampled_from(['[{"a": "x"}, {"a":  "y"}]'])
    ),
    squeezed=st.booleans(),
    stable=st.booleans(),
    tables=st.booleans(),
)
def test_a_plain_message_is_known_as_well(role: str, text: str, squeezed: bool, stable: bool, tables: bool) -> None:
    """A role and a text make the same piece as a message that is looked at in full; what cannot be sent is refused."""
    message = {"role": role, "content": text}
    short, full = (each(squeezed=squeezed, stable=stable, tables=tables) for each in (Pieces, InFull))
    try:
        expected = full.of([message])
    except TypeError:
        with pytest.raises(TypeError):
            short.of([message])
        return
    assert short.of([message]) == expected


def test_a_prepared_request_asks_what_was_asked() -> None:
    """Only the words may differ: whatever steers a call is carried over, each field of it."""
    request = checked("hi", {})
    words = ("messages", "params", "shape")
    for field in fields(Request):
        if field.name not in words:
            setattr(request, field.name, {} if field.name == "metadata" else object())
    ready = Preparer(Prompt(), TARGETS[0]).prepare(request, 0.0).request
    for field in fields(Request):
        if field.name not in words:
            assert getattr(ready, field.name) is getattr(request, field.name), field.name
