"""The prompt lever of one client: its two layers, and counting. Loaded only where it is used."""

from __future__ import annotations

from time import monotonic

from fastclient.config import Observer, Prompt
from fastclient.engine.stack import Layer
from fastclient.errors import FastClientError
from fastclient.prompt.align import Aligner, aligned
from fastclient.prompt.prepare import Preparer, prepared
from fastclient.prompt.tokens import Count
from fastclient.target import Target
from fastclient.types import Request

__all__ = ["UNSHAPED", "Shaping"]

UNSHAPED = Prompt(squeeze=False, stable=False, provider_cache="off")
"""Leaves a prompt as it is."""


class Shaping:
    """What one client and its copies do to prompts, and remember of them."""

    def __init__(self, prompt: Prompt, target: Target) -> None:
        self._preparer = Preparer(prompt, target)
        self._aligner = Aligner(prompt, target)
        self._model = target.model

    def above(self) -> Layer:
        """The layer above the cache, which gets prompts ready."""
        return prepared(self._preparer, monotonic)

    def below(self, observers: tuple[Observer, ...]) -> Layer:
        """The layer around what is sent, which lays prompts out for the provider's cache."""
        return aligned(self._aligner, observers, monotonic)

    def count(self, request: Request) -> Count:
        """The tokens of a prompt as it would be sent. Raises PromptTooLong if it could not be."""
        from fastclient.prompt.counting import counting, roughly

        try:
            ready = self._preparer.prepare(request, monotonic())
            return counting(self._model).count(ready, self._preparer.count(ready))
        except FastClientError:
            raise
        except Exception:  # such as half a surrogate pair: it cannot be sent, but how long it is can be told
            return roughly(request)
