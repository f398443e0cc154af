"""An answer's chunks as they came: quick to keep, because nobody may ever ask for them again. Pure.

They stand in columns of texts and bytes: that takes less room than chunks, and leaves the garbage collector nothing to
walk through. Only a chunk that is more than a text is kept itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from sys import getsizeof

from fastclient.types import Chunk, Usage

__all__ = ["Came"]

_EMPTY, _CHUNK = getsizeof(""), getsizeof(Chunk())
_USAGE = getsizeof(Usage()) + 64  # bytes: with the counts that are not small
_FRAME = getsizeof(Usage()) + _EMPTY + 64  # bytes: the head that may be made of them, and what holds the columns


class Came:
    """The columns: the text of each chunk that is no more, the other chunks, and the bytes that each one came in."""

    __slots__ = ("_model", "_others", "_raws", "_texts")

    def __init__(self, model: str | None, texts: list[str | None], others: list[Chunk], raws: list[bytes]) -> None:
        self._model = model
        self._texts = texts
        self._others = others  # those that stand where there is no text
        self._raws = raws

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> Came | None:
        """The columns of these chunks; None if one of them cannot be kept as it is."""
        model = chunks[len(chunks) // 2].model if chunks else None  # most have it; the first and last may have none
        texts = [  # compared as tuples: looking at each field takes several times as long
            text
            if (text := chunk.text) and chunk == (text, "", (), None, None, model, chunk.raw, None, (), False)
            else None
            for chunk in chunks
        ]
        others = [chunk for chunk, text in zip(chunks, texts, strict=True) if text is None]
        if [chunk for chunk in others if chunk.blocks or chunk.reported is not None or chunk.restarted]:
            return None  # what readers could change, or what has been said to them before
        if [
            chunk for chunk in others if chunk.__class__ is not Chunk or chunk.finish_reason == "" or chunk.model == ""
        ]:
            return None  # what would not come out of a packed entry just as it is
        return cls(model, texts, others, [chunk.raw for chunk in chunks])

    def chunks(self) -> list[Chunk]:
        """The chunks again."""
        others, model = iter(self._others), self._model
        return [
            next(others) if text is None else Chunk(text, model=model, raw=raw)
            for text, raw in zip(self._texts, self._raws, strict=True)
        ]

    @property
    def raw(self) -> bytes:
        """The bytes of all."""
        return b"".join(self._raws)

    @property
    def size(self) -> int:
        """What they take in memory, in bytes, with the head that may be made of them."""
        columns, model, others = (self._texts, self._others, self._raws), self._model, self._others
        whole = _FRAME + getsizeof(model) + sum(map(getsizeof, columns)) + sum(map(getsizeof, self._raws))
        whole += 2 * sum(map(getsizeof, filter(None, self._texts))) - _EMPTY * (len(self._texts) - len(others))
        whole += _CHUNK * len(others)
        whole += sum(map(getsizeof, [chunk.model for chunk in others if chunk.model is not model]))
        for chunk in [chunk for chunk in others if chunk.usage or chunk.text or chunk.reasoning or chunk.tool_calls]:
            whole += _weight(chunk)
        return whole

    def __len__(self) -> int:
        return len(self._texts)


def _weight(chunk: Chunk) -> int:
    """What a chunk holds that is kept itself, with what is made of it for the head."""
    whole = 0 if chunk.usage is None else _USAGE
    whole += 2 * sum(map(getsizeof, filter(None, (chunk.text, chunk.reasoning))))
    for call in chunk.tool_calls:
        whole += getsizeof(call) + 2 * sum(map(getsizeof, (call.id, call.name, call.arguments)))
    return whole
