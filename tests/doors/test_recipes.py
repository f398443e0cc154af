"""The recipes for other people's libraries: each runs as it stands, against a provider server, in its own process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from fastclient.testing import Answer, ProviderServer, ServerRequest, ToolCall, faults
from fastclient.testing.script import Plan
from tests.doors.libraries import need, used
from tests.doors.recipe import CALLS, LATE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
RECIPES = sorted(path for path in EXAMPLES.glob("*.py") if path.name == "plain_script.py" or used(path.read_text()))
ANSWER = "It comes on Friday."
SLOW = 30.0  # seconds: more than anything here may take


def environment(server: ProviderServer) -> dict[str, str]:
    """Where the libraries find their server and their key."""
    return {
        **os.environ,
        "OPENAI_API_KEY": "a-key",
        "ANTHROPIC_API_KEY": "a-key",
        "OPENAI_BASE_URL": server.base_url,
        "ANTHROPIC_BASE_URL": server.anthropic_url,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONPATH": str(ROOT),
    }


def run(server: ProviderServer, name: str | Path, *drive: str) -> list[str]:
    """The lines that a recipe prints, and then those of a drive; nothing in it reached for the network."""
    path = EXAMPLES / name
    need(path.read_text())
    done = subprocess.run(
        [sys.executable, ROOT / "tests/doors/recipe.py", path, *drive],
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "reaches for" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def test_recipes_are_short() -> None:
    """A recipe fits on a screen: at most 30 lines, with a docstring that says what it shows."""
    assert len(RECIPES) == 8
    for path in RECIPES:
        text = path.read_text()
        assert text.startswith('"""')
        assert len(text.splitlines()) <= 30, path.name


def test_a_recipe_that_reaches_out_is_found(tmp_path: Path) -> None:
    """A program that looks up a name or connects elsewhere fails, even if it hides the error."""
    for reach in ("getaddrinfo('example.com', 443)", "create_connection(('192.0.2.1', 443), 0.1)"):
        program = tmp_path / "program.py"
        program.write_text(f"import socket\ntry:\n    socket.{reach}\nexcept OSError:\n    pass\n")
        with ProviderServer() as server, pytest.raises(AssertionError, match="reaches for"):
            run(server, program)


def test_openai() -> None:
    """The second call of the SDK is a hit, and a stream comes through as it is."""
    with ProviderServer(answer=ANSWER) as server:
        assert run(server, "openai_sdk.py") == [f"miss {ANSWER}", f"hit {ANSWER}", ANSWER]
        assert server.counters.accepted == 2


def test_anthropic() -> None:
    """A stream of the SDK is replayed from memory the second time."""
    with ProviderServer(answer=ANSWER) as server:
        assert run(server, "anthropic_sdk.py") == [f"miss {ANSWER}", f"hit {ANSWER}"]
        assert server.counters.accepted == 1


def test_pydantic_ai() -> None:
    """The second run of an agent sends nothing."""
    with ProviderServer(answer=ANSWER) as server:
        assert run(server, "pydantic_ai_agent.py") == [ANSWER, ANSWER]
        assert server.counters.accepted == 1


def test_instructor() -> None:
    """A model made of an answer is made of a kept answer too."""
    parcel = Answer(tool_calls=(ToolCall("Parcel", {"number": 7, "city": "Oslo"}),))
    with ProviderServer(answer=parcel) as server:
        assert run(server, "instructor_model.py") == ["7 Oslo", "7 Oslo"]
        assert server.counters.accepted == 1


def test_plain_script() -> None:
    """A decorated function is tried again when the server is in trouble, and runs once for the same question."""
    with ProviderServer(answer=ANSWER, script=[faults.status(503), None]) as server:
        assert run(server, "plain_script.py") == ["sent: 503", "sent: 200", ANSWER, ANSWER]
        assert server.counters.accepted == 2


@pytest.mark.slow
@pytest.mark.parametrize("recipe, drive", [("langchain_chat.py", "langchain"), ("litellm_call.py", "litellm")])
def test_levers_under_frameworks(recipe: str, drive: str) -> None:
    """The second call is a hit, blocking and not; among many quick calls, a copy answers for the one that hangs."""

    def script(request: ServerRequest) -> Plan | None:
        return faults.silent(SLOW) if LATE in request.text and request.attempt == 0 else None

    with ProviderServer(answer=ANSWER, script=script) as server:
        *shown, line = run(server, recipe, drive)
        assert shown == [f"miss {ANSWER}", f"hit {ANSWER}"]
        drove = json.loads(line)
        assert drove["asynchronous"] == ["miss", "hit"]
        assert drove["attempts"] == "2"
        assert drove["seconds"] < SLOW / 3
        calls = 1 + CALLS + 1 + 1  # its own, the quick ones, the late one, the asynchronous one
        assert calls < server.counters.accepted <= 1.02 * calls
        assert server.counters.cut_early


@contextmanager
def served(server: ProviderServer, application: str) -> Iterator[str]:
    """An application of the examples under uvicorn; yields its address."""
    command = [sys.executable, "-m", "uvicorn", application, "--app-dir", str(EXAMPLES), "--port", "0"]
    with subprocess.Popen(command, env=environment(server), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = (re.search(r"running on (http://127\.0\.0\.1:\d+)", line) for line in process.stderr)
        try:
            yield next(match for match in lines if match)[1]
        finally:
            process.terminate()
            assert "Traceback" not in process.stderr.read()


def test_fastapi() -> None:
    """All requests share one client and its cache; when a reader leaves, the model stops."""
    need((EXAMPLES / "fastapi_stream.py").read_text())

    def script(request: ServerRequest) -> Plan | None:
        return faults.stall(3) if LATE in request.text else None

    with ProviderServer(answer=ANSWER, script=script) as server, served(server, "fastapi_stream:app") as address:
        url = f"{address}/ask"
        assert [httpx2.get(url, params={"question": "When?"}).text for _ in range(2)] == [ANSWER, ANSWER]
        assert server.counters.accepted == 1
        with httpx2.stream("GET", url, params={"question": LATE}) as response:
            assert next(response.iter_text())
        assert server.wait_for(lambda counters: counters.cut_early == 1, timeout=10)
