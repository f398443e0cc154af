"""The libraries that are compared: a row of the tables, the environment it lives in, and the adapter that drives it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["ENVIRONMENTS", "LIBRARIES", "ROOT", "Library", "environment_problem", "named"]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".venv-peers"


class Library(NamedTuple):
    """`module` is what a program imports, `packages` are those whose versions matter, `option` is for the adapter."""

    name: str
    environment: str
    module: str
    packages: tuple[str, ...]
    option: str = ""
    at_1000: bool = False

    @property
    def adapter(self) -> str:
        return f"benchmarks.peers.adapters.{self.environment.replace('-', '_')}_"

    @property
    def python(self) -> Path:
        return ENVIRONMENTS / self.environment / "bin" / "python"


_OURS = ("fastclient", "httpx2", "httptools", "anyio")

LIBRARIES = (
    Library("fastclient recommended", "fastclient", "fastclient", _OURS, "recommended", at_1000=True),
    Library("fastclient plain", "fastclient", "fastclient", _OURS, "plain", at_1000=True),
    Library("fastclient plain on httpx2", "fastclient", "fastclient", _OURS, "plain on httpx2", at_1000=True),
    Library("httpx", "httpx", "httpx", ("httpx", "httpcore", "orjson"), at_1000=True),
    Library("httpx2", "httpx2", "httpx2", ("httpx2", "httpcore2", "orjson"), at_1000=True),
    Library("aiohttp", "aiohttp", "aiohttp", ("aiohttp", "orjson"), at_1000=True),
    Library("pyreqwest", "pyreqwest", "pyreqwest", ("pyreqwest", "orjson"), at_1000=True),
    Library("openai", "openai", "openai", ("openai", "httpx2"), at_1000=True),
    Library("openai[aiohttp]", "openai-aiohttp", "openai", ("openai", "aiohttp")),
    Library("anthropic", "anthropic", "anthropic", ("anthropic", "httpx2")),
    Library("litellm", "litellm", "litellm", ("litellm", "openai", "httpx", "aiohttp")),
    Library("liter-llm", "liter-llm", "liter_llm", ("liter-llm",)),
    Library("any-llm", "any-llm", "any_llm", ("any-llm-sdk", "openai", "httpx2")),
    Library(
        "langchain-openai", "langchain-openai", "langchain_openai", ("langchain-openai", "langchain-core", "openai")
    ),
    Library("pydantic-ai", "pydantic-ai", "pydantic_ai", ("pydantic-ai-slim", "openai", "httpx2")),
)


def named(names: str | None) -> list[Library]:
    """Those whose name or environment is in a list with commas; all, if there is none."""
    if not names:
        return [*LIBRARIES]
    wanted = [name.strip() for name in names.split(",")]
    known = {library.name for library in LIBRARIES} | {library.environment for library in LIBRARIES}
    if unknown := set(wanted) - known:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}. There are: {', '.join(sorted(known))}")
    return [library for library in LIBRARIES if library.name in wanted or library.environment in wanted]


def environment_problem(library: Library) -> str | None:
    """Why a library cannot be run; None if it can."""
    home = ENVIRONMENTS / library.environment
    if (home / ".have").exists():
        return None
    log = home / "install.log"
    lines = [line.strip() for line in log.read_text().splitlines() if line.strip()] if log.exists() else []
    return f"could not be installed: {lines[-1][:160]}" if lines else "not installed (make bench-peers installs it)"
