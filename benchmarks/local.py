"""A model in this process: what the engine costs beside the model itself, what warm prompts save, and company.

    python -m benchmarks.local tests/data/tiny-random.gguf

The floor is the tightest loop over the same library that can be written in Python (one call to decode, numpy's
largest). All take turns, so that all meet the same machine; read the ratios. `speed` is tokens a second, `cpu` the
processor time of the whole process per token. `--tokens` per answer (512), `--turns` (7), `--clients` (8).
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import threading
import time
from collections.abc import Awaitable, Callable
from statistics import median

import numpy as np

from fastclient.engine.clock import running_clock
from fastclient.engine.seam import drive, seam
from fastclient.local.context import Context
from fastclient.local.handler import LocalHandler, handler_of
from fastclient.local.llama import Model
from fastclient.local.settings import Local
from fastclient.observe.timing import CallRecord, Clock
from fastclient.request import checked
from fastclient.target import Target
from fastclient.types import Call

WORDS = "x" * 40


class Floor:
    """The model alone: one sequence, no text."""

    def __init__(self, path: str, tokens: int) -> None:
        self.model = Model(path, 0)
        self.context = Context(self.model, tokens=tokens, sequences=1, batch=512, threads=1)
        self.prompt = self.model.tokens([WORDS])
        self.lock = threading.Lock()

    def run(self, count: int) -> float:
        """Write so many tokens; returns the seconds from the first one."""
        c, context = self.model.c, self.context
        decode, pointer, one = context._decode, context.pointer, (ctypes.c_int32 * 1)()
        context.cut(0, 0)
        context.begin()
        at = context.prompt(0, self.prompt, 0, last=True)
        context.run()
        token = int(context.logits(at).argmax())
        began = time.perf_counter()
        for _ in range(count - 1):
            one[0] = token
            decode(pointer, c.llama_batch_get_one(one, 1))
            token = int(context.logits(-1).argmax())
        return time.perf_counter() - began

    def first(self, words: str) -> float:
        """Seconds to the first token of a prompt that nobody has read, one caller at a time."""
        began = time.perf_counter()
        with self.lock:
            context = self.context
            context.cut(0, 0)
            tokens = self.model.tokens([words])
            at = -1
            for begin in range(0, len(tokens), context.batch):
                context.begin()
                piece = tokens[begin : begin + context.batch]
                at = context.prompt(0, piece, begin, last=begin + len(piece) == len(tokens))
                context.run()
            int(context.logits(at).argmax())
        return time.perf_counter() - began


def call_of(words: object, limit: int, clock: Clock) -> Call:
    now = clock()
    request = checked(words, {"max_tokens": limit})  # type: ignore[arg-type]
    return Call(id="x", request=request, target=Target("local:x"), deadline=now + 600, record=CallRecord(clock, now))


async def answered(handler: LocalHandler, words: object, limit: int) -> tuple[float, float]:
    """Seconds to the first content of an answer, and from there to its end."""
    began = time.perf_counter()
    stream = await handler(call_of(words, limit, running_clock()))
    first = time.perf_counter()
    while await stream.pull():
        pass
    return first - began, time.perf_counter() - first


async def on_loop(handler: LocalHandler, count: int) -> float:
    return (await answered(handler, WORDS, count))[1]


async def on_thread(handler: LocalHandler, count: int) -> float:
    """The same by a blocking caller."""

    def read() -> float:
        stream = drive(seam(handler)(call_of(WORDS, count, time.monotonic)))
        first = time.perf_counter()
        while drive(stream.pull()):
            pass
        return time.perf_counter() - first

    return await asyncio.to_thread(read)


async def writing(path: str, count: int, turns: int) -> None:
    """How fast answers are written, by the model alone and through the engine."""
    floor = Floor(path, 2048)
    handler = handler_of(Local(path, threads=1, slots=1, context=2048, gpu_layers=0))

    async def alone(_: LocalHandler, count: int) -> float:
        return floor.run(count)

    ways: dict[str, Callable[[LocalHandler, int], Awaitable[float]]]
    ways = {"tightest loop": alone, "asyncio stream": on_loop, "blocking stream": on_thread}
    for length in (64, count):
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(turns + 1):
            for name, way in ways.items():
                cpu = time.process_time()
                seconds = await way(handler, length)
                taken[name].append((seconds / (length - 1), (time.process_time() - cpu) / length))
        base = [median(each) for each in zip(*taken["tightest loop"][1:], strict=True)]
        for name, runs in taken.items():
            wall, cpu = (median(each) for each in zip(*runs[1:], strict=True))
            print(
                f"{length:5} tokens  {name:16} {1 / wall:9.0f} tok/s  {base[0] / wall:6.1%} of the loop"
                f"   cpu {cpu * 1e6:7.1f} us/token, {(cpu - base[1]) * 1e6:+6.1f}"
            )
    handler.close()


async def reading(path: str, turns: int) -> None:
    """Seconds to the first token behind 512 tokens that were read before, and behind others."""
    handler = handler_of(Local(path, threads=1, slots=4, context=8192, gpu_layers=0))
    await handler.warm()

    def words(system: str, question: str) -> list[dict[str, str]]:
        return [{"role": "system", "content": system}, {"role": "user", "content": question}]

    cold = [(await answered(handler, words(f"{turn:04}" * 128, "q" * 24), 1))[0] for turn in range(turns * 2)]
    systems = [letter * 512 for letter in "abcd"]
    for system in systems:
        await answered(handler, words(system, "?"), 1)
    warm, same = [], []
    for turn in range(turns):
        for system in systems:
            warm.append((await answered(handler, words(system, f"{turn:24}"), 1))[0])
            same.append((await answered(handler, words(system, f"{turn:24}"), 1))[0])
    print(
        f"first token: cold {median(cold) * 1e3:.2f} ms; four system prompts in turn {median(warm) / median(cold):.2f}"
        f" of that; the same prompt {median(same) / median(cold):.2f}"
    )
    handler.close()


async def together(path: str, clients: int, turns: int) -> None:
    """So many callers at once: one engine that takes them together, and one that takes them one by one."""
    rows = {}
    for slots in (1, 8):
        handler = handler_of(
            Local(path, threads=1, slots=slots, max_queue=100, context=512 * slots, gpu_layers=0, batch=256)
        )
        for turn in range(turns + 2):
            prompts = [f"{turn:2}{number:2}" + "abcdefgh" * 4 for number in range(clients)]
            began = time.perf_counter()
            found = await asyncio.gather(*(answered(handler, prompt, 64) for prompt in prompts))
            if turn >= 2:
                seconds = time.perf_counter() - began
                rows.setdefault(slots, []).append((clients * 64 / seconds, float(np.mean([each[0] for each in found]))))
        handler.close()
    (serial, waited), (speed, first) = ([median(each) for each in zip(*rows[slots], strict=True)] for slots in (1, 8))
    print(
        f"{clients} clients: one by one {serial:.0f} tok/s, first token {waited * 1e3:.1f} ms; together"
        f" {speed / serial:.2f} x the speed, {first / waited:.2f} of the wait"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", nargs="?", default="tests/data/tiny-random.gguf")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    await writing(given.path, given.tokens, given.turns)
    await reading(given.path, given.turns)
    await together(given.path, given.clients, given.turns)


if __name__ == "__main__":
    asyncio.run(main())
