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

    __slots__ = ("_answered", "_began", "_deadline", "_limits", "_pinged", "_start", "_waited", "_why", "thinking")

    def __init__(self, timeouts: Timeouts, *, start: float, deadline: float, thinking: bool = False) -> None:
        self._limits = timeouts
        self._start = start
        self._deadline = deadline
        self._answered = False  # headers are in
        self._began = False  # content came
        self._pinged = False  # this server sends keep-alives
        self._waited = 0.0  # waiting since the last content
        self._why = "deadline"
        self.thinking = thinking

    def limit(self, now: float) -> float:
        """When to give up a wait that starts now."""
        limits = self._limits
        if self._began:
            patience = limits.thinking if self.thinking else limits.progress
            when, self._why = now + patience - self._waited, "progress"
        else:
            patience = max(limits.first_token, limits.thinking) if self.thinking else limits.first_token
            when, self._why = self._start + patience, "first_token"
        # A model that thinks without pinging is silent by nature: the byte watch needs a ping to go by.
        if self._answered and (self._pinged or not self.thinking) and now + limits.liveness < when:
            when, self._why = now + limits.liveness, "liveness"
        if self._deadline < when:
            when, self._why = self._deadline, "deadline"
        return when

    def answered(self) -> None:
        """The response headers came."""
        self._answered = True

    def heard(self, waited: float, *, content: bool, ping: bool) -> None:
        """Bytes came after `waited` seconds: content, a keep-alive without meaning, or something in between."""
        if content:
            self._began, self._waited = True, 0.0
        else:
            self._waited += waited
        self._pinged = self._pinged or ping

    def error(self, phase: str, *, partial_text: str = "", tokens: int = 0) -> DeadlineExceeded:
        """The error for the wait that `limit` was last asked about."""
        limits = self._limits
        if self._why == "deadline":
            return DeadlineExceeded(
                f"the call's deadline passed while waiting for {phase}",
                phase=phase,
                partial_text=partial_text,
                tokens=tokens,
            )
        silence = f"no byte for {limits.liveness:g} s" if self._why == "liveness" else None
        if not self._began:
            patience = max(limits.first_token, limits.thinking) if self.thinking else limits.first_token
            return FirstTokenTimeout(silence or f"no content within {patience:g} s", phase=phase)
        patience = limits.thinking if self.thinking else limits.progress
        return StreamStalled(
            silence or f"no content for {patience:g} s", phase=phase, partial_text=partial_text, tokens=tokens
        )
