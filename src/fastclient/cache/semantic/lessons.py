"""What a semantic cache learns behind its callers' backs: from answers it had to ask for, and from checks.

An answer the provider gave is compared with those of the questions nearest to it: so it is known what would have been
right to serve. Of the answers that were served a part is asked for again, by a coin: so it is known what was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import anyio
import anyio.to_thread

from fastclient.cache.entry import Entry
from fastclient.cache.exact import Answers
from fastclient.cache.semantic.agree import alike, gist
from fastclient.cache.semantic.audit import Served
from fastclient.cache.semantic.knowledge import Knowledge, Spot
from fastclient.cache.semantic.port import Known, Near
from fastclient.cache.semantic.route import RULES, Place
from fastclient.engine.complete import Complete
from fastclient.observe.timing import CallRecord
from fastclient.types import Call, Chunk

if TYPE_CHECKING:
    from fastclient.cache.embedders.vectors import Vectors

__all__ = ["Again", "Agree", "Hit", "Look", "Teacher", "servable"]

Agree: TypeAlias = Callable[[str, str], bool | Awaitable[bool]]
"""Whether two answers say the same."""

Again: TypeAlias = Callable[[Call], Awaitable[tuple[Sequence[Chunk], CallRecord]]]
"""Asks the provider what a call asks, for nobody."""

_AGAIN: Final = (5.0, 60.0)  # seconds to wait before a check that failed is tried again
_JUDGING: Final = 60.0  # seconds that a coroutine function may take to compare two answers


class Hit(NamedTuple):
    """An answer that is served, and in which candidate's place."""

    answer: Complete
    place: Place


@dataclass(slots=True)
class Look:
    """What a lookup found, and what was made of it."""

    spot: Spot
    vector: Vectors | None = None
    near: Sequence[Near] = ()
    hit: Hit | None = None


def servable(entry: Entry) -> bool:
    """Whether an answer may be served to others at all: it has a text, came to its own end, and calls no tools."""
    return entry.problem is None and bool(entry.text.strip()) and not entry.tool_calls and entry.finish_reason == "stop"


class Teacher:
    """Compares answers, and keeps what is new. `again` asks the provider for nobody."""

    def __init__(
        self,
        knowledge: Knowledge,
        answers: Answers,
        again: Again,
        agree: Agree | None,
    ) -> None:
        self._knowledge = knowledge
        self._answers = answers
        self._again = again
        self._agree = agree

    async def answered(self, call: Call, look: Look, chunks: Sequence[Chunk]) -> None:
        """The provider answered: learn from it, and keep it, if the exact cache did."""
        record, knowledge = call.record, self._knowledge
        if record.lender is not None or not record.kept or call.key is None:
            return  # another call's lesson, or no answer for others
        entry = Entry.of(chunks, stored=self._answers.now(), labels=call.request.labels)
        if not servable(entry):
            return
        try:
            near = [each for each in look.near if each.key != call.key]
            if near:
                scores, right = await self._compared(look, near, entry)
                with knowledge.lock:
                    look.spot.route.learned(scores, right)
                knowledge.labelled(look.spot, self._answers.now())
            await self._keep(call.key, look, entry)
        except Exception as error:
            knowledge.failed("learning from an answer", error)

    async def served(self, call: Call, look: Look, hit: Hit) -> None:
        """An answer was served: check it if the coin says so, and write down what it was."""
        right: bool | None = None
        try:
            if hit.place.checked:
                right = await self._checked(call, look, hit)
        finally:
            if self._knowledge.audit is not None:
                with anyio.CancelScope(shield=True):  # what was served is written down also where a check is broken off
                    await self._written(look, hit, right)

    async def _written(self, look: Look, hit: Hit, right: bool | None) -> None:
        audit, chosen = self._knowledge.audit, look.near[hit.place.candidate]
        line = Served(
            at=self._answers.now(),
            asked=look.spot.asked.question,
            stored=chosen.question,
            cosine=round(chosen.cosine, 4),
            rule=RULES[hit.place.rule],
            score=round(hit.place.score, 4),
            right=right,
            answer=hit.answer.whole.text,
        )
        try:
            if audit is not None:
                await anyio.to_thread.run_sync(audit.write, line)
        except Exception as error:
            self._knowledge.failed("writing down what was served", error)

    async def _checked(self, call: Call, look: Look, hit: Hit) -> bool | None:
        """Ask the provider after all, and compare. None if it never answered."""
        knowledge, route = self._knowledge, look.spot.route
        settled = False
        try:
            entry = await self._asked(call)
            if entry is None:
                return None
            scores, right = await self._compared(look, look.near, entry, hit)
            with knowledge.lock:
                route.found(scores, right, hit.place)
                settled = True
            knowledge.labelled(look.spot, self._answers.now())
            if call.key is not None:
                await self._keep(call.key, look, entry)
            return right[hit.place.candidate]
        except Exception as error:
            knowledge.failed("checking an answer", error)
            return None
        finally:
            if not settled:
                with knowledge.lock:
                    route.lost(hit.place)

    async def _asked(self, call: Call) -> Entry | None:
        """The provider's own answer; None if none came that would be kept, however often it was asked."""
        for pause in (*_AGAIN, None):
            try:
                chunks, record = await self._again(call)
                entry = Entry.of(chunks, stored=self._answers.now(), labels=call.request.labels)
                if (record.lender or record).kept and servable(entry):
                    return entry  # others are cut, filtered or another model's, and say nothing about what was served
            except Exception as error:
                self._knowledge.failed("asking again for a check", error)
            if pause is None or self._knowledge.closed:
                break
            await anyio.sleep(pause)
        return None

    async def _compared(
        self, look: Look, near: Sequence[Near], entry: Entry, hit: Hit | None = None
    ) -> tuple[list[Sequence[float]], list[bool]]:
        """The candidates' scores, and which of them have an answer that says the same as this one.

        What was served is compared as it was served, whatever is kept under its key now.
        """
        knowledge = self._knowledge
        texts: list[str | None] = []
        for number, each in enumerate(near):
            if hit is not None and number == hit.place.candidate:
                text: str | None = hit.answer.whole.text
            else:
                stored = await knowledge.questions.answer(each.key)
                text = None if stored is None or not servable(stored) else stored.text
            if text is not None:
                knowledge.judge.know(each.key, gist(text))
            texts.append(text)
        right = await self._same(texts, entry.text)
        return list(knowledge.judge.scores(look.spot.asked.question, near)), right

    async def _same(self, texts: Sequence[str | None], new: str) -> list[bool]:
        """Which of the texts say the same as the new one. What users give us to judge by may take its time."""
        agree = self._agree
        if agree is None:
            return [text is not None and alike(text, new) for text in texts]
        if iscoroutinefunction(agree) or iscoroutinefunction(getattr(agree, "__call__", None)):  # noqa: B004
            said: list[bool | Awaitable[bool]] = [text is not None and agree(text, new) for text in texts]
        else:
            judge = lambda: [text is not None and agree(text, new) for text in texts]  # noqa: E731
            said = await anyio.to_thread.run_sync(judge)
        right: list[bool] = []
        for each in said:
            if isawaitable(each):
                with anyio.fail_after(_JUDGING):
                    right.append(bool(await each))
            else:
                right.append(bool(each))
        return right

    async def _keep(self, key: bytes, look: Look, entry: Entry) -> None:
        knowledge, spot = self._knowledge, look.spot
        question = spot.asked.question
        vector = look.vector if look.vector is not None else await knowledge.vector(question)
        knowledge.judge.know(key, gist(entry.text))
        known = Known(key, spot.partition, spot.tag, question, vector, entry, self._answers.lifetime(entry))
        await knowledge.questions.add(known)
        knowledge.kept += 1
