"""Every example runs, and so does every Python block in the documentation, against a provider server.

The examples for other people's libraries have tests of their own in `tests/doors/test_recipes.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastclient.testing import ProviderServer
from tests.doors.libraries import need, used

ROOT = Path(__file__).parent.parent
EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.py")) if not used(path.read_text())]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> Iterator[pytest.param]:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for number, match in enumerate(BLOCK.finditer(page.read_text())):
            yield pytest.param(match[1], id=f"{page.name}-{number}")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the documents' clients go instead of to the real providers."""
    with ProviderServer() as server:
        yield {
            **os.environ,
            "OPENAI_API_KEY": "a-key",
            "ANTHROPIC_API_KEY": "a-key",
            "OPENAI_BASE_URL": server.base_url,
            "ANTHROPIC_BASE_URL": server.anthropic_url,
            "LOCAL_URL": server.base_url,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "HOME": str(tmp_path_factory.mktemp("home")),
            "PYTHONWARNINGS": "error",
        }


def run(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example: Path, environment: dict[str, str]) -> None:
    """An example runs as it stands and prints something."""
    assert run(environment, str(example)).strip()


@pytest.mark.parametrize("code", list(blocks()))
def test_block(code: str, environment: dict[str, str], tmp_path: Path) -> None:
    """A block runs as it stands; one that holds tests passes under pytest."""
    need(code)
    if "litellm" in used(code):  # which leaves an event loop unclosed
        environment = {**environment, "PYTHONWARNINGS": ""}
    file = tmp_path / "test_block.py"
    file.write_text(code)
    if re.search(r"^(async )?def test_", code, re.MULTILINE):
        run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file))
    else:
        run(environment, str(file))
