"""A mixed workload like a support app's: conversations that grow, long documents, and questions asked before. Pure.

Each prompt says what time it is. Most apps say so at the head of their instructions, where the provider's cache of
prompts loses all that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from fastclient.parts import Part, history, static, volatile
from fastclient.types import Message

__all__ = ["Job", "workload"]

_SYSTEM = "You are the assistant of a web shop. Be brief, be friendly, and never invent an order number. " * 8
_QUESTIONS = (
    "Where is my parcel?",
    "Can I change the delivery address?",
    "How do I return a pair of shoes?",
    "Which sizes are left?",
    "Why was my card declined?",
    "When is the next sale?",
)
_SENTENCE = "The customer wrote that the parcel had arrived late and that one of the boxes was open. "


@dataclass(frozen=True, slots=True)
class Job:
    """One call of the workload. `seen` marks a request that is word for word one of the earlier ones."""

    turns: Sequence[Message] = field(repr=False)
    clock: str
    max_tokens: int
    seen: bool = False

    @property
    def messages(self) -> Sequence[Message]:
        """The prompt as most apps write it."""
        return [{"role": "system", "content": f"{self.clock}\n{_SYSTEM}"}, *self.turns]

    @property
    def parts(self) -> Sequence[Part]:
        """The same prompt, with each part marked as what it is."""
        return [static(_SYSTEM), history(self.turns), volatile(self.clock)]

    @property
    def tokens(self) -> int:
        """Input tokens, at four characters each."""
        return sum(len(str(message["content"])) for message in self.messages) // 4


def workload(count: int, seed: int, *, longest: int = 6000) -> list[Job]:
    """`count` jobs: some 60 % turns of eight conversations, 15 % documents of up to `longest` tokens, 25 % repeats."""
    rng = Random(seed)
    talks: list[list[Message]] = [[] for _ in range(8)]
    jobs: list[Job] = []
    while len(jobs) < count:
        clock = f"It is day {len(jobs) // 40}, {rng.randrange(24):02}:{rng.randrange(60):02}."
        kind = rng.random()
        if kind < 0.25 and jobs:
            earlier = rng.choice(jobs)
            jobs.append(replace(earlier, seen=True))
        elif kind < 0.40:
            size = int(min(longest, rng.lognormvariate(0, 0.8) * longest / 3))
            document = (_SENTENCE * (1 + size * 4 // len(_SENTENCE)))[: size * 4]
            question = f"Case {rng.randrange(10**6)}. Sum up in one line:\n{document}"
            jobs.append(Job([{"role": "user", "content": question}], clock, 32))
        else:
            talk = rng.choice(talks)
            talk.append({"role": "user", "content": f"{rng.choice(_QUESTIONS)} ({rng.randrange(10**4)})"})
            jobs.append(Job(list(talk), clock, 48))
            talk.append({"role": "assistant", "content": "Let me look that up for you. " * rng.randrange(1, 6)})
    return jobs
