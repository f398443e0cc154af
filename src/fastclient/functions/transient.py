"""What a function's failure means to the layers: worth another try, or not. Pure.

On its way up an exception is carried by one of our own classes, which the layers understand; at the end its caller gets
the very exception, with the traceback it had. Libraries are known by the names of their classes: none is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias

from fastclient.errors import (
    BadRequest,
    ConfigError,
    ConnectFailed,
    FastClientError,
    FirstTokenTimeout,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFailed,
)
from fastclient.providers.refusal import retry_after

__all__ = ["Carried", "Rule", "Transient", "carrier", "final", "rule"]

Transient: TypeAlias = "type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]"
"""Which failures are worth another try: classes, or a function that is asked."""

Rule: TypeAlias = Callable[[BaseException], bool]

_TIMEOUTS = {
    "httpx": ("TimeoutException",),
    "httpx2": ("TimeoutException",),
    "requests": ("Timeout",),
    "aiohttp": ("ServerTimeoutError",),
    "urllib3": ("TimeoutError",),
    "openai": ("APITimeoutError",),
    "anthropic": ("APITimeoutError",),
}
_CONNECTIONS = {
    "httpx": ("NetworkError", "RemoteProtocolError"),
    "httpx2": ("NetworkError", "RemoteProtocolError"),
    "requests": ("ConnectionError", "ChunkedEncodingError"),
    "aiohttp": ("ClientConnectionError", "ClientPayloadError"),
    "urllib3": ("NewConnectionError", "ProtocolError"),
    "openai": ("APIConnectionError",),
    "anthropic": ("APIConnectionError",),
}
_REPEATED = (408, 409, 425, 429)  # and all from 500 on


class Carried(FastClientError):
    """An exception of the user's function on its way through the layers. Says no more of it than its class."""

    original: BaseException
    trace: TracebackType | None = None


class _RateLimited(Carried, RateLimited): ...


class _Overloaded(Carried, Overloaded): ...


class _ServerFailed(Carried, ServerFailed): ...


class _ConnectFailed(Carried, ConnectFailed): ...


class _TimedOut(Carried, FirstTokenTimeout): ...


class _Final(Carried, BadRequest): ...


def rule(on: Transient | None) -> Rule:
    """The rule that `on=` stands for. Raises ConfigError for what is none."""
    if on is None:
        return lambda error: _known(error) is not None
    classes = on if isinstance(on, tuple) else (on,)
    if classes and all(isinstance(each, type) and issubclass(each, BaseException) for each in classes):
        return lambda error: isinstance(error, on)  # type: ignore[arg-type]  # it is classes
    if isinstance(on, (type, tuple)) or not callable(on):
        raise ConfigError.at("on", "must be exception classes, or a function that takes an exception")
    return on


def carrier(error: BaseException, transient: Rule) -> Carried:
    """What carries this failure up: of a class that says whether to try again, and how."""
    try:
        again = transient(error)
    except Exception as failure:  # the rule itself is broken, and its author should see that
        return final(failure)
    if not again:
        return final(error)
    kind = _known(error) or _ServerFailed
    carried = _filled(kind(f"the function raised {type(error).__name__}"), error)
    if isinstance(carried, ProviderError):
        carried.retry_after = _wish(error)
    return carried


def final(error: BaseException) -> Carried:
    """What carries a failure up that is the end of the call."""
    return _filled(_Final(f"the function raised {type(error).__name__}"), error)


def _filled(carried: Carried, error: BaseException) -> Carried:
    carried.original, carried.trace = error, error.__traceback__
    carried.__cause__ = error
    return carried


def _known(error: BaseException) -> type[Carried] | None:
    """The class for what is known to be transient; None for the rest."""
    if isinstance(error, FastClientError):
        return _ours(error) if error.retryable else None
    status = _status(error)
    if status is not None:
        return _refused(status)
    names = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]
    if ("urllib3", "MaxRetryError") in names:
        reason = getattr(error, "reason", None)
        return _known(reason) if isinstance(reason, Exception) else None
    if isinstance(error, TimeoutError) or any(name in _TIMEOUTS.get(home, ()) for home, name in names):
        return _TimedOut
    if isinstance(error, ConnectionError) or any(name in _CONNECTIONS.get(home, ()) for home, name in names):
        return _ConnectFailed
    return None


def _ours(error: FastClientError) -> type[Carried]:
    for known, kind in ((RateLimited, _RateLimited), (Overloaded, _Overloaded), (ConnectFailed, _ConnectFailed)):
        if isinstance(error, known):
            return kind
    return _TimedOut if isinstance(error, TimeoutError) else _ServerFailed


def _refused(status: int) -> type[Carried] | None:
    if status == 429:
        return _RateLimited
    if status in (503, 529):
        return _Overloaded
    return _ServerFailed if status in _REPEATED or status >= 500 else None


def _status(error: BaseException) -> int | None:
    """The HTTP status an exception tells of, itself or by its response."""
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if type(status) is int or isinstance(status, int):
            return int(status)
    return None


def _wish(error: BaseException) -> float | None:
    """Seconds that whoever refused asks to wait."""
    if isinstance(error, ProviderError):
        return error.retry_after
    headers = getattr(getattr(error, "response", None), "headers", None)
    try:
        return None if headers is None else retry_after({str(name).lower(): value for name, value in headers.items()})
    except Exception:  # another library's object: whatever is odd about it is no wish
        return None
