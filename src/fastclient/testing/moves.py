"""The moves of one exchange: what a server does, without doing it. Whoever plays them sleeps and writes.

The socket server and the in-process fake play the same moves, so that a fault means the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fastclient.testing.answer import Answer, ServerRequest
from fastclient.testing.formats import Dialect, Events, tokens_in
from fastclient.testing.worlds import Pace

__all__ = ["JSON", "SSE", "Cut", "Data", "End", "Head", "Move", "Pause", "Raise", "Scene", "fixed", "normal", "visible"]

JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class Head(NamedTuple):
    """Status line and headers; without a `length` the body is chunked."""

    status: int
    headers: Mapping[str, str]
    length: int | None = None


class Data(NamedTuple):
    """Events of the body, and how many content tokens they carry."""

    events: Events
    tokens: int = 0


class Cut(NamedTuple):
    """Body bytes to send in segments of `every` bytes, `gap` seconds apart."""

    data: bytes
    tokens: int
    every: int
    gap: float


class Pause(NamedTuple):
    """Seconds to wait."""

    seconds: float


class End(NamedTuple):
    """How the exchange ends."""

    how: Literal["clean", "close", "reset", "hang"] = "clean"


class Raise(NamedTuple):
    """The fake raises this error where a connection would have failed; a socket server resets the connection."""

    error: BaseException


Move = Head | Data | Cut | Pause | End | Raise


@dataclass(frozen=True, slots=True)
class Scene:
    """All that decides one exchange."""

    dialect: Dialect
    request: ServerRequest
    answer: Answer
    headers: Mapping[str, str]
    pace: Pace = Pace()
    flush_headers: bool = False


def fixed(status: int, body: bytes, headers: Mapping[str, str]) -> Iterator[Move]:
    """One JSON body of known length."""
    yield Head(status, {**JSON, **headers}, len(body))
    if body:
        yield Data((body,))
    yield End()


def normal(scene: Scene) -> Iterator[Move]:
    """The answer as it should be, at the world's pace."""
    if not scene.request.stream:
        body = scene.dialect.whole(scene.answer, scene.request)
        yield Pause(scene.pace.total)
        yield Head(200, {**JSON, **scene.headers}, len(body))
        yield Data((body,), tokens_in(scene.answer))
        yield End()
        return
    parts = scene.dialect.parts(scene.answer, scene.request)
    opening = (Head(200, {**SSE, **scene.headers}), Data(parts.opening))
    wait = Pause(scene.pace.first_token)
    yield from (*opening, wait) if scene.flush_headers else (wait, *opening)
    yield from _paced(parts.tokens, scene.pace.gaps)
    yield Data(parts.ending)
    yield End()


def visible(moves: Iterator[Move]) -> Iterator[Move]:
    """The same moves, where tokens of something that is only written whole leave with it."""
    unseen = 0
    for move in moves:
        if isinstance(move, Data | Cut):
            if not (move.events if isinstance(move, Data) else move.data):
                unseen += move.tokens
                continue
            if unseen:
                move, unseen = move._replace(tokens=move.tokens + unseen), 0
        yield move


def _paced(tokens: tuple[Events, ...], gaps: tuple[float, ...]) -> Iterator[Move]:
    if not gaps:
        yield Data(tuple(event for token in tokens for event in token), len(tokens))
        return
    for at, events in enumerate(tokens):
        if at:
            yield Pause(gaps[min(at, len(gaps)) - 1])
        yield Data(events, 1)
