"""The words of a call: what is asked, what comes back, and how it went. Values only, no behaviour that waits.

What may hold a prompt, an answer or a key is left out of every repr.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias

if TYPE_CHECKING:
    from fastclient.config import Timeouts
    from fastclient.observe.timing import AttemptRecord, CallRecord
    from fastclient.parts import Part
    from fastclient.prompt.layout import Layout
    from fastclient.prompt.piece import Prepared
    from fastclient.providers.native.original import Original
    from fastclient.tail.line import Place
    from fastclient.target import Price, Target

__all__ = [
    "PARTS",
    "Attempt",
    "Basis",
    "CacheInfo",
    "Call",
    "Chunk",
    "Documents",
    "Message",
    "Messages",
    "Reply",
    "Request",
    "Shape",
    "Timings",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]

Message: TypeAlias = Mapping[str, object]
"""One message in OpenAI's form: `{"role": "user", "content": "..."}`; content may also be a list of parts."""

Messages: TypeAlias = "str | Sequence[Message | Part]"
"""A string is one user message. Parts say what they are: `fc.static`, `fc.documents`, `fc.volatile` and so on."""

Priority = Literal["interactive", "default", "background"]
CacheMode = Literal["use", "refresh", "off"]
Recovery = Literal["restart", "resume"]
Role = Literal["primary", "hedge", "retry", "fallback"]
Outcome = Literal["won", "lost", "failed", "cancelled"]
Basis = Literal["measured", "reported", "inferred"]


class Documents(NamedTuple):
    """Which parts of a prompt are documents: the first `parts` parts of message number `message`, best first."""

    message: int
    parts: int
    order: Literal["given", "popular"] = "given"


class Shape(NamedTuple):
    """What the messages of a request are, as far as the caller said so.

    The first `static` ones are the same in every request (None: the system messages in front are taken for that), from
    `tail` on they change with every request.
    """

    static: int | None = None
    tail: int | None = None
    documents: tuple[Documents, ...] = ()


PLAIN = Shape()
"""That of messages of which the caller said nothing."""


@dataclass(slots=True, kw_only=True)  # not frozen: that takes much longer to make
class Request:
    """What the caller asked, checked, in OpenAI's words; a provider translates it when it is sent. Never changed.

    `original` is the request as another library wrote it, with that library's `timeouts`; `repeated` says that the
    library asks this again because it failed before. `work` is the call of a function in a provider's place. `labels`
    are what an answer is forgotten by: hashes of tags and documents.
    """

    messages: tuple[Message, ...] = field(repr=False)
    params: Mapping[str, object] = field(default_factory=dict, repr=False)
    priority: Priority = "default"
    namespace: str | None = None
    cache: CacheMode = "use"
    timeout: float | None = None
    hedge: bool | None = None
    recover: Recovery | None = None
    samples: int | None = None
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict, repr=False)
    shape: Shape = PLAIN
    original: Original | None = field(default=None, repr=False)
    timeouts: Timeouts | None = None
    repeated: bool = False
    work: object | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call. Input includes cached tokens, output includes reasoning; None means not reported.

    `wasted_tokens` were spent by attempts that lost; `cost` is in the currency of the target's `Price`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    wasted_tokens: int = 0
    cost: float | None = None

    def updated(self, later: Usage) -> Usage:
        """These numbers, overwritten by those a later event of the same stream reported."""
        read, written = later.cache_read_tokens, later.cache_write_tokens
        return Usage(
            input_tokens=self.input_tokens if later.input_tokens is None else later.input_tokens,
            output_tokens=self.output_tokens if later.output_tokens is None else later.output_tokens,
            cache_read_tokens=self.cache_read_tokens if read is None else read,
            cache_write_tokens=self.cache_write_tokens if written is None else written,
            reasoning_tokens=self.reasoning_tokens if later.reasoning_tokens is None else later.reasoning_tokens,
            wasted_tokens=self.wasted_tokens + later.wasted_tokens,
            cost=self.cost if later.cost is None else later.cost,
        )

    def priced(self, price: Price | None) -> Usage:
        """The same with `cost` filled in, if there is a price and a count."""
        if price is None or self.input_tokens is None:
            return self
        read, write = self.cache_read_tokens or 0, self.cache_write_tokens or 0
        cost = (self.input_tokens - read - write) * price.input + (self.output_tokens or 0) * price.output
        cost += read * (price.input if price.cache_read is None else price.cache_read)
        cost += write * (price.input if price.cache_write is None else price.cache_write)
        return self.updated(Usage(cost=cost / 1e6))


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call: `arguments` grows by concatenation under the same `index`."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = field(default="", repr=False)


class Chunk(NamedTuple):
    """One event of an answer: what it means, and the bytes it came in.

    A chunk with `text`, `reasoning` or `tool_calls` is content; others carry the finish reason, usage, or nothing.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    raw: bytes = b""
    reported: Mapping[str, float] | None = None  # seconds by part, where the provider tells them
    blocks: tuple[Mapping[str, object], ...] = ()  # the provider's own, to be sent back as they are
    restarted: bool = False  # what came before is void: the answer begins anew (only where nobody saw it)

    @property
    def is_content(self) -> bool:
        return bool(self.text or self.reasoning or self.tool_calls)

    def __repr__(self) -> str:
        kinds = [name for name in ("text", "reasoning", "tool_calls", "usage") if getattr(self, name)]
        return f"Chunk({', '.join(kinds)}, finish_reason={self.finish_reason!r}, {len(self.raw)} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A complete tool call; `arguments` is the JSON text the model wrote."""

    id: str
    name: str
    arguments: str = field(repr=False)

    def parsed(self) -> object:
        """The arguments as Python values. Raises ValueError if the model wrote broken JSON."""
        from json import loads

        return loads(self.arguments or "{}")


class CacheInfo(NamedTuple):
    """Where the answer came from. `age` is in seconds; `similarity` is set by the semantic cache only.

    The last three are about the provider's own cache of prompts: how many tokens should have been read from it, going
    by what was sent before, how many it reports, and why there are fewer than the conversation had: the cause of a
    drift, such as "system_timestamp", or "provider_miss" if the provider had dropped it. None where nothing is known.
    """

    state: Literal["hit", "miss", "stale", "shared", "bypass"] = "bypass"
    source: Literal["memory", "disk", "redis", "semantic"] | None = None
    similarity: float | None = None
    age: float | None = None
    expected_tokens: int | None = None
    read_tokens: int | None = None
    drift: str | None = None


# The additive parts of a call's time, in the order they happen.
PARTS = (
    "prepare",
    "lookup",
    "queue",
    "connect",
    "tls",
    "send",
    "network",
    "server_queue",
    "prefill",
    "decode",
    "consumer",
    "overhead",
)


class _Later:
    """Values that are worked out when one of them is first looked at: few callers look."""

    __slots__ = ("_work",)
    _work: Callable[[], Any]

    @classmethod
    def later(cls, work: Callable[[], Self]) -> Self:
        """A value equal to what `work()` will return."""
        value = cls.__new__(cls)
        _plan(value, work)
        return value

    if not TYPE_CHECKING:  # a checker would take it as leave to ask for any name

        def __getattr__(self, name: str) -> Any:
            """Reached only through a field that is not filled in yet, or a name that does not exist."""
            if name not in self.__slots__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            worked = self._work()
            for each in self.__slots__:
                object.__setattr__(self, each, getattr(worked, each))
            return getattr(worked, name)


_plan: Callable[[_Later, Callable[[], Any]], None] = _Later.__dict__["_work"].__set__


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings(_Later):
    """Where the time of a call went, in seconds; None means unknown. The twelve of `PARTS` add up to `total`.

    `network` is one round trip, `prefill` what the server took before the first content beyond it and beyond its own
    queue, `decode` the waiting after the first content, `consumer` the time the caller held chunks, `overhead` the
    rest: our own. `basis` says of each value whether it was measured, reported by the provider, or inferred; an
    inferred `prefill` includes the server's queue. `ttft` is the time to the first content, `headers` from the last
    byte sent to the response headers, `itl_*` gaps between content chunks, `tpot` decode time per output token.
    """

    total: float
    ttft: float | None = None
    queue: float | None = None
    prepare: float | None = None
    lookup: float | None = None
    connect: float | None = None
    tls: float | None = None
    send: float | None = None
    headers: float | None = None
    network: float | None = None
    server_queue: float | None = None
    prefill: float | None = None
    decode: float | None = None
    itl_p50: float | None = None
    itl_p99: float | None = None
    itl_max: float | None = None
    tpot: float | None = None
    consumer: float | None = None
    overhead: float | None = None
    reused: bool | None = None
    rtt: float | None = None
    basis: Mapping[str, Basis] = field(default_factory=dict, repr=False)

    def parts(self) -> dict[str, float]:
        """The known parts, in the order they happened. They add up to `total`."""
        return {name: value for name in PARTS if (value := getattr(self, name)) is not None}

    def __str__(self) -> str:
        shown = [f"{name} {_span(value)}" for name, value in self.parts().items() if value >= 5e-5]
        first = "" if self.ttft is None else f", first token after {_span(self.ttft)}"
        return f"{_span(self.total)} = {' + '.join(shown) or 'overhead 0'}{first}"

    def _repr_html_(self) -> str:
        """A bar for notebooks: one coloured piece per part, as wide as its share."""
        pieces = []
        for number, (name, value) in enumerate(self.parts().items()):
            width = 100 * value / self.total if self.total else 0
            style = f"display:inline-block;height:1.2em;width:{width:.2f}%;background:hsl({number * 47 % 360} 60% 60%)"
            pieces.append(f'<span style="{style}" title="{name} {_span(value)}"></span>')
        return f'<div style="width:100%;white-space:nowrap">{"".join(pieces)}</div><div>{self}</div>'


def _span(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(_Later):
    """One try at one target. `wasted_tokens` counts what a losing or broken attempt had produced."""

    role: Role
    target: str
    outcome: Outcome
    timings: Timings
    wasted_tokens: int = 0
    request_id: str | None = None
    error: BaseException | None = None


@dataclass(slots=True, kw_only=True)  # not frozen: that takes much longer to make
class Reply:
    """A whole answer: the text, the tool calls, and how the call went.

    `malformed_events` counts broken events that were skipped; `blocks` are parts only the provider understands, such as
    signed thinking. `target` is the one that answered, `degraded` says that it is another model than the one asked for,
    `recovered` that the answer broke off and how it went on; `index` numbers the replies of `client.map`.
    """

    text: str = field(repr=False)
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = field(default="", repr=False)
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    model: str
    timings: Timings
    cache: CacheInfo = field(default_factory=CacheInfo)
    attempts: tuple[Attempt, ...] = ()
    call_id: str = ""
    request_id: str | None = None
    malformed_events: int = 0
    target: str = ""
    degraded: bool = False
    recovered: Recovery | None = None
    index: int | None = None
    blocks: tuple[Mapping[str, object], ...] = field(default=(), repr=False)
    body: Callable[[], bytes] = field(default=bytes, repr=False, compare=False)

    @property
    def raw(self) -> bytes:
        """The answer's body as the provider sent it, put together when it is asked for."""
        return self.body()

    @property
    def message(self) -> Message:
        """This answer as a message, to be appended to the conversation; signed thinking blocks are kept in it."""
        content: object = self.text or None
        if self.blocks:
            content = [*self.blocks, *([{"type": "text", "text": self.text}] if self.text else [])]
        if not self.tool_calls:
            return {"role": "assistant", "content": content or ""}
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.tool_calls
        ]
        return {"role": "assistant", "content": content, "tool_calls": calls}


@dataclass(slots=True, kw_only=True)  # not frozen: that takes much longer to make
class Call:
    """One request on its way: what every layer receives. Layers pass on a changed copy, never change it.

    `tokens` estimates the prompt's length; `patience` is how long this attempt may take to its first content, if less
    than the policy says; `alternative` tells the layers below that there is another target to go to; `key` is what the
    answer is kept and shared under, if that may be done; `prompt` is what is known about the messages, and `layout` how
    they stand for the provider's cache. `loop` stands for the event loop that its answer comes by, once that is known.
    """

    id: str
    request: Request
    target: Target
    deadline: float
    record: CallRecord = field(repr=False)
    role: Role = "primary"
    tokens: int = 0
    patience: float | None = None
    alternative: bool = False
    attempt: AttemptRecord | None = field(default=None, repr=False)
    place: Place | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    prompt: Prepared | None = field(default=None, repr=False)
    layout: Layout | None = field(default=None, repr=False)
    loop: object | None = field(default=None, repr=False)

    def copy(self) -> Call:
        """The same once more, for a layer that changes it and passes it on. Takes a tenth of what `replace` does."""
        copy = object.__new__(Call)
        copy.id = self.id
        copy.request = self.request
        copy.target = self.target
        copy.deadline = self.deadline
        copy.record = self.record
        copy.role = self.role
        copy.tokens = self.tokens
        copy.patience = self.patience
        copy.alternative = self.alternative
        copy.attempt = self.attempt
        copy.place = self.place
        copy.key = self.key
        copy.prompt = self.prompt
        copy.layout = self.layout
        copy.loop = self.loop
        return copy
