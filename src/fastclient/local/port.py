"""What an engine and whoever asks it have to do with each other. Which thread or process it runs in is behind this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fastclient.local.ask import Ask
from fastclient.local.speed import LocalState, Prediction

__all__ = ["Begun", "Ended", "Host", "Job", "Piece", "Sink"]


class Begun(NamedTuple):
    """A slot was given: so long it took, and the prompt has so many tokens, of which so many were there already."""

    waited: float
    prompt: int
    cached: int


class Piece(NamedTuple):
    """A piece of the answer; with probabilities asked for also its token's bytes and their log probability."""

    text: str
    raw: bytes = b""
    logprob: float | None = None


class Ended(NamedTuple):
    """The answer is whole. `prefill` is the seconds from the slot to the first token."""

    reason: str
    written: int
    prefill: float


class Sink(Protocol):
    """Takes what comes of a request, in order, on the engine's thread: it may not wait, nor raise."""

    def put(self, item: Begun | str | Piece | Ended | Exception) -> None: ...

    def flush(self) -> None:
        """It may be long until something comes again: whoever was not told of the last piece yet is to be told now."""
        ...


class Job(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """Nobody waits for it any more. Any thread, any number of times."""
        ...


class Host(Protocol):
    """Something that answers requests, one process's or another's. May be called from any thread."""

    def submit(self, ask: Ask | None, sink: Sink) -> Job:
        """Have a request answered; None only loads the model. Raises LocalUnavailable if it is not even taken."""
        ...

    def state(self) -> LocalState: ...

    def predict(self, texts: Sequence[str], limit: int | None) -> Prediction | None: ...

    def close(self, *, wait: bool) -> None:
        """End it. With `wait`, returns once the memory is given back."""
        ...
