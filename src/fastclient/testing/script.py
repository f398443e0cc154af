"""The words of a fault script. A plan for one exchange is a sequence of steps; `faults` names the classic plans.

A plan is played from left to right, without the world's pace. Unless it ends itself (`EndBody`, `Close`, `Reset`,
`Hang`, or a `Status` with a body) it ends with `Finish()`: whatever of a normal answer was not sent yet. The headers
of a 200 go out with the first byte of the body, or at an explicit `Status(200)`. Where the client did not ask for a
stream, `Ping` and `Comment` send a blank line, `Role` and `Tokens` nothing, and `Finish` the JSON body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "Close",
    "Comment",
    "EndBody",
    "ErrorEvent",
    "Event",
    "Finish",
    "Hang",
    "Malformed",
    "Ping",
    "Plan",
    "Reset",
    "Role",
    "Send",
    "Split",
    "Status",
    "Step",
    "Tokens",
    "Wait",
]


@dataclass(frozen=True, slots=True)
class Status:
    """Send the status line and headers at once.

    `headers` are laid over the usual ones. With a `body` (sent with its length) the plan ends here. A status of 400 or
    more without a body ends, at `Finish()`, with the error body the provider uses for it; `kind` and `message` fill it.
    """

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    kind: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Say nothing for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes of the body as they are, in one piece."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Comment:
    """Send an SSE comment (`: text`), as gateways do to keep a connection open."""

    text: str = "keep-alive"


@dataclass(frozen=True, slots=True)
class Ping:
    """Send the dialect's keep-alive: a `ping` event for Anthropic, a comment elsewhere."""


@dataclass(frozen=True, slots=True)
class Role:
    """Send the events that precede content: the role-only chunk, `message_start` and its ping, `response.created` and
    all up to the empty text, or a piece without parts."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Send the next tokens, `gap` seconds apart.

    A number takes them from the answer (which is lengthened with made-up words if it has fewer); a text is sent itself
    and becomes part of the answer, replacing what the server would have said.
    """

    what: int | str
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """Send one complete event of your own, blank line included."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """Send an error inside the stream, in the dialect's shape."""

    kind: str = "overloaded_error"
    message: str = "Overloaded"


@dataclass(frozen=True, slots=True)
class Malformed:
    """Send an event whose JSON is broken."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Send all that is left of a normal answer, tokens `gap` seconds apart, and end it properly."""

    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class EndBody:
    """End the body cleanly, as HTTP sees it, without the answer's terminal event."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection in the middle of the body (or before the headers) with an orderly FIN."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Tear the connection down with a TCP RST, once what was sent before has left."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing until the client leaves."""


@dataclass(frozen=True, slots=True)
class Split:
    """Do a step, its bytes cut into TCP segments of `every` bytes, `gap` seconds apart.

    Each `every` bytes of the body are also a chunk of their own, so a client that reads late still sees the cuts.
    """

    step: Step
    every: int = 1
    gap: float = 0.0


Step = (
    Status
    | Wait
    | Send
    | Comment
    | Ping
    | Role
    | Tokens
    | Event
    | ErrorEvent
    | Malformed
    | Finish
    | EndBody
    | Close
    | Reset
    | Hang
    | Split
)
"""One thing a scripted server does."""

Plan = Sequence[Step]
"""All it does in one exchange. An empty plan is a normal answer at the world's pace."""


def checked(plan: object) -> Plan | BaseException:
    """The plan as it is, `None` as an empty one; anything that is no plan raises a `TypeError` that says so."""
    if plan is None:
        return ()
    if isinstance(plan, BaseException):
        return plan
    if isinstance(plan, Sequence) and all(isinstance(step, Step) for step in plan):
        return plan
    raise TypeError(f"a plan is a sequence of steps, such as (Wait(1.0),), not {plan!r}")
