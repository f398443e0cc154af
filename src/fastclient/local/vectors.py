"""Vectors of texts from a model in a context of its own, one text after the other: no row depends on another."""

from __future__ import annotations

import ctypes
import os
import threading
from weakref import finalize

from fastclient.cache.embedders.vectors import Vectors, np, unit
from fastclient.errors import LocalUnavailable
from fastclient.local.context import usable_threads
from fastclient.local.gguf import BadModel, header
from fastclient.local.llama import Model

__all__ = ["TextVectors"]

_NO_POOLING, _MEAN = 0, 1


class TextVectors:
    """A loaded model, and the lock that lets one text in after the other."""

    def __init__(self, path: str, *, tokens: int, gpu_layers: int, threads: int | None) -> None:
        try:
            header(path)
        except BadModel as error:
            raise LocalUnavailable(f"{os.path.basename(path)}: {error}") from None
        self._model = model = Model(path, gpu_layers)
        self._c = c = model.c
        self._most = min(tokens, model.trained) if model.trained > 0 else tokens
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._context = self._made(threads, -1)
        if self._context and c.llama_pooling_type(self._context) == _NO_POOLING:  # a model that writes
            c.llama_free(self._context)
            self._context = self._made(threads, _MEAN)
        if not self._context:
            model.free()
            raise LocalUnavailable("llama.cpp cannot make a context for vectors")
        self.pooling: int = c.llama_pooling_type(self._context)
        self.dim: int = c.llama_model_n_embd(model.pointer)
        self._memory = c.llama_get_memory(self._context)
        self._end = finalize(self, _freed, c, self._context, model, self._lock, self._pid)

    def _made(self, threads: int | None, pooling: int) -> object:
        params = self._c.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self._most
        params.n_seq_max, params.embeddings, params.no_perf = 1, True, True
        params.pooling_type = pooling
        params.n_threads = params.n_threads_batch = threads or usable_threads(self._model.offloaded)
        pointer: object = self._c.llama_init_from_model(self._model.pointer, params)
        return pointer

    def of(self, texts: list[str]) -> Vectors:
        """One row of length 1 for each text."""
        if os.getpid() != self._pid:
            raise LocalUnavailable("the process forked after the model was loaded: load it in the child")
        rows = np.zeros((len(texts), self.dim), np.float32)
        for at, text in enumerate(texts):
            with self._lock:
                if not self._end.alive:
                    raise LocalUnavailable("the local model is closed")
                if tokens := self._tokens(text):
                    rows[at] = self._row(tokens)
        return unit(rows)

    def _tokens(self, text: str) -> list[int]:
        """The text's tokens with those that begin and end one, as many as fit."""
        raw = text.encode("utf-8", "replace")
        if not raw.strip():
            return []
        room = len(raw) + 16
        buffer = (ctypes.c_int32 * room)()
        count = self._c.llama_tokenize(self._model.vocabulary, raw, len(raw), buffer, room, True, False)
        found = buffer[: max(0, count)]
        return found if len(found) <= self._most else [*found[: self._most - 1], found[-1]]

    def _row(self, tokens: list[int]) -> Vectors:
        c = self._c
        if self._memory:
            c.llama_memory_seq_rm(self._memory, 0, -1, -1)
        buffer = (ctypes.c_int32 * len(tokens))(*tokens)
        code = c.llama_decode(self._context, c.llama_batch_get_one(buffer, len(tokens)))
        found = None if code else c.llama_get_embeddings_seq(self._context, 0)
        if not found:
            raise LocalUnavailable(f"llama.cpp could not make a vector (code {code})")
        return np.array(found[: self.dim], np.float32)

    def close(self) -> None:
        """Give the memory back, once the text under way is done."""
        self._end()


def _freed(c: object, context: object, model: Model, lock: threading.Lock, pid: int) -> None:
    if os.getpid() == pid:
        with lock:
            c.llama_free(context)  # type: ignore[attr-defined]
            model.free()
