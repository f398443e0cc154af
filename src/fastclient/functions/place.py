"""Where the steps of one run happen: on the spot, on the thread of whoever asks, or on a thread of its own."""

from __future__ import annotations

from math import inf
from typing import Protocol

import anyio

from fastclient.engine.errand import Hands
from fastclient.engine.lane import Lane, Strays
from fastclient.functions.job import Bound
from fastclient.functions.parcel import Parcel

__all__ = ["ByCallers", "Here", "OnLane", "OnSpot", "Place"]

_CLOSE = 5.0  # seconds an asynchronous generator may take to close when it is cancelled


class Place(Protocol):
    """Takes the steps of one run, and in the end lets go of it."""

    async def step(self, number: int) -> Parcel | None:
        """The item before which so many came; None at the end."""
        ...

    async def close(self) -> None:
        """Nothing more is wanted. May be called again."""
        ...


class OnSpot:
    """In the caller's own task, for what can be awaited."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound

    async def step(self, number: int) -> Parcel | None:  # noqa: ARG002
        return await self._bound.astep()

    async def close(self) -> None:
        if anyio.current_effective_deadline() > -inf:
            await self._bound.aclose()
        else:  # cancelled: its clean-up may still wait for something
            with anyio.move_on_after(_CLOSE, shield=True):
                await self._bound.aclose()


class Here:
    """On the thread this runs on, for plain functions where nothing has to be waited for."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound

    async def step(self, number: int) -> Parcel | None:  # noqa: ARG002
        return self._bound.step()

    async def close(self) -> None:
        self._bound.close()


class ByCallers:
    """On the thread of a caller who waits for the answer, whoever asks first."""

    def __init__(self, bound: Bound, hands: Hands, strays: Strays) -> None:
        self._bound = bound
        self._hands = hands
        self._strays = strays

    async def step(self, number: int) -> Parcel | None:
        return await self._hands.do(self._bound.step, number, again=self._bound.job.kind == "plain")

    async def close(self) -> None:
        if self._bound.begun:
            left = await self._hands.close(self._bound.close)
            if left is not None:
                Lane(self._strays).leave(left.run)


class OnLane:
    """On a thread of its own, which can be left: for races, and for what no caller waits for."""

    def __init__(self, bound: Bound, hands: Hands, strays: Strays) -> None:
        self._bound = bound
        self._hands = hands
        self._lane = Lane(strays)
        self._open = True

    async def step(self, number: int) -> Parcel | None:
        if number and self._hands:
            await self._hands.do(_asked, number)
        return await self._lane.do(self._bound.guarded)

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._lane.leave(self._bound.close)


def _asked() -> None:
    """Somebody wants the next item."""
