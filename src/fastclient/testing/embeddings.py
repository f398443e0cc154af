"""OpenAI's embeddings, made up: the same text has the same vector, and other texts have others."""

from __future__ import annotations

from array import array
from base64 import b64encode
from collections.abc import Mapping
from math import sqrt
from random import Random

from fastclient.testing.answer import text_of, token_count
from fastclient.testing.formats import dumps, loads, whole_number

__all__ = ["embedded"]

_DIMENSIONS = 8


def embedded(body: bytes) -> bytes | None:
    """The answer to a request for embeddings; None if it is none."""
    try:
        asked = loads(body)
    except ValueError:
        return None
    said = asked.get("input") if isinstance(asked, Mapping) else None
    if not said:
        return None
    texts = said if isinstance(said, list) and not isinstance(said[0], int) else [said]
    data = [{"object": "embedding", "index": at, "embedding": _vector(text, asked)} for at, text in enumerate(texts)]
    tokens = sum(token_count(text_of(text)) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return dumps({"object": "list", "data": data, "model": asked.get("model"), "usage": usage})


def _vector(text: object, asked: Mapping[str, object]) -> object:
    """A vector of length one, as numbers or as the bytes of 32-bit floats."""
    rng = Random(dumps(text))
    numbers = [rng.gauss() for _ in range(whole_number(asked.get("dimensions")) or _DIMENSIONS)]
    length = sqrt(sum(number * number for number in numbers))
    vector = array("f", [number / length for number in numbers])
    return b64encode(vector.tobytes()).decode() if asked.get("encoding_format") == "base64" else vector.tolist()
