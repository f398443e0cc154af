"""`fastclient cache`, as a user runs it on a folder that an app is using."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

import fastclient as fc
from fastclient.cli import main
from fastclient.testing import FakeProvider


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three answers in one namespace, two in another, written and closed."""
    folder = tmp_path / "cache"
    for namespace, prompts in (("a", "xyz"), ("b", "xy")):
        policy = fc.Policy.recommended(cache_dir=folder, namespace=namespace)
        with fc.Client("openai:m", wire=FakeProvider(), policy=policy) as client:
            for prompt in prompts:
                client.chat(prompt)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main(["cache", *map(str, arguments)])
    return status, capsys.readouterr().out


def test_stats_and_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How much there is, and that it is what was written."""
    status, said = run(capsys, "stats", folder)
    assert status == 0 and said.startswith("5 entries, ")
    status, said = run(capsys, "verify", folder)
    assert status == 0 and "5 checked, 5 good, 0 rejected" in said


def test_verify_finds_what_was_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed entry makes exit status 1; `--fix` removes it and leaves the others."""
    with sqlite3.connect(folder / "cache.db") as database:
        database.execute("UPDATE Cache SET value = x'00ff' WHERE rowid = (SELECT min(rowid) FROM Cache)")
    database.close()
    status, said = run(capsys, "verify", folder)
    assert status == 1 and "4 good, 1 rejected" in said
    assert run(capsys, "verify", folder, "--fix")[0] == 0
    status, said = run(capsys, "verify", folder)
    assert status == 0 and "4 checked, 4 good" in said


def test_a_store_with_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries are good to who names the variable that holds the secret; a variable that is not set is an error."""
    folder = tmp_path / "secret"
    policy = fc.Policy(cache=fc.Cache(store=fc.DiskStore(folder, secret="open sesame")))
    with fc.Client("openai:m", wire=FakeProvider(), policy=policy) as client:
        client.chat("x")
    monkeypatch.setenv("THE_SECRET", "open sesame")
    assert run(capsys, "verify", folder, "--secret-variable", "THE_SECRET")[0] == 0
    assert run(capsys, "verify", folder)[0] == 1
    with pytest.raises(SystemExit):
        main(["cache", "verify", str(folder), "--secret-variable", "NOT_SET"])
    assert "NOT_SET" in capsys.readouterr().err


def test_gc_removes_what_belongs_to_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that no entry names goes, once it is old enough not to be one that is being written."""
    stray = folder / "ab" / "cd" / f"{'0' * 28}.val"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")
    run(capsys, "gc", folder)
    assert stray.exists()
    os.utime(stray, (0, 0))
    status, said = run(capsys, "gc", folder)
    assert status == 0 and "1 orphans" in said and not stray.exists()
    assert run(capsys, "stats", folder)[1].startswith("5 entries")


def test_purge_one_namespace_or_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other namespace stays, also for an app that has the folder open."""
    provider = FakeProvider()
    policy = fc.Policy(cache=fc.Cache(store=fc.DiskStore(folder, memory=None), namespace="a"))
    with fc.Client("openai:m", wire=provider, policy=policy) as client:
        assert client.chat("x").cache.state == "hit"
        assert run(capsys, "purge", folder, "--namespace", "b") == (0, "removed 2 entries\n")
        assert client.chat("x").cache.state == "hit"
        assert run(capsys, "purge", folder) == (0, "removed 3 entries\n")
        assert client.chat("x").cache.state == "miss"
    assert len(provider.requests) == 1


def test_a_folder_without_a_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One clear line, status 1, and nothing is made there."""
    with pytest.raises(SystemExit) as ended:
        main(["cache", "stats", str(tmp_path)])
    assert ended.value.code == 1 and "holds no cache" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
