"""Embedders for the semantic cache: from no model at all to a provider's. Nothing is ever downloaded.

    fc.embedders.Lexical()                                   # letters only: some microseconds, nothing to install
    fc.embedders.Static("folder")                            # a table of word vectors: tens of microseconds
    fc.embedders.Onnx("folder")                              # a sentence model: about a millisecond
    fc.embedders.Bert("folder")                              # the same without onnxruntime: ten times slower
    fc.embedders.LlamaCpp("model.gguf")                      # any GGUF encoder, by llama.cpp
    fc.embedders.Provider("openai:text-embedding-3-small")   # an API
    fc.embedders.as_embedder(function)                       # anything else

Names are imported on first use, because all of them need numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastclient.cache.embedders.bert import Bert
    from fastclient.cache.embedders.calls import as_embedder
    from fastclient.cache.embedders.lexical import Lexical
    from fastclient.cache.embedders.llama import LlamaCpp
    from fastclient.cache.embedders.onnx import Onnx
    from fastclient.cache.embedders.port import AsyncEmbedder, Embedder
    from fastclient.cache.embedders.provider import Provider
    from fastclient.cache.embedders.static import Static

__all__ = ["AsyncEmbedder", "Bert", "Embedder", "Lexical", "LlamaCpp", "Onnx", "Provider", "Static", "as_embedder"]

_HOME = {
    "AsyncEmbedder": "port",
    "Bert": "bert",
    "Embedder": "port",
    "Lexical": "lexical",
    "LlamaCpp": "llama",
    "Onnx": "onnx",
    "Provider": "provider",
    "Static": "static",
    "as_embedder": "calls",
}


if not TYPE_CHECKING:  # which would take any misspelt name for one of these

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'fastclient.embedders' has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f"fastclient.cache.embedders.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
