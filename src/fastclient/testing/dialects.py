"""Which wire formats the test servers speak, and which of them a request is written in.

To add one, write a class with the methods of `Dialect` and put it into the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastclient.testing.chat_completions import ChatCompletions
from fastclient.testing.formats import Dialect
from fastclient.testing.gemini import Gemini
from fastclient.testing.messages import Messages
from fastclient.testing.responses import Responses

__all__ = ["DIALECTS", "dialect_of", "guessed"]

_OPENAI: Dialect = ChatCompletions()
_RESPONSES: Dialect = Responses()
_ANTHROPIC: Dialect = Messages()
_GEMINI: Dialect = Gemini()

DIALECTS: Mapping[str, Dialect] = {each.name: each for each in (_OPENAI, _RESPONSES, _ANTHROPIC, _GEMINI)}
"""Every dialect by its name."""

_PATHS = {
    "/chat/completions": _OPENAI,
    "/responses": _RESPONSES,
    "/messages": _ANTHROPIC,
    ":generateContent": _GEMINI,
    ":streamGenerateContent": _GEMINI,
}


def dialect_of(path: str) -> Dialect | None:
    """The dialect spoken at a URL path; `None` if there is none."""
    path = path.partition("?")[0].rstrip("/")
    return next((dialect for ending, dialect in _PATHS.items() if path.endswith(ending)), None)


def guessed(path: str, headers: Mapping[str, str]) -> Dialect:
    """The dialect of a request to any other path, judged by the path's version and the headers."""
    if path.startswith("/v1beta/") or "x-goog-api-key" in headers:
        return _GEMINI
    return _ANTHROPIC if "anthropic-version" in headers or "x-api-key" in headers else _OPENAI
