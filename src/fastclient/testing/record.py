"""What a test server saw: counters, and one record per exchange."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastclient.testing.answer import ServerRequest
from fastclient.testing.worlds import Pace

__all__ = ["Counters", "Exchange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Totals at one instant.

    `accepted` exchanges are `live` now, were `completed` as planned, or were `cut_early` by a client that left.
    `bytes_sent` counts headers and bodies. `input_tokens` and `output_tokens` are what a provider would bill: prompts
    accepted, tokens sent.
    """

    accepted: int = 0
    live: int = 0
    cut_early: int = 0
    completed: int = 0
    bytes_sent: int = 0
    connections: int = 0
    open_connections: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and what became of it. Times are seconds on the monotonic clock; `None` means not yet.

    `first_token` is when the first content token was sent. `pace` holds the times the world drew. `error` names an
    exception raised by the test's own answer or script function.
    """

    request: ServerRequest
    started: float
    ended: float | None = None
    first_token: float | None = None
    cut_early: bool = False
    bytes_sent: int = 0
    tokens_sent: int = 0
    status: int | None = None
    pace: Pace = field(default_factory=Pace)
    error: str | None = None

    @property
    def index(self) -> int:
        """The number of this request among the distinct ones, from 0."""
        return self.request.index

    @property
    def attempt(self) -> int:
        """How often the same request came before."""
        return self.request.attempt

    @property
    def dialect(self) -> str:
        """The wire format it was written in."""
        return self.request.dialect
