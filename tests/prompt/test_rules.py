"""The table of providers' caches: found by the model's name where that tells the maker, else by the server."""

from __future__ import annotations

from math import inf

import pytest

from fastclient.prompt.rules import Rules, rules_of
from fastclient.target import Target


def rules(name: str, base_url: str | None = "https://api.example.com/v1") -> Rules:
    return rules_of(Target(name, base_url=base_url, api_key="none"))


@pytest.mark.parametrize(
    "model",
    ["gpt-5.6", "gpt-5.6-mini", "gpt-5.6-2026-08-01", "gpt-5.10", "gpt-6", "gpt-10.1", "ft:gpt-5.6:me::1", "x/gpt-6"],
)
def test_models_with_breakpoints(model: str) -> None:
    """GPT-5.6 and later are marked, whatever stands around the name; what the assistant said never is."""
    found = rules(f"openai:{model}")
    assert (found.marking, found.live, found.assistant) == ("prompt_cache_breakpoint", 79, False)
    assert [(each.seconds, each.write) for each in found.lifetimes] == [(1800.0, 1.25)]


@pytest.mark.parametrize(
    "model",
    [
        *("gpt-5", "gpt-5-mini", "gpt-5-2025-08-07", "gpt-5.5", "gpt-5.5-pro", "gpt-4o", "gpt-4.1", "gpt-4-0613"),
        *("gpt-3.5-turbo", "gpt-35-turbo", "gpt-35-turbo-16k", "gpt-41", "ft:gpt-4o:me::1", "openai/gpt-5-mini"),
        *("o3", "o1-mini", "chatgpt-4o-latest", "gpt-5.6.1"),
    ],
)
def test_older_models_get_no_breakpoints(model: str) -> None:
    """They answer the new fields with an error, so a doubtful name is taken for an old one."""
    found = rules(f"openai:{model}")
    assert (found.marking, found.live, found.key, found.step) == (None, 0, "prompt_cache_key", 128)


@pytest.mark.parametrize(
    "model, minimum",
    [
        ("claude-opus-5", 512),
        ("claude-fable-5-1-20260901", 512),
        ("claude-opus-4-8", 1024),
        ("claude-opus-4-20250514", 1024),
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-sonnet-5", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-3-5-haiku-20241022", 2048),
        ("claude-opus-4-5-20251101", 4096),
        ("claude-opus-4.6", 4096),
        ("claude-haiku-4-5@20251001", 4096),
    ],
)
def test_minimum_of_claude(model: str, minimum: int) -> None:
    """The least that is cached differs from model to model, and not by their age."""
    found = rules(f"anthropic:{model}", None)
    assert (found.marking, found.minimum, found.reach, found.most) == ("cache_control", minimum, 20, 4)
    assert [(each.name, each.write) for each in found.lifetimes] == [("5m", 1.25), ("1h", 2.0)]


def test_claude_behind_a_gateway() -> None:
    """In OpenAI's form there is no room for markers on tools and tool calls."""
    found = rules("openai:anthropic/claude-opus-4.5", "https://openrouter.ai/api/v1")
    assert (found.marking, found.minimum, found.assistant, found.system_first) == ("cache_control", 4096, False, False)
    assert rules("anthropic:claude-opus-5", None).assistant


@pytest.mark.parametrize(
    "name, url, marks",
    [
        ("openai:deepseek-chat", "https://api.deepseek.com/v1", {"step": 64, "minimum": 64}),
        ("openai:grok-4", "https://api.x.ai/v1", {"header": "x-grok-conv-id", "key": None}),
        ("openai:grok-4", "https://eu.api.x.ai/v1", {"header": "x-grok-conv-id"}),
        ("openai:mistral-large", "https://api.mistral.ai/v1", {"key": "prompt_cache_key"}),
        ("openai:llama-3.3", "https://api.groq.com/openai/v1", {"step": 128, "key": None}),
        ("openai:qwen3", "http://127.0.0.1:8000/v1", {"minimum": 16, "step": 16, "read": 0.0}),
        ("openai:qwen3", "https://gpu-box.internal/v1", {"minimum": 16}),
        ("openai:gpt-oss-120b", "https://api.groq.com/openai/v1", {"step": 128, "key": None}),
    ],
)
def test_servers(name: str, url: str, marks: dict[str, object]) -> None:
    """Open models are known by the server they run on."""
    found = rules(name, url)
    assert found.marking is None
    assert {field: getattr(found, field) for field in marks} == marks


@pytest.mark.parametrize("url", ["https://api.example.com/v1", "https://notapi.x.ai.example.com/v1", None])
def test_unknown_servers(url: str | None) -> None:
    """Nothing is added to requests of which nothing is known."""
    assert rules("openai:some-model", url) == Rules()


def test_own_servers_keep_what_they_have() -> None:
    """Their entries have no end: they go when room is needed."""
    assert rules("openai:qwen3", "http://localhost:8000/v1").lifetimes[0].seconds == inf
