"""Scopes that cost nothing until they are used end what they are around, and nothing else."""

from __future__ import annotations

import asyncio
import gc
from math import inf
from typing import Any
from weakref import ref

import anyio
import pytest
from anyio.lowlevel import checkpoint

from fastclient.engine.clock import running_clock, running_loop
from fastclient.tail.alarms import Moments
from fastclient.tail.stop import stoppable


async def test_a_scope_nobody_uses_lets_everything_through() -> None:
    """What is inside gets on as if there were none, errors included."""
    with stoppable(running_loop(), running_clock()() + 60):
        await checkpoint()
    with pytest.raises(KeyError), stoppable(running_loop()):
        raise KeyError


async def test_it_ends_at_its_moment() -> None:
    """A wait that would last for ever is over, and the task may go on waiting for other things."""
    with stoppable(running_loop(), running_clock()() + 0.01):
        await anyio.sleep(60)
    await checkpoint()


async def test_another_task_ends_it() -> None:
    """Whoever holds the scope may end the wait, once it is over too, when that changes nothing."""
    scope = stoppable(running_loop())

    async def end() -> None:
        await checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        with scope:
            await anyio.sleep(60)
        scope.cancel()
        await checkpoint()


@pytest.mark.parametrize("turns", range(4))
async def test_the_cancellation_of_others_goes_on(turns: int) -> None:
    """A caller who leaves while the scope ends, in whatever turn of the loop, is not held back."""
    passed = False
    with anyio.CancelScope() as outer:
        scope = stoppable(running_loop())

        async def end() -> None:
            for _ in range(turns):
                await checkpoint()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            tasks.start_soon(_after, 2, outer)
            with scope:
                await anyio.sleep(60)
            await anyio.sleep(60)
            passed = True
    assert outer.cancelled_caught
    assert not passed


async def _after(turns: int, scope: anyio.CancelScope) -> None:
    for _ in range(turns):
        await checkpoint()
    scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancellation_in_the_same_turn_goes_on() -> None:
    """Two cancellations that asyncio joins into one are still two."""
    loop = asyncio.get_running_loop()
    scope: Any = None

    async def waiting() -> None:
        nonlocal scope
        scope = stoppable(loop)
        with scope:
            await anyio.sleep(60)

    task = loop.create_task(waiting())
    await asyncio.sleep(0)
    scope.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Moment:
    """Rings once, and remembers when, and in whose name."""

    def __init__(self, when: float) -> None:
        self.when, self.rang = when, False

    def ring(self) -> None:
        self.when, self.rang = inf, True


async def test_one_timer_rings_for_all_in_their_order() -> None:
    """A later moment is not forgotten when an earlier one comes in or rings, and who was removed is not rung for."""
    clock = running_clock()
    alarms = Moments().on(running_loop())
    late, gone, soon = Moment(clock() + 0.04), Moment(clock() + 0.03), Moment(clock() + 0.01)
    for moment in (late, gone, soon):
        alarms.add(moment)
    alarms.remove(gone)
    with anyio.fail_after(5):
        while not late.rang:
            await anyio.sleep(0.005)
            assert soon.rang or not late.rang
    assert soon.rang
    assert not gone.rang


async def test_one_that_fails_harms_no_other() -> None:
    """Ringing goes on behind a failure."""

    class Broken(Moment):
        def ring(self) -> None:
            raise ValueError

    alarms = Moments().on(running_loop())
    broken, other = Broken(running_clock()()), Moment(running_clock()())
    alarms.add(broken)
    alarms.add(other)
    with anyio.fail_after(5):
        while not other.rang:
            await anyio.sleep(0.005)


def test_no_loop_is_kept() -> None:
    """The alarms of a loop that has ended go with it."""
    moments = Moments()

    async def use() -> ref[object]:
        alarms = moments.on(running_loop())
        alarms.add(Moment(running_clock()() + 600))
        return ref(running_loop())

    loop = asyncio.run(use())
    gc.collect()
    assert loop() is None
