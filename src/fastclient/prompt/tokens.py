"""How many tokens a prompt has, without a tokenizer: estimated from its bytes, or anchored on what was reported. Pure.

No file is read and nothing is waited for. An estimate of a whole prompt in English, code or JSON is some 3 % off for
OpenAI's tokenizers; once a provider has reported the count of a prompt, that of the conversation's next one is some
.3 % off, whatever the tokenizer. A `Count` carries its range; whoever has a budget to keep compares it with `high`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import ceil, floor
from typing import Literal, NamedTuple, TypeAlias

import orjson

from fastclient.locks import Locked
from fastclient.prompt.estimator import Size, estimate, size_of_text, sized
from fastclient.types import Message

__all__ = [
    "FRAME",
    "REPLY",
    "SPREAD",
    "Anchor",
    "Count",
    "Size",
    "Sizes",
    "Source",
    "anchored",
    "counted",
    "estimate",
    "estimated",
    "size_of",
    "size_of_text",
    "size_of_tool",
    "sized",
]

Source = Literal["usage", "tiktoken", "estimate"]

_CHARACTERS = 4  # per token, in English prose; near enough to tell a long prompt from a short one
REPLY = 3
"""Tokens that open the answer."""
SPREAD = 1.06
"""How much more than estimated a prompt may have, with the tokenizers that the estimator was made for."""
FRAME = 4
"""Tokens around each message, tool and tool call."""
_EXACT, _ANCHORED, _SCALED = 0.01, 0.01, 0.02  # how far off a tokenizer, a report, and an older report may be


def estimated(messages: Sequence[Message]) -> int:
    """About how many tokens the texts of these messages have. Costs a fraction of a microsecond per message."""
    characters = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            characters += len(content)
        elif isinstance(content, Sequence):
            characters += sum(len(text) for part in content if isinstance(text := _text(part), str))
    return characters // _CHARACTERS + FRAME * len(messages)


def _text(part: object) -> object:
    return part.get("text") if isinstance(part, Mapping) else None


class Count(NamedTuple):
    """Tokens of a prompt: the best guess `n`, which lies between `low` and `high`, and where it is from."""

    n: int
    low: int
    high: int
    source: Source


class Anchor(NamedTuple):
    """What a conversation's last request was reported to have, and that divided by the estimate of the same prompt."""

    tokens: int
    ratio: float

    @classmethod
    def of(cls, reported: int, n: float) -> Anchor:
        """The anchor that a report makes: `n` is the size of the prompt that was sent."""
        return cls(reported, _clamped(reported / n if n > 0 else 1.0))


# --- a message, a tool ------------------------------------------------------------------------------------------------

_Measure: TypeAlias = Callable[[str], Size]

_BLOB = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/=_-]{256,}")  # binary data, which no provider reads as text
_DENSE = 1.085  # schemas without blanks have more tokens than the JSON that the weights were fitted to
_SMALL_IMAGE = Size(85, 85)
_IMAGE = Size(765, 1600)  # OpenAI's for a square of 1,024 pixels, and the most that Anthropic takes
_AUDIO = (2000, 500)  # characters of base64 for one token: MP3 at 128 kbit/s, and at 32
_FILE = (30, 10)  # the same for a PDF: pages of 60 KB and of 20 KB, with 2,700 tokens each
_ABSENT = Size(2700, 10_800)  # a file or recording that lies at the provider: one page, and four


def size_of(message: Message, measure: _Measure = size_of_text) -> Size:
    """The tokens of a message in OpenAI's form, or with Anthropic's blocks. Never raises, whatever stands in it."""
    return _message(message, measure)


def size_of_tool(tool: Mapping[str, object]) -> Size:
    """The tokens of a tool's definition."""
    return _tool(tool, size_of_text, _DENSE)


def _tool(tool: Mapping[str, object], measure: _Measure, density: float) -> Size:
    n, high = measure(_json(tool))
    return Size(FRAME + density * n, FRAME + density * high)


def _message(message: Message, measure: _Measure) -> Size:
    content = message.get("content")
    n, high = measure(content) if isinstance(content, str) else _content(content, measure)
    for field in message:
        if field in _MORE:
            more = _MORE[field](message[field], measure)
            n, high = n + more.n, high + more.high
    return Size(FRAME + n, FRAME + high)


def _said(text: object, measure: _Measure) -> Size:
    return measure(text if isinstance(text, str) else _words(text))


def _calls(calls: object, measure: _Measure) -> Size:
    if not isinstance(calls, (list, tuple)):
        return _said(calls, measure)
    return _total([_call(call, measure) for call in calls])


def _call(call: object, measure: _Measure) -> Size:
    if not isinstance(call, Mapping):
        return _said(call, measure)
    inner = call.get("function") or call.get("custom")
    body = inner if isinstance(inner, Mapping) else call
    return _total([_said(body[field], measure) for field in ("name", "arguments", "input") if field in body], FRAME)


_MORE: Mapping[str, Callable[[object, _Measure], Size]] = {
    **dict.fromkeys(("name", "reasoning_content", "refusal"), _said),
    "tool_calls": _calls,
    "function_call": _call,
}


def _content(content: object, measure: _Measure) -> Size:
    if isinstance(content, (list, tuple)):
        return _total([_part(part, measure) for part in content])
    return _said(content, measure)


def _part(part: object, measure: _Measure) -> Size:
    """One part of a content: a tool's result and a document have parts of their own, which have none again."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping) and isinstance(kind, str):
        if kind.endswith("tool_result"):
            inner = part.get("content")
            parts = inner if isinstance(inner, (list, tuple)) else [inner]
            return _total([_leaf(each, measure) for each in parts], FRAME)
        if kind.endswith("tool_use"):
            return _call(part, measure)
    return _leaf(part, measure)


def _leaf(part: object, measure: _Measure) -> Size:
    if not isinstance(part, Mapping):
        return _said(part, measure)
    kind = part.get("type")
    if isinstance(kind, str):
        if isinstance(text := part.get("thinking" if kind == "thinking" else "text"), str):
            return measure(text)
        if kind in _MEDIA:
            return _MEDIA[kind](part, measure)
    return measure(_BLOB.sub("", _json(part)))


def _image(part: Mapping[str, object], _: _Measure) -> Size:
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, Mapping) else part.get("detail")
    return _SMALL_IMAGE if detail == "low" else _IMAGE


def _audio(part: Mapping[str, object], _: _Measure) -> Size:
    return _binary(part, _AUDIO) or _ABSENT


def _file(part: Mapping[str, object], measure: _Measure) -> Size:
    source = part.get("source")
    if isinstance(source, Mapping) and source.get("type") in ("text", "content"):
        return _said(source.get("data") or source.get("content"), measure)
    return _binary(part, _FILE) or _ABSENT


def _binary(part: Mapping[str, object], rates: tuple[int, int]) -> Size | None:
    """A guess from the length of the data, which may stand in the part or in a member that describes it."""
    for place in (part, *(part.get(name) for name in ("input_audio", "file", "source"))):
        data = (place.get("data") or place.get("file_data")) if isinstance(place, Mapping) else None
        if isinstance(data, str):
            return Size(1 + len(data) / rates[0], 1 + len(data) / rates[1])
    return None


_MEDIA: Mapping[str, Callable[[Mapping[str, object], _Measure], Size]] = {
    **dict.fromkeys(("image_url", "input_image", "image"), _image),
    **dict.fromkeys(("input_audio",), _audio),
    **dict.fromkeys(("file", "input_file", "document"), _file),
}


def _total(sizes: Iterable[Size], frame: float = 0.0) -> Size:
    n = high = frame
    for size in sizes:
        n += size.n
        high += size.high
    return Size(n, high)


def _words(value: object) -> str:
    return "" if value is None else _json(value)


def _json(value: object) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half a surrogate pair, a number beyond 64 bits, a circle
        pass
    try:
        return repr(value)
    except Exception:  # it was not made to be sent
        return ""


# --- many of them -----------------------------------------------------------------------------------------------------

_ENTRIES = 8192
_LENGTH = 4_000_000  # characters


class Sizes(Locked):
    """Sizes of messages that remember each text, so that a growing conversation costs what is new in it.

    A text seen before costs about .1 us, a message 1 to 3 us. With a `counter`, such as a loaded vocabulary's, that is
    asked instead of the estimator. Two generations of 8,192 texts and 4 million characters are kept; whatever was not
    asked for during a whole one is forgotten. Threads may share it: only texts that are new take turns.
    """

    __slots__ = ("_density", "_length", "_measure", "_old", "_young")

    def __init__(self, counter: Callable[[str], int] | None = None) -> None:
        super().__init__()
        self._measure: _Measure = size_of_text if counter is None else partial(_exactly, counter)
        self._density = _DENSE if counter is None else 1.0
        self._young: dict[str, Size] = {}
        self._old: dict[str, Size] = {}
        self._length = 0

    def of(self, message: Message) -> Size:
        """As `size_of`."""
        return _message(message, self.of_text)

    def of_tool(self, tool: Mapping[str, object]) -> Size:
        """As `size_of_tool`."""
        return _tool(tool, self.of_text, self._density)

    def of_text(self, text: str) -> Size:
        """As `size_of_text`."""
        size = self._young.get(text)
        return self._missed(text) if size is None else size

    def _missed(self, text: str) -> Size:
        size = self._old.get(text) or self._measure(text)
        if len(text) <= _LENGTH:
            with self.lock:
                self._keep(text, size)
        return size

    def _keep(self, text: str, size: Size) -> None:
        if text in self._young:  # another thread was faster
            return
        if len(self._young) >= _ENTRIES or self._length + len(text) > _LENGTH:
            self._old, self._young, self._length = self._young, {}, 0
        self._young[text] = size
        self._length += len(text)


def _exactly(counter: Callable[[str], int], text: str) -> Size:
    n = counter(text)
    return Size(n, n * (1 + _EXACT))


# --- a whole prompt ---------------------------------------------------------------------------------------------------


def anchored(anchor: Anchor, *, added: float, dropped: float = 0.0, resent: int = 0) -> Count:
    """The tokens of a conversation's next prompt, by what its last one was reported to have.

    `added` and `dropped` are the sizes of messages that came and went since; `resent` are the tokens of the answer as
    reported, without the reasoning that is not sent again, if that answer is now part of the prompt and not in `added`.
    """
    answer = resent + FRAME if resent else 0
    n = anchor.tokens + answer + _clamped(anchor.ratio) * (added - dropped)
    return _count(n, max(1.0, _ANCHORED * n), "usage")


def counted(size: Size, source: Source = "estimate", ratio: float | None = None) -> Count:
    """The tokens of a whole prompt of this size; `ratio` is an anchor's whose prompt began otherwise."""
    if ratio is None:
        return _count(size.n, size.high - size.n, source)
    n = size.n * _clamped(ratio)
    return _count(n, _SCALED * n, source)


def _count(n: float, spread: float, source: Source) -> Count:
    n = max(0.0, n)
    return Count(round(n), max(0, floor(n - spread)), ceil(n + spread), source)


def _clamped(ratio: float) -> float:
    return min(max(0.3, ratio), 4.0)  # in this order NaN is absorbed too
