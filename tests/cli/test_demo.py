"""`fastclient demo`, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastclient.cli import main
from fastclient.cli.meanings import answer_to, support
from fastclient.cli.workload import workload
from fastclient.testing import ProviderServer


def fastclient(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "fastclient", *arguments, **environment)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_demo_needs_no_key() -> None:
    """With neither key nor network: a row per setting, no errors, and a waterfall."""
    done = fastclient("demo", "--quick", OPENAI_API_KEY="")
    assert done.returncode == 0, done.stderr
    names = ("a client", "one client", "... with", "... hedged", "... and")
    rows = [line for line in done.stdout.splitlines() if line.startswith(names)]
    assert len(rows) == 7
    assert all(row.split()[-1] == "0" for row in rows)
    assert "prefill" in done.stdout
    same, other = (line.split() for line in done.stdout.splitlines() if line.startswith(("the same", "other words")))
    assert int(same[-2]) == 0 < int(other[-2])  # answered by another's answer
    assert int(other[-4]) < int(same[-4])  # sent


def test_demo_without_numpy() -> None:
    """What needs no numpy is shown, and then what would show the rest."""
    main = "import sys; sys.modules['numpy'] = None; from fastclient.cli import main; sys.exit(main(sys.argv[1:]))"
    done = run("-c", main, "demo", "--calls", "4")
    assert done.returncode == 0, done.stderr
    assert "prefill" in done.stdout
    assert "pip install 'fastclient[semantic]'" in done.stdout.splitlines()[-1]


def test_demo_asks_before_it_spends() -> None:
    """Against a real target it says what it would spend, and without a yes nothing is sent."""
    with ProviderServer() as server:
        done = fastclient("demo", "--model", "openai:any", "--base-url", server.base_url, "--calls", "4")
        assert done.returncode == 1
        assert "28 calls" in done.stdout and "Nothing was sent" in done.stdout
        assert server.counters.accepted == 0


def test_demo_against_a_given_server() -> None:
    """With --yes the same workload goes to the server named: as many calls as announced, less what a cache saves."""
    with ProviderServer() as server:
        done = fastclient("demo", "--model", "openai:any", "--base-url", server.base_url, "--calls", "4", "--yes")
        assert done.returncode == 0, done.stderr
        assert 24 < server.counters.accepted <= 28


def test_demo_without_a_key_names_the_variable() -> None:
    """A real target without a key ends in one clear line, not a traceback."""
    done = fastclient("demo", "--model", "openai:any", "--yes", OPENAI_API_KEY="", OPENAI_BASE_URL="")
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "--calls", "0"], ["demo", "--calls", "x"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage ends with status 2 and says how it is used."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: fastclient" in capsys.readouterr().err


def test_the_workload_is_mixed_and_repeatable() -> None:
    """The same seed draws the same jobs: turns that grow, long documents, and repeats."""
    jobs = workload(200, seed=3)
    assert jobs == workload(200, seed=3) != workload(200, seed=4)
    assert 30 <= sum(job.seen for job in jobs) <= 70
    assert max(job.tokens for job in jobs) > 2000 > 200 > min(job.tokens for job in jobs)
    assert all(job.messages in [other.messages for other in jobs[:at]] for at, job in enumerate(jobs) if job.seen)


def test_a_support_desk_is_asked_the_same_in_many_words() -> None:
    """The same seed draws the same questions; each has one answer, and there are few answers to many wordings."""
    questions = [str(job.turns[0]["content"]) for job in support(400, seed=3)]
    assert questions == [str(job.turns[0]["content"]) for job in support(400, seed=3)]
    assert len({answer_to(question) for question in questions}) == 10
    assert 200 < len(set(questions)) < 400
    assert answer_to("Hello, How do I open an account? Thanks!") != answer_to("Hi, How do I close my account?")
