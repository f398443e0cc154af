"""Going on after an answer broke off in the middle. Only on request, and the reply says so.

`resume` asks the provider for the rest, where it can be asked. `restart` asks again: what was shown already is skipped
as long as the new answer repeats it word for word; where it does not, the break is an error after all. A caller who
sees nothing before the end just gets the second answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fastclient.engine.stream import Stream
from fastclient.errors import FastClientError, StreamCut, StreamStalled
from fastclient.observe.timing import CallRecord
from fastclient.types import Call, Chunk, Recovery, Request, Usage

__all__ = ["RecoveringStream"]

_MOST = 2  # recoveries of one answer

Reopen = Callable[[Request | None], Awaitable[Stream]]
"""Asks again: with the request for the rest of the answer, or with the same one for None."""

Rest = Callable[[str], Request | None]
"""The request for the rest of an answer that began so."""


class RecoveringStream(Stream):
    """A stream that tries to go on when the one under it breaks off."""

    def __init__(self, inner: Stream, call: Call, mode: Recovery, rest: Rest, reopen: Reopen) -> None:
        self._inner = inner
        self._record: CallRecord = call.record
        self._mode: Recovery = mode
        self._rest = rest
        self._reopen = reopen
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._tokens = 0
        self._tools = False
        self._skip = ""  # text the new answer must repeat before anything of it is shown
        self._rethink = ""  # reasoning it must repeat, where no text was shown
        self._void = False  # what was collected so far does not count any more
        self._spent = Usage()
        self._recovered = 0

    async def pull(self) -> Sequence[Chunk]:
        while True:
            try:
                batch = await self._inner.pull()
            except (StreamCut, StreamStalled) as error:
                await self._recover(self._completed(error))
                continue
            if not batch and self._skip.strip():
                raise self._differs()
            shown = [each for chunk in batch if (each := self._shown(chunk)) is not None]
            if shown or not batch:
                return shown

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _completed(self, error: StreamCut | StreamStalled) -> StreamCut | StreamStalled:
        """The error with all that had arrived, not only since the last recovery."""
        error.partial_text, error.tokens = "".join(self._texts), self._tokens
        return error

    async def _recover(self, error: StreamCut | StreamStalled) -> None:
        """Put a new stream in the place of the broken one, or raise the error."""
        text = "".join(self._texts)
        if self._recovered == _MOST or (self._tools and (self._record.shown or self._mode == "resume")):
            raise error  # half a tool call cannot be continued, and a repeated one cannot be told from a second
        kept = text.rstrip()  # some providers refuse a beginning that ends in white space
        request = self._rest(kept) if self._mode == "resume" and kept else None
        if self._mode == "resume" and request is None:
            raise error
        broken = self._record.broken()
        await self._inner.aclose()
        try:
            self._inner = await self._reopen(request)
        except FastClientError as failure:
            error.retry_budget_exhausted = failure.retry_budget_exhausted
            raise error from failure
        self._recovered += 1
        self._record.recovered = self._mode
        if request is not None:
            self._skip = text[len(kept) :]
            if broken is not None:
                broken.kept = True
                self._spend(Usage(input_tokens=broken.input_tokens, output_tokens=broken.content_chunks))
        elif self._record.shown:
            self._skip, self._rethink = text, "" if text else "".join(self._thoughts)
        else:
            self._void, self._texts, self._tokens = True, [], 0

    def _spend(self, usage: Usage) -> None:
        before = self._spent
        self._spent = Usage(
            input_tokens=(before.input_tokens or 0) + (usage.input_tokens or 0),
            output_tokens=(before.output_tokens or 0) + (usage.output_tokens or 0),
        )

    def _shown(self, chunk: Chunk) -> Chunk | None:
        """The chunk as the caller gets it; None while it only repeats what was shown."""
        if chunk.usage is not None and self._spent.input_tokens is not None:
            chunk = chunk._replace(usage=_sum(chunk.usage, self._spent))
        if chunk.is_content and (self._skip or self._rethink):
            chunk = self._cut(chunk)
            if not (chunk.is_content or chunk.finish_reason or chunk.usage):
                return None
        if chunk.text:
            self._texts.append(chunk.text)
        if chunk.reasoning:
            self._thoughts.append(chunk.reasoning)
        self._tokens += chunk.is_content
        self._tools = self._tools or bool(chunk.tool_calls)
        if self._void:
            self._void = False
            return chunk._replace(restarted=True)
        return chunk

    def _cut(self, chunk: Chunk) -> Chunk:
        """The chunk without the part that repeats what was shown. Before shown text, new thoughts come too late."""
        if chunk.tool_calls and self._skip.strip():
            raise self._differs()
        if self._skip:
            text, self._skip = self._after(self._skip, chunk.text)
            return chunk._replace(text=text, reasoning="")
        reasoning, self._rethink = self._after(self._rethink, chunk.reasoning)
        if chunk.text:
            self._rethink = ""  # it thought less this time
        return chunk._replace(reasoning=reasoning)

    def _after(self, due: str, piece: str) -> tuple[str, str]:
        """What of this piece is new, and what is still to be repeated."""
        if piece.startswith(due):
            return piece[len(due) :], ""
        if due.startswith(piece):
            return "", due[len(piece) :]
        if due.isspace() and self._mode == "resume":  # white space at the seam need not be repeated
            return piece.lstrip(), ""
        raise self._differs()

    def _differs(self) -> StreamCut:
        self._record.recovered = None
        text = "".join(self._texts)
        return StreamCut("the answer broke off, and a second one differs", partial_text=text, tokens=self._tokens)


def _sum(usage: Usage, before: Usage) -> Usage:
    """What all parts of an answer took."""
    return usage.updated(
        Usage(
            input_tokens=None if usage.input_tokens is None else usage.input_tokens + (before.input_tokens or 0),
            output_tokens=None if usage.output_tokens is None else usage.output_tokens + (before.output_tokens or 0),
        )
    )
