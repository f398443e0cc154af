"""Laying a prompt out for the provider's cache: breakpoints where they pay, a key, and a look at what has drifted.

Stands where a request is about to be sent, once per call: what a cache or another call answers is not written to the
provider's cache. A fault in here sends the request without breakpoints.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from fastclient.config import Observer, Prompt
from fastclient.engine.complete import Complete
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.locks import Locked
from fastclient.observe.events import PrefixDrifted, emit
from fastclient.prompt.breakpoints import Line, Planner
from fastclient.prompt.drift import Drift
from fastclient.prompt.layout import Layout, Place
from fastclient.prompt.lifetime import Gaps
from fastclient.prompt.line import line_of
from fastclient.prompt.piece import Prepared
from fastclient.prompt.route import Routes
from fastclient.prompt.rules import Lifetime, rules_of
from fastclient.prompt.watch import Watch
from fastclient.prompt.wire import marks_in
from fastclient.target import Target
from fastclient.types import CacheInfo, Call, Chunk, Usage

__all__ = ["Aligner", "aligned"]

logger = logging.getLogger("fastclient")

_FAMILIES = 1000  # of requests that begin alike, whose pauses are known
_SILENT = 3  # misses in a row after which a provider is taken to have no cache, until it reads from one
_THEIR_OWN = ("prompt_cache_options", "prompt_cache_retention")  # a caller who says these marks himself
_EXPLICIT = {"mode": "explicit"}
_new = tuple.__new__  # cheaper than the generated constructor


class Aligner(Locked):
    """Lays out the requests to one target, and learns from what comes back. Safe from any thread.

    `lifetimes` are the names of those that may be chosen; by default all that the provider offers.
    """

    def __init__(self, prompt: Prompt, target: Target, *, lifetimes: Sequence[str] = ()) -> None:
        super().__init__()
        self._target = target
        self._rules = rules = rules_of(target)
        self._on = prompt.provider_cache == "auto"
        self._lifetimes = tuple(each for each in rules.lifetimes if not lifetimes or each.name in lifetimes)
        self._automatic = rules.marking is None and len(self._lifetimes) == 1
        self._planner = Planner(rules)
        self._routes = Routes(rules)
        self._watch = Watch(rules.minimum)
        self._gaps: dict[int, Gaps] = {}
        self._silent = 0  # requests in a row of which nothing was read, though it should have been

    def align(self, prepared: Prepared, now: float) -> Layout:
        """How this prompt is to stand. `now` is in seconds, on one clock for all requests."""
        with self.lock:
            if not prepared.chain:
                prepared.linked()
            drift = self._watch.look(prepared)
            layout = Layout(target=self._target, prepared=prepared, drift=drift, at=now, params={}, headers={})
            if self._is_passed_by(prepared):
                layout.seconds = self._lifetimes[0].seconds
                if self._on and self._routes.any:
                    layout.params, layout.headers = self._routes.route(prepared, 0.0, now)
                return layout
            line, places = line_of(prepared, self._rules)
            lifetime = self._lifetime(line, prepared, now)
            layout.seconds, layout.beginnings = lifetime.seconds, line.chain
            if self._rules.marking is None:
                self._expect(layout, line)
            elif self._on:
                self._mark(layout, line, places, lifetime)
            if self._silent >= _SILENT:
                layout.expected = 0
            if self._on:
                params, layout.headers = self._routes.route(prepared, line.ends[line.static], now)
                layout.params = {**layout.params, **params}
            return layout

    def _is_passed_by(self, prepared: Prepared) -> bool:
        """Whether no beginning of it is long enough to be kept, where there is nothing else to choose or to count."""
        return self._automatic and prepared.size < self._rules.minimum

    def settle(self, layout: Layout, usage: Usage | None, *, resent: int | None = None) -> None:
        """What came of it: the usage that was reported, or None if it was not answered.

        `resent` is how many tokens of the answer will be sent again with it, if that is not its output without
        reasoning.
        """
        if usage is None:
            return
        prepared = layout.prepared
        with self.lock:
            known = prepared.conversation
            known.sent, known.lifetime = layout.at, layout.seconds
            if len(self._lifetimes) > 1:  # else there is no choice that this would tell something for
                tokens = sum([piece.size for piece in prepared.pieces[: prepared.tail]])
                known.grown = max(tokens - known.tokens, 0.0) or known.grown
                known.tokens = tokens
            if usage.cache_read_tokens:
                self._silent = 0
            elif usage.cache_read_tokens == 0 and layout.expected:
                self._silent += 1
                self._planner.lost(layout.beginnings)
            if layout.written:
                self._planner.wrote(layout.written, layout.at + layout.seconds)
            if usage.input_tokens:
                if resent is None:
                    resent = (usage.output_tokens or 0) - (usage.reasoning_tokens or 0)
                prepared.anchor(usage.input_tokens, resent)

    def _lifetime(self, line: Line, prepared: Prepared, now: float) -> Lifetime:
        """How long the provider should keep this prompt: as long as it takes such conversations to go on."""
        if len(self._lifetimes) == 1:
            return self._lifetimes[0]
        gaps = self._gaps.get(line.family)
        if gaps is None:
            if len(self._gaps) >= _FAMILIES:
                self._gaps.clear()
            gaps = self._gaps[line.family] = Gaps(self._lifetimes, self._rules.read)
        known = prepared.conversation
        if known.sent is not None:
            gaps.add(now - known.sent)
        tokens = line.ends[line.history]
        new = tokens - known.tokens
        return gaps.best(tokens, new if new > 0 else known.grown)  # it may have been cut

    def _mark(self, layout: Layout, line: Line, places: Sequence[Place] | None, lifetime: Lifetime) -> None:
        """Choose the breakpoints; the caller's own count among those the provider allows."""
        prepared, params = layout.prepared, layout.prepared.request.params
        theirs = [(_position(at, places), ttl) for at, ttl in prepared.marks]
        if "cache_control" in params:  # one for the whole request stands at its end
            theirs += [(len(line.ends) - 1, ttl) for ttl in marks_in({"cache_control": params["cache_control"]})]
        if self._rules.marking == "prompt_cache_breakpoint":
            if theirs or not params.keys().isdisjoint(_THEIR_OWN):
                return
            layout.params = {"prompt_cache_options": _EXPLICIT}
        if theirs:  # entries that live longer must come first
            lifetime = self._rules.lifetimes[0]
            line = line._replace(first=max((at for at, ttl in theirs if ttl != lifetime.name), default=-1) + 1)
        plan = self._planner.plan(line, layout.at, lifetime, self._rules.most - len(theirs))
        layout.marking, layout.lifetime, layout.seconds = self._rules.marking, lifetime.name, lifetime.seconds
        layout.places = tuple([_place(position) if places is None else places[position] for position in plan.marks])
        layout.written = tuple([line.chain[position] for position in plan.written])
        layout.expected = self._reported(plan.read, prepared)

    def _expect(self, layout: Layout, line: Line) -> None:
        """What a provider that finds shared beginnings by itself should find."""
        longest = self._planner.longest(line, layout.at)
        found = self._reported(longest, layout.prepared) if longest >= self._rules.minimum else 0
        layout.expected = found // self._rules.step * self._rules.step
        layout.written = tuple(line.chain)

    def _reported(self, tokens: float, prepared: Prepared) -> int:
        """Estimated tokens in the provider's."""
        known = prepared.conversation
        ratio = known.target.mean if known.anchor is None else known.anchor.ratio
        return round(tokens * (ratio or 1.0))


def _place(position: int) -> Place:
    return Place(position - 1 if position else None)


def _position(messages: int, places: Sequence[Place] | None) -> int:
    """The position behind so many messages."""
    return messages if places is None else places.index(_place(messages))


def aligned(aligner: Aligner, observers: tuple[Observer, ...], now: Callable[[], float]) -> Layer:
    """The layer that lays each prompt out right before it is sent, and notes what the provider's cache made of it."""

    def layer(handler: Handler) -> Handler:
        async def aligning(call: Call) -> Stream:
            layout = None if call.prompt is None else _laid_out(aligner, call.prompt, now())
            if layout is None:
                return await handler(call)
            drift = layout.drift
            if drift is not None and observers:
                emit(observers, _event(call, drift))
            known = call.record.cache
            call.record.cache = _told(known, layout.expected, known.read_tokens, None if drift is None else drift.cause)
            sent = call.copy()
            sent.layout = layout
            stream = await handler(sent)
            if isinstance(stream, Complete):
                answer = stream.whole
                _settle(aligner, layout, call, answer.usage, reasoned=answer.reasoned)
                return stream
            return _Aligned(stream, aligner, layout, call)

        return aligning

    return layer


def _told(known: CacheInfo, expected: int | None, read: int | None, drift: str | None) -> CacheInfo:
    """What is known of the cache, and this of the provider's."""
    return _new(CacheInfo, (known.state, known.source, known.similarity, known.age, expected, read, drift))


def _event(call: Call, drift: Drift) -> PrefixDrifted:
    return PrefixDrifted(
        call_id=call.id,
        target=call.target.name,
        cause=drift.cause,
        path=drift.path,
        offset=drift.offset,
        tokens_lost=drift.tokens_lost,
        money_lost=None if call.target.price is None else drift.money_lost(call.target.price),
        advice=drift.advice,
    )


def _laid_out(aligner: Aligner, prepared: Prepared, now: float) -> Layout | None:
    try:
        return aligner.align(prepared, now)
    except Exception as error:
        logger.warning("laying a prompt out failed with %s: it is sent without breakpoints", type(error).__name__)
        return None


class _Aligned(Stream):
    """Passes an answer on, and learns from the usage it reports."""

    __slots__ = ("_aligner", "_call", "_inner", "_layout", "_reasoned", "_usage")

    def __init__(self, inner: Stream, aligner: Aligner, layout: Layout, call: Call) -> None:
        self._inner = inner
        self._aligner = aligner
        self._call = call
        self._layout: Layout | None = layout
        self._usage = Usage()
        self._reasoned = False

    async def pull(self) -> Sequence[Chunk]:
        batch = await self._inner.pull()
        self.heard(batch)
        if not batch:
            self.settle()
        return batch

    def heard(self, batch: Sequence[Chunk]) -> None:
        """What matters of these chunks."""
        for chunk in batch:
            if chunk.usage is not None:
                self._usage = self._usage.updated(chunk.usage)
            elif chunk.reasoning:
                self._reasoned = True

    async def aclose(self) -> None:
        if self._layout is not None:
            self.settle()  # the prompt was read, however much of the answer was
        await self._inner.aclose()

    def settle(self) -> None:
        """The answer is over: learn from it, once."""
        layout, self._layout = self._layout, None
        if layout is not None:
            _settle(self._aligner, layout, self._call, self._usage, reasoned=self._reasoned)


def _settle(aligner: Aligner, layout: Layout, call: Call, usage: Usage, *, reasoned: bool) -> None:
    """Learn from an answer that is over, if it came from where the prompt was laid out for."""
    record = call.record
    winner = record.winner()
    if winner is None or (winner.destination is not layout.target and winner.destination != layout.target):
        return
    known, read = record.cache, usage.cache_read_tokens
    missed = read == 0 and layout.expected > 0
    if missed or read != known.read_tokens:
        drift = known.drift or ("provider_miss" if missed else None)
        record.cache = _told(known, known.expected_tokens, read, drift)
    unknown = reasoned and usage.reasoning_tokens is None
    try:
        aligner.settle(layout, usage, resent=0 if unknown else None)
    except Exception as error:
        logger.warning("learning from a reported usage failed with %s", type(error).__name__)
