"""Which of other people's libraries a piece of code needs, and what to do where one is missing.

There are two environments, which cannot hold the same libraries: that of the group `test` with openai 3, and that of
`older` with openai 2.
"""

from __future__ import annotations

import os
import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

__all__ = ["LIBRARIES", "environment_group", "need", "used"]

ROOT = Path(__file__).resolve().parents[2]
_GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
_IMPORT = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)

LIBRARIES = {
    "anthropic": "anthropic",
    "fastapi": "fastapi",
    "instructor": "instructor",
    "langchain_openai": "langchain-openai",
    "litellm": "litellm",
    "openai": "openai",
    "pydantic_ai": "pydantic-ai-slim",
}
"""Modules, and the distributions they come from."""


def used(code: str) -> list[str]:
    """The libraries that a piece of code imports."""
    return [LIBRARIES[name] for name in dict.fromkeys(_IMPORT.findall(code)) if name in LIBRARIES]


def environment_group() -> str:
    """The dependency group that this environment was made from."""
    try:
        return "older" if int(version("openai").partition(".")[0]) < 3 else "test"
    except PackageNotFoundError:
        return "test"


def need(code: str) -> None:
    """Skip the test where a library that the code imports is missing; fail if it should be there."""
    modules = {distribution: module for module, distribution in LIBRARIES.items()}
    for distribution in used(code):
        if find_spec(modules[distribution]) is None:
            group = environment_group()
            ours = {Requirement(entry).name for entry in _GROUPS[group] if isinstance(entry, str)}
            demanded = distribution in ours and os.environ.get("FASTCLIENT_REQUIRE_ALL")
            assert not demanded, f"{distribution} is not installed"
            pytest.skip(
                f"{distribution} is not installed" if distribution in ours else f"{distribution} is not for here"
            )
