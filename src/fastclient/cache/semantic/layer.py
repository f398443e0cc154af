"""The semantic cache: a question is answered by what was said to the same question in other words.

The layer stands below the seam, as it may have to compute, and above the single flight. It looks for the nearest
questions that were asked with everything else the same, and serves the answer of one of them if the rule of its route
says so. What it does not serve teaches it, and of what it serves a part is checked, both behind the caller's back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastclient.cache.entry import Entry
from fastclient.cache.exact import Answers
from fastclient.cache.semantic.agree import gist
from fastclient.cache.semantic.asked import asked
from fastclient.cache.semantic.knowledge import Knowledge
from fastclient.cache.semantic.lessons import Hit, Look, Teacher, servable
from fastclient.cache.semantic.port import Near
from fastclient.cache.semantic.route import RULES, Place
from fastclient.engine.complete import Complete
from fastclient.engine.overheard import Overheard
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream, unshared
from fastclient.types import CacheInfo, Call, Chunk

__all__ = ["semantic"]


def semantic(knowledge: Knowledge, answers: Answers, teacher: Callable[[Handler], Teacher]) -> Layer:
    """The layer. Calls without a key pass, and so do those whose answer may depend on who asks, or when."""

    def layer(handler: Handler) -> Handler:
        teach = teacher(handler)

        async def looking(call: Call) -> Stream:
            look = None if call.key is None else await _looked(knowledge, answers, call)
            if look is None:
                return await handler(call)
            hit = look.hit
            if hit is not None:
                if hit.place.checked or knowledge.audit is not None:
                    knowledge.behind(lambda: teach.served(call, look, hit))
                return hit.answer
            stream = await handler(call)
            if isinstance(stream, Complete):
                knowledge.behind(lambda: teach.answered(call, look, unshared(stream.chunks)))
                return stream
            return Overheard(stream, lambda chunks: knowledge.behind(lambda: teach.answered(call, look, chunks)))

        return looking

    return layer


async def _looked(knowledge: Knowledge, answers: Answers, call: Call) -> Look | None:
    """Look for questions like this one, and for an answer that may be served. None if this call is left alone."""
    try:
        found = None if knowledge.resting or answers.samples(call.request) > 1 else asked(call.request)
        if found is None or isinstance(found, str):
            return None
        spot = knowledge.spot(call, found, answers)
        if spot is None:
            return None
        look = Look(spot)
        if call.request.cache == "use":
            await _search(knowledge, answers, call, look)
        return look
    except Exception as error:
        knowledge.failed("looking for questions like this one", error)
        return None


async def _search(knowledge: Knowledge, answers: Answers, call: Call, look: Look) -> None:
    route, record = look.spot.route, call.record
    with knowledge.lock:
        route.asked()
        rule, least = route.threshold()
    try:
        look.vector, look.near = await knowledge.look(look.spot, call.deadline - record.clock())
        if least <= 1.0 and look.near:
            await _serve(knowledge, answers, call, look, rule, least)
    finally:
        record.looked = record.clock()


async def _serve(knowledge: Knowledge, answers: Answers, call: Call, look: Look, rule: int, least: float) -> None:
    """Serve the best candidate whose answer is still there, if it is good enough, and if one more may be served."""
    entries: dict[bytes, Entry | None] = {}
    if RULES[rule] == "verifier":  # which also goes by what the others say
        for each in look.near:
            if knowledge.judge.known(each.key) is None:
                entry = entries[each.key] = await knowledge.questions.answer(each.key)
                if entry is not None:
                    knowledge.judge.know(each.key, gist(entry.text))
    while (best := knowledge.judge.best(look.spot.asked.question, look.near, rule, least)) is not None:
        chosen: Near = look.near[best.candidate]
        entry = entries.get(chosen.key) or await knowledge.questions.answer(chosen.key)
        found = None if entry is None else _good(knowledge, answers, call, entry)
        if found is None:
            # Forgotten, too old or unreadable: were it left there, it would stand before good ones for ever.
            await knowledge.questions.remove(chosen.key)
            look.near = [each for each in look.near if each is not chosen]
            continue
        chunks, age = found
        with knowledge.lock:
            place: Place | None = look.spot.route.place(best.candidate, best.score)
            if place is None:
                return
            look.spot.route.served(place)
        call.record.cache = CacheInfo("hit", "semantic", min(1.0, chosen.cosine), age)
        look.hit = Hit(Complete(chunks), place)
        return


def _good(knowledge: Knowledge, answers: Answers, call: Call, entry: Entry) -> tuple[Sequence[Chunk], float] | None:
    """The chunks of an answer that may be served now, and its age."""
    age = answers.age(call, entry) if servable(entry) else None
    if age is None:
        return None
    try:
        return entry.chunks(), age
    except Exception as error:
        knowledge.failed("reading a stored answer", error)
        return None
