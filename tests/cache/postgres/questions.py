"""Questions with vectors, for tests of where they are kept. Programs load this file: it is light."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np

from fastclient.cache.entry import Entry
from fastclient.cache.semantic.port import Known
from fastclient.engine.seam import engine

__all__ = ["DIM", "OTHER", "PARTITION", "TAG", "blocking", "direction", "known"]

DIM = 16
PARTITION, OTHER = b"p" * 32, b"o" * 32
TAG = b"namespce"

_T = TypeVar("_T")


def direction(seed: int, dim: int = DIM) -> Any:
    """A vector of length 1."""
    numbers = np.random.default_rng(seed).normal(size=dim).astype(np.float32)
    return numbers / np.linalg.norm(numbers)


def known(
    number: int = 0,
    *,
    question: str = "",
    partition: bytes = PARTITION,
    tag: bytes = TAG,
    vector: Any = None,
    text: str = "",
    stored: float | None = None,
    lifetime: float = 3600.0,
    labels: tuple[str, ...] = (),
) -> Known:
    question = question or f"question {number}"
    entry = Entry(stored=time.time() if stored is None else stored, text=text or f"answer {number}", labels=labels)
    key = sha256(partition + question.encode("utf-8", "surrogatepass")).digest()
    return Known(key, partition, tag, question, direction(number) if vector is None else vector, entry, lifetime)


def blocking(work: Coroutine[Any, Any, _T]) -> _T:
    """As a thread that has no event loop of its own."""

    async def waiting() -> _T:
        return await work

    return engine().run(waiting)
