"""An embedding model in GGUF form, run by llama.cpp in this process: any file that its tools can convert."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from fastclient.cache.embedders.vectors import Vectors
from fastclient.checks import whole
from fastclient.errors import ConfigError, LocalUnavailable
from fastclient.local.vectors import TextVectors

__all__ = ["LlamaCpp"]

_LOOKED_AT = 2**20  # bytes at both ends of the file that its name is made of


class LlamaCpp:
    """A GGUF file of an embedding model; of one that writes, its last layer's mean. Making one loads the model.

    A text is cut at `tokens` tokens. Texts are run one by one. Nothing is downloaded.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, tokens: int = 512, gpu_layers: int = -1, threads: int | None = None
    ) -> None:
        whole("tokens", tokens)
        if threads is not None:
            whole("threads", threads)
        self._path = Path(path)
        try:
            self._vectors = TextVectors(str(self._path), tokens=tokens, gpu_layers=gpu_layers, threads=threads)
        except LocalUnavailable as error:
            raise ConfigError.at("embedder", str(error)) from None
        self.dim = self._vectors.dim
        self.id = f"llama-{_digest(self._path)}-{self._vectors.pooling}-{tokens}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text."""
        return self._vectors.of(list(texts))

    def close(self) -> None:
        """Let go of the model."""
        self._vectors.close()

    def __repr__(self) -> str:
        return f"LlamaCpp({self._path.name!r})"


def _digest(path: Path) -> str:
    """What tells one model file from another, without reading gigabytes: its size, its beginning and its end."""
    size = path.stat().st_size
    found = blake2b(str(size).encode(), digest_size=8)
    with path.open("rb") as file:
        found.update(file.read(_LOOKED_AT))
        file.seek(max(0, size - _LOOKED_AT))
        found.update(file.read(_LOOKED_AT))
    return found.hexdigest()
