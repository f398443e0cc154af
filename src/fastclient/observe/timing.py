"""When things happened in one call, and what that says about where its time went. Pure: clocks come in from outside.

The wire and the attempt note moments in `Marks`; the outermost layer notes what the caller saw in `CallRecord`;
`timings()` turns both into the parts of `Timings`, which add up to the total by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING

from fastclient.types import Attempt, Basis, CacheInfo, Outcome, Recovery, Role, Timings

if TYPE_CHECKING:
    from fastclient.providers.rates import Rate
    from fastclient.target import Price, Target

__all__ = ["AttemptRecord", "CallRecord", "Clock", "Marks", "percentile"]

Clock = Callable[[], float]

_BYPASSED = CacheInfo()


@dataclass(slots=True)
class Marks:
    """The moments of one attempt, on the call's clock; None until they happen."""

    clock: Clock = field(repr=False)
    started: float
    until: float = inf  # when the attempt stops waiting for its response headers
    dequeued: float | None = None
    connect_started: float | None = None
    connected: float | None = None
    tls_started: float | None = None
    secured: float | None = None
    send_started: float | None = None
    sent: float | None = None
    headers: float | None = None
    first_content: float | None = None
    last_content: float | None = None
    ended: float | None = None
    rtt: float | None = None
    unstoppable: bool = False  # the wire sends the request even if it is given up before that
    gaps: list[float] = field(default_factory=list)  # waiting before each content chunk but the first
    waiting: float = 0.0  # since the last content

    def note(self, moment: str) -> None:
        """This moment is now."""
        setattr(self, moment, self.clock())

    @property
    def phase(self) -> str:
        """What the attempt is waiting for now; the names of `DeadlineExceeded.phase`."""
        if self.first_content is not None:
            return "decode"
        if self.headers is not None:
            return "first_token"
        if self.sent is not None:
            return "headers"
        if self.send_started is not None:
            return "send"
        return "queue" if self.dequeued is None else "connect"

    @property
    def reused(self) -> bool | None:
        """Whether the request went out on a connection that was open already."""
        return None if self.send_started is None else self.connect_started is None


@dataclass(slots=True)
class AttemptRecord:
    """One attempt while it runs. `reported` holds seconds by part, as the provider told them."""

    role: Role
    target: str
    marks: Marks
    outcome: Outcome = "cancelled"
    reported: dict[str, float] = field(default_factory=dict)
    content_chunks: int = 0
    malformed_events: int = 0
    request_id: str | None = None
    error: BaseException | None = None
    input_tokens: int = 0  # as estimated, or as reported
    price: Price | None = None  # at the attempt's own target
    destination: Target | None = None
    kept: bool = False  # it broke off, but what it had brought is part of the answer
    rates: tuple[Rate, ...] = ()
    status: int | None = None  # of the response, once its headers are in
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)  # what a refusal consisted of
    cut: bool = False  # there was more of it

    @property
    def wasted(self) -> int:
        """Tokens paid for in vain: what a loser had read and written, or a broken attempt had written."""
        if self.outcome == "won" or self.kept:
            return 0
        sent = self.marks.sent is not None and self.outcome == "lost"
        return self.content_chunks + (self.input_tokens if sent else 0)

    def finished(self) -> Attempt:
        marks = self.marks
        end = marks.clock() if marks.ended is None else marks.ended
        decode = _between(marks.first_content, marks.last_content)
        return Attempt(
            role=self.role,
            target=self.target,
            outcome=self.outcome,
            timings=_timings(
                marks.started, end, self, ttft=_between(marks.started, marks.first_content), decode=decode
            ),
            wasted_tokens=self.wasted,
            request_id=self.request_id,
            error=self.error,
        )


class CallRecord:
    """One call while it runs, as its caller sees it. `consumer` counts only while the caller holds chunks.

    What has not happened stands in the class, so that a call of a few microseconds need not write it down.
    """

    prepared: float | None = None
    looked: float | None = None  # when the caches had been asked
    returned: float | None = None
    ended: float | None = None
    decode: float = 0.0
    waited: float = 0.0  # for a permit, before the first attempt
    output_tokens: int | None = None
    recovered: Recovery | None = None
    key: bytes | None = None  # what its answer is kept under
    writes: int = 0  # into the store, before it was asked
    kept: bool = False  # the answer went into a store
    lender: CallRecord | None = None  # of the call whose answer this one got too
    leave: Callable[[], object] | None = None  # stops the call while it is being opened

    def __init__(
        self, clock: Clock, started: float, *, consumer: float | None = None, cache: CacheInfo = _BYPASSED
    ) -> None:
        self.clock = clock
        self.started = started
        self.consumer = consumer
        self.cache = cache
        self.attempts: list[AttemptRecord] = []

    def attempt(self, role: Role, target: str) -> AttemptRecord:
        """Note that an attempt begins now."""
        record = AttemptRecord(role, target, Marks(self.clock, self.clock()))
        self.attempts.append(record)
        return record

    def winner(self) -> AttemptRecord | None:
        """The attempt that answered last, or the last one that did not lose."""
        if self.attempts and self.attempts[-1].outcome == "won":
            return self.attempts[-1]
        for outcomes in (("won",), ("failed", "cancelled"), ("lost",)):
            for attempt in reversed(self.attempts):
                if attempt.outcome in outcomes:
                    return attempt
        return None

    def source(self) -> AttemptRecord | None:
        """The attempt whose answer the caller got: one of its own, or of the call that shared it; None from a cache."""
        return self.winner() if self.attempts or self.lender is None else self.lender.winner()

    def broken(self) -> AttemptRecord | None:
        """The latest attempt that broke off after it had begun."""
        for attempt in reversed(self.attempts):
            if attempt.outcome == "failed" and attempt.content_chunks:
                return attempt
        return None

    def opener(self) -> AttemptRecord | None:
        """The attempt whose first content the caller got; without any, the winner."""
        for attempt in self.attempts:
            if attempt.marks.first_content is not None and attempt.outcome != "lost":
                return attempt
        return self.winner()

    @property
    def settled(self) -> bool:
        """Whether all that belongs to the call is over, so that its timings can be worked out at any time later."""
        for attempt in self.attempts:
            if attempt.marks.ended is None:
                return False
        return self.ended is not None

    @property
    def shown(self) -> bool:
        """Whether the caller sees chunks as they come."""
        return self.consumer is not None

    @property
    def ttft(self) -> float | None:
        """Seconds to the first content, if there was any."""
        opener = self.opener() if self.attempts else None
        if self.returned is None or (opener is not None and opener.marks.first_content is None):
            return None
        return self.returned - self.started

    @property
    def total(self) -> float:
        """Seconds the call has taken."""
        return (self.clock() if self.ended is None else self.ended) - self.started

    def timings(self) -> Timings:
        """Where the time went so far."""
        end = self.clock() if self.ended is None else self.ended
        opener = self.opener()
        before = self.waited + (opener.marks.started - self.attempts[0].marks.started if opener else 0.0)
        return _timings(
            self.started,
            end,
            opener,
            before=before,
            prepare=_between(self.started, self.prepared),
            lookup=_between(self.prepared, self.looked),
            ttft=self.ttft,
            decode=self.decode if self.returned is not None else None,
            consumer=self.consumer,
            output_tokens=self.output_tokens,
        )


def _timings(
    start: float,
    end: float,
    attempt: AttemptRecord | None,
    *,
    ttft: float | None,
    decode: float | None,
    before: float = 0.0,  # waiting for a permit, and for attempts that came to nothing
    prepare: float | None = None,
    lookup: float | None = None,
    consumer: float | None = None,
    output_tokens: int | None = None,
) -> Timings:
    total = max(0.0, end - start)
    basis: dict[str, Basis] = {}
    parts: dict[str, float | None] = {"prepare": prepare, "lookup": lookup, "decode": decode, "consumer": consumer}
    others: dict[str, float | None] = {"ttft": ttft}
    if attempt is not None:
        marks = attempt.marks
        until = marks.ended if marks.ended is not None else end
        parts |= _before_first_content(marks, until, attempt.reported, basis)
        others["headers"] = _between(marks.sent, marks.headers)
        others["rtt"] = marks.rtt
        if marks.gaps:
            gaps = sorted(marks.gaps)
            others |= {"itl_p50": percentile(gaps, 0.5), "itl_p99": percentile(gaps, 0.99), "itl_max": gaps[-1]}
            if output_tokens is not None and output_tokens > 1:
                others["tpot"] = sum(gaps) / (output_tokens - 1)
    if before:
        parts["queue"] = (parts.get("queue") or 0.0) + before
    parts["overhead"] = max(0.0, total - sum(value for value in parts.values() if value is not None))
    values = {name: value for name, value in (parts | others).items() if value is not None}
    basis = {name: basis.get(name, "measured") for name in ("total", *values)}
    reused = attempt.marks.reused if attempt else None
    return Timings(total=total, reused=reused, basis=basis, **values)


def _before_first_content(
    marks: Marks, end: float, reported: Mapping[str, float], basis: dict[str, Basis]
) -> dict[str, float | None]:
    """Split the time up to the first content. A phase that never ended lasts until `end`."""
    sending = marks.send_started
    answered = end if marks.headers is None else marks.headers
    begun = next((mark for mark in (marks.connect_started, sending) if mark is not None), answered)
    parts: dict[str, float | None] = {
        "queue": _between(marks.started, marks.dequeued, begun),
        "connect": _between(marks.connect_started, marks.connected, end),
        "tls": _between(marks.tls_started, marks.secured, end),
        "send": _between(sending, marks.sent, answered),
    }
    waited = _between(marks.headers if marks.sent is None else marks.sent, marks.first_content, end)
    if waited is None:
        return parts
    trip = marks.rtt if marks.rtt is not None else parts["connect"]  # a TCP handshake is one round trip
    basis["network"] = "measured" if marks.rtt is not None else "inferred"
    network = min(trip or 0.0, waited)
    server = waited - network
    queued, prefill = reported.get("server_queue"), reported.get("prefill")
    if (queued or 0.0) + (prefill or 0.0) > end - marks.started:
        queued = prefill = None  # more than the whole call took: another clock, or another unit
    # Our mark of the last byte sent may come late by a turn of the event loop: fit theirs into what is left of ours.
    prefill = None if prefill is None else min(prefill, server)
    queued = None if queued is None else min(queued, server - (prefill or 0.0))
    basis["server_queue"] = "inferred" if queued is None else "reported"
    basis["prefill"] = "inferred" if prefill is None else "reported"
    if prefill is None:
        prefill = server - (queued or 0.0)
    elif queued is None:
        queued = server - prefill
    else:
        network += max(0.0, server - queued - prefill)  # gateways and proxies on the way
        basis["network"] = "inferred"
    return parts | {"network": network if trip is not None else None, "server_queue": queued, "prefill": prefill}


def _between(start: float | None, end: float | None, fallback: float | None = None) -> float | None:
    """Seconds from one mark to the next; to `fallback` if the second never came; None if the first never came."""
    end = fallback if end is None else end
    return None if start is None or end is None else max(0.0, end - start)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of values in ascending order."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
