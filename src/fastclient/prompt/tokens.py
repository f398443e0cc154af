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
from fastclient.types import Message

__all__ = [
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
]

Source = Literal["usage", "tiktoken", "estimate"]

_CHARACTERS = 4  # per token, in English prose; near enough to tell a long prompt from a short one
_FRAME = 4  # tokens around each message, tool and tool call


def estimated(messages: Sequence[Message]) -> int:
    """About how many tokens the texts of these messages have. Costs a fraction of a microsecond per message."""
    characters = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            characters += len(content)
        elif isinstance(content, Sequence):
            characters += sum(len(text) for part in content if isinstance(text := _text(part), str))
    return characters // _CHARACTERS + _FRAME * len(messages)


def _text(part: object) -> object:
    return part.get("text") if isinstance(part, Mapping) else None


class Size(NamedTuple):
    """Tokens of a piece of a prompt: the best guess, and what they hardly exceed. Sizes of pieces add up."""

    n: float
    high: float


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


# --- a text -----------------------------------------------------------------------------------------------------------

# Each byte stands for its class: a letter, a capital, a digit, a blank ... and for other scripts the first byte of a
# character, which tells the script. What the tokens of a text are is a weighted sum of how often some classes, and
# pairs of them, occur. The weights are a ridge regression of o200k_base on prose, code, JSON, logs and translations.
# fmt: off
_ASCII: Mapping[bytes, float] = {
    b"a": 0.020, b".": 0.085, b"0": 1.766, b"n_": 1.285, b"._": 0.713, b"n.": 2.808, b"00": -1.723, b"000": -0.915,
    b"_A": 0.027, b"_a": 0.992, b".a": 1.396, b"A": 1.073, b"AA": -1.586, b"_.": 0.597, b"A0": 2.326, b"na": 2.020,
}
_OTHER: Mapping[bytes, float] = {
    b"a": 0.187, b".": 0.269, b"0": 1.166, b"n_": 2.477, b"._": -0.258, b"n.": -0.250, b"00": 0.339, b"000": -2.984,
    b"_A": 0.444, b"_a": 0.298, b".a": 0.247, b"A": 0.341, b"AA": 1.441, b"_.": 1.508, b"A0": -5.090, b"na": -0.167,
    b"l": -0.479, b"L": 1.381, b"g": 0.453, b"r": 0.390, b"m": 0.369, b"h": 0.481, b"b": 0.421, b"i": 0.384,
    b"I": 0.432, b"s": 1.507, b"k": 0.718, b"C": 0.771, b"K": 0.770, b"f": 0.273, b"e": 1.697,
    b"_r": -0.421, b"_b": -0.363, b"al": 1.308, b"ca": -0.069,
}
_RANGES: Mapping[bytes, tuple[int, int]] = {
    b".": (0x00, 0x7F), b"a": (0x61, 0x7A), b"A": (0x41, 0x5A), b"0": (0x30, 0x39), b"_": (0x20, 0x20),
    b"t": (0x09, 0x09), b"c": (0x80, 0xBF), b"l": (0xC0, 0xC3), b"L": (0xC4, 0xCB), b"g": (0xCC, 0xCF),
    b"r": (0xD0, 0xD3), b"m": (0xD4, 0xD5), b"h": (0xD6, 0xD7), b"b": (0xD8, 0xDF), b"i": (0xE0, 0xE0),
    b"I": (0xE1, 0xE1), b"s": (0xE2, 0xE2), b"k": (0xE3, 0xE3), b"C": (0xE4, 0xE9), b"K": (0xEA, 0xED),
    b"f": (0xEE, 0xEF), b"e": (0xF0, 0xFF),
}
# fmt: on
_LATIN = b"aA0_nt.lL"
_NEAR = 0.06  # how much more than estimated a text may have
_FAR = 0.40  # the same in other scripts; with older tokenizers than o200k, Arabic or Hindi may have twice as much
_EXACT, _ANCHORED, _SCALED = 0.01, 0.01, 0.02  # the same for what a tokenizer, a report, or an older report says
_DENSEST = 64  # bytes a token hardly exceeds over a whole text: long runs of blanks have few of the pairs above
_NOTHING = Size(0.0, 0.0)


def _classes() -> bytes:
    table = bytearray(256)
    for kind, (first, last) in _RANGES.items():
        table[first : last + 1] = kind * (last + 1 - first)
    table[0x0A] = table[0x0D] = ord("n")
    return bytes(table)


_CLASSES = _classes()


def estimate(text: str) -> float:
    """The tokens of a text: 0 for none, else at least 1. Costs about 50 us for each 1,000 tokens."""
    return size_of_text(text).n


def size_of_text(text: str) -> Size:
    """The estimate of a text, and how far it may be exceeded: the more of it is not in Latin letters, the further."""
    if not text:
        return _NOTHING
    kinds = text.encode("utf-8", "surrogatepass").translate(_CLASSES)
    if text.isascii():
        n = _weighed(kinds, _ASCII)
        return Size(n, n * (1 + _NEAR))
    n = _weighed(kinds, _OTHER)
    return Size(n, n * (1 + _NEAR + (_FAR - _NEAR) * _foreign(kinds)))


def _weighed(kinds: bytes, weights: Mapping[bytes, float]) -> float:
    tokens = sum([weight * kinds.count(pattern) for pattern, weight in weights.items()])
    return max(1.0, len(kinds) / _DENSEST, tokens)


def _foreign(kinds: bytes) -> float:
    """The share of the bytes that belong to characters of other scripts; a Latin letter has at most two."""
    rest = len(kinds.translate(None, _LATIN))
    return (rest - kinds.count(b"l") - kinds.count(b"L")) / len(kinds)


# --- a message, a tool ------------------------------------------------------------------------------------------------

_Measure: TypeAlias = Callable[[str], Size]

_BLOB = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/=_-]{256,}")  # binary data, which no provider reads as text
_DENSE = 1.085  # schemas without blanks have more tokens than the JSON that the weights were fitted to
_SMALL_IMAGE = Size(85, 85)
_IMAGE = Size(765, 1600)  # OpenAI's for a square of 1,024 pixels, and the most that Anthropic takes
_AUDIO = (2000, 500)  # characters of base64 for one token: MP3 at 128 kbit/s, and at 32
_FILE = (30, 10)  # the same for a PDF: pages of 60 KB and of 20 KB, with 2,700 tokens each
_ABSENT = Size(2700, 10_800)  # a file or recording that lies at the provider: one page, and four


def size_of(message: Message) -> Size:
    """The tokens of a message in OpenAI's form, or with Anthropic's blocks. Never raises, whatever stands in it."""
    return _message(message, size_of_text)


def size_of_tool(tool: Mapping[str, object]) -> Size:
    """The tokens of a tool's definition."""
    return _tool(tool, size_of_text, _DENSE)


def _tool(tool: Mapping[str, object], measure: _Measure, density: float) -> Size:
    n, high = measure(_json(tool))
    return Size(_FRAME + density * n, _FRAME + density * high)


def _message(message: Message, measure: _Measure) -> Size:
    content = message.get("content")
    n, high = measure(content) if isinstance(content, str) else _content(content, measure)
    for field in message:
        if field in _MORE:
            more = _MORE[field](message[field], measure)
            n, high = n + more.n, high + more.high
    return Size(_FRAME + n, _FRAME + high)


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
    return _total([_said(body[field], measure) for field in ("name", "arguments", "input") if field in body], _FRAME)


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
            return _total([_leaf(each, measure) for each in parts], _FRAME)
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
    answer = resent + _FRAME if resent else 0
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
