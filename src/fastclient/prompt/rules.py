"""How each provider's cache of prompts works, as published: a table, looked up by server and model. Pure.

Prices are relative to a plain input token, lifetimes are seconds. A provider or model that is not listed gets the
cautious row: nothing is added to its requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import inf
from typing import Literal
from urllib.parse import urlsplit

from fastclient.target import Target, is_private

__all__ = ["Lifetime", "Rules", "rules_of"]

Marking = Literal["cache_control", "prompt_cache_breakpoint", "cachePoint"]


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long an entry lives behind its last use, and what a token costs that is written to it."""

    name: str
    seconds: float
    write: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One provider's rules.

    `marking` is how a breakpoint is written; None where the provider finds shared beginnings by itself. Nothing below
    `minimum` tokens is kept, matches are rounded down to `step`. A marker finds entries at most `reach` blocks in front
    of it (None: any that is marked in the same request), at most `most` may be written per request, and `live` says
    how many earlier ones must stay marked to be found. With `assistant`, tools and what the assistant said may be
    marked too; with `system_first`, system messages are sent in front, wherever they stand. `key` is the parameter,
    `header` the header, that brings requests with one beginning to one machine. `late_system` says whether a system
    message may stand at the end.
    """

    marking: Marking | None = None
    minimum: int = 1024
    step: int = 1
    read: float = 0.5
    lifetimes: tuple[Lifetime, ...] = (Lifetime("", 300.0, 1.0),)
    reach: int | None = None
    most: int = 4
    live: int = 0
    assistant: bool = True
    system_first: bool = False
    key: str | None = None
    header: str | None = None
    late_system: bool = False
    tokenizer_known: bool = False


_FIVE_MINUTES, _ONE_HOUR = Lifetime("5m", 300.0, 1.25), Lifetime("1h", 3600.0, 2.0)

_CLAUDE_MINIMUM = (  # models, the tokens below which nothing is cached
    (re.compile(r"opus-5|(fable|mythos)-5"), 512),
    (re.compile(r"opus-4[-.]7|haiku-3[-.]5|3[-.]5-haiku|3-haiku"), 2048),
    (re.compile(r"opus-4[-.][56]|haiku-4[-.]5"), 4096),
)
_GPT = re.compile(r"(?:^|[/:])gpt-([5-9]|1\d)(?:\.(\d+))?(?![\d.])")  # Azure writes 3.5 as 35
_OPENAI = re.compile(r"(?:^|[/:])(gpt-|chatgpt-|o\d)")

_OPENAI_AUTOMATIC = Rules(
    step=128,
    read=0.1,
    lifetimes=(Lifetime("", 600.0, 1.0),),
    key="prompt_cache_key",
    late_system=True,
    tokenizer_known=True,
)
_OPENAI_MARKED = Rules(
    marking="prompt_cache_breakpoint",
    read=0.1,
    lifetimes=(Lifetime("30m", 1800.0, 1.25),),
    live=79,  # reads consider the latest 80 breakpoints
    assistant=False,
    key="prompt_cache_key",
    late_system=True,
    tokenizer_known=True,
)
_OWN_SERVER = Rules(minimum=16, step=16, read=0.0, lifetimes=(Lifetime("", inf, 1.0),))

# The end of a host's name: its rules. All of these find shared beginnings by themselves.
_HOSTS = {
    "api.deepseek.com": Rules(minimum=64, step=64, read=0.1, lifetimes=(Lifetime("", 3 * 3600.0, 1.0),)),
    "api.mistral.ai": Rules(minimum=128, step=128, read=0.1, key="prompt_cache_key"),
    "api.x.ai": Rules(read=0.25, header="x-grok-conv-id"),
    "api.groq.com": Rules(step=128, read=0.5, lifetimes=(Lifetime("", 7200.0, 1.0),)),
}


def rules_of(target: Target) -> Rules:
    """The rules at a target: by its model where that tells the maker, else by its server."""
    if target.provider in ("anthropic", "bedrock"):
        own = _claude(target.model, "cache_control" if target.provider == "anthropic" else "cachePoint")
        return replace(own, system_first=True)
    if target.model.startswith("anthropic/"):  # gateways translate the markers, where OpenAI's form has room for them
        return replace(_claude(target.model, "cache_control"), assistant=False)
    if _OPENAI.search(target.model) and "gpt-oss" not in target.model:
        return _OPENAI_MARKED if _has_breakpoints(target.model) else _OPENAI_AUTOMATIC
    host = urlsplit(target.base_url or "").hostname or ""
    for name, rules in _HOSTS.items():
        if host == name or host.endswith("." + name):
            return rules
    return _OWN_SERVER if target.base_url and is_private(target.base_url) else Rules()


def _has_breakpoints(model: str) -> bool:
    """GPT-5.6 and later match at breakpoints only."""
    version = _GPT.search(model)
    return version is not None and (int(version[1]), int(version[2] or 0)) >= (5, 6)


def _claude(model: str, marking: Marking) -> Rules:
    minimum = next((tokens for models, tokens in _CLAUDE_MINIMUM if models.search(model)), 1024)
    return Rules(marking=marking, minimum=minimum, read=0.1, lifetimes=(_FIVE_MINUTES, _ONE_HOUR), reach=20)
