"""From a plan to the moves of one exchange: the answer as the script spoils it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fastclient.testing.answer import Answer, invented, tokens_of
from fastclient.testing.formats import tokens_in
from fastclient.testing.moves import JSON, SSE, Cut, Data, End, Head, Move, Pause, Scene
from fastclient.testing.script import (
    Close,
    Comment,
    EndBody,
    ErrorEvent,
    Event,
    Finish,
    Hang,
    Malformed,
    Ping,
    Plan,
    Reset,
    Role,
    Send,
    Split,
    Status,
    Step,
    Tokens,
    Wait,
)

__all__ = ["scripted"]


def scripted(scene: Scene, plan: Plan) -> Iterator[Move]:
    """The answer as the plan spoils it."""
    yield from _Playing(scene, plan).moves(plan)


class _Playing:
    """Where a plan stands: what was sent of the headers, the opening and the tokens."""

    def __init__(self, scene: Scene, plan: Plan) -> None:
        self._scene = scene
        self._answer = _answer_for(plan, scene.answer)
        self._parts = scene.dialect.parts(self._answer, scene.request)
        self._status = Status(200)
        self._headed = self._opened = self._ended = False
        self._sent = 0

    def moves(self, plan: Plan) -> Iterator[Move]:
        for at, step in enumerate(plan):
            last = at == len(plan) - 1
            yield from self._status_line(step, last=last) if isinstance(step, Status) else self._step(step)
            if self._ended:
                return
        yield from self._finish(Finish())

    def _step(self, step: Step) -> Iterator[Move]:
        match step:
            case Wait(seconds):
                yield Pause(seconds)
            case Send(data) | Event(data):
                yield from self._data(data)
            case Comment(text):
                yield from self._data(f": {text}\n\n".encode() if self._streams else b"\n")
            case Ping():
                yield from self._data(self._scene.dialect.ping(self._events) if self._streams else b"\n")
            case Role():
                yield from self._open()
            case Tokens(what, gap):
                yield from self._tokens(what if isinstance(what, int) else len(tokens_of(what)), gap)
            case Malformed():
                yield from self._data(self._scene.dialect.malformed)
            case ErrorEvent(kind, message):
                yield from self._error(kind, message)
            case Split():
                yield from self._split(step)
            case Finish():
                yield from self._finish(step)
            case _:
                yield from self._end(step)

    @property
    def _streams(self) -> bool:
        return self._scene.request.stream and self._status.code < 400

    @property
    def _events(self) -> int:
        """How many events of the answer were sent."""
        tokens = sum(map(len, self._parts.tokens[: self._sent]))
        return tokens + len(self._parts.opening) * self._opened

    def _status_line(self, status: Status, *, last: bool) -> Iterator[Move]:
        self._status = status
        if status.body is not None:
            yield from self._body(status.body)
        elif not last or (status.code < 400 and self._streams):
            yield self._head(None)

    def _head(self, length: int | None) -> Head:
        self._headed = True
        usual = SSE if self._streams else JSON
        return Head(self._status.code, {**usual, **self._scene.headers, **self._status.headers}, length)

    def _body(self, body: bytes, tokens: int = 0) -> Iterator[Move]:
        """The whole body (or what is left of it), and the end."""
        if not self._headed:
            yield self._head(len(body))
        if body:
            yield Data((body,), tokens)
        yield from self._end(EndBody())

    def _data(self, *events: bytes, tokens: int = 0) -> Iterator[Move]:
        if not self._headed:
            yield self._head(None)
        yield Data(events, tokens)

    def _open(self) -> Iterator[Move]:
        if self._streams and not self._opened:
            self._opened = True
            yield from self._data(*self._parts.opening)

    def _tokens(self, count: int, gap: float) -> Iterator[Move]:
        if not self._streams:
            return
        yield from self._open()
        tokens = self._parts.tokens[self._sent : self._sent + count]
        if not gap and tokens:
            self._sent += len(tokens)
            yield from self._data(*(event for token in tokens for event in token), tokens=len(tokens))
            return
        for at, token in enumerate(tokens):
            if at:
                yield Pause(gap)
            self._sent += 1
            yield from self._data(*token, tokens=1)

    def _error(self, kind: str, message: str) -> Iterator[Move]:
        if self._streams:
            error = self._scene.dialect.error_event(kind, message, self._scene.request, self._events)
            yield from self._data(error)
        else:
            yield from self._body(self._scene.dialect.error(self._status.code, kind, message))

    def _finish(self, finish: Finish) -> Iterator[Move]:
        scene, status = self._scene, self._status
        if status.code >= 400:
            yield from self._body(scene.dialect.error(status.code, status.kind, status.message))
        elif not scene.request.stream:
            yield from self._body(scene.dialect.whole(self._answer, scene.request), tokens_in(self._answer))
        else:
            yield from self._tokens(len(self._parts.tokens), finish.gap)
            yield from self._data(*self._parts.ending)
            yield from self._end(EndBody())

    def _split(self, split: Split) -> Iterator[Move]:
        step = split.step
        for move in self._status_line(step, last=False) if isinstance(step, Status) else self._step(step):
            if isinstance(move, Data):
                yield Cut(b"".join(move.events), move.tokens, split.every, split.gap)
            else:
                yield move

    def _end(self, step: Step) -> Iterator[Move]:
        self._ended = True
        match step:
            case Reset():
                yield End("reset")
            case Close():
                yield End("close")
            case Hang():
                yield End("hang")
            case _:
                if not self._headed:
                    yield self._head(0)
                yield End()


def _answer_for(plan: Plan, answer: Answer) -> Answer:
    """The answer with the plan's own texts in place of its text, and long enough for the tokens the plan wants."""
    steps = [step.step if isinstance(step, Split) else step for step in plan]
    wanted = [step.what for step in steps if isinstance(step, Tokens)]
    if texts := [what for what in wanted if isinstance(what, str)]:
        pieces = tuple(piece for text in texts for piece in tokens_of(text))
        answer = replace(answer, text="".join(texts), pieces=pieces, reasoning="")
    missing = sum(what for what in wanted if isinstance(what, int)) - tokens_in(answer)
    if missing > 0 and not texts:
        more = invented("more", missing)
        answer = replace(answer, text=answer.whole_text + more, pieces=answer.deltas + tokens_of(more))
    return answer
