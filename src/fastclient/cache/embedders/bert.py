"""A BERT encoder (MiniLM is one) in plain numpy, straight from its safetensors file: slow, but nothing to install.

Also what an export of the same weights is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastclient.cache.embedders.folder import Folder, Matrix
from fastclient.cache.embedders.pieces import Pieces
from fastclient.cache.embedders.pooling import Pooling, pooled, pooling_of
from fastclient.cache.embedders.vectors import Vectors, np, unit
from fastclient.checks import whole
from fastclient.errors import ConfigError

__all__ = ["Bert"]

_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)  # Abramowitz and Stegun, 7.1.26


class Bert:
    """A folder with `model.safetensors`, `config.json` and `tokenizer.json` of a BERT encoder; mapped into memory.

    About ten times slower than the same model in ONNX form. `pooling` is "mean" or "cls" if the folder does not say. A
    text is cut at `tokens` pieces.
    """

    def __init__(self, folder: str | Path, *, pooling: Pooling | None = None, tokens: int = 128) -> None:
        whole("tokens", tokens)
        self._folder = Folder(folder, "folder")
        config = self._folder.json("config.json")
        self._heads = self._count(config, "num_attention_heads")
        self._layers = self._count(config, "num_hidden_layers")
        self.dim = self._count(config, "hidden_size")
        epsilon = config.get("layer_norm_eps", 1e-12)
        self._epsilon = epsilon if isinstance(epsilon, float) else 1e-12
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu" or self.dim % self._heads:
            raise self._folder.wrong("has a config.json of something else than a BERT encoder with gelu")
        self._pooling: Pooling = pooling_of(self._folder, pooling)
        self._pieces = Pieces(self._folder, tokens)
        tensors = self._folder.tensors("model.safetensors")
        self._weights = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
        try:
            places = len(self._weights["embeddings.position_embeddings.weight"])
            self._run([0])
        except (KeyError, ValueError, IndexError):
            raise self._folder.wrong("has a model.safetensors that is no BERT encoder") from None
        if tokens > places:
            raise ConfigError.of("tokens", tokens, f"is more than the {places} places of this model")
        files = self._folder.file("model.safetensors"), self._folder.file("config.json"), self._pieces.file
        self.id = f"bert-{self._folder.digest(*files)}-{self._pooling}-{tokens}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text."""
        rows = np.zeros((len(texts), self.dim), np.float32)
        for at, text in enumerate(texts):
            if ids := self._pieces.of(text):
                rows[at] = pooled(self._run(ids), self._pooling)
        return unit(rows)

    def _run(self, ids: Sequence[int]) -> Matrix:
        """The last layer's vectors, one for each piece."""
        table = self._weights
        x = table["embeddings.word_embeddings.weight"][list(ids)]
        x = x + table["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._normal(x + table["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            seen = self._attention(x, f"{layer}.attention.self")
            x = self._normal(
                x + self._linear(seen, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm"
            )
            inner = _gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._normal(x + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x

    def _attention(self, x: Matrix, name: str) -> Matrix:
        size = self.dim // self._heads
        parts = (self._linear(x, f"{name}.{part}") for part in ("query", "key", "value"))
        query, key, value = (part.reshape(-1, self._heads, size).transpose(1, 0, 2) for part in parts)
        scores = query @ key.transpose(0, 2, 1) / np.float32(size**0.5)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        seen: Matrix = (scores @ value).transpose(1, 0, 2).reshape(-1, self.dim)
        return seen

    def _linear(self, x: Matrix, name: str) -> Matrix:
        result: Matrix = x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return result

    def _normal(self, x: Matrix, name: str) -> Matrix:
        x = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        result: Matrix = x / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return result

    def _count(self, config: Mapping[str, object], name: str) -> int:
        value = config.get(name)
        if not isinstance(value, int) or value < 1:
            raise self._folder.wrong(f"has a config.json without {name}")
        return value

    def __repr__(self) -> str:
        return f"Bert({self._folder!r})"


def _gelu(x: Matrix) -> Matrix:
    """The exact function, not its tanh likeness, by an erf that is right to seven digits."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    total = np.zeros_like(t)
    for factor in reversed(_ERF):
        total = (total + np.float32(factor)) * t
    total = np.sign(x) * (1 - total * np.exp(-z * z))
    half: Matrix = (np.float32(0.5) * x * (1 + total)).astype(np.float32, copy=False)
    return half
