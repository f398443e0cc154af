"""The semantic cache as a whole, put together as a policy asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fastclient.cache.exact import Answers
from fastclient.cache.revive import asked_again
from fastclient.cache.semantic.knowledge import Knowledge
from fastclient.cache.semantic.layer import semantic
from fastclient.cache.semantic.lessons import Teacher
from fastclient.cache.semantic.local import LocalQuestions
from fastclient.cache.store import Store
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.observe.timing import CallRecord
from fastclient.types import Call, Chunk

if TYPE_CHECKING:
    from fastclient.cache.embedders.port import Embedder
    from fastclient.cache.semantic.settings import Semantic
    from fastclient.config import Timeouts

__all__ = ["known", "meanings"]


def known(settings: Semantic, store: Store) -> Knowledge:
    """What a new client knows: nothing, or what its index and its store have kept."""
    questions = settings.index
    if questions is None:
        folder = getattr(store, "directory", None)
        questions = LocalQuestions(store, None if folder is None else Path(folder), most=settings.most)
    return Knowledge(settings, cast("Embedder", settings.embedder), questions, store)


def meanings(
    settings: Semantic, knowledge: Knowledge, answers: Answers, timeouts: Timeouts, again: Callable[[Handler], Handler]
) -> Layer:
    """The layer. `again` makes a handler for calls that nobody waits for."""

    def teacher(handler: Handler) -> Teacher:
        asking = again(handler)

        async def ask(call: Call) -> tuple[Sequence[Chunk], CallRecord]:
            records: list[CallRecord] = []

            async def noting(call: Call) -> Stream:
                records.append(call.record)
                return await asking(call)

            return await asked_again(noting, call, timeouts), records[0]

        return Teacher(knowledge, answers, ask, settings.agree)

    return semantic(knowledge, answers, teacher)
