"""OpenAI's `/embeddings`: how vectors are asked for, and what an answer says. Pure."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence

import orjson

from fastclient.cache.embedders.vectors import Vectors, np, received
from fastclient.errors import ConfigError, ServerFailed
from fastclient.providers.dialect import encoded, find, headers
from fastclient.target import Target
from fastclient.wire.port import WireRequest

__all__ = ["answered", "asked"]


def asked(target: Target, texts: Sequence[str], dimensions: int | None) -> WireRequest:
    """The request for the vectors of these texts. As bytes they are a third as long as written out."""
    body: dict[str, object] = {
        "model": target.model,
        "input": [text.encode("utf-8", "replace").decode() for text in texts],  # half a character is no JSON
        "encoding_format": "base64",
    }
    if dimensions is not None:
        body["dimensions"] = dimensions
    return WireRequest(
        method="POST",
        url=f"{target.base_url}/embeddings",
        headers=headers(target, find(target.provider).authentication(target)),
        body=encoded(body),
    )


def answered(body: bytes, texts: int, dim: int, provider: str) -> Vectors:
    """The rows of an answer in the order of the texts. Raises ServerFailed if it is none."""
    try:
        data = orjson.loads(body)["data"]
        places = [entry["index"] for entry in data]
        if sorted(places) != list(range(texts)):
            raise ValueError
        rows: list[Vectors] = [np.empty(0, np.float32)] * texts
        for entry in data:
            rows[entry["index"]] = _vector(entry["embedding"])
        return received(rows, texts, dim)
    except (ConfigError, ValueError, KeyError, TypeError):
        raise ServerFailed(f"{provider} answered with something else than {texts} vectors", provider=provider) from None


def _vector(said: object) -> Vectors:
    """Numbers as such, or as the bytes of 32-bit floats; servers that do not know the latter send the former."""
    if isinstance(said, str):
        return np.frombuffer(b64decode(said, validate=True), "<f4")
    return np.array(said, np.float32)
