"""Everything fastclient raises, as one tree. A star marks what may be retried as it stands.

FastClientError                              .call_id .timings .attempts
+- ConfigError(ValueError)                   .field
+- PromptTooLong(ValueError)                 .needed .limit
+- LocalUnavailable
+- ProviderError                             .provider .status_code .request_id .retry_after .body
|  +- BadRequest  AuthenticationFailed  PermissionDenied  NotFound  RateLimited*  Overloaded*  ServerFailed*
+- TransportError
|  +- ConnectFailed*(ConnectionError)
|  +- StreamCut                              .partial_text .tokens
+- DeadlineExceeded(TimeoutError)            .phase .partial_text .tokens
   +- ConnectTimeout*  QueueTimeout  FirstTokenTimeout*  StreamStalled

Messages name fields, limits and statuses; keys, prompts and answers stay out of them. What was received of a broken
answer is in `.partial_text`, and the provider's own words are in `.body`.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastclient.types import Attempt, Timings

__all__ = [
    "AuthenticationFailed",
    "BadRequest",
    "ConfigError",
    "ConnectFailed",
    "ConnectTimeout",
    "DeadlineExceeded",
    "FastClientError",
    "FirstTokenTimeout",
    "LocalUnavailable",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "PromptTooLong",
    "ProviderError",
    "QueueTimeout",
    "RateLimited",
    "ServerFailed",
    "StreamCut",
    "StreamStalled",
    "TransportError",
]


class FastClientError(Exception):
    """Base of every error fastclient raises.

    `call_id`, `timings` and `attempts` tell what had happened by then; they are set once the call is over.
    `retry_budget_exhausted` marks a failure that was not tried again because too many others were; `sent` says whether
    the request, or a part of it, had gone out when this happened.
    """

    retryable: bool = False
    sent: bool = True
    retry_budget_exhausted: bool = False
    call_id: str | None = None
    timings: Timings | None = None
    attempts: tuple[Attempt, ...] = ()


class ConfigError(FastClientError, ValueError):
    """Something the caller wrote cannot work. Raised before anything is sent; `field` names the place."""

    field: str | None = None

    @classmethod
    def of(cls, field: str, value: object, problem: str) -> ConfigError:
        """The usual form: the field, the value (shortened), and what is wrong with it."""
        return cls.at(field, f"{reprlib.repr(value)} {problem}")

    @classmethod
    def at(cls, field: str, problem: str) -> ConfigError:
        """The form for values that must not be shown: keys, prompts, and what may hold them."""
        error = cls(f"{field}: {problem}")
        error.field = field
        return error


class PromptTooLong(FastClientError, ValueError):
    """The prompt cannot be made to fit. Nothing was sent. `needed` and `limit` are tokens."""

    needed: int | None = None
    limit: int | None = None


class LocalUnavailable(FastClientError):
    """The local engine or its model is not there."""


class ProviderError(FastClientError):
    """The provider answered, and the answer is an error.

    `status_code` is the HTTP status (200 when the error came inside a stream), `retry_after` is in seconds, `body` is
    what the provider wrote (at most 64 KiB, keys blotted out).
    """

    def __init__(
        self,
        message: str = "",
        *,
        provider: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body


class BadRequest(ProviderError):
    """The provider refuses this request (400, 413, 422 and other 4xx): sending it again changes nothing."""


class AuthenticationFailed(ProviderError):
    """The key is missing, wrong or revoked (401)."""


class PermissionDenied(ProviderError):
    """The key may not do this (403)."""


class NotFound(ProviderError):
    """No such model or path (404)."""


class RateLimited(ProviderError):
    """Too many requests or tokens (429). `retry_after` holds the provider's wish in seconds, if it gave one."""

    retryable = True


class Overloaded(ProviderError):
    """The provider has no capacity at the moment (503, 529, or an overload event in a stream)."""

    retryable = True


class ServerFailed(ProviderError):
    """The provider broke (5xx, 408, 409, or an answer that is no answer)."""

    retryable = True


class TransportError(FastClientError):
    """The connection broke, or what came over it was not a readable answer."""


class ConnectFailed(TransportError, ConnectionError):
    """No connection, or it was lost before the answer began."""

    retryable = True


class StreamCut(TransportError):
    """An answer that broke off after it had begun: cut, ended without its terminal event, or corrupt.

    `partial_text` is what had arrived, `tokens` the number of content chunks it came in. `truncated` says that the
    connection itself ended in order.
    """

    truncated = False

    def __init__(self, message: str = "", *, partial_text: str = "", tokens: int = 0) -> None:
        super().__init__(message)
        self.partial_text = partial_text
        self.tokens = tokens


class DeadlineExceeded(FastClientError, TimeoutError):
    """The call's time is up. `phase` is what it waited for: queue, connect, send, headers, first_token or decode."""

    def __init__(self, message: str = "", *, phase: str | None = None, partial_text: str = "", tokens: int = 0) -> None:
        super().__init__(message)
        self.phase = phase
        self.partial_text = partial_text
        self.tokens = tokens


class ConnectTimeout(DeadlineExceeded):
    """TCP or TLS took longer than `Timeouts.connect`."""

    retryable = True
    sent = False


class QueueTimeout(DeadlineExceeded):
    """No permit or connection became free within `Timeouts.queue`, or none would in time."""

    sent = False


class FirstTokenTimeout(DeadlineExceeded):
    """No content within `Timeouts.first_token`. Headers, pings and empty deltas are not content."""

    retryable = True


class StreamStalled(DeadlineExceeded):
    """The answer began, then nothing came for `Timeouts.progress` (content) or `Timeouts.liveness` (any byte)."""
