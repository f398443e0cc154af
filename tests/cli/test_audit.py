"""`fastclient cache audit`, as a user runs it on the record of an app's semantic cache."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastclient as fc
from fastclient.cache.semantic.audit import Audit, Served
from fastclient.cli import main
from fastclient.cli.audit import interval, on_a_line
from fastclient.testing import FakeProvider

Run = Callable[..., list[str]]


def served(number: int = 0, **fields: Any) -> Served:
    usual = {"at": 0.0, "asked": f"asked {number}", "stored": f"stored {number}", "rule": "verifier"}
    return Served(**{**usual, "cosine": 0.81, "score": 0.934, "answer": "the answer", **fields})


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Twelve answers: four found right, two found wrong, six not checked."""
    file = tmp_path / "audit.jsonl"
    audit = Audit(file)
    for number in range(12):
        audit.write(served(number, right=(None, True, None, True, None, False)[number % 6]))
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The lines that the command prints."""

    def run(*arguments: object) -> list[str]:
        assert main(["cache", "audit", *map(str, arguments)]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_everything_is_listed(record: Path, run: Run) -> None:
    """A line for each answer, oldest first: both questions, the rule, its score, the cosine, and what a check found."""
    _, head, *rows, _ = run(record)
    assert head.split() == ["asked", "stored", "rule", "score", "cosine", "checked"]
    assert len(rows) == 12
    assert rows[0].split() == ["asked", "0", "stored", "0", "verifier", "0.93", "0.81", "-"]
    assert [row.split()[-1] for row in rows[:6]] == ["-", "right", "-", "right", "-", "wrong"]


def test_the_summary(record: Path, run: Run) -> None:
    """The last line: served, checked, wrong, and the share with Wilson's interval (2 of 6: 9.7 % to 70.0 %)."""
    last = run(record)[-1]
    assert last.startswith("12 served, 6 of them checked, 2 wrong: 33.3% ")
    assert last.endswith("(95 % interval 9.7% to 70.0%)")


def test_only_some(record: Path, run: Run) -> None:
    """The wrong ones, the last ones, the last of the wrong ones; the summary is about all of them each time."""
    everything = run(record)
    for options, numbers in ((["--wrong"], [5, 11]), (["--last", 3], [9, 10, 11]), (["--wrong", "--last", 1], [11])):
        _, _, *rows, last = run(record, *options)
        assert [int(row.split()[1]) for row in rows] == numbers
        assert last == everything[-1]


def test_nothing_was_checked(tmp_path: Path, run: Run) -> None:
    """Then nothing is said about how much was wrong; and a record with no line has no table."""
    file = tmp_path / "audit.jsonl"
    Audit(file).write(served())
    assert run(file)[-1] == "1 served, 0 of them checked"
    file.write_text("")
    assert run(file) == ["0 served, 0 of them checked"]


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names the file and what to do, status 1."""
    with pytest.raises(SystemExit) as ended:
        main(["cache", "audit", str(tmp_path / "absent")])
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.count("\n") == 1
    assert "absent" in said and "Semantic(audit=" in said


def test_what_an_app_was_served(tmp_path: Path, run: Run) -> None:
    """The same words written otherwise are served at once, and stand in the record with the result of the check."""
    file = tmp_path / "audit.jsonl"
    semantic = fc.Semantic(mode="serve", rate=1.0, max_error=0.5, audit=file)
    policy = fc.Policy(cache=fc.Cache(), semantic=semantic)
    question = "How do I reset my password?"
    with fc.Client("openai:m", wire=FakeProvider("By the link in the mail."), policy=policy) as client:
        client.chat(question)
        loud = (question.upper() + "!" * times for times in count())  # a question that was answered is known from then
        eventually(lambda: client.chat(next(loud)).cache.source == "semantic")
        eventually(file.is_file)
    _, _, row, last = run(file)
    assert row.startswith(question.upper()) and row.split()[-4:] == ["verifier", "1.00", "1.00", "right"]
    assert last.startswith("1 served, 1 of them checked, 0 wrong: 0.0% ")


def eventually(holds: Callable[[], bool]) -> None:
    """What is learned and written behind the callers' backs takes a moment."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_long_questions_and_terminals(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal texts are wrapped and not cut, and what they say colours nothing."""
    file = tmp_path / "audit.jsonl"
    Audit(file).write(served(asked="Is [red]this[/red] \x1b[31mred?", stored=" ".join(f"word{n}" for n in range(60))))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    for terminal in (False, True):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal, raising=False)
        said = "\n".join(run(file))
        assert all(f"word{n}" in said for n in range(60))
        assert "[red]" in said and "\x1b[31m" not in said
        assert ("┃" in said) is terminal


@given(st.text(max_size=50))
def test_a_question_stays_on_its_line(text: str) -> None:
    """Whatever it says, it is one line that a terminal only prints; letters stay as they are."""
    line = on_a_line(text)
    assert line.isprintable()
    assert all(char in line for char in text if char.isalnum())


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share(of: int, data: st.DataObject) -> None:
    """Between 0 and 1, around the share, narrower with more checks, and never of no width."""
    found = data.draw(st.integers(0, of))
    low, high = interval(found, of)
    assert 0 <= low < high <= 1
    assert low - 1e-9 <= found / of <= high + 1e-9
    wide = interval(10 * found, 10 * of)
    assert wide[1] - wide[0] < high - low
