"""Which leg answers a request first, the local model or the provider, and whether the other one may follow. Pure.

A token count alone decides wrongly about half of the time: what matters is how soon each leg would answer, and a prompt
whose beginning is in the local model's memory is short whatever its length. So both are predicted, from what was
measured. The first rule that applies decides, and its reason is kept with the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from fastclient.checks import whole

__all__ = ["MODES", "Ask", "Legs", "Mode", "Plan", "Short", "Speed", "plan", "short"]

Mode: TypeAlias = Literal["only-local", "prefer-local", "auto", "prefer-remote", "only-remote"]
"""Which leg is asked first, and whether the other one is there for when it fails."""

MODES: Final[tuple[Mode, ...]] = ("only-local", "prefer-local", "auto", "prefer-remote", "only-remote")
TASKS: Final = frozenset(("classify", "extract", "yesno", "title", "route"))
"""What a caller may call a request (`metadata={"task": ...}`) that a small model is good at."""

_AHEAD: Final = 0.8  # of the provider's time: what the local model has to be predicted to take at most
_QUEUE: Final = 0.25  # seconds: a longer queue at the local model is not joined by choice
_SAMPLES: Final = 8.0  # how many a running mean goes by


@dataclass(frozen=True, slots=True, kw_only=True)
class Short:
    """Which requests a small model may be asked by choice. Tokens it has in memory already do not count."""

    max_input_tokens: int = 256
    max_output_tokens: int = 64

    def __post_init__(self) -> None:
        whole("short.max_input_tokens", self.max_input_tokens)
        whole("short.max_output_tokens", self.max_output_tokens)


def short(max_input_tokens: int = 256, max_output_tokens: int = 64) -> Short:
    """Requests of at most so many new tokens that ask for at most so many; one that sets no limit is not short."""
    return Short(max_input_tokens=max_input_tokens, max_output_tokens=max_output_tokens)


class Speed:
    """Running means of what one leg takes: seconds to its first token, and tokens per second from there on."""

    __slots__ = ("_samples", "first", "rate")

    def __init__(self, first: float = 0.0, rate: float = 0.0) -> None:
        self.first = first
        self.rate = rate
        self._samples = 0

    def add(self, first: float, rate: float | None) -> None:
        """One answer more."""
        self._samples += 1
        part = 1 / min(_SAMPLES, self._samples)
        self.first += part * (first - self.first)
        if rate is not None:
            self.rate += (part if self.rate else 1.0) * (rate - self.rate)

    def predicted(self, output: int) -> float | None:
        """Seconds an answer of so many tokens takes; None before the first one."""
        return self.first + output / self.rate if self._samples and self.rate > 0 else None


class Ask(NamedTuple):
    """A request, as far as routing goes. `unable` says why the local model cannot take it."""

    tokens: int
    cached: int = 0
    output: int | None = None
    task: str | None = None
    unable: str | None = None
    stays: Literal["local", "remote"] | None = None


class Legs(NamedTuple):
    """How the two legs stand: predicted seconds for this request (None: unknown), the local queue, what is out."""

    local: float | None = None
    remote: float | None = None
    queue: float = 0.0
    broken: bool = False
    offline: bool = False


class Plan(NamedTuple):
    """Who is asked first; whether the other leg follows if that fails; whether the answer has to pass the gate."""

    first: Literal["local", "remote", "nobody"]
    then: bool
    gate: bool
    reason: str


def plan(mode: Mode, when: Short, ask: Ask, legs: Legs) -> Plan:
    """Decide. Takes a microsecond or two."""
    able = ask.unable is None
    if legs.offline:
        if mode == "only-remote" or not able:
            return Plan("nobody", False, False, ask.unable or "offline, and only the provider may be asked")
        return Plan("local", False, False, "offline")
    if mode == "only-local":
        return Plan("local" if able else "nobody", False, False, ask.unable or "only local")
    if mode == "only-remote" or not able:
        return Plan("remote", False, False, ask.unable or "only remote")
    if legs.broken:
        return Plan("local", True, False, "the provider is broken")
    if mode == "prefer-remote":
        return Plan("remote", True, False, "remote preferred")
    if ask.stays is not None:
        return Plan(ask.stays, True, False, "the conversation stays")
    if ask.output is None or ask.output > when.max_output_tokens or ask.tokens - ask.cached > when.max_input_tokens:
        return Plan("remote", True, False, "not short")
    if mode == "prefer-local":
        return Plan("local", True, True, "local preferred")
    return _faster(ask, legs)


def _faster(ask: Ask, legs: Legs) -> Plan:
    """The leg that is predicted to answer sooner; the provider in doubt."""
    if ask.task is not None and ask.task not in TASKS:
        return Plan("remote", True, False, "not a task for a small model")
    if legs.queue > _QUEUE:
        return Plan("remote", True, False, "the local queue is long")
    if legs.local is None or legs.remote is None:
        return Plan("remote", True, False, "nothing was measured yet")
    if legs.local <= _AHEAD * legs.remote:
        return Plan("local", True, True, "predicted faster")
    return Plan("remote", True, False, "predicted slower")
