"""A program that teaches a semantic cache on disk until it is killed, time and again.

    python killed.py FOLDER KILLS SEED

prints how many of the killed had kept something.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from random import Random
from time import sleep

sys.path.insert(0, str(Path(__file__).parents[3]))

import anyio

import fastclient as fc
from fastclient.testing import FakeProvider
from tests.cache.semantic.asking import answer, asker, number_of, numbered, policy, semantics, worded

QUESTIONS = 60


def client(folder: str, **semantic: object) -> tuple[fc.Client, FakeProvider]:
    """A client with its store in a folder."""
    provider = FakeProvider(numbered)
    chosen = policy(cache=fc.Cache(store=fc.DiskStore(folder, memory=None)), **semantic)
    return fc.Client("openai:m", api_key="sk-test", wire=provider, policy=chosen), provider


def teach(folder: str, seed: int, report: int) -> None:
    """Ask without an end, in ever new words; report each time that something was kept."""
    random, reported = Random(seed), False
    while True:
        asking, _ = client(folder)
        for _ in range(random.randrange(1, 40)):
            text = worded(random.randrange(QUESTIONS), random.randrange(9))
            reply = asking.chat(text, cache="refresh" if random.random() < 0.5 else "use")
            if reply.text != answer(number_of(text)):
                os.write(report, b"w")
            if semantics(asking).kept and not reported:
                os.write(report, b".")
                reported = True
        if random.random() < 0.5:
            asking.close()


async def warm() -> None:
    """Import what calls need, so that it need not be after each fork."""
    async with asker() as (asking, _):
        for wording in (0, 1):
            await asking.chat(worded(1, wording))
            await anyio.sleep(0.01)


def main(folder: str, kills: int, seed: int) -> None:
    """Two that write at the same time; every few milliseconds one is killed and another begins."""
    random = Random(seed)
    reports, report = os.pipe()
    children: list[int] = []
    told = b""
    anyio.run(warm)
    for kill in range(kills + 2):
        if len(children) == 2 or kill >= kills:
            if kill % 2:  # every other time one has begun to keep something; else at any moment
                told += os.read(reports, 1) if select.select([reports], [], [], 2.0)[0] else b""
            sleep(random.expovariate(1 / 0.05))
            victim = children.pop(random.randrange(len(children)))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
        if kill < kills:
            child = os.fork()
            if not child:
                try:
                    teach(folder, random.getrandbits(60) + kill, report)
                finally:
                    os._exit(1)  # only if it went wrong: nobody sees it, but it has not kept anything
            children.append(child)
    os.close(report)
    told += os.read(reports, 8 * kills + 1)
    print(told.count(b"."), told.count(b"w"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
