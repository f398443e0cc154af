"""Events that repeat the one before but for their text, read without parsing them. Pure.

In a stream nearly every event is the bytes of the last one with another piece of text in one place. Where everything
around that place is the same, and the place holds a plain JSON string, parsing could find nothing new. Whatever is
different in any way is for the parser, so a text read here is the text that it would have found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastclient.types import Chunk

__all__ = ["Template", "is_plain"]

_SPECIAL = bytes(range(0x20)) + b'"\\'  # what a JSON string cannot hold as it is
_BACKSLASH = 92  # a byte is found much faster as a number than as bytes
_new = tuple.__new__  # cheaper than the generated constructor, and called once per event


def is_plain(chunk: Chunk) -> bool:
    """Whether a chunk is a piece of text and nothing else."""
    text, reasoning, calls, finish, usage, _, _, reported, blocks, restarted = chunk
    nothing = finish is None and usage is None and reported is None
    return bool(text) and nothing and not (reasoning or calls or blocks or restarted)


class Template(NamedTuple):
    """An event that was a piece of text and nothing else: the bytes before that text and those behind it, its model.

    Where a string stands in it that nobody reads, and that is another in each event, `middle` goes from the text up to
    there, and `tail` on from there.
    """

    head: bytes
    middle: bytes
    tail: bytes
    model: str | None

    @classmethod
    def of(cls, block: bytes, chunk: Chunk, noise: bytes) -> Template | None:
        """What this event has around its text and behind its noise; None where that is not certain.

        Without a backslash each string of the event stands there as it is. So the text is there in its quotes, and
        where they are there only once, overlaps included, this is the string that was read.
        """
        if _BACKSLASH in block:
            return None
        quoted = b'"%b"' % chunk.text.encode()
        start = block.find(quoted)
        if start < 0 or start != block.rfind(quoted):
            return None
        middle, tail = b"", block[start + len(quoted) - 1 :]
        if noise and noise in tail:
            before, _, behind = tail.partition(noise)
            middle, tail = before + noise, behind[behind.find(b'"') :]
        return _new(cls, (block[: start + 1], middle, tail, chunk.model))

    def read(self, blocks: Sequence[bytes], at: int, end: bytes) -> tuple[int, list[Chunk]]:
        """Where the events from `at` on that look like this one stop, and what they mean; `end` is behind each block.

        No chunks at all if one of their texts is no plain string after all.
        """
        texts = self._texts(blocks, at)
        stop = at + len(texts)
        joined = b"\n".join(texts)
        if not texts or len(joined) - len(joined.translate(None, _SPECIAL)) >= len(texts):
            return stop, []
        try:
            decoded = joined.decode().split("\n")
        except UnicodeDecodeError:
            return stop, []
        model = self.model
        return stop, [
            _new(Chunk, (text, "", (), None, None, model, block + end, None, (), False))
            for text, block in zip(decoded, blocks[at:stop], strict=True)
        ]

    def _texts(self, blocks: Sequence[bytes], at: int) -> list[bytes]:
        """The texts of these events, as they are written."""
        head, middle, tail, _ = self
        before, behind = len(head), -len(tail)
        texts: list[bytes] = []
        for number in range(at, len(blocks)):
            block = blocks[number]
            if block[:before] != head or block[behind:] != tail:
                break
            text = block[before:behind]  # empty also where head and tail overlap
            if middle:
                text, _, noise = text.partition(middle)
                if not noise.isalnum():
                    break
            if not text or _BACKSLASH in text:  # escapes are common: they end it here, not the whole of it later
                break
            texts.append(text)
        return texts
