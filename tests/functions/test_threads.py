"""Plain functions and generators stay on their caller's thread, and nothing waits for itself."""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import fastclient as fc
from fastclient.decorators import stats_of
from fastclient.engine.seam import engine

STAYING = {
    "cached": fc.cached,
    "retried": fc.retried,
    "shared": fc.shared,
    "timed": fc.timed,
    "fallback": fc.fallback(lambda: threading.current_thread()),
    "limited": fc.limited(concurrency=1),
    "accelerate": fc.accelerate(fc.Policy(cache=fc.Cache(), limits=fc.Limits(concurrency=1))),
}
staying = pytest.mark.parametrize("decorate", STAYING.values(), ids=STAYING)


@staying
def test_a_plain_function_runs_on_its_callers_thread(decorate: Callable[[Any], Any]) -> None:
    """Thread-locals and connections that belong to a thread go on working."""
    seen: list[threading.Thread] = []
    function = decorate(lambda: seen.append(threading.current_thread()))
    function()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: (threading.current_thread(), decorate(lambda: seen.append(me()))())).result()[0]
    assert seen == [me(), other]


def me() -> threading.Thread:
    return threading.current_thread()


@staying
def test_a_generator_advances_only_when_asked(decorate: Callable[[Any], Any]) -> None:
    """Its steps happen on the consumer's thread, one for each item that is asked for."""
    steps: list[tuple[int, threading.Thread]] = []

    def numbers() -> Iterator[int]:
        for number in range(3):
            steps.append((number, me()))
            yield number

    if decorate is STAYING["fallback"]:
        decorate = fc.fallback(numbers)
    items = decorate(numbers)()
    assert steps == []
    for number in range(3):
        assert next(items) == number
        time.sleep(0.01)  # whoever reads ahead has the time
        assert steps == [(each, me()) for each in range(number + 1)]
    assert list(items) == []


@pytest.mark.parametrize("decorate", [*STAYING.values(), fc.hedged], ids=[*STAYING, "hedged"])
def test_leaving_a_loop_closes_the_generator(decorate: Callable[[Any], Any]) -> None:
    """Its clean-up runs before the next line does, on the thread it ran on."""
    closed: list[threading.Thread] = []
    ran: list[threading.Thread] = []
    done = threading.Event()

    def endless() -> Iterator[int]:
        try:
            ran.append(me())
            while True:
                yield 1
        finally:
            closed.append(me())
            done.set()

    if decorate is STAYING["fallback"]:
        decorate = fc.fallback(endless)
    for _ in decorate(endless)():
        break
    if decorate is fc.hedged:
        assert done.wait(5)
    assert closed == ran


def test_one_thread_may_read_a_shared_generator_twice() -> None:
    """Whoever asks next advances it, so a reader who waits for the other's item does not wait for ever."""

    @fc.shared
    def numbers() -> Iterator[int]:
        yield from range(3)

    first, second = numbers(), numbers()
    assert next(first) == 0
    assert list(second) == [0, 1, 2]
    assert list(first) == [1, 2]


def test_a_second_reader_does_not_advance_what_is_there_already() -> None:
    """Who reads what came before asks for nothing new."""
    steps: list[int] = []

    @fc.shared
    def numbers() -> Iterator[int]:
        for number in range(3):
            steps.append(number)
            yield number

    first, second = numbers(), numbers()
    assert (next(first), next(first)) == (0, 1)
    assert (next(second), next(second)) == (0, 1)
    assert steps == [0, 1]
    assert (next(second), next(first)) == (2, 2)


def test_a_racing_generator_advances_only_when_asked() -> None:
    """Also on a thread of ours, all of its steps on one."""
    steps: list[threading.Thread] = []

    @fc.hedged
    def numbers() -> Iterator[int]:
        for number in range(3):
            steps.append(me())
            yield number

    items = numbers()
    for number in range(3):
        assert next(items) == number
        time.sleep(0.01)
        assert len(steps) == number + 1
    assert len(set(steps)) == 1
    assert steps[0] is not me()


def test_the_others_go_on_when_the_first_reader_leaves() -> None:
    """A shared generator belongs to all who read it."""
    runs: list[int] = []

    @fc.shared
    def numbers() -> Iterator[int]:
        runs.append(1)
        yield from range(3)

    first, second = numbers(), numbers()
    assert (next(first), next(second)) == (0, 0)
    first.close()
    assert list(second) == [1, 2]
    assert runs == [1]


@staying
def test_decorated_functions_may_call_each_other(decorate: Callable[[Any], Any]) -> None:
    """A call inside of a call gets through, also with the only permit taken and with the same arguments."""
    if decorate is STAYING["fallback"]:
        decorate = fc.fallback(lambda depth: depth)
    tries: list[int] = []

    @decorate
    def again(depth: int) -> int:
        return 0 if depth == 0 else 1 + again(depth - 1)

    @decorate
    def itself(depth: int) -> int:
        tries.append(depth)
        return len(tries) if len(tries) == 3 else itself(depth)

    assert (again(5), itself(1)) == (5, 3)


def test_hedged_functions_may_call_each_other_from_many_threads() -> None:
    """There is always a thread for the inner one."""

    @fc.hedged
    def inner(number: int) -> int:
        return number + 1

    @fc.hedged
    def outer(number: int) -> int:
        return inner(number) + 1

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(outer, range(50))) == [number + 2 for number in range(50)]


def test_a_hedged_function_sees_its_callers_context() -> None:
    """Context variables are copied to the thread of ours that it runs on."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    assert fc.hedged(variable.get)() == "set"
    assert fc.hedged(lambda: variable.set("inside") and me())() is not me()
    assert variable.get() == "set"


def test_a_function_may_set_its_callers_context() -> None:
    """On the caller's own thread nothing is copied: what it sets stays set, as without the decorator."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    fc.retried(lambda: variable.set("set") and None)()
    assert variable.get() == "set"


@pytest.mark.skipif(sys.platform == "win32", reason="raises a signal")
@pytest.mark.parametrize("decorate", [*STAYING.values(), fc.hedged], ids=[*STAYING, "hedged"])
def test_ctrl_c_reaches_the_user(decorate: Callable[[Any], Any]) -> None:
    """An interrupt ends the call at once, wherever it is, and the next call works."""
    release = threading.Event()
    calls: list[int] = []

    def patient() -> int:
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT) if me() is threading.main_thread() else os.kill(
                os.getpid(), signal.SIGINT
            )
            release.wait(20)
        return 5

    if decorate is STAYING["fallback"]:
        decorate = fc.fallback(patient)
    function = decorate(patient)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        function()
    assert time.monotonic() - started < 10
    release.set()
    assert function() == 5


def test_an_interrupted_leader_leaves_the_others_their_answer() -> None:
    """Who waits for the same answer gets it from a run of his own."""
    runs: list[threading.Thread] = []
    begun, joined = threading.Event(), threading.Event()

    @fc.shared
    def value() -> int:
        runs.append(me())
        begun.set()
        assert joined.wait(10)
        if len(runs) == 1:
            raise KeyboardInterrupt
        return 5

    def lead() -> type[BaseException] | None:
        try:
            value()
        except KeyboardInterrupt as error:
            return type(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lead)
        assert begun.wait(10)
        second = pool.submit(value)
        until = time.monotonic() + 10
        while stats_of(value).in_flight < 2 and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.05)  # it has started, and is on its way to the flight
        joined.set()
        assert (first.result(10), second.result(10)) == (KeyboardInterrupt, 5)


def test_sys_exit_reaches_the_caller_from_a_thread_of_ours() -> None:
    """SystemExit is not lost on the way."""
    with pytest.raises(SystemExit, match="7"):
        fc.hedged(lambda: sys.exit(7))()


def test_on_the_engines_own_thread_a_call_that_would_wait_for_itself_is_an_error() -> None:
    """It says so at once, instead of waiting for ever."""
    function = fc.retried(lambda: 5)

    async def call() -> int:
        return function()

    with pytest.raises(fc.ConfigError, match="wait for itself"):
        engine().run(call)


def test_timing_alone_needs_no_other_thread() -> None:
    """Where nothing can be waited for, nothing crosses to a thread of ours."""
    code = "import threading, fastclient as fc\nassert fc.timed(lambda: 5)() == 5\nprint(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_decorated_functions_work_after_a_fork() -> None:
    """Modules are often imported before a server forks its workers: plain and coroutine functions work in both."""
    code = """
import asyncio, os, fastclient as fc
@fc.cached
def plain(x): return x
@fc.hedged
def raced(x): return x
@fc.retried
async def coroutine(x): return x
def all_of_them():
    assert (plain(1), raced(2), asyncio.run(coroutine(3))) == (1, 2, 3)
all_of_them()
child = os.fork()
all_of_them()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("both\n", 0), done.stderr


def test_a_stray_thread_does_not_keep_the_interpreter() -> None:
    """What runs on for nobody ends with the program."""
    code = """
import time, fastclient as fc
@fc.accelerate(fc.Policy(hedge=fc.Hedge(), timeouts=fc.Timeouts(total=0.5)))
def slow(seconds): time.sleep(seconds)
try: slow(0)  # the first call of a process loads what it needs
except fc.DeadlineExceeded: pass
try: slow(60)
except fc.DeadlineExceeded: print("late", fc.decorators.stats_of(slow).stray_threads)
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("late 1\n", "")
    assert time.monotonic() - started < 30
