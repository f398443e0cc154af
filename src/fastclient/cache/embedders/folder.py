"""A folder with a model in it: which files it has, what they say, and a digest of those that make its vectors.

Nothing is downloaded. What is missing or unreadable is a ConfigError that names the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from fastclient.cache.embedders.vectors import NDArray, np
from fastclient.errors import ConfigError

__all__ = ["Folder", "Matrix"]

Matrix: TypeAlias = NDArray[np.float32]

_MOST_HEADER = 2**26  # bytes: more is no header of ours
_KINDS: Mapping[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a 32-bit float, which numpy has no name for
    "I64": "<i8",
    "I32": "<i4",
    "I8": "i1",
}


class Folder:
    """The files of one model. `field` is what errors call it."""

    def __init__(self, path: str | Path, field: str) -> None:
        if not isinstance(path, (str, Path)) or not Path(path).is_dir():
            raise ConfigError.of(field, str(path), "is no folder")
        self.path = Path(path)
        self.field = field

    def __repr__(self) -> str:
        return f"{str(self.path)!r}"

    def file(self, *names: str) -> Path:
        """The first of these files that is there."""
        for name in names:
            if (self.path / name).is_file():
                return self.path / name
        raise self.wrong(f"has no {' or '.join(names)}")

    def json(self, name: str, default: Mapping[str, object] | None = None) -> Mapping[str, object]:
        """What a JSON file says, or the default if there is none."""
        if default is not None and not (self.path / name).is_file():
            return default
        try:
            found = orjson.loads(self.file(name).read_bytes())
        except (ValueError, OSError):
            found = None
        if not isinstance(found, dict):
            raise self.wrong(f"has a {name} that cannot be read")
        return found

    def tensors(self, name: str) -> dict[str, Matrix]:
        """The tensors of a safetensors file, mapped into memory where they are 32-bit floats already."""
        try:
            with self.file(name).open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            size = int.from_bytes(data[:8], "little")
            header = orjson.loads(data[8 : 8 + min(size, _MOST_HEADER)])
            return {
                key: _tensor(data, 8 + size, entry) for key, entry in header.items() if entry.get("dtype") in _KINDS
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise self.wrong(f"has a {name} that cannot be read") from None

    def digest(self, *files: Path) -> str:
        """A name for what stands in these files."""
        total = sha256()
        for each in files:
            with each.open("rb") as file:
                while piece := file.read(2**20):
                    total.update(piece)
        return total.hexdigest()[:16]

    def wrong(self, problem: str) -> ConfigError:
        """The error that says what is wrong with this folder."""
        return ConfigError.of(self.field, str(self.path), problem)


def _tensor(data: mmap.mmap, start: int, entry: Mapping[str, Any]) -> Matrix:
    kind = np.dtype(_KINDS[entry["dtype"]])
    first, last = entry["data_offsets"]
    if not 0 <= first <= last <= len(data) - start:
        raise ValueError
    found = np.frombuffer(data, kind, (last - first) // kind.itemsize, start + first)
    if entry["dtype"] == "BF16":
        found = (found.astype(np.uint32) << 16).view(np.float32)
    return found.reshape(entry["shape"]).astype(np.float32, copy=False)
