"""How many tokens a prompt will have, from the best source at hand: a report, a loaded vocabulary, an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from fastclient.prompt.piece import Prepared
from fastclient.prompt.tokens import REPLY, Count, Size, Sizes, counted, size_of, size_of_tool
from fastclient.prompt.vocabulary import VOCABULARY, encoding_for
from fastclient.types import Request

__all__ = ["Counting", "counting", "roughly"]


@lru_cache(maxsize=64)
def counting(model: str) -> Counting:
    """What counts the prompts for a model; shared by all clients, which may send the same texts."""
    return Counting(model)


class Counting:
    """Counts the prompts for one model. Never waits: a vocabulary on disk is loaded behind the first question."""

    def __init__(self, model: str) -> None:
        self._encoding = encoding_for(model)
        self._exact: Sizes | None = None

    def load(self) -> None:
        """Have the model's vocabulary loaded in the background, and fetched if it is nowhere on this machine."""
        if self._encoding is not None:
            VOCABULARY.load(self._encoding, download=True)

    def count(self, prepared: Prepared, known: Count) -> Count:
        """The tokens of a prompt as it is sent; `known` is what is known without a vocabulary."""
        if known.source == "usage" or self._encoding is None:
            return known
        counter = VOCABULARY.ready(self._encoding)
        if counter is None:
            VOCABULARY.load(self._encoding)
            return known
        if self._exact is None:
            self._exact = Sizes(counter)
        sizes = [self._exact.of(piece.message) for piece in prepared.pieces]
        sizes += [self._exact.of_tool(tool) for tool in prepared.tools.sent or ()]
        return counted(_total(sizes), "tiktoken")


def roughly(request: Request) -> Count:
    """The tokens of a prompt that could not be prepared: not all of what it holds is JSON. Never raises."""
    tools = request.params.get("tools")
    offered = tools if isinstance(tools, (list, tuple)) else ()
    return counted(_total([*map(size_of, request.messages), *map(size_of_tool, offered)]))


def _total(sizes: Sequence[Size]) -> Size:
    return Size(sum(size.n for size in sizes) + REPLY, sum(size.high for size in sizes) + REPLY)
