"""One context of llama.cpp with several sequences. What it reads is put together in buffers made once."""

from __future__ import annotations

import ctypes
import os
from array import array
from typing import Any

from fastclient.cache.embedders.vectors import NDArray, np
from fastclient.errors import LocalUnavailable
from fastclient.local.llama import Model

__all__ = ["Context", "usable_threads"]

_CHUNK, _CHUNK_ON_GPU = 256, 512  # prompt tokens in one go
_MOST_THREADS = 8
_MOST_KEPT = 64  # addresses of logits


class Context:
    """The memory of `sequences` conversations, and the step that reads tokens into it."""

    def __init__(self, model: Model, *, tokens: int, sequences: int, batch: int | None, threads: int | None) -> None:
        self.c = c = model.c
        self.model = model
        chunk = batch or (_CHUNK_ON_GPU if model.offloaded else _CHUNK)
        self.batch = max(chunk, sequences)
        params = c.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = tokens, self.batch, self.batch
        params.n_seq_max, params.kv_unified, params.no_perf = sequences, False, True
        params.n_threads = params.n_threads_batch = threads or usable_threads(model.offloaded)
        params.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_AUTO
        self.pointer = c.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise LocalUnavailable("llama.cpp cannot make a context for the model: there may be too little memory")
        self._memory = c.llama_get_memory(self.pointer)
        each = c.llama_n_ctx_seq(self.pointer) if hasattr(c, "llama_n_ctx_seq") else tokens // sequences
        self.limit: int = min(each, model.trained) if model.trained > 0 else each
        # Pointers of our own: types are set on these, and the module's stay as others know them.
        self._decode: Any = c._lib["llama_decode"]
        self._decode.argtypes, self._decode.restype = [ctypes.c_void_p, c.llama_batch], ctypes.c_int32
        self._logits_at: Any = c._lib["llama_get_logits_ith"]
        self._logits_at.argtypes, self._logits_at.restype = [ctypes.c_void_p, ctypes.c_int32], ctypes.c_void_p
        self._rows: dict[int, NDArray[np.float32]] = {}
        self._buffers(self.batch)
        self.candidates = np.zeros(model.size, np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)]))
        self.every = np.arange(model.size, dtype=np.int32)

    def _buffers(self, size: int) -> None:
        """What a llama_batch points into."""
        self._token, self._place = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self._sequence, self._ones = np.zeros(size, np.int32), np.ones(size, np.int32)
        self._output = np.zeros(size, np.int8)
        self._pointers = self._sequence.ctypes.data + 4 * np.arange(size, dtype=np.uintp)
        batch = self._batch = self.c.llama_batch()
        kinds = dict(self.c.llama_batch._fields_)
        for name, buffer in (
            *(("token", self._token), ("pos", self._place), ("n_seq_id", self._ones)),
            *(("seq_id", self._pointers), ("logits", self._output)),
        ):
            setattr(batch, name, ctypes.cast(ctypes.c_void_p(buffer.ctypes.data), kinds[name]))
        # Setting one number through these takes a third of what it takes through numpy.
        numbers = (self._token, self._place, self._sequence, self._output)
        self._views: tuple[memoryview, ...] = tuple([each.data for each in numbers])
        self.count = 0

    def begin(self) -> None:
        """Nothing is to be read yet."""
        self.count = 0

    def token(self, sequence: int, token: int, place: int) -> int:
        """One token is to be read, and the next one wanted; returns where its logits will be."""
        at = self.count
        tokens, places, sequences, outputs = self._views
        tokens[at], places[at], sequences[at], outputs[at] = token, place, sequence, 1
        self.count = at + 1
        return at

    def prompt(self, sequence: int, tokens: array[int], place: int, *, last: bool) -> int:
        """These tokens are to be read; with `last` the next one is wanted. Returns where its logits will be."""
        begin, end = self.count, self.count + len(tokens)
        self._token[begin:end] = np.frombuffer(tokens, np.int32)
        self._place[begin:end] = np.arange(place, place + len(tokens), dtype=np.int32)
        self._sequence[begin:end], self._output[begin:end] = sequence, 0
        if last:
            self._output[end - 1] = 1
        self.count = end
        return end - 1

    def run(self) -> int:
        """Read it all. Returns 0, or llama.cpp's code for what went wrong."""
        self._batch.n_tokens = self.count
        code: int = self._decode(self.pointer, self._batch)
        return code

    def logits(self, at: int) -> NDArray[np.float32]:
        """What the model thinks comes next. Valid until the next step."""
        address = self._logits_at(self.pointer, at)
        row = self._rows.get(address)
        if row is None:
            if not address:
                raise LocalUnavailable("llama.cpp has no logits where they were asked for")
            if len(self._rows) >= _MOST_KEPT:
                self._rows.clear()
            buffer = (ctypes.c_float * self.model.size).from_address(address)
            row = self._rows[address] = np.ctypeslib.as_array(buffer)
        return row

    def cut(self, sequence: int, length: int) -> bool:
        """Forget all but so many tokens. False if this kind of memory cannot: then the sequence is empty now."""
        if length == 0:
            self.c.llama_memory_seq_rm(self._memory, sequence, -1, -1)
            return True
        if self.c.llama_memory_seq_rm(self._memory, sequence, length, -1):
            return True
        self.c.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

    def copy(self, source: int, sequence: int) -> None:
        """Have a sequence hold what another one holds. Between separate memories that is all or nothing."""
        self.c.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self.c.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)

    def free(self) -> None:
        """Give the memory back. Nothing of this may be used afterwards."""
        if self.pointer:
            self._rows.clear()
            self.c.llama_free(self.pointer)
            self.pointer = None


def usable_threads(offloaded: bool) -> int:
    """All cores but one: a thread that waits for its turn holds up those that wait for it."""
    if offloaded:
        return 2
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_THREADS, usable - 1))
