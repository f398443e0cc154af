"""What a GGUF file says of itself, read and checked before any native code sees it: that one ends the process instead.

Nothing but the header is read: magic, version, key-value pairs, and where each tensor lies within the file.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

__all__ = ["BadModel", "Header", "header"]

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_KEYS, _MOST_TENSORS, _MOST_LAYERS = 2**16, 2**16, 512
_LONGEST_KEY, _MOST_DIMENSIONS, _DEEPEST = 2**16 - 1, 4, 4
_KEPT = 2**20  # bytes of a text that are kept
# Bytes and elements of a block by tensor type; of a type that is not here only the place of its first byte is checked.
_BLOCKS = {
    0: (4, 1),
    1: (2, 1),
    30: (2, 1),
    24: (1, 1),
    25: (2, 1),
    26: (4, 1),
    27: (8, 1),
    28: (8, 1),
    2: (18, 32),
    3: (20, 32),
    6: (22, 32),
    7: (24, 32),
    8: (34, 32),
    9: (36, 32),
    10: (84, 256),
    11: (110, 256),
    12: (144, 256),
    13: (176, 256),
    14: (210, 256),
    15: (292, 256),
}


class BadModel(ValueError):
    """The file is no model that can be loaded; the message says why."""


class _Place(NamedTuple):
    """Where a tensor's data lies."""

    name: str
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """A model file's own description. `values` holds its numbers and texts by key; of arrays, their lengths."""

    version: int
    values: Mapping[str, object] = field(repr=False)
    tensors: int
    layers: int

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    def number(self, key: str, default: int = 0) -> int:
        """A whole number the file gives under a key of its architecture."""
        value = self.values.get(f"{self.architecture}.{key}", default)
        return value if isinstance(value, int) else default


class _Reader:
    """Reads a buffer from front to back, and never past its end."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self._size = len(data)
        self.at = 0

    def take(self, count: int) -> bytes:
        begin, end = self.at, self.at + count
        if end > self._size:
            raise BadModel("the file ends in the middle of its header: it is cut")
        self.at = end
        return self._data[begin:end]

    def skip(self, count: int) -> None:
        if self.at + count > self._size:
            raise BadModel("the file ends in the middle of its header: it is cut")
        self.at += count

    def number(self, form: str) -> int:
        value: int = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]
        return value

    def text(self) -> str:
        length = self.number("Q")
        raw = self.take(min(length, _KEPT)) if length <= _KEPT else b""
        if length > _KEPT:
            self.skip(length)
        return raw.decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> object:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY or depth > _DEEPEST:
            raise BadModel(f"the header holds a value of unknown kind {kind}")
        inner, count = self.number("I"), self.number("Q")
        if count > self._size:
            raise BadModel("the header claims an array larger than the file")
        if inner in _SCALARS:
            self.skip(count * struct.calcsize("<" + _SCALARS[inner]))
        elif inner == _STRING:
            self._texts(count)
        else:
            for _ in range(count):
                self.value(inner, depth + 1)
        return count

    def _texts(self, count: int) -> None:
        """Pass over texts: a vocabulary has hundreds of thousands of them."""
        data, at, size, unpack = self._data, self.at, self._size, struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > size:
                raise BadModel("the file ends in the middle of its header: it is cut")
            at += 8 + unpack(data, at)[0]
        if at > size:
            raise BadModel("the file ends in the middle of its header: it is cut")
        self.at = at


def header(path: str | os.PathLike[str]) -> Header:
    """The header of a model file. Raises BadModel for what is no such file, or not all of one."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < 24:
                raise BadModel("the file is empty or much too short")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(_Reader(data), size)
    except FileNotFoundError:
        raise BadModel("there is no such file") from None
    except OSError as error:
        raise BadModel(f"it cannot be read ({error.strerror or type(error).__name__})") from None


def _read(reader: _Reader, size: int) -> Header:
    if reader.take(4) != b"GGUF":
        raise BadModel("it is no GGUF file")
    version, tensors, keys = reader.number("I"), reader.number("Q"), reader.number("Q")
    if version not in (2, 3):
        raise BadModel(f"its GGUF version is {version}; 2 and 3 are known")
    if not 0 < tensors <= _MOST_TENSORS or not 0 < keys <= _MOST_KEYS:
        raise BadModel(f"its header claims {tensors} tensors and {keys} keys")
    values: dict[str, object] = {}
    for _ in range(keys):
        key = reader.text()
        if not 0 < len(key) <= _LONGEST_KEY or key in values:
            raise BadModel("its header holds an empty, endless or repeated key")
        values[key] = reader.value(reader.number("I"))
    places = [_tensor(reader) for _ in range(tensors)]
    found = Header(version, values, tensors, _layers(places))
    _check_shape(found)
    _check_places(places, _aligned(values, reader.at), size)
    return found


def _tensor(reader: _Reader) -> _Place:
    name, dimensions = reader.text(), reader.number("I")
    if not name or not 0 < dimensions <= _MOST_DIMENSIONS:
        raise BadModel(f"its header holds a tensor of {dimensions} dimensions")
    shape = [reader.number("Q") for _ in range(dimensions)]
    kind, offset = reader.number("I"), reader.number("Q")
    block, elements = _BLOCKS.get(kind, (0, 1))
    if min(shape) < 1 or max(shape) > 2**48 or shape[0] % elements:
        raise BadModel("its header holds a tensor of an impossible shape")
    return _Place(name, prod(shape) // elements * block, offset)


def _layers(places: list[_Place]) -> int:
    """How many layers there are tensors for."""
    numbers = {place.name.split(".", 2)[1] for place in places if place.name.startswith("blk.")}
    return sum(number.isdecimal() for number in numbers)


def _check_shape(found: Header) -> None:
    """What native code trusts blindly."""
    if not found.architecture:
        raise BadModel("its header names no architecture")
    layers = found.number("block_count")
    if not 0 < layers <= _MOST_LAYERS or found.layers > layers or (found.layers and layers > found.layers + 8):
        raise BadModel(f"its header claims {layers} layers, and there are tensors for {found.layers}")
    width = found.number("embedding_length")
    if not 0 < width <= 2**20:
        raise BadModel(f"its header claims vectors of {width} numbers")
    for key in ("attention.head_count", "attention.head_count_kv", "context_length"):
        value = found.values.get(f"{found.architecture}.{key}")
        if isinstance(value, int) and not 0 < value <= 2**31 - 1 and (key != "attention.head_count_kv" or value):
            raise BadModel(f"its header claims a {key} of {value}")


def _aligned(values: Mapping[str, object], at: int) -> int:
    """Where the tensors' data begins."""
    step = values.get("general.alignment", 32)
    if not isinstance(step, int) or not 0 < step <= 2**20 or step & (step - 1):
        raise BadModel("its header claims an impossible alignment")
    return (at + step - 1) // step * step


def _check_places(places: list[_Place], begin: int, size: int) -> None:
    if len({place.name for place in places}) < len(places):
        raise BadModel("its header names a tensor twice")
    for place in places:
        if begin + place.offset + place.size > size:
            missing = begin + place.offset + place.size - size
            raise BadModel(f"the file is cut: at least {missing} bytes of its tensors are missing")
