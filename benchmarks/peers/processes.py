"""The processes that are measured: workers that live long, and programs that make one call."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.hosts import client_core, pinned
from benchmarks.peers.libraries import ROOT, Library

__all__ = ["Worker", "bare", "cold"]

_PATIENCE = 90.0
_CALL = {
    "blocking": "from {adapter} import Blocking; c = Blocking({root!r}, {option!r}); c.ask('Hello.'); c.close()",
    "async": (
        "import asyncio; from {adapter} import Async\n"
        "async def main():\n c = Async({root!r}, {option!r}); await c.ask('Hello.'); await c.close()\n"
        "asyncio.run(main())"
    ),
}


def environment(certificates: Path | None) -> dict[str, str]:
    """Nothing of ours that could change what is measured; nobody asks the network for a list of prices.

    Without `certificates`, libraries read those that they would read elsewhere, which takes some of them long.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    kept |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYDANTIC_AI_DISABLE_BANNER": "1"}
    if certificates is not None:
        kept["SSL_CERT_FILE"] = str(certificates)
    return {**kept, "PYTHONPATH": str(ROOT)}


class Worker:
    """A library in a process of its own. `ask` gives `{"failed": ...}` or `{"missing": ...}` where it could not be."""

    def __init__(self, library: Library, certificates: Path, log: Path) -> None:
        self._log = log.open("ab")
        command = [str(library.python), "-m", "benchmarks.peers.worker", library.adapter, library.option]
        with pinned(client_core()):
            self._process = subprocess.Popen(
                [*command, *library.packages],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                cwd=ROOT,
                env=environment(certificates),
            )
        self.versions: Mapping[str, str] = self._answer()

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"failed": "its process had ended"}
        return self._answer()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], _PATIENCE)[0]:
            self._process.kill()
            return {"failed": f"took longer than {_PATIENCE:.0f} s"}
        line = stdout.readline()
        return json.loads(line) if line else {"failed": "its process ended"}


def cold(library: Library, root: str) -> dict[str, Any]:
    """A program that imports, builds a client, makes one call and ends; and one that only imports."""
    has_blocking = "class Blocking" in (ROOT / (library.adapter.replace(".", "/") + ".py")).read_text()
    door = "blocking" if has_blocking else "async"
    program = _CALL[door].format(adapter=library.adapter, root=root, option=library.option)
    whole = _ran(library, program)
    alone = _ran(library, f"import {library.module}")
    if whole.code or alone.code:
        return {"failed": f"the program ended with status {whole.code or alone.code}"}
    return {"wall": whole.wall, "cpu": whole.cpu, "import_wall": alone.wall, "import_cpu": alone.cpu}


def bare(library: Library, certificates: Path) -> int:
    """Resident bytes of Python with nothing in it."""
    program = "import os; print(int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE'))"
    command = [str(library.python), "-c", program]
    said = subprocess.run(command, capture_output=True, check=True, env=environment(certificates), cwd=ROOT)
    return int(said.stdout)


class _Ran(NamedTuple):
    """Seconds by the wall clock and of processor time, and the exit status."""

    wall: float
    cpu: float
    code: int


def _ran(library: Library, program: str) -> _Ran:
    command = [str(library.python), "-c", program]
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with pinned(client_core()):
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment(None), **quiet)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return _Ran(wall, usage.ru_utime + usage.ru_stime, process.returncode)
