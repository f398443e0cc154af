"""From a model's tokens to text: characters that came whole, and stop strings. Pure; each step costs the same."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence

__all__ = ["Characters", "Stops"]

_decoder = getincrementaldecoder("utf-8")


class Characters:
    """Puts bytes together to characters. A broken one becomes U+FFFD, one that is not whole yet waits."""

    __slots__ = ("_decoder", "_waiting")

    def __init__(self) -> None:
        self._decoder = _decoder("replace")
        self._waiting = False

    def feed(self, raw: bytes) -> str:
        if not self._waiting and raw.isascii():  # by far the most common
            return raw.decode("ascii")
        text = self._decoder.decode(raw)
        self._waiting = bool(self._decoder.getstate()[0])
        return text

    def end(self) -> str:
        """What is left."""
        self._waiting = False
        return self._decoder.decode(b"", final=True)


class Stops:
    """Passes text on up to the first stop string, and holds back only what may become one."""

    __slots__ = ("_held", "_stops")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """What may be passed on, and whether a stop string came."""
        stops = self._stops
        if not stops:
            return text, False
        text = self._held + text
        found = [at for at in map(text.find, stops) if at >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        keep = max(_overlap(text, stop) for stop in stops)
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut], False

    def end(self) -> str:
        """What was held back and became nothing."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text begin the stop string."""
    for count in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:count]):
            return count
    return 0
