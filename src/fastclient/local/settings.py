"""What a user says about a local model: one frozen value, checked when it is made. Nothing is opened or loaded here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fastclient.checks import instance, one_of, whole
from fastclient.errors import ConfigError

__all__ = ["Isolation", "Local"]

Isolation = Literal["thread", "process"]

_ENGINES = ("llama_cpp", "xllamacpp")
_MOST_SLOTS = 64


@dataclass(frozen=True, slots=True)
class Local:
    """A model file (GGUF) of one's own, as somewhere a call can go: `Local("model.gguf")`. Loaded on first use.

    `gpu_layers` go to the graphics card, if there is one (-1: all). `slots` is how many requests are answered at the
    same time, and how many prompts stay warm; `max_queue` more may wait, and further ones are refused at once.
    `context` is the number of tokens for all slots together: with 4096 and four slots, a request has 1024 for its
    prompt and its answer. `batch` is how many prompt tokens are read in one go, which is what a cancellation waits
    for; `threads` how many cores are used (None: what suits the machine). `embeddings` permits vectors of texts.
    `engine` is "llama_cpp", "xllamacpp" (llama.cpp's own server inside this process) or the URL of a running server
    that speaks OpenAI's dialect. `isolation="process"` runs the model in a child process, so that a crash in it is an
    error and no crash here. `chat_template` replaces that of the model. `escape_special` keeps control tokens that
    stand in a message from being any. `name` is what the model is called in replies (None: the file's name).
    """

    path: str | os.PathLike[str]
    gpu_layers: int = field(default=-1, kw_only=True)
    slots: int = field(default=4, kw_only=True)
    max_queue: int = field(default=8, kw_only=True)
    context: int = field(default=4096, kw_only=True)
    batch: int | None = field(default=None, kw_only=True)
    threads: int | None = field(default=None, kw_only=True)
    embeddings: bool = field(default=False, kw_only=True)
    engine: str = field(default="llama_cpp", kw_only=True)
    isolation: Isolation = field(default="thread", kw_only=True)
    chat_template: str | None = field(default=None, kw_only=True, repr=False)
    escape_special: bool = field(default=True, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        path = os.fspath(self.path) if isinstance(self.path, (str, os.PathLike)) else self.path
        if not isinstance(path, str) or not path or "\0" in path:
            raise ConfigError.of("local.path", path, "must be the path of a model file")
        object.__setattr__(self, "path", path)
        if not isinstance(self.gpu_layers, int) or isinstance(self.gpu_layers, bool) or self.gpu_layers < -1:
            raise ConfigError.of("local.gpu_layers", self.gpu_layers, "must be a whole number, -1 (all) or above")
        for name in ("slots", "context"):
            whole(f"local.{name}", getattr(self, name))
        if self.slots > _MOST_SLOTS:
            raise ConfigError.of("local.slots", self.slots, f"must be {_MOST_SLOTS} at most")
        if self.context < 16 * self.slots:
            raise ConfigError.of("local.context", self.context, "must leave 16 tokens for each slot")
        if not isinstance(self.max_queue, int) or isinstance(self.max_queue, bool) or self.max_queue < 0:
            raise ConfigError.of("local.max_queue", self.max_queue, "must be a whole number, 0 or above")
        for name in ("batch", "threads"):
            if getattr(self, name) is not None:
                whole(f"local.{name}", getattr(self, name))
        for name in ("embeddings", "escape_special"):
            instance(f"local.{name}", getattr(self, name), bool)
        for name in ("chat_template", "name"):
            if getattr(self, name) is not None and not (isinstance(getattr(self, name), str) and getattr(self, name)):
                raise ConfigError.at(f"local.{name}", "must be a text that is not empty")
        one_of("local.isolation", self.isolation, ("thread", "process"))
        if not isinstance(self.engine, str) or not (self.engine in _ENGINES or self.served):
            raise ConfigError.of("local.engine", self.engine, f"must be one of {', '.join(_ENGINES)}, or a URL")

    @property
    def served(self) -> bool:
        """Whether a server that runs already is meant."""
        return self.engine.startswith(("http://", "https://"))

    @property
    def model(self) -> str:
        """What the model is called."""
        return self.name or Path(self.path).stem or str(self.path)
