"""One step of the engine: a token for each answer whose turn it is, and a piece of the prompts that are being read."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from fastclient.errors import LocalUnavailable
from fastclient.local.batching import Batching, turn
from fastclient.local.context import Context
from fastclient.local.speed import Speed
from fastclient.local.work import Work

__all__ = ["Stepper"]

_TELLING = 16  # prompt tokens from which on a step says how fast they are read


class _Part(NamedTuple):
    """What a step reads of one request. `at` is where its logits will be; -1 if its prompt goes on."""

    work: Work
    tokens: int
    at: int


class Stepper:
    """Takes steps in one context, and learns what they cost."""

    def __init__(self, context: Context, batching: Batching, speed: Speed) -> None:
        self._context = context
        self._batching = batching
        self._speed = speed
        self._steps = 0

    def step(self, active: Sequence[Work]) -> list[Work]:
        """One step for these requests, in the order they got their slots. Returns those that are over."""
        writing = [work for work in active if work.next >= 0]
        if len(writing) < len(active):  # the batch is large anyway: all write on
            return self._read(writing, [work for work in active if work.next < 0])
        chosen = writing
        if len(writing) > 1:
            chosen = turn(writing, self._batching.size(len(writing)), self._steps)
            self._steps += 1
        began = monotonic()
        self._context.begin()
        parts = [self._writing(work) for work in chosen]
        over = self._alone(parts) if self._context.run() else self._taken(parts)
        seconds = monotonic() - began
        self._batching.took(len(chosen), seconds)
        self._speed.write.add(seconds * len(writing) / len(chosen))
        return over

    def _read(self, writing: Sequence[Work], reading: Sequence[Work]) -> list[Work]:
        """One step in which prompts are read, as much of them as has room beside the answers."""
        for work in writing:
            work.flush()
        began = monotonic()
        self._context.begin()
        parts = [self._writing(work) for work in writing]
        room = self._context.batch - len(parts)
        tokens = 0
        for work in reading:
            if room > 0:
                parts.append(self._reading(work, room))
                room -= parts[-1].tokens
                tokens += parts[-1].tokens
        over = self._alone(parts) if self._context.run() else self._taken(parts)
        if tokens >= _TELLING or not self._speed.read.count:
            self._speed.read.add((monotonic() - began) / tokens)
        return over

    def _writing(self, work: Work) -> _Part:
        slot = work.slot
        assert slot is not None  # noqa: S101  # whoever writes has one
        return _Part(work, 1, self._context.token(slot.number, work.next, len(slot.held)))

    def _reading(self, work: Work, room: int) -> _Part:
        slot, prompt = work.slot, work.prompt
        assert slot is not None and prompt is not None  # noqa: S101
        begin = len(slot.held)
        tokens = prompt[begin : begin + room]
        last = begin + len(tokens) == len(prompt)
        at = self._context.prompt(slot.number, tokens, begin, last=last)
        return _Part(work, len(tokens), at if last else -1)

    def _taken(self, parts: Sequence[_Part]) -> list[Work]:
        """The step worked: note what was read, and choose what comes next."""
        over = []
        for work, tokens, at in parts:
            slot = work.slot
            assert slot is not None and work.chooser is not None  # noqa: S101
            if work.next >= 0:
                slot.held.append(work.next)
            elif work.prompt is not None:
                slot.held.extend(work.prompt[len(slot.held) : len(slot.held) + tokens])
            if at < 0:
                continue
            try:
                goes_on = work.wrote(*work.chooser.choose(at))
            except Exception as error:
                work.failed(error)
                goes_on = False
            if not goes_on:
                over.append(work)
        return over

    def _alone(self, parts: Sequence[_Part]) -> list[Work]:
        """The step failed: take it again for each request by itself, so that only those end that it fails for."""
        over = []
        for part in parts:
            work, slot = part.work, part.work.slot
            assert slot is not None  # noqa: S101
            code = -1
            if self._context.cut(slot.number, len(slot.held)):
                self._context.begin()
                again = self._writing(work) if work.next >= 0 else self._reading(work, part.tokens)
                code = self._context.run()
                if not code:
                    over += self._taken([again])
                    continue
            self._context.cut(slot.number, 0)
            del slot.held[:]
            work.failed(LocalUnavailable(f"llama.cpp could not take a step (code {code})"))
            over.append(work)
        return over
