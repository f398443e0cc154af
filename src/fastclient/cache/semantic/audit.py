"""The record of what was served for what, for people to read: one JSON object in each line, only if it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import orjson

from fastclient.errors import ConfigError
from fastclient.locks import Locked

__all__ = ["Audit", "Served", "read"]

_LARGEST: Final = 16 * 2**20  # bytes; then it goes on in a new file, and the old one is kept beside it
_LINE: Final = 2**20
# No link is followed, and nothing is waited for: a pipe without a reader is an error.
_CAREFUL: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One answer that was served for another question than its own. `right` is None where it was not checked."""

    at: float
    asked: str
    stored: str
    cosine: float
    rule: str
    score: float
    right: bool | None = None
    answer: str = ""


class Audit(Locked):
    """Appends to a file that nobody else can read. Raises OSError where the system refuses."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        super().__init__()
        self._file = Path(file).expanduser()

    def write(self, served: Served) -> None:
        """Write one line. Safe from any thread."""
        with self.lock:  # two that find the file full at once would throw one of them away
            self._append(orjson.dumps(asdict(served), option=orjson.OPT_APPEND_NEWLINE))

    def _append(self, line: bytes) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _CAREFUL
        descriptor = os.open(self._file, flags, 0o600)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError("no room for all of a line")
            full = os.fstat(descriptor).st_size > _LARGEST
        finally:
            os.close(descriptor)
        if full:
            self._file.replace(self._file.with_name(f"{self._file.name}.1"))


def read(file: str | os.PathLike[str]) -> Iterator[Served]:
    """The lines of a record, oldest first; what is no such line is left out. Raises ConfigError if there is no file."""
    names = [field.name for field in fields(Served)]
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError.of("audit", os.fspath(file), "is no file: say Semantic(audit=...), and have something served")
    for each in (path.with_name(f"{path.name}.1"), path):
        if not each.is_file():
            continue
        with each.open("rb") as lines:
            while line := lines.readline(_LINE):
                try:
                    found = orjson.loads(line)
                    yield Served(**{name: found[name] for name in names})
                except (ValueError, TypeError, KeyError):
                    continue
