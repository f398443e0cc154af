"""Processes that are killed while they keep questions: what is found afterwards is right, or not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastclient as fc
from tests.cache.semantic import killed
from tests.cache.semantic.asking import answer, blocked, semantics, worded
from tests.cache.semantic.killed import QUESTIONS, client

ROOT = Path(__file__).parents[3]
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals and forks")


def looked(folder: Path, wording: int) -> int:
    """Ask for everything in a new process's place; returns how much was known. Every answer has to be the right one."""
    served = 0
    asking, provider = client(str(folder))
    with asking:
        for number in range(QUESTIONS):
            reply = asking.chat(worded(number, wording))
            assert reply.text == answer(number)
            served += reply.cache.source == "semantic"
        assert semantics(asking).failures == 0
        assert served + len(provider.requests) <= QUESTIONS
    return served


def killing(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill so many; returns how many of them had kept something, and how much of it is found at the end."""
    command = [sys.executable, str(Path(killed.__file__)), str(folder), str(kills), str(seed)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    wording, found = 20, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as nursery:
        while nursery.poll() is None:  # readers see a store that is being written to and killed
            wording += 1
            found = looked(folder, wording)
        assert nursery.stdout is not None and nursery.returncode == 0
        kept, wrong = map(int, nursery.stdout.read().split())
    assert wrong == 0
    for again in (1, 2):
        found = looked(folder, wording + again)
    assert found == QUESTIONS, "what the first look asked for was kept for the second"
    store = fc.DiskStore(folder, memory=None)
    verified = store.verify()
    assert verified.good == verified.checked and store.stats().rejected == store.stats().set_aside == 0
    store.close()
    return kept, found


@posix
def test_twenty_kills(tmp_path: Path) -> None:
    """Two processes teach and are killed at random moments, while a third one asks: nothing wrong, nothing broken."""
    kept, found = killing(tmp_path / "c", 20, 7)
    assert kept > 5 and found


@posix
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_five_hundred_kills(tmp_path: Path) -> None:
    """The same at length."""
    kept, found = killing(tmp_path / "c", 500, 11)
    assert kept > 100 and found


@posix
def test_a_killed_process_loses_nothing_it_had_written(tmp_path: Path) -> None:
    """What was kept before the store was closed is served by the next process, though the client never was."""
    asking, _ = client(str(tmp_path / "c"))
    for number in range(20):
        asking.chat(worded(number, 0))
    blocked(lambda: semantics(asking).kept == 20)
    asking._core.close_store()  # written; and then it is gone, without closing anything else
    again, provider = client(str(tmp_path / "c"))
    with again:
        assert [again.chat(worded(number, 1)).text for number in range(20)] == [answer(each) for each in range(20)]
        assert not provider.requests
    asking.close()
