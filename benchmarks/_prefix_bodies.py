"""From a request's body to the blocks of its prompt, and from texts to tokens.

A block (tool definition, text part, tool call or result) is its tokens and four of framing. Tokens are o200k's where
that file is on disk, else pieces of text, as many as fastclient estimates.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import sha1
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zlib import crc32

import orjson
import tiktoken

from fastclient.prompt.tokens import estimate

__all__ = ["WIDTH", "Block", "Kind", "Prompt", "counter", "holders", "leading", "parsed", "tokens"]

WIDTH = 4
"""Bytes of a token in a stream."""

Kind = Literal["tool", "system", "user", "result", "assistant", "call"]
_KINDS: tuple[Kind, ...] = ("tool", "system", "user", "result", "assistant", "call")
_FRAME = 4
_ROLES: Mapping[str, Kind] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "tool": "result",
    "function": "result",
    "assistant": "assistant",
}
_PARTS: Mapping[str, Kind] = {"tool_use": "call", "tool_result": "result"}
_FILE = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"


def leading(known: Iterable[bool]) -> int:
    """How many are true before the first that is not."""
    return sum(1 for _ in takewhile(bool, known))


class Block(NamedTuple):
    """A piece of a prompt no cache looks into. `mark` is "5m", "1h" or "explicit"; `closes`: its message ends here."""

    kind: Kind
    stream: bytes
    mark: str = ""
    closes: bool = True

    @property
    def size(self) -> int:
        return len(self.stream) // WIDTH


class Prompt:
    """The blocks of a body in the order they are hashed; for each, tokens and fingerprint of all up to its end."""

    def __init__(self, blocks: Sequence[Block], *, explicit: bool) -> None:
        self.blocks, self.explicit = tuple(blocks), explicit
        self.ends = [*accumulate(block.size for block in blocks)]
        self.keys = _chained(block.stream for block in blocks)
        self.size = self.ends[-1]
        self.head = leading(block.kind in ("tool", "system") for block in blocks) - 1
        self.stream = b"".join(block.stream for block in blocks)

    def chain(self, step: int) -> list[int]:
        """A fingerprint for each full step of tokens; it stands for everything up to its end."""
        return _steps(self.stream, step * WIDTH)


@lru_cache(maxsize=4)
def parsed(body: bytes) -> Prompt:
    """The prompt in a body of OpenAI's or Anthropic's form."""
    data = orjson.loads(body)
    blocks = [
        Block(kind, _frame(kind) + tokens(_text(part, kind)), _mark(part), closes)
        for kind, part, closes in holders(data)
    ]
    return Prompt(blocks, explicit=(data.get("prompt_cache_options") or {}).get("mode") == "explicit")


def holders(data: dict[str, Any]) -> Iterator[tuple[Kind, dict[str, Any], bool]]:
    """The JSON of each block, where a marker can be put, and whether its message ends there. Texts become parts."""
    for tool in data.get("tools") or ():
        yield "tool", tool, True
    for part in _parts(data, "system"):
        yield "system", part, True
    for message in data["messages"]:
        kind = _ROLES[message["role"]]
        inner: list[tuple[Kind, dict[str, Any]]]
        inner = [(_kind(part, kind), part) for part in _parts(message, "content")]
        for call in message.get("tool_calls") or ():
            inner.append(("call", call))
        for number, (own, part) in enumerate(inner, start=1):
            yield own, part, number == len(inner)


def _parts(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    content = holder.get(name) or []
    if isinstance(content, str):
        content = holder[name] = [{"type": "text", "text": content}]
    return content


def _kind(part: Mapping[str, Any], said: Kind) -> Kind:
    return _PARTS.get(part["type"], said)


def _text(part: Mapping[str, Any], kind: Kind) -> str:
    match part.get("type"), kind:
        case "text", _:
            return str(part["text"])
        case "function", "call":
            return str(part["function"]["name"]) + str(part["function"]["arguments"])
        case "tool_use", _:
            return str(part["name"]) + orjson.dumps(part["input"]).decode()
        case "tool_result", _:
            content = part["content"]
            return content if isinstance(content, str) else "".join(_text(each, kind) for each in content)
    return orjson.dumps({name: value for name, value in part.items() if name != "cache_control"}).decode()


def _mark(part: Mapping[str, Any]) -> str:
    if control := part.get("cache_control"):
        return str(control.get("ttl", "5m"))
    return "explicit" if part.get("prompt_cache_breakpoint") else ""


@lru_cache(maxsize=8)
def _steps(stream: bytes, width: int) -> list[int]:
    return _chained(stream[at : at + width] for at in range(0, len(stream) // width * width, width))


def _chained(pieces: Iterable[bytes]) -> list[int]:
    return [*accumulate(map(hash, pieces), lambda key, piece: hash((key, piece)))]


# --- tokens -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=200_000)
def tokens(text: str) -> bytes:
    """The tokens of a text, four bytes each."""
    encoding = _encoding()
    return array("I", encoding.encode_ordinary(text) if encoding else _pieces(text)).tobytes()


def counter() -> str:
    """What tokens are counted with."""
    return "o200k" if _encoding() else "fastclient's estimate"


@cache
def _frame(kind: Kind) -> bytes:
    return array("I", [2**32 - 1 - _KINDS.index(kind)] * _FRAME).tobytes()


@cache
def _encoding() -> tiktoken.Encoding | None:
    """The encoding, if nothing has to be fetched for it."""
    chosen = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    folder = Path(chosen) if chosen else Path(tempfile.gettempdir()) / "data-gym-cache"
    return tiktoken.get_encoding("o200k_base") if (folder / sha1(_FILE.encode()).hexdigest()).is_file() else None


def _pieces(text: str) -> list[int]:
    """As many equal pieces as the estimate says."""
    count = round(estimate(text))
    cuts = [len(text) * number // count for number in range(count + 1)] if count else []
    return [crc32(text[start:end].encode("utf-8", "surrogatepass")) for start, end in pairwise(cuts)]
