"""A model in a process that forks, ends, prints and opens files: none of it goes wrong, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from fastclient.errors import LocalUnavailable
from fastclient.local.handler import LocalHandler, handler_of
from fastclient.local.settings import Local
from tests.local.running import RANDOM, ask

ROOT = Path(__file__).parents[2]
WHOLE = RANDOM.read_bytes()
START = f"""
import anyio, os, sys, threading
from fastclient.local.handler import handler_of
from fastclient.local.settings import Local
from fastclient.engine.clock import running_clock
from tests.local.running import ask, block, call_of
local = Local({str(RANDOM)!r}, threads=1)
handler = handler_of(local)
"""


def run(code: str, *, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """A program of its own."""
    return subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT
    )


def test_importing_the_package_loads_nothing(llama: None) -> None:
    """Neither the library nor what it brings."""
    code = (
        "import sys, fastclient, fastclient.local.settings\nprint({'llama_cpp', 'numpy', 'jinja2'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_handler_loads_nothing_before_it_is_asked() -> None:
    """So that whoever lacks the library hears what to install, and not what else is missing."""
    code = "import sys, fastclient.local.handler\nprint({'llama_cpp', 'numpy', 'jinja2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_nothing_is_printed(llama: None) -> None:
    """Not while it loads, not while it answers, not at the end; and both streams still work afterwards."""
    done = run("print(len(block(handler, 'hi', max_tokens=5).text)); handler.close(); print('end', file=sys.stderr)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "end\n")


@pytest.mark.parametrize("close", ["", "handler.close()"])
def test_a_program_may_end_in_the_middle_of_an_answer(llama: None, close: str) -> None:
    """With answers under way from other threads: no crash, no wait for their end."""
    code = """
def write():
    try:
        block(handler, "hi", max_tokens=900)
    except Exception:
        pass
for _ in range(3):
    threading.Thread(target=write, daemon=True).start()
block(handler, "hello", max_tokens=3)
"""
    done = run(code + close)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told(llama: None) -> None:
    """Native threads do not survive a fork: an error there, and the parent goes on."""
    code = """
from fastclient.errors import LocalUnavailable
block(handler, "hi", max_tokens=3)
pid = os.fork()
if pid == 0:
    try:
        anyio.run(ask, handler, "hi")
    except LocalUnavailable as error:
        handler.close()
        os._exit(7 if "forked" in str(error) else 1)
    os._exit(2)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(code, len(block(handler, "hi", max_tokens=4).text))
"""
    done = run(code)
    assert (done.returncode, done.stdout) == (0, "7 4\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_may_load_what_its_parent_did_not(llama: None) -> None:
    """Nothing had run before the fork."""
    code = """
pid = os.fork()
if pid == 0:
    os._exit(len(block(handler, "hi", max_tokens=4).text))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(block(handler, "hi", max_tokens=4).text))
"""
    done = run(code)
    assert (done.returncode, done.stdout) == (0, "4 4\n"), done.stderr


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_no_file_stays_open(llama: None) -> None:
    """Loading and closing ten times."""
    counts = []
    for _ in range(10):
        handler = handler_of(Local(RANDOM, threads=1))
        await ask(handler, "hi", max_tokens=2)
        handler.close()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert max(counts[1:]) <= counts[1]


async def test_clients_that_say_the_same_share_a_model(llama: None) -> None:
    """It ends with the last of them, also if that one is dropped without a word."""
    one, two = (handler_of(Local(RANDOM, threads=1, name=name)) for name in ("one", "two"))
    await ask(one, "x" * 100, max_tokens=2)
    answer = await ask(two, "x" * 100, max_tokens=2)
    assert answer.model == "two" and (answer.usage.cache_read_tokens or 0) > 100
    one.close()
    assert len((await ask(two, "hi", max_tokens=3)).text) == 3
    host = two._host
    del two
    with anyio.fail_after(10):
        while host.state().loaded:
            await anyio.sleep(0.002)


@pytest.mark.parametrize("share", [at / 20 for at in range(20)])
async def test_a_file_that_is_cut_is_an_error(llama: None, tmp_path: Path, share: float) -> None:
    """With its reason; and once the file is whole, the same handler answers."""
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE[: int(len(WHOLE) * share)])
    handler = handler_of(Local(path, threads=1))
    with pytest.raises(LocalUnavailable, match="model"):
        await ask(handler, "hi")
    path.write_bytes(WHOLE)
    assert len((await ask(handler, "hi", max_tokens=3)).text) == 3
    handler.close()


async def test_everybody_hears_that_it_cannot_be_loaded(llama: None, tmp_path: Path) -> None:
    """Those who waited too, each in a task of his own."""
    handler = handler_of(Local(tmp_path / "missing.gguf"))
    errors: list[Exception] = []

    async def one() -> None:
        try:
            await ask(handler, "hi")
        except LocalUnavailable as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one)
    assert len(errors) == len({id(error) for error in errors}) == 5
    handler.close()


async def test_a_server_is_no_handler(llama: None) -> None:
    """Its address is a target like any other."""
    with pytest.raises(LocalUnavailable):
        handler_of(Local("m", engine="http://127.0.0.1:1/v1"))


async def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word."""
    from fastclient.local import llama as binding

    monkeypatch.setattr(binding, "_held", [])
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    handler = handler_of(Local(RANDOM, slots=3))
    with pytest.raises(LocalUnavailable, match=r'pip install "fastclient\[local-wheels\]"'):
        await ask(handler, "hi")
    handler.close()


def test_the_handler_is_dropped_with_its_client(noise: LocalHandler) -> None:
    """Nothing here keeps a handler that nobody has any more."""
    import gc
    from weakref import ref

    handler = handler_of(Local(RANDOM, threads=1, slots=2))
    found = ref(handler)
    del handler
    gc.collect()
    assert found() is None
