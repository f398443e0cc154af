"""A value of the user's on its way through the layers: a chunk that carries the very object. Pure."""

from __future__ import annotations

from typing import Any, Self

from fastclient.types import Chunk

__all__ = ["END", "UNKEPT", "Parcel"]

END = Chunk(finish_reason="stop")
"""The last chunk of a run."""

UNKEPT = Chunk(finish_reason="length")
"""The same, for what is too large to be kept: no cache keeps what was cut by nobody's wish."""


class Parcel(Chunk):
    """One item. `raw` is how it is written down, where it may be kept."""

    value: object = None

    @classmethod
    def of(cls, value: object, raw: bytes = b"") -> Parcel:
        parcel = cls(raw=raw)
        parcel.value = value
        return parcel

    @property
    def is_content(self) -> bool:
        return True

    def _replace(self, **changes: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        parcel = super()._replace(**changes)
        parcel.value = self.value
        return parcel
