"""How long to wait for the next bytes of an answer, and what it means when they do not come. Pure.

Two watches run at once, because either alone is wrong: pings keep a byte watch happy for ever while the model is
stuck, and a content watch kills models that think for minutes and say so by pinging. Only waiting for the network
counts, so a slow consumer trips neither.
"""

from __future__ import annotations

from fastclient.config import Timeouts
from fastclient.errors import DeadlineExceeded, FirstTokenTimeout, StreamStalled

__all__ = ["Watchdog"]


class Watchdog:
    """The limits of one attempt that started at `start`, under a call deadline; all times on the call's clock."""

    __slots__ = (
        *("_answered", "_began", "_deadline", "_first_token", "_limits", "_pinged", "_start", "_waited"),
        "thinking",
    )

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        start: float,
        deadline: float,
        thinking: bool = False,
        first_token: float | None = None,  # if another limit than the configured one was learned
    ) -> None:
        self._limits = timeouts
        self._first_token = timeouts.first_token if first_token is None else first_token
        self._start = start
        self._deadline = deadline
        self._answered = False  # headers are in
        self._began = False  # content came
        self._pinged = False  # this server is in the habit of sending keep-alives
        self._waited = 0.0  # waiting since the last content
        self.thinking = thinking

    @property
    def _patience(self) -> float:
        """Seconds without content that are all right now."""
        limits = self._limits
        usual = limits.progress if self._began else self._first_token
        return max(usual, limits.thinking) if self.thinking else usual

    def limit(self, now: float) -> tuple[float, str]:
        """When to give up a wait that starts now, and what it then ran into."""
        limits = self._limits
        if self._began:
            since, patience = now - self._waited, limits.progress
        else:
            since, patience = self._start, self._first_token
        if self.thinking and limits.thinking > patience:
            patience = limits.thinking
        when, cause = since + patience, "content"
        if self._deadline < when:
            when, cause = self._deadline, "deadline"
        # A model that thinks without pinging is silent by nature: the byte watch needs a ping to go by.
        if self._answered and (self._pinged or not self.thinking) and now + limits.liveness < when:
            when, cause = now + limits.liveness, "liveness"
        return when, cause

    def answered(self) -> None:
        """The response headers came."""
        self._answered = True

    def heard(self, now: float, waited: float, *, content: bool, pings: int, thinking: bool) -> None:
        """Bytes came after `waited` seconds, with content or without; `pings` is how many keep-alives came so far."""
        self._waited += waited
        if content or (self.thinking and not thinking):  # the end of a thought is progress too
            self._start, self._waited = now, 0.0
        self._began = self._began or content
        self._pinged = pings > 1  # one belongs to the opening at Anthropic
        self.thinking = thinking

    def error(self, cause: str, phase: str) -> DeadlineExceeded:
        """The error for a wait that ran into a limit."""
        if cause == "deadline":
            return DeadlineExceeded(f"the call's deadline passed while waiting for {phase}", phase=phase)
        kind = StreamStalled if self._began else FirstTokenTimeout
        if cause == "liveness":
            return kind(f"no byte for {self._limits.liveness:g} s", phase=phase)
        return kind(f"no content {'for' if self._began else 'within'} {self._patience:g} s", phase=phase)
