"""llama-cpp-python, as far as it is a thin layer over the C library: loading, the vocabulary, the log.

The only file that imports it. Nothing here redirects or writes to stdout or stderr: llama.cpp's own words go to the
logger "fastclient.local".
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import threading
from array import array
from typing import Any

from fastclient.errors import LocalUnavailable
from fastclient.local.template import specials

__all__ = ["Model", "library", "muted", "version"]

log = logging.getLogger("fastclient.local")

_MISSING = """llama-cpp-python is not installed. One of these gets a local model going:
  pip install "fastclient[local-wheels]"          # ready in seconds; then Local(..., engine="xllamacpp")
  pip install --prefer-binary "fastclient[local]" --extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cpu
  fc.Client("openai:name", base_url="http://127.0.0.1:8080/v1")     # any server that runs already"""
_LEVELS = {2: logging.DEBUG, 3: logging.INFO, 4: logging.ERROR}  # as ggml.h numbers them; loading is chatty
_CONTROL = 1 << 3 | 1 << 0  # attributes of a token: control, unknown
_ready = threading.Lock()
_held: list[Any] = []  # the library, and the callback that must outlive it
_last_level = logging.DEBUG


class _Muted(threading.local):
    on = False


muted = _Muted()
"""Set `on` around calls whose complaints would quote a user's words."""


def library() -> Any:
    """The functions of the C library. Raises LocalUnavailable with what to install."""
    with _ready:
        if not _held:
            try:
                from llama_cpp import llama_cpp
            except ImportError:
                raise LocalUnavailable(_MISSING) from None
            except Exception as error:  # a shared library that does not load is one of many classes
                raise LocalUnavailable(f"llama-cpp-python does not load ({type(error).__name__}: {error})") from None
            callback = llama_cpp.llama_log_callback(_logged)
            llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
            llama_cpp.llama_backend_init()
            _held[:] = [llama_cpp, callback]
        return _held[0]


def version() -> str:
    """The engine, as it is named in records."""
    import llama_cpp

    return f"llama_cpp {llama_cpp.__version__}"


def _logged(level: int, text: bytes, _: object) -> None:
    global _last_level
    if level != 5:  # which goes on with the line before
        _last_level = _LEVELS.get(level, logging.DEBUG)
    if not muted.on and log.isEnabledFor(_last_level) and (line := text.decode("utf-8", "replace").strip()):
        log.log(_last_level, "%s", line)


class Model:
    """A model's weights and vocabulary. Reading the vocabulary is safe from any thread."""

    def __init__(self, path: str, gpu_layers: int) -> None:
        self.c = c = library()
        self.offloaded = gpu_layers != 0 and bool(c.llama_supports_gpu_offload())
        params = c.llama_model_default_params()
        params.n_gpu_layers = 0x7FFFFFFF if gpu_layers < 0 else gpu_layers
        self.pointer = c.llama_model_load_from_file(os.fsencode(path), params)
        if not self.pointer:
            raise LocalUnavailable("llama.cpp cannot load the model; the logger fastclient.local says why")
        self.vocabulary = c.llama_model_get_vocab(self.pointer)
        self.size: int = c.llama_vocab_n_tokens(self.vocabulary)
        self.trained: int = c.llama_model_n_ctx_train(self.pointer)
        self.encodes = bool(c.llama_model_has_encoder(self.pointer))
        self._pieces: dict[int, bytes | None] = {}
        self._buffer = ctypes.create_string_buffer(256)
        self._begin: int = c.llama_vocab_bos(self.vocabulary) if c.llama_vocab_get_add_bos(self.vocabulary) else -1
        self.texts = {
            "bos_token": self._text(c.llama_vocab_bos(self.vocabulary)),
            "eos_token": self._text(c.llama_vocab_eos(self.vocabulary)),
        }

    def _text(self, token: int) -> str:
        raw: bytes | None = self.c.llama_vocab_get_text(self.vocabulary, token) if token >= 0 else b""
        return (raw or b"").decode("utf-8", "replace")

    def template(self) -> str | None:
        """The chat template in the model's file."""
        raw: bytes | None = self.c.llama_model_chat_template(self.pointer, None)
        return raw.decode("utf-8", "replace") if raw else None

    def controls(self) -> re.Pattern[str] | None:
        """What finds the texts of control tokens."""
        attribute = self.c.llama_vocab_get_attr
        found = [token for token in range(self.size) if attribute(self.vocabulary, token) & _CONTROL]
        return specials([self._text(token) for token in found])

    def piece(self, token: int) -> bytes | None:
        """The bytes of a token; None for one that ends the answer."""
        try:
            return self._pieces[token]
        except KeyError:
            found = self._pieces[token] = self._looked_up(token)
            return found

    def _looked_up(self, token: int) -> bytes | None:
        c = self.c
        if c.llama_vocab_is_eog(self.vocabulary, token):
            return None
        while True:
            size = c.llama_token_to_piece(self.vocabulary, token, self._buffer, len(self._buffer), 0, False)
            if size >= 0:
                return self._buffer.raw[:size]
            self._buffer = ctypes.create_string_buffer(-size)

    def tokens(self, pieces: list[str]) -> array[int]:
        """The tokens of a prompt. Each piece is looked at for itself, so no control token spans two."""
        found = array("i")
        if self._begin >= 0 and not (pieces and pieces[0].startswith(self.texts["bos_token"] or "\0")):
            found.append(self._begin)
        for piece in pieces:
            found.extend(self._tokenised(piece.encode("utf-8", "replace")))
        return found

    def _tokenised(self, raw: bytes) -> list[int]:
        room = len(raw) + 16
        while True:
            buffer = (ctypes.c_int32 * room)()
            count = self.c.llama_tokenize(self.vocabulary, raw, len(raw), buffer, room, False, True)
            if count >= 0:
                return buffer[:count]
            if count == -(2**31):
                raise LocalUnavailable("the prompt is too large for any model")
            room = -count

    def free(self) -> None:
        """Give the memory back. Nothing of this may be used afterwards."""
        if self.pointer:
            self.c.llama_model_free(self.pointer)
            self.pointer = None
