"""Getting a prompt ready, before anything looks at it: arrange it, squeeze it, trim it to its budget, and count it.

What comes out depends on the conversation alone, so that each turn begins with the bytes of the one before. A fault in
here sends the prompt as it was given; only a prompt that cannot be made to fit is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from operator import attrgetter
from typing import Any

from fastclient.config import Prompt
from fastclient.engine.stack import Handler, Layer
from fastclient.engine.stream import Stream
from fastclient.errors import PromptTooLong
from fastclient.prompt.arrange import Arrangement
from fastclient.prompt.fit import Budget
from fastclient.prompt.lineage import Conversation, Conversations
from fastclient.prompt.piece import Piece, Pieces, Prepared, chained
from fastclient.prompt.prefix import NO_TOOLS, ToolOrder, Tools, measured, steady
from fastclient.prompt.rules import rules_of
from fastclient.prompt.tokens import REPLY, SPREAD, Count, Size, anchored, counted
from fastclient.target import Target
from fastclient.types import PLAIN, Call, Message, Request, Shape

__all__ = ["Preparer", "prepared"]

logger = logging.getLogger("fastclient")

_TOOLS = 1000  # of a conversation whose places are kept
_SYSTEM = ("system", "developer")
_SIZE, _MESSAGE = attrgetter("size"), attrgetter("message")


class Preparer:
    """Prepares the requests to one target. Safe from any thread."""

    def __init__(self, prompt: Prompt, target: Target) -> None:
        self.rules = rules_of(target)
        self.conversations = Conversations()
        self._stable = prompt.stable
        limited = prompt.max_input_tokens is not None
        self._pieces = Pieces(squeezed=prompt.squeeze, stable=prompt.stable, tables=prompt.tables, exact=limited)
        self._arrangement = Arrangement(self.rules)
        self._order = ToolOrder()
        self._budget: Budget | None = None
        if prompt.max_input_tokens is not None:
            self._budget = Budget(prompt.max_input_tokens, self.rules.tokenizer_known, self._pieces)

    def prepare(self, request: Request, now: float) -> Prepared:
        """The request as it is to be sent. Raises PromptTooLong if it cannot be made to fit; then nothing is sent.

        Costs about a microsecond per message that is known already. `now` is in seconds, on one clock for all requests.
        """
        messages: Sequence[Message] = request.messages
        shape = request.shape
        if shape.documents:
            messages, shape = self._arrangement.ranked(request)
        end = len(messages) if shape.tail is None else shape.tail
        if end < len(messages):
            messages = [*messages[:end], *self._arrangement.late(messages[end:])]
        pieces = self._pieces.of(messages)
        static, task = _head(messages, shape)
        chain = chained(0, pieces[: task + 1])
        head = chain[-1]
        conversation = self.conversations.of(head)
        tools = self._tools(request.params.get("tools"), conversation) if request.params else NO_TOOLS
        ready = Prepared(
            request=request,
            pieces=pieces,
            tools=tools,
            conversation=conversation,
            head=head,
            task=pieces[task].print,
            static=static,
            tail=end,
            documents=shape.documents,
            chain=chain if tools is NO_TOOLS and self._stays(pieces, task, end) else (),
        )
        if self._budget is None and not request.params and shape is PLAIN and _unchanged(pieces):
            ready.size = sum(map(_SIZE, pieces))
            return ready
        if self._budget is not None:
            self._budget.fit(ready, now)
        if end < len(messages):
            self._join(ready)
        ready.size = tools.size + sum(map(_SIZE, ready.pieces))
        ready.request = _asking(
            request,
            messages=tuple(map(_MESSAGE, ready.pieces)),
            params=self._params(request.params, tools),
            shape=Shape(static, None if shape.tail is None else ready.tail, ready.documents),
        )
        return ready

    def _stays(self, pieces: Sequence[Piece], task: int, end: int) -> bool:
        """Whether what was chained up to the first user turn is all there is, and will be."""
        return task + 1 == end == len(pieces) and self._budget is None

    def count(self, ready: Prepared) -> Count:
        """How long a prompt is, by what was reported of the conversation's last one if there is one."""
        known, pieces, chain = ready.conversation, ready.pieces, ready.linked().chain
        anchor, length = known.anchor, known.length
        if anchor is not None and length < len(chain) and chain[length] == known.end:
            answered = bool(known.resent) and length < len(pieces) and pieces[length].message["role"] == "assistant"
            added = sum([piece.size for piece in pieces[length + answered :]])
            return anchored(anchor, added=added, dropped=known.passing, resent=known.resent if answered else 0)
        n, high = ready.size + REPLY, ready.high + REPLY
        ratio = known.target.mean if anchor is None else anchor.ratio
        return counted(Size(n, n * SPREAD if self.rules.tokenizer_known else high), ratio=ratio)

    def _join(self, ready: Prepared) -> None:
        """Put what changes each time into the last turn, where the target takes no two turns of one role."""
        last, tail = ready.pieces[: ready.tail][-1:], ready.pieces[ready.tail :]
        joined = self._arrangement.joined(last[0].message, [piece.message for piece in tail]) if last else None
        if joined is not None:
            ready.tail -= 1
            ready.pieces = [*ready.pieces[: ready.tail], *self._pieces.of([joined])]

    def _tools(self, given: object, conversation: Conversation) -> Tools:
        if not isinstance(given, Sequence) or not given:
            return NO_TOOLS
        if not self._stable:
            return measured(given)
        tools = self._order.tools(given, conversation.tools)
        conversation.tools = tuple(dict.fromkeys((*conversation.tools, *tools.names)))[:_TOOLS]
        return tools

    def _params(self, params: Mapping[str, object], tools: Tools) -> Mapping[str, object]:
        if not self._stable or not params:
            return params
        steadied = steady(params)
        if tools.sent is not None:
            steadied["tools"] = tools.sent
        return steadied


def _unchanged(pieces: Sequence[Piece]) -> bool:
    """Whether these are texts that are sent as they were given: nobody else can change them either."""
    for piece in pieces:
        message = piece.message
        if message is not piece.source or len(message) != 2 or message["content"].__class__ is not str:
            return False
    return True


def _asking(request: Request, *, messages: tuple[Message, ...], params: Mapping[str, object], shape: Shape) -> Request:
    """The request with these words. Takes a quarter of what `replace` does."""
    return Request(
        messages=messages,
        params=params,
        priority=request.priority,
        namespace=request.namespace,
        cache=request.cache,
        timeout=request.timeout,
        hedge=request.hedge,
        recover=request.recover,
        samples=request.samples,
        metadata=request.metadata,
        shape=shape,
        original=request.original,
        timeouts=request.timeouts,
        repeated=request.repeated,
        work=request.work,
    )


def _head(messages: Sequence[Message], shape: Shape) -> tuple[int, int]:
    """How many messages in front are the same in every request, and the place of the first user turn."""
    static, task = shape.static, len(messages) - 1
    for at, message in enumerate(messages):
        role = message["role"]
        if static is None and role not in _SYSTEM:
            static = at
        if role == "user":
            task = at
            break
    return (len(messages) if static is None else static), task


def prepared(preparer: Preparer, now: Callable[[], float]) -> Layer:
    """The layer that gets each prompt ready. It stands above the cache, so that what is sent is what the key is of."""

    def layer(handler: Handler) -> Handler:
        def preparing(call: Call) -> Coroutine[Any, Any, Stream]:
            if call.prompt is None:
                _prepare(preparer, call, now())
            return handler(call)

        return preparing

    return layer


def _prepare(preparer: Preparer, call: Call, now: float) -> None:
    """Put the prepared prompt into a call; nobody else has it yet, so that is no change behind anybody's back."""
    try:
        ready = preparer.prepare(call.request, now)
    except PromptTooLong:
        raise
    except Exception as error:
        logger.warning("preparing a prompt failed with %s: it is sent as it is", type(error).__name__)
        return
    call.request, call.prompt, call.tokens = ready.request, ready, round(ready.size)
    call.record.prepared = call.record.clock()
