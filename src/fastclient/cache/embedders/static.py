"""A table of word vectors (the form model2vec writes): a text is the mean of its pieces, in some ten microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastclient.cache.embedders.folder import Folder, Matrix
from fastclient.cache.embedders.pieces import Pieces
from fastclient.cache.embedders.vectors import Vectors, np, unit
from fastclient.checks import whole

__all__ = ["Static"]


class Static:
    """A folder with `model.safetensors` (a tensor `embeddings`) and `tokenizer.json`; nothing is downloaded.

    `weights` and `mapping` tensors are honoured where the folder has them. A text is cut at `tokens` pieces.
    """

    quick = True

    def __init__(self, folder: str | Path, *, tokens: int = 512) -> None:
        whole("tokens", tokens)
        self._folder = Folder(folder, "folder")
        self._pieces = Pieces(self._folder, tokens, special=False)
        tensors = self._folder.tensors("model.safetensors")
        table = tensors.get("embeddings")
        if table is None or table.ndim != 2 or not table.size:
            raise self._folder.wrong("has a model.safetensors without a table named embeddings")
        self._table: Matrix = table
        self._weights: Matrix | None = tensors.get("weights")
        mapping = tensors.get("mapping")  # whole numbers below 2**24 survive as floats
        self._mapping = None if mapping is None else mapping.astype(np.int64)
        self._rows = len(table if self._mapping is None else self._mapping)
        self._unknown = self._pieces.unknown()
        self.dim = int(table.shape[1])
        digest = self._folder.digest(self._folder.file("model.safetensors"), self._pieces.file)
        self.id = f"static-{digest}-{tokens}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text; a text without a known piece is all zeros."""
        rows = np.zeros((len(texts), self.dim), np.float32)
        for at, text in enumerate(texts):
            ids = [number for number in self._pieces.of(text) if number != self._unknown and number < self._rows]
            if ids:
                rows[at] = self._mean(ids)
        return unit(rows)

    def _mean(self, ids: Sequence[int]) -> Matrix:
        places = np.array(ids)
        rows = self._table[places if self._mapping is None else self._mapping[places]]
        if self._weights is not None:
            rows = rows * self._weights[places][:, None]
        mean: Matrix = rows.mean(axis=0)
        return mean

    def __repr__(self) -> str:
        return f"Static({self._folder!r})"
