"""`fastclient prefix`, as a user runs it on two recorded request bodies."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from fastclient.cli import main

Save = Callable[..., str]

TURNS = [
    {"role": "user", "content": "Rain in Oslo?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And tomorrow?"},
]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a body whose system prompt is given, with so many turns; returns the name of its file."""

    def save(system: str = "Be brief.", turns: int = 1) -> str:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        file.write_bytes(
            orjson.dumps({"model": "m", "messages": [{"role": "system", "content": system}, *TURNS[:turns]]})
        )
        return str(file)

    return save


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said about a run that fails with status 1."""
    with pytest.raises(SystemExit) as ended:
        main(["prefix", *arguments])
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_request_that_continues_the_other(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0, and all tokens of the first are shared."""
    assert main(["prefix", save(), save(turns=3)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("append_only\n") and "0 lost (0% of the first prompt)" in said


def test_a_drift(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, with the cause, the place and the remedy, and without a word of the prompts."""
    old, new = save("Be brief. It is 2031-11-21T09:00."), save("Be brief. It is 2031-11-21T09:01.", turns=3)
    assert main(["prefix", old, new]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "system_timestamp at messages[0].content, character 31"
    assert lines[1].startswith("tokens: ") and lines[2].startswith("advice: move the time")
    assert len(lines) == 3


def test_excerpts_and_money(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    """What the prompts say, and what it costs, where it is asked for; control characters do not reach a terminal."""
    old, new = save("Be brief, \x1b[31mAda."), save("Be brief, \x1b[31mBob.")
    assert main(["prefix", old, new, "--show", "--price", "1000000", "--cached", "0"]) == 1
    said = capsys.readouterr().out
    assert "'Be brief, \\x1b[31mAda.'" in said and "'Be brief, \\x1b[31mBob.'" in said and "\x1b" not in said
    tokens = said.partition(" lost")[0].split()[-1]
    assert f"money lost: {tokens}.000000\n" in said
    assert "before" not in (main(["prefix", old, old, "--show"]), capsys.readouterr().out)[1]


def test_a_body_from_standard_input(
    save: Save, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dash in place of a file; in place of both is an error."""
    piped = io.TextIOWrapper(io.BytesIO(Path(save(turns=3)).read_bytes()))
    monkeypatch.setattr(sys, "stdin", piped)
    assert main(["prefix", save(), "-"]) == 0
    assert "standard input" in refused(capsys, "-", "-")


@pytest.mark.parametrize("content", ["{", "[]", '{"input": "x"}', '{"messages": "x"}', ""])
def test_a_file_that_is_no_request(
    save: Save, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the file and does not show what is in it."""
    file = tmp_path / "odd.json"
    file.write_text(content)
    said = refused(capsys, save(), str(file))
    assert said.count("\n") == 1 and f"{file}: is no " in said


def test_a_file_that_is_not_there(save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names the file and the reason."""
    assert "absent.json: No such file" in refused(capsys, save(), str(tmp_path / "absent.json"))


@pytest.mark.parametrize("prices", [["--price", "1"], ["--cached", "1"], ["--price", "-1", "--cached", "0"]])
def test_prices_that_cannot_be(save: Save, prices: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Both or none, and no negative ones."""
    assert "price" in refused(capsys, save(), save(), *prices)
