"""One request in the engine: its prompt, the slot it has, and the text that its tokens become."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from fastclient.errors import FastClientError, LocalUnavailable, PromptTooLong, StreamCut
from fastclient.local.ask import Ask
from fastclient.local.port import Begun, Ended, Piece, Sink
from fastclient.local.slots import Slot
from fastclient.local.text import Characters, Stops

if TYPE_CHECKING:
    from fastclient.local.sampling import Chooser

__all__ = ["Work"]


class Work:
    """A request from its arrival to its end. All but `cancel` happens on the engine's thread."""

    __slots__ = (
        *("_characters", "_left", "_piece", "_sink", "_stops", "_wake", "arrived", "ask", "begun", "cancelled"),
        *("chooser", "first", "next", "prompt", "slot", "told", "written"),
    )

    def __init__(self, ask: Ask | None, sink: Sink, wake: Callable[[], None]) -> None:
        self.ask = ask
        self._sink = sink
        self._wake = wake
        self.cancelled = False
        self.arrived = monotonic()
        self.begun = self.first = 0.0
        self.prompt: array[int] | None = None
        self.slot: Slot | None = None
        self.chooser: Chooser | None = None
        self.next = -1  # the token to be read next, once the prompt is
        self.written = 0
        self.told = False  # text has gone out
        self._left = 0
        self._characters = Characters()
        self._stops = Stops(ask.stops if ask else ())
        self._piece: Callable[[int], bytes | None] = _nothing

    def cancel(self) -> None:
        self.cancelled = True
        self._wake()

    def fits(self, prompt: array[int], limit: int, piece: Callable[[int], bytes | None]) -> None:
        """The prompt as tokens, in a slot of so many. Raises PromptTooLong."""
        if not prompt:
            raise LocalUnavailable("the model's chat template makes an empty prompt of these messages")
        room = limit - len(prompt)
        if room < 1:
            error = PromptTooLong(f"the prompt has {len(prompt)} tokens, and a slot of the local model {limit}")
            error.needed, error.limit = len(prompt) + 1, limit
            raise error
        wanted = self.ask.limit if self.ask else None
        self._left = room if wanted is None else min(room, wanted)
        self.prompt, self._piece = prompt, piece

    @property
    def left(self) -> int:
        """How many tokens may still be written."""
        return self._left

    def placed(self, slot: Slot, kept: int, chooser: Chooser) -> None:
        """It has a slot now."""
        self.slot, self.chooser, self.begun = slot, chooser, monotonic()
        size = len(self.prompt or ())
        self._sink.put(Begun(self.begun - self.arrived, size, kept))

    def wrote(self, token: int, logprob: float | None) -> bool:
        """The next token was chosen. Returns whether the answer goes on."""
        if not self.written:
            self.first = monotonic()
        self.written += 1
        self._left -= 1
        piece = self._piece(token)
        if piece is None:
            self.ended("stop")
            return False
        text, hit = self._stops.feed(self._characters.feed(piece))
        if logprob is not None:
            self._sink.put(Piece(text, piece, logprob))
        elif text:
            self._sink.put(text)
        self.told = self.told or bool(text)
        if hit:
            self._put_end("stop")
            return False
        if self._left < 1:
            self.ended("length")
            return False
        self.next = token
        return True

    def ended(self, reason: str) -> None:
        """The model ended the answer, or it is long enough: what was held back is part of it."""
        text, hit = self._stops.feed(self._characters.end())
        if not hit:
            text += self._stops.end()
        if text:
            self._sink.put(text)
        self._put_end("stop" if hit else reason)

    def _put_end(self, reason: str) -> None:
        self._sink.put(Ended(reason, self.written, max(0.0, self.first - self.begun)))

    def failed(self, error: Exception) -> None:
        """It cannot be answered, or not to its end."""
        if self.told and not isinstance(error, StreamCut):
            cut = StreamCut("the local model broke the answer off")
            cut.__cause__ = error
            error = cut
        elif not isinstance(error, FastClientError):
            wrapped = LocalUnavailable(f"the local engine failed with {type(error).__name__}")
            wrapped.__cause__ = error
            error = wrapped
        self._sink.put(error)

    def flush(self) -> None:
        """The next token may take a while."""
        self._sink.flush()

    def done(self) -> None:
        """There was nothing to be answered."""
        self._sink.put(Ended("stop", 0, 0.0))

    def free(self) -> None:
        """Let go of native memory."""
        if self.chooser is not None:
            self.chooser.free()
            self.chooser = None


def _nothing(_: int) -> bytes | None:
    return None
