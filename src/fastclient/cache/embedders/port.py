"""What the semantic cache asks of an embedder: vectors for texts, and a name for the space they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeGuard

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from fastclient.cache.embedders.vectors import Vectors

__all__ = ["AsyncEmbedder", "Embedder", "embedded", "quick", "waits"]


class Embedder(Protocol):
    """Turns texts into vectors. May be called from any thread, and by several at once.

    `id` names the space: vectors of two embedders are compared only if their ids are equal, so it must change with the
    model, its quantisation, its pooling and its length limit. `dim` is the length of a vector; 0 while nobody knows it,
    which the first vectors end.
    """

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One float32 row of length 1 for each text, in their order. A text with nothing to go by is all zeros.

        A text's row does not depend on the texts beside it. Blocks; raises the classes of `fastclient.errors`.
        """
        ...


class AsyncEmbedder(Embedder, Protocol):
    """One that waits for a network rather than works: it is awaited, and takes no thread."""

    async def aembed(self, texts: Sequence[str]) -> Vectors:
        """What `embed` returns, on any event loop."""
        ...


def waits(embedder: Embedder) -> TypeGuard[AsyncEmbedder]:
    """Whether this one is to be awaited."""
    return callable(getattr(embedder, "aembed", None))


def quick(embedder: Embedder) -> bool:
    """Whether it says of itself (`quick`) that it takes less time than the way to another thread and back."""
    return bool(getattr(embedder, "quick", False))


async def embedded(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """The vectors, whichever kind of embedder it is; one that works long does so on another thread.

    A caller who is cancelled leaves at once. What is worked on then is finished, and dropped.
    """
    if waits(embedder):
        return await embedder.aembed(texts)
    if quick(embedder):
        return embedder.embed(texts)
    return await anyio.to_thread.run_sync(embedder.embed, texts, abandon_on_cancel=True)
