"""A check for tests: each request of a conversation continues the one before it, so that provider caches hold it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import orjson

from fastclient.errors import ConfigError
from fastclient.prompt.drift import Drift, diagnose

__all__ = ["assert_stable"]


def assert_stable(first: object, second: object, *more: object, show: bool = False) -> None:
    """Fail unless each request of a conversation continues the one before it.

    A request is a body in OpenAI's or Anthropic's format, as a mapping or as JSON; or something recorded that has one:
    a request or exchange of a `FakeProvider` or `ProviderServer`, or an `httpx` request. The AssertionError names what
    has changed, where, and the remedy; what the prompts say there only with `show`.

    >>> from fastclient.testing import assert_stable
    >>> question = {"role": "user", "content": "Rain in Oslo?"}
    >>> answer = {"role": "assistant", "content": "Yes."}
    >>> assert_stable({"messages": [question]}, {"messages": [question, answer, {"role": "user", "content": "Why?"}]})
    >>> assert_stable({"messages": [question]}, {"messages": [answer, question]})
    Traceback (most recent call last):
    AssertionError: request 2 does not continue request 1: message_inserted at messages[0].content (1 message inserted)
    add messages at the end only; keep passing reminders out of the history
    """
    __tracebackhide__ = True  # pytest shows the test instead
    bodies = [_body(number, given) for number, given in enumerate((first, second, *more), 1)]
    for number, (old, new) in enumerate(pairwise(bodies), 2):
        drift = diagnose(old, new, excerpts=show)
        if drift.is_drift:
            raise AssertionError(_told(number, drift))


def _told(number: int, drift: Drift) -> str:
    lines = [f"request {number} does not continue request {number - 1}: {drift}", drift.advice]
    if drift.before + drift.after:
        lines += [f"before: {drift.before!r}", f"after:  {drift.after!r}"]
    return "\n".join(lines)


def _body(number: int, given: object) -> Mapping[str, object]:
    given = getattr(given, "request", given)
    if not isinstance(given, (Mapping, str, bytes)):
        given = next((found for name in ("body", "json", "content") if (found := getattr(given, name, None))), None)
    if isinstance(given, (str, bytes)):
        try:
            given = orjson.loads(given)
        except ValueError:
            raise ConfigError.at(f"request {number}", "is no JSON") from None
    if not isinstance(given, Mapping) or not isinstance(given.get("messages"), (list, tuple)):
        raise ConfigError.at(f"request {number}", "is no request body: a mapping, or JSON, with a list of messages")
    return given
