"""Which wire formats the test servers speak, and which of them a request is written in.

To add one, write a class with the methods of `Dialect` and put it into the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastclient.testing.chat_completions import ChatCompletions
from fastclient.testing.formats import Dialect
from fastclient.testing.messages import Messages

__all__ = ["DIALECTS", "dialect_of", "guessed"]

_OPENAI: Dialect = ChatCompletions()
_ANTHROPIC: Dialect = Messages()

DIALECTS: Mapping[str, Dialect] = {"openai": _OPENAI, "anthropic": _ANTHROPIC}
"""Every dialect by its name."""

_PATHS = {"/chat/completions": _OPENAI, "/messages": _ANTHROPIC}


def dialect_of(path: str) -> Dialect | None:
    """The dialect spoken at a URL path; `None` if there is none."""
    path = path.partition("?")[0].rstrip("/")
    return next((dialect for ending, dialect in _PATHS.items() if path.endswith(ending)), None)


def guessed(headers: Mapping[str, str]) -> Dialect:
    """The dialect of a request to any other path, judged by its headers."""
    return _ANTHROPIC if "anthropic-version" in headers or "x-api-key" in headers else _OPENAI
