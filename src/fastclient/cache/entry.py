"""One stored answer: whole for those who want it whole, and chunk by chunk as it came for those who stream. Pure.

An answer that has just come is kept as it came. Written down it is a head in JSON, which is all that a whole answer
needs, and a packed body with the chunks and the bytes they came in, which is unpacked only when somebody streams it or
asks for `reply.raw`. A stream of 500 chunks has some 60 times as many bytes as its text; packed it has about as many.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from sys import getsizeof
from typing import TYPE_CHECKING, Any

import orjson

from fastclient import errors
from fastclient.cache.came import Came
from fastclient.engine.answer import Answer
from fastclient.errors import ProviderError
from fastclient.types import Chunk, ToolCall, ToolCallDelta, Usage

__all__ = ["Entry"]

_MAGIC = b"fcA1"
_LARGEST = 64 * 2**20  # bytes of an answer unpacked, as many as one may have on the wire
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_PROBLEM = ("provider", "status_code", "request_id", "body")
_NOTHING = Usage()
_HEAD = ("text", "reasoning", "tool_calls", "finish_reason", "model", "usage")


class Entry:
    """An answer that ended cleanly, or a refusal (`problem`) that would come again. `stored` is seconds since 1970.

    It has what an `Answer` has, so that it can stand in its place.
    """

    __slots__ = (
        *(
            "_blocks",
            "_came",
            "_packed",
            "finish_reason",
            "labels",
            "loose",
            "model",
            "problem",
            "reasoning",
            "size",
            "stored",
        ),
        *("text", "tool_calls", "usage"),
    )

    labels: tuple[str, ...]
    """What it depends on, and what it is tagged with."""
    loose: bool
    """Whether it is kept as it came, which takes several times the room."""
    size: int
    """What it takes in memory, in bytes."""

    def __init__(
        self,
        *,
        stored: float,
        text: str = "",
        reasoning: str = "",
        tool_calls: tuple[ToolCall, ...] = (),
        finish_reason: str | None = None,
        model: str | None = None,
        usage: Usage = _NOTHING,
        blocks: tuple[Mapping[str, object], ...] = (),
        packed: bytes = b"",
        problem: Mapping[str, Any] | None = None,
        labels: tuple[str, ...] = (),
    ) -> None:
        self.stored = float(stored)
        self.text = text
        self.reasoning = reasoning
        self.tool_calls = tool_calls
        self.finish_reason = finish_reason
        self.model = model
        self.usage = usage
        self._blocks = orjson.dumps(blocks) if blocks else b""
        self._came: Came | None = None
        self._packed = packed
        self.loose = False
        self.problem = problem
        self.labels = labels

    @classmethod
    def of(cls, chunks: Sequence[Chunk], *, stored: float, labels: tuple[str, ...] = ()) -> Entry:
        """The entry for an answer that came in these chunks. It keeps them as they are, if nobody can change them."""
        came = Came.of(chunks)
        if came is None:
            return cls._tight(chunks, stored, labels)
        entry = cls.__new__(cls)
        entry.stored, entry.problem, entry.loose, entry.labels = float(stored), None, True, labels
        entry._came, entry._packed, entry._blocks = came, b"", b""
        return entry

    @classmethod
    def _tight(cls, chunks: Sequence[Chunk], stored: float, labels: tuple[str, ...]) -> Entry:
        answer = Answer()
        answer.add(chunks)
        return cls(
            stored=stored,
            text=answer.text,
            reasoning=answer.reasoning,
            tool_calls=answer.tool_calls,
            finish_reason=answer.finish_reason,
            model=answer.model,
            usage=answer.usage,
            blocks=answer.blocks,
            packed=_packed(chunks),
            labels=labels,
        )

    if not TYPE_CHECKING:  # a checker would take it as leave to ask for any name

        def __getattr__(self, name: str) -> Any:
            """Reached only through what is not worked out yet, or a name that does not exist."""
            if name == "size":
                self.size = self._measured()
            elif name in _HEAD:
                answer = Answer()
                answer.add(self.chunks())
                for each in _HEAD:
                    setattr(self, each, getattr(answer, each))
            return object.__getattribute__(self, name)

    def tight(self) -> Entry:
        """The same in as little room as it goes. Costs some 20 microseconds, and one or two more for each chunk."""
        return self if self._came is None else self._tight(self._came.chunks(), self.stored, self.labels)

    @property
    def packed(self) -> bytes:
        """The chunks and their bytes, small."""
        return self._packed if self._came is None else _packed(self._came.chunks())

    @classmethod
    def refusing(cls, error: ProviderError, *, stored: float) -> Entry:
        """The entry for a refusal."""
        told = {name: getattr(error, name) for name in _PROBLEM}
        return cls(stored=stored, problem={"class": type(error).__name__, "message": str(error), **told})

    def error(self) -> ProviderError:
        """The stored refusal, as a new exception."""
        problem = dict(self.problem or {})
        kind = getattr(errors, problem.pop("class"))
        if not (isinstance(kind, type) and issubclass(kind, ProviderError)):
            raise ValueError("not an error of a provider")
        return kind(problem.pop("message"), **problem)

    def chunks(self) -> list[Chunk]:
        """The chunks it came in. Raises ValueError and the like if they are not what was written."""
        return _unpacked(self._packed) if self._came is None else self._came.chunks()

    @property
    def blocks(self) -> tuple[Mapping[str, object], ...]:
        """The provider's own parts, new ones each time: they may end up in a conversation and be added to."""
        return tuple(orjson.loads(self._blocks)) if self._blocks else ()

    @property
    def raw(self) -> bytes:
        """The answer's body as the provider sent it."""
        if self._came is not None:
            return self._came.raw
        return _body(self._packed)[1] if self._packed else b""

    def encoded(self) -> bytes:
        """The entry as bytes."""
        head = (
            self.stored,
            self.text,
            self.reasoning,
            [(call.id, call.name, call.arguments) for call in self.tool_calls],
            self.finish_reason,
            self.model,
            [getattr(self.usage, name) for name in _COUNTS],
            self.blocks,
            self.problem,
            *((self.labels,) if self.labels else ()),
        )
        written = orjson.dumps(head)
        return b"".join((_MAGIC, len(written).to_bytes(4, "big"), written, self.packed))

    @classmethod
    def decoded(cls, data: bytes) -> Entry:
        """The entry these bytes stand for. Raises ValueError, TypeError or KeyError for others."""
        if data[:4] != _MAGIC:
            raise ValueError("not an entry, or one of another version")
        end = 8 + int.from_bytes(data[4:8], "big")
        stored, text, reasoning, tools, finish_reason, model, usage, blocks, problem, *rest = orjson.loads(
            memoryview(data)[8:end]
        )
        if not (type(stored) is float and type(text) is str and type(reasoning) is str):
            raise ValueError("something else where a time and a text belong")
        return cls(
            stored=stored,
            text=text,
            reasoning=reasoning,
            tool_calls=tuple(ToolCall(id=own, name=name, arguments=said) for own, name, said in tools) if tools else (),
            finish_reason=finish_reason,
            model=model,
            usage=_usage(usage),
            blocks=tuple(blocks),
            packed=data[end:],
            problem=problem,
            labels=tuple(map(str, rest[0])) if rest else (),
        )

    def _measured(self) -> int:
        labels = getsizeof(self.labels) + sum(map(getsizeof, self.labels)) if self.labels else 0
        if self._came is not None:
            return getsizeof(self) + self._came.size + labels
        whole = labels + sum(map(getsizeof, (self, self.text, self._packed, self.usage, self.stored)))
        whole += getsizeof(self.reasoning) if self.reasoning else 0
        for call in self.tool_calls:
            whole += sum(map(getsizeof, (call, call.id, call.name, call.arguments)))
        whole += getsizeof(self._blocks) if self._blocks else 0
        whole += 2 * len(orjson.dumps(self.problem)) if self.problem else 0
        return whole + 3 * 32 + getsizeof(self.model)  # its own size, and two counts: small ones are shared

    def __repr__(self) -> str:
        if self._came is not None:
            return f"Entry({len(self._came)} chunks)"
        return f"Entry({len(self.text)} characters, {len(self._packed)} bytes packed)"


def _usage(counts: list[int | None]) -> Usage:
    sent, written, cache_read, cache_write, reasoning = counts
    return Usage(
        input_tokens=sent,
        output_tokens=written,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
    )


def _packed(chunks: Sequence[Chunk]) -> bytes:
    """The chunks, small: what each means as JSON, then the bytes of all of them."""
    items: list[object] = []
    model: str | None = None
    for chunk in chunks:
        plain = chunk.text and chunk == Chunk(chunk.text, model=model, raw=chunk.raw)
        items.append(chunk.text if plain else _item(chunk))
        model = chunk.model
    meaning = orjson.dumps([[len(chunk.raw) for chunk in chunks], items])
    # Level 1: what there is to find in a stream of events it finds, at a quarter of the usual cost.
    return zlib.compress(b"".join((len(meaning).to_bytes(4, "big"), meaning, *(c.raw for c in chunks))), 1)


def _item(chunk: Chunk) -> dict[str, object]:
    """What a chunk means, without what it leaves out."""
    item: dict[str, object] = {
        name: value
        for name, value in (
            *(("text", chunk.text), ("reasoning", chunk.reasoning), ("finish_reason", chunk.finish_reason)),
            *(("model", chunk.model), ("reported", chunk.reported), ("blocks", chunk.blocks)),
        )
        if value
    }
    if chunk.tool_calls:
        item["tool_calls"] = [(call.index, call.id, call.name, call.arguments) for call in chunk.tool_calls]
    if chunk.usage is not None:
        item["usage"] = [getattr(chunk.usage, name) for name in _COUNTS]
    return item


def _body(packed: bytes) -> tuple[Any, bytes]:
    """What the chunks mean, and the bytes of all of them."""
    expander = zlib.decompressobj()
    body = expander.decompress(packed, _LARGEST)
    if not expander.eof:
        raise ValueError("a body that does not end")
    end = 4 + int.from_bytes(body[:4], "big")
    return orjson.loads(body[4:end]), body[end:]


def _unpacked(packed: bytes) -> list[Chunk]:
    (lengths, items), raw = _body(packed)
    chunks: list[Chunk] = []
    model: str | None = None
    at = 0
    for length, item in zip(lengths, items, strict=True):
        piece = raw[at : at + length]
        at += length
        if isinstance(item, str):
            chunks.append(Chunk(item, model=model, raw=piece))
        else:
            model = item.get("model")
            chunks.append(_chunk(item, piece))
    return chunks


def _chunk(item: dict[str, Any], raw: bytes) -> Chunk:
    item["tool_calls"] = tuple(ToolCallDelta(*call) for call in item.get("tool_calls", ()))
    item["blocks"] = tuple(item.get("blocks", ()))
    if "usage" in item:
        item["usage"] = _usage(item["usage"])
    return Chunk(raw=raw, **item)
