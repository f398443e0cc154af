"""The blocking door: many threads, Ctrl-C, forks, and interpreters that end while a call is under way."""

from __future__ import annotations

import contextvars
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.engine.seam import drive, engine
from fastclient.observe.events import CallFinished, Event
from fastclient.testing import FakeProvider, ProviderServer, World, faults
from fastclient.types import Call

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # forks

SLOW = World(gap=0.05)
"""A token every 50 ms: an answer of 200 tokens takes ten seconds."""


@pytest.fixture
def slow() -> Iterator[ProviderServer]:
    """A server in another process (signals and forks must not touch it) that takes ten seconds for an answer."""
    with ProviderServer(world=SLOW, answer="word" * 200, process=True) as server:
        yield server


def client_for(server: ProviderServer, **options: Any) -> fc.Client:
    return fc.Client("openai:m", base_url=server.base_url, **options)


class Program:
    """A Python program of its own that uses `client` and says `ready` when the interesting moment has come."""

    def __init__(self, server: ProviderServer, code: str, *options: str) -> None:
        head = f"import os, sys, time, threading\nimport fastclient as fc\nURL = {server.base_url!r}\n"
        head += "client = fc.Client('openai:m', base_url=URL)\ndef ready(): print('ready', flush=True)\n"
        command = [sys.executable, "-X", "faulthandler", *options, "-c", head + code]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == "ready\n", self.process.communicate(timeout=5)

    def end(self, within: float) -> tuple[int, str, float]:
        """Exit code, stderr, and the seconds it took from now."""
        start = time.monotonic()
        try:
            _, err = self.process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"did not end within {within} s: {self.process.communicate()}")
        return self.process.returncode, err, time.monotonic() - start


# driving


def test_drive_returns_what_a_coroutine_returns() -> None:
    """A coroutine that never waits is run to its end on the spot."""

    async def inner() -> int:
        return 41

    async def outer() -> int:
        return await inner() + 1

    assert drive(outer()) == 42


def test_drive_passes_errors_on() -> None:
    """What a layer raises reaches the caller as it is."""

    async def failing() -> None:
        raise fc.ConfigError("field: wrong")

    with pytest.raises(fc.ConfigError, match="field: wrong"):
        drive(failing())


@pytest.mark.parametrize("wait", [lambda: anyio.sleep(0), lambda: anyio.lowlevel.checkpoint(), lambda: suspended()])
def test_drive_refuses_to_wait(wait: Callable[[], Any]) -> None:
    """A layer above the seam that waits for a loop is a bug: it is told at once, and its clean-up runs."""
    cleaned: list[bool] = []

    async def layer() -> None:
        try:
            await wait()
        finally:
            cleaned.append(True)

    with pytest.raises(Exception, match=r"waited|event loop|async library"):
        drive(layer())
    assert cleaned == [True]


class suspended:  # noqa: N801
    """The bare form of waiting: an awaitable that gives way to a loop."""

    def __await__(self) -> Iterator[None]:
        yield


# threads


@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
def test_each_thread_gets_its_own_answer(wire: str) -> None:
    """Sixteen threads chat and stream through one client at once; none sees a word of another's answer."""
    answer = World(base=0.005, gap=0.001)
    with ProviderServer(world=answer, answer=lambda request: f"<{request.text}>" * 3) as server:
        client = client_for(server, wire=wire)

        def call(number: int) -> bool:
            nonce = f"nonce-{number}"
            if number % 2:
                return client.chat(nonce).text == f"<{nonce}>" * 3
            with client.stream(nonce) as stream:
                return "".join(stream.text) == stream.reply().text == f"<{nonce}>" * 3

        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(call, range(160)))
        assert (client.stats().calls, client.stats().in_flight) == (160, 0)
        client.close()


def test_a_stream_may_be_handed_to_another_thread(slow: ProviderServer) -> None:
    """Opened in one thread, read in a second, closed in a third."""
    with client_for(slow) as client, ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        stream = one.submit(client.stream("Hi").__enter__).result()
        pieces = stream.text
        assert other.submit(next, pieces).result() == "word"
        stream.close()
        assert slow.wait_idle()
        assert slow.counters.cut_early == 1


def test_all_clients_share_one_background_thread() -> None:
    """However many clients and calls, the process gains one thread."""
    clients = [fc.Client("openai:m", wire=FakeProvider("Hi")) for _ in range(10)]
    for client in clients:
        client.chat("Hi")
        client.close()
    assert sum(thread.name == "fastclient" for thread in threading.enumerate()) == 1


def test_closing_from_another_thread_while_calls_run(slow: ProviderServer) -> None:
    """A client closed under a running call ends that call with one of our errors, soon, and hangs nobody."""
    client = client_for(slow)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.chat, "Hi")
        assert slow.wait_for(lambda counters: counters.live == 1)
        client.close()
        with pytest.raises(fc.FastClientError):
            call.result(timeout=2)
    assert slow.wait_idle()


def test_context_variables_are_carried_across() -> None:
    """The wire sees the caller's context variables, also after other calls had other values."""
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    def answer(request: object) -> str:
        seen.append(variable.get())
        return "Hi"

    with fc.Client("openai:m", wire=FakeProvider(answer)) as client:
        for value in ("one", "two"):
            context = contextvars.copy_context()
            context.run(variable.set, value)
            context.run(client.chat, "Hi")
        client.chat("Hi")
    assert seen == ["one", "two", "none"]


def test_observers_run_in_the_callers_thread_and_context() -> None:
    """An observer of a blocking call may use the caller's thread-locals and context variables."""
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[tuple[int, str]] = []
    policy = fc.Policy(observers=(lambda event: seen.append((threading.get_ident(), variable.get())),))
    with fc.Client("openai:m", wire=FakeProvider("Hi"), policy=policy) as client:
        contextvars.copy_context().run(lambda: (variable.set("mine"), client.chat("Hi")))
    assert seen == [(threading.get_ident(), "mine")]


# the engine's own thread


def test_a_blocking_call_on_the_engines_thread_is_refused() -> None:
    """It would wait for itself for ever; so it raises at once and says why."""
    with fc.Client("openai:m", wire=FakeProvider("Hi")) as client:
        for call in (lambda: client.chat("Hi"), lambda: client.stream("Hi").reply()):

            async def misuse(call: Callable[[], object] = call) -> None:
                call()

            with pytest.raises(fc.ConfigError, match="own thread"):
                engine().run(misuse)


@pytest.mark.parametrize("method", ["warm", "close"])
def test_other_blocking_methods_on_the_engines_thread_are_refused(method: str) -> None:
    """`warm` and `close` would wait for themselves as well."""
    client = fc.Client("openai:m", wire=FakeProvider("Hi"))
    done: list[BaseException | None] = []

    async def misuse() -> None:
        try:
            getattr(client, method)()
        except BaseException as error:
            done.append(error)

    # Not on the engine of this process: if it hangs there, every later test hangs too.
    from fastclient.engine import seam

    private = seam.Engine()
    before, seam._engines[os.getpid()] = engine(), private
    try:
        private.start(misuse)
        limit = time.monotonic() + 2
        while not done and time.monotonic() < limit:
            time.sleep(0.01)
    finally:
        seam._engines[os.getpid()] = before
    assert done, "it hangs"
    assert isinstance(done[0], fc.ConfigError)
    private.stop()


def test_a_wire_that_calls_back_does_not_deadlock() -> None:
    """A script function runs on the engine's thread; a blocking call from there is an error of that call only."""
    inner = fc.Client("openai:m", wire=FakeProvider("inner"))
    caught: list[BaseException] = []

    def answer(request: object) -> str:
        try:
            inner.chat("Hi")
        except fc.ConfigError as error:
            caught.append(error)
        return "outer"

    with fc.Client("openai:m", wire=FakeProvider(answer)) as client:
        assert client.chat("Hi").text == "outer"
    inner.close()
    assert len(caught) == 1


def test_an_observer_may_make_a_call() -> None:
    """Observers of a blocking client run on the caller's thread, where another blocking call is allowed."""
    with fc.Client("openai:m", wire=FakeProvider("inner")) as inner:
        texts: list[str] = []
        policy = fc.Policy(observers=(lambda event: texts.append(inner.chat("Hi").text),))
        with fc.Client("openai:m", wire=FakeProvider("outer"), policy=policy) as client:
            assert client.chat("Hi").text == "outer"
    assert texts == ["inner"]


def test_an_observer_called_by_the_collector_on_the_engine_does_not_deadlock(slow: ProviderServer) -> None:
    """A stream dropped on the engine's own thread is closed there without waiting."""
    events: list[Event] = []
    client = client_for(slow, policy=fc.Policy(observers=(events.append,)))
    stream = client.stream("Hi")
    next(iter(pieces := stream.text))
    holder = [stream, pieces]
    del stream, pieces

    async def drop() -> None:
        holder.clear()

    engine().run(drop)
    assert slow.wait_idle()
    assert [type(event).__name__ for event in events] == ["StreamAbandoned", "CallFinished"]
    client.close()


# Ctrl-C

STREAMING = "with client.stream('Hi') as s:\n    for i, _ in enumerate(s.text):\n        if i == 2: ready()\n"
WAITING = "threading.Timer(0.3, ready).start()\nclient.chat('Hi')\n"
ITERATING = "for i, _ in enumerate(client.stream('Hi')):\n    if i == 2: ready()\n"
OPENING = "threading.Timer(0.3, ready).start()\nwith client.stream('Hi') as s: s.reply()\n"


@pytest.mark.parametrize(
    "code, plan",
    [
        (STREAMING, None),
        (ITERATING, None),
        (WAITING, None),
        (WAITING, faults.unanswered()),
        (WAITING, faults.headers_then_silence(60)),
        (OPENING, faults.role_then_silence(60)),
    ],
    ids=["stream", "bare loop", "chat", "before headers", "before content", "opening"],
)
def test_ctrl_c_stops_the_call_at_the_server(code: str, plan: Any) -> None:
    """KeyboardInterrupt reaches the caller at once, and within 250 ms the server has stopped working for it."""
    with ProviderServer(world=SLOW, answer="word" * 200, script=[plan] if plan else None) as server:
        program = Program(server, code)
        assert server.wait_for(lambda counters: counters.live == 1)
        program.process.send_signal(signal.SIGINT)
        assert server.wait_idle(0.75), "the server still works"  # 0.25 s, and room for a busy machine
        assert server.counters.cut_early == 1
        status, err, _ = program.end(within=2)
    assert status == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in err


def test_ctrl_c_leaves_a_usable_client(slow: ProviderServer) -> None:
    """After an interrupt was caught the same client makes the next call."""
    code = "try:\n    threading.Timer(0.3, ready).start(); client.chat('Hi')\nexcept KeyboardInterrupt: pass\n"
    code += "print(client.chat('Hi', max_tokens=1).text, client.stats().cancelled, client.stats().in_flight)"
    with ProviderServer(script=[faults.unanswered()], answer="next") as server:
        program = Program(server, code)
        program.process.send_signal(signal.SIGINT)
        out, err = program.process.communicate(timeout=5)
    assert (out, err) == ("next 1 0\n", "")


# the end of the interpreter

ENDINGS = {
    "unclosed": "client.chat('Hi', max_tokens=1); ready()",
    "never used": "ready()",
    "daemon thread in a call": "threading.Thread(target=client.chat, args=('Hi',), daemon=True).start()\n"
    "time.sleep(0.3); ready()",
    "daemon threads in streams": "def read():\n    for _ in client.stream('Hi'): pass\n"
    "for _ in range(5): threading.Thread(target=read, daemon=True).start()\ntime.sleep(0.3); ready()",
    "middle of a stream": "s = client.stream('Hi'); t = s.text; next(t); ready()",
    "middle of an entered stream": "s = client.stream('Hi').__enter__(); next(iter(s)); ready()",
    "dropped stream": "for _ in client.stream('Hi'): break\nready()",
    "in a cycle": "class Node: pass\nn = Node(); n.me = n; n.stream = client.stream('Hi'); n.it = iter(n.stream)\n"
    "next(n.it); ready()",
    "call at exit": "import atexit; client.chat('Hi', max_tokens=1)\n"
    "atexit.register(lambda: client.chat('Hi', max_tokens=1)); ready()",
    "close at exit": "import atexit; client.chat('Hi', max_tokens=1); atexit.register(client.close); ready()",
    "two clients": "other = fc.Client('openai:m', base_url=URL); s = other.stream('Hi'); next(s.text)\n"
    "client.chat('Hi', max_tokens=1); ready()",
    "closed": "client.chat('Hi', max_tokens=1); client.close(); ready()",
}
QUIET = "word" * 60
PLAIN = ("unclosed", "daemon threads in streams", "middle of a stream")


def noise(err: str) -> str:
    """What a program said on stderr, without asyncio's remarks in debug mode about steps that took long."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("Executing <"))


@pytest.mark.parametrize(
    "ending, mode", [*((one, "dev") for one in ENDINGS), *((one, "faulthandler") for one in PLAIN)]
)
def test_the_interpreter_ends_quietly(ending: str, mode: str) -> None:
    """Whatever is under way, the process ends by itself within 2 s, with exit code 0 and nothing on stderr."""
    script = lambda request: "one" if request.max_tokens == 1 else None  # noqa: E731
    with ProviderServer(world=World(gap=0.1), answer=QUIET, script=script) as server:
        status, err, took = Program(server, ENDINGS[ending], "-X", mode).end(within=6)
        assert server.wait_for(lambda counters: (counters.live, counters.open_connections) == (0, 0), 0.5)
    assert (status, noise(err)) == (0, "")
    assert took < 2


def test_exit_in_the_middle_of_an_exception(slow: ProviderServer) -> None:
    """Leaving by SystemExit with an open stream keeps the exit code and says nothing."""
    status, err, took = Program(slow, "s = client.stream('Hi')\nnext(s.text); ready()\nraise SystemExit(3)").end(
        within=6
    )
    assert (status, err) == (3, "")
    assert took < 2


# forks


def forked(work: Callable[[], object], within: float = 5.0) -> Any:
    """What some work returns in a forked child, as JSON; an exception comes back as its class and text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(int(within))
            try:
                result = work()
            except BaseException as error:
                result = f"{type(error).__name__}: {error}"
            os.write(write, json.dumps(result).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    return json.loads(result) if result else "the child hung or crashed"


@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
def test_a_client_works_on_both_sides_of_a_fork(wire: str) -> None:
    """The child has an engine and connections of its own; the parent keeps its own, unharmed."""
    with ProviderServer(answer=lambda request: request.text, process=False) as server:
        with client_for(server, wire=wire) as client:
            assert client.chat("before").text == "before"
            port = server.counters.connections
            assert forked(lambda: [client.chat("child").text, "".join(client.stream("more").text)]) == ["child", "more"]
            assert client.chat("parent").text == "parent"
            assert client.chat("parent again").timings.reused
        assert server.counters.connections == port + 1
        assert server.wait_for(lambda counters: counters.open_connections == 0)


def test_a_child_may_close_the_client(slow: ProviderServer) -> None:
    """Closing in the child closes nothing of the parent's."""
    with ProviderServer(answer="Hi") as server, client_for(server) as client:
        client.chat("before")
        assert forked(lambda: client.close()) is None
        reply = client.chat("after")
        assert (reply.text, reply.timings.reused) == ("Hi", True)


def test_a_fork_while_another_thread_is_in_a_call(slow: ProviderServer) -> None:
    """The child works, and the parent's running stream goes on to its end."""
    with ProviderServer(world=World(gap=0.02), answer="word" * 30) as server, client_for(server) as client:
        threads = ThreadPoolExecutor(1)
        call = threads.submit(client.chat, "parent")
        assert server.wait_for(lambda counters: counters.output_tokens > 2)
        assert forked(lambda: client.chat("child").text) == "word" * 30
        assert call.result(timeout=5).text == "word" * 30
        threads.shutdown()


def test_a_stream_opened_before_the_fork_belongs_to_the_parent() -> None:
    """The child may close its copy without waiting, and without ending the parent's stream."""
    server = ProviderServer(world=World(gap=0.02), answer="word" * 20)
    with server, client_for(server) as client, client.stream("Hi") as stream:
        pieces = stream.text
        text = next(pieces)
        start = time.monotonic()
        forked(stream.close)
        took = time.monotonic() - start
        assert server.counters.live == 1
        assert text + "".join(pieces) == "word" * 20
    assert took < 0.5


def test_a_pool_of_forked_processes() -> None:
    """`multiprocessing` with the fork context uses the parent's client in every worker."""
    with ProviderServer(answer="Hello") as server, client_for(server) as client:
        client.chat("before")
        global _inherited
        _inherited = client
        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert pool.map_async(_in_worker, range(12)).get(timeout=20) == ["Hello"] * 12
        assert client.chat("after").text == "Hello"


_inherited: fc.Client


def _in_worker(number: int) -> str:
    return _inherited.chat(f"worker {number}").text


def test_a_forked_child_that_exits_normally_is_quiet(slow: ProviderServer) -> None:
    """A child that leaves by the usual way, with the parent's stream in its memory, ends soon and prints nothing."""
    code = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12 warns of any fork\n"
    code += "s = client.stream('Hi'); t = s.text; next(t)\npid = os.fork()\nif pid == 0: sys.exit(0)\n"
    code += "_, status = os.waitpid(pid, 0); print('ready', flush=True); s.close(); sys.exit(status)"
    start = time.monotonic()
    status, err, _ = Program(slow, code).end(within=6)
    assert (status, err) == (0, "")
    assert time.monotonic() - start < 5


async def test_an_async_client_cannot_cross_a_fork() -> None:
    """An AsyncClient made before the fork raises ConfigError in the child: its connections are the parent's."""
    client = fc.AsyncClient("openai:m", wire=FakeProvider("Hi"))
    await client.chat("before")

    def use() -> str:
        for call in (client.stream, lambda words: client.chat(words).send(None)):
            try:
                call("child")
            except fc.ConfigError as error:
                if "fork" not in str(error):
                    return f"another reason: {error}"
            else:
                return "it was allowed"
        return "refused"

    assert forked(use) == "refused"
    assert (await client.chat("parent")).text == "Hi"
    await client.aclose()


async def test_the_async_door_can_be_opened_in_a_child() -> None:
    """A client made in the child works there."""

    def use() -> str:
        async def main() -> str:
            async with fc.AsyncClient("openai:m", wire=FakeProvider("Hi")) as client:
                return (await client.chat("child")).text

        return anyio.run(main) if threading.current_thread() else ""

    with ThreadPoolExecutor(1) as threads:  # forking from a thread that runs no loop
        assert threads.submit(forked, use).result() == "Hi"


# what a layer sees


def test_the_call_crosses_the_seam_once() -> None:
    """One task on the engine per call, however many chunks: none is left when the call is over."""
    before = len(engine()._tasks)
    events: list[Event] = []
    policy = fc.Policy(observers=(events.append,))
    with fc.Client("openai:m", wire=FakeProvider("word" * 50), policy=policy) as client:
        with client.stream("Hi") as stream:
            next(stream.text)
        client.chat("Hi")
    deadline = time.monotonic() + 1
    while len(engine()._tasks) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(engine()._tasks) == before
    assert [event.error for event in events if isinstance(event, CallFinished)] == [None, None]
    assert Call.__dataclass_fields__["record"].repr is False
