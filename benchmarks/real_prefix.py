"""A growing conversation on a real server, with the time at the head of the system prompt or behind the newest turn.

    python benchmarks/real_prefix.py [--rounds N]

llama.cpp's own server keeps what it has read of a prompt and reads on where the next one differs. The model is the
small one of the tests; its context of 1,024 tokens is nearly filled. Both layouts say the same and take turns: one in
plain messages, the other in parts, of which the time is the volatile one. Medians are over all requests but the first
of each conversation.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

import fastclient as fc

__all__ = ["Request", "main", "requests", "run"]

MODEL = Path(__file__).resolve().parents[1] / "tests" / "data" / "tiny-shop.gguf"
RULES = "\n".join(f"{day}. What is sent on day {day} arrives on day {day + 3}." for day in range(1, 18))
TURNS = 6

Layout = Literal["head", "end"]
Message = dict[str, str]


class Request(NamedTuple):
    """What one request took."""

    tokens: int
    cached: int
    prefill: float  # seconds, as the server reports
    ttft: float  # seconds, as the caller saw it

    @property
    def read(self) -> int:
        return self.tokens - self.cached


def requests(layout: Layout, number: int) -> Iterator[Sequence[Message | fc.Part]]:
    """The prompt of each request of a conversation, with the time of that request."""
    history: list[Message] = []
    for turn in range(TURNS):
        clock = f"12:{number:02}:{turn:02}"
        question = f"Add: {turn}+4"
        if layout == "head":
            yield [{"role": "system", "content": f"{clock}\n{RULES}"}, *history, {"role": "user", "content": question}]
        else:
            yield [fc.static(RULES), fc.history(list(history)), fc.user(question), fc.volatile(clock)]
        history += [{"role": "user", "content": question}, {"role": "assistant", "content": str(turn + 4)}]


def run(url: str, rounds: int) -> dict[Layout, list[Request]]:
    """Both layouts in turn, so that what else the machine does is the same for both; without the first requests."""
    layouts: tuple[Layout, ...] = ("head", "end")
    taken: dict[Layout, list[Request]] = {layout: [] for layout in layouts}
    policy = fc.Policy(prompt=fc.Prompt())
    clients = {layout: fc.Client("openai:tiny", base_url=url, policy=policy) for layout in layouts}
    with clients["head"], clients["end"]:
        for number in range(rounds):
            for turn, asked in enumerate(zip(*(requests(layout, number) for layout in layouts), strict=True)):
                for layout, messages in zip(layouts, asked, strict=True):
                    request = measured(clients[layout].chat(messages, temperature=0, max_tokens=2))
                    if turn:
                        taken[layout].append(request)
    return taken


def measured(reply: fc.Reply) -> Request:
    usage, timings = reply.usage, reply.timings
    assert timings.basis["prefill"] == "reported" and timings.prefill is not None and timings.ttft is not None
    return Request(usage.input_tokens or 0, usage.cache_read_tokens or 0, timings.prefill, timings.ttft)


def medians(taken: Sequence[Request]) -> list[float]:
    """Tokens of the prompt, tokens read, milliseconds of reading, milliseconds to the first token."""
    return [
        median(request.tokens for request in taken),
        median(request.read for request in taken),
        median(request.prefill for request in taken) * 1e3,
        median(request.ttft for request in taken) * 1e3,
    ]


@contextmanager
def served() -> Iterator[str | None]:
    """The base URL of a server with two slots, one for each layout; None if there is no server to start."""
    try:
        import xllamacpp
    except ImportError:
        yield None
        return
    params = xllamacpp.CommonParams()
    params.model.path = str(MODEL)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 4096, 2, 1
    params.warmup, params.verbosity = False, -1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10, help="conversations of each layout")
    options = parser.parse_args()
    with served() as url:
        if url is None:
            print("xllamacpp is not installed: nothing was measured")
            return
        taken = run(url, options.rounds)
    head, end = medians(taken["head"]), medians(taken["end"])
    print(f"\nMedians of {len(taken['end'])} requests of each layout")
    print(f"  {'the time stands':<24}{'prompt':>8}{'read':>8}{'prefill':>11}{'first token':>14}")
    for name, row in (("at the head", head), ("behind the newest turn", end)):
        print(f"  {name:<24}{row[0]:>8.0f}{row[1]:>8.0f}{row[2]:>8.1f} ms{row[3]:>11.1f} ms")
    ratios = [before / after for before, after in zip(head, end, strict=True)]
    print(f"  {'ratio':<24}{ratios[0]:>8.1f}{ratios[1]:>8.1f}{ratios[2]:>8.1f}   {ratios[3]:>11.1f}")
    print(f"\n  {os.cpu_count()} cores, of which the server uses one; Python {sys.version.split()[0]}")
    if ratios[3] < 3:
        print("a bound was missed: measure again on a machine with nothing else to do")


if __name__ == "__main__":
    main()
