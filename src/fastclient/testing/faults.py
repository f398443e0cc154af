"""The classic ways in which providers fail, as plans to put into a script.

>>> from fastclient.testing import faults
>>> faults.truncated(after_tokens=3)
(Tokens(what=3, gap=0.0), EndBody())
"""

from __future__ import annotations

from collections.abc import Mapping

from fastclient.testing.script import (
    Close,
    Comment,
    EndBody,
    ErrorEvent,
    Event,
    Finish,
    Hang,
    Malformed,
    Ping,
    Reset,
    Role,
    Send,
    Split,
    Status,
    Step,
    Tokens,
    Wait,
)

__all__ = [
    "blank_lines",
    "closed",
    "comments",
    "headers_then_silence",
    "html_page",
    "malformed",
    "never_ending_error",
    "overloaded_event",
    "pings",
    "reset",
    "role_then_silence",
    "silent",
    "slow",
    "split",
    "stall",
    "status",
    "truncated",
    "unanswered",
]

Steps = tuple[Step, ...]


def silent(seconds: float) -> Steps:
    """Nothing at all for some seconds, then the whole answer at once."""
    return (Wait(seconds),)


def unanswered() -> Steps:
    """A request that is read and never answered."""
    return (Hang(),)


def headers_then_silence(seconds: float) -> Steps:
    """Status 200 and headers at once, the answer some seconds later."""
    return (Status(200), Wait(seconds))


def role_then_silence(seconds: float) -> Steps:
    """The events without content (role, `message_start`) at once, the answer some seconds later."""
    return (Role(), Wait(seconds))


def pings(every: float, total: float) -> Steps:
    """Keep-alive pings every so many seconds for `total` seconds, then the answer."""
    return _repeated(Ping(), every, total)


def comments(every: float, total: float, text: str = "keep-alive") -> Steps:
    """SSE comments every so many seconds for `total` seconds, then the answer."""
    return _repeated(Comment(text), every, total)


def blank_lines(every: float, total: float) -> Steps:
    """Blank lines every so many seconds for `total` seconds, then the answer (streamed or JSON)."""
    return _repeated(Send(b"\n"), every, total)


def slow(gap: float) -> Steps:
    """A normal answer whose tokens are `gap` seconds apart."""
    return (Finish(gap),)


def truncated(after_tokens: int) -> Steps:
    """A body that ends cleanly without its terminal event."""
    return (Tokens(after_tokens), EndBody())


def closed(after_tokens: int) -> Steps:
    """A connection closed in the middle of the body."""
    return (Tokens(after_tokens), Close())


def reset(after_tokens: int) -> Steps:
    """A connection reset after so many tokens; 0 resets it before the headers."""
    return (Tokens(after_tokens), Reset()) if after_tokens else (Reset(),)


def stall(after_tokens: int) -> Steps:
    """Silence after so many tokens, with the socket open."""
    return (Tokens(after_tokens), Hang())


def malformed(after_tokens: int) -> Steps:
    """One broken event after so many tokens; the rest of the answer follows."""
    return (Tokens(after_tokens), Malformed())


def split(every: int = 1, event: bytes | None = None) -> Steps:
    """The answer (or first an event of your own) in TCP segments of `every` bytes."""
    own = () if event is None else (Split(Event(event), every),)
    return (*own, Split(Finish(), every))


def status(
    code: int,
    *,
    retry_after: str | None = None,
    headers: Mapping[str, str] | None = None,
    kind: str | None = None,
    message: str | None = None,
    body: bytes | None = None,
) -> Steps:
    """An error status with the provider's own error body; `retry_after` is sent as it stands."""
    extra = {} if retry_after is None else {"retry-after": retry_after}
    return (Status(code, {**extra, **(headers or {})}, body, kind, message),)


def html_page(code: int = 200) -> Steps:
    """An HTML page where an answer should be, as broken gateways send it."""
    page = b"<!doctype html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"
    return (Status(code, {"content-type": "text/html; charset=utf-8"}, page),)


def never_ending_error(code: int = 500) -> Steps:
    """An error whose headers and first bytes come, and whose body never ends."""
    return (Status(code), Send(b'{"error":{"message":"The server had an err'), Hang())


def overloaded_event(after_tokens: int = 0) -> Steps:
    """Status 200, some tokens, then "overloaded" inside the stream and nothing more."""
    sent = (Tokens(after_tokens),) if after_tokens else (Role(),)
    return (*sent, ErrorEvent("overloaded_error", "Overloaded"), EndBody())


def _repeated(step: Step, every: float, total: float) -> Steps:
    times = max(1, round(total / every))
    return (Status(200), *(step, Wait(every)) * times)
