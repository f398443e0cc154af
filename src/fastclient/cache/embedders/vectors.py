"""numpy, and what every embedder owes its callers: finite float32 rows of length one.

The only file that imports numpy; those who need it take `np` from here, so that a missing numpy is a ConfigError.
"""

from __future__ import annotations

from typing import TypeAlias

from fastclient.errors import ConfigError

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError:
    raise ConfigError.at("embedder", "needs numpy: pip install 'fastclient[semantic]'") from None

__all__ = ["NDArray", "Vectors", "np", "received", "unit"]

Vectors: TypeAlias = NDArray[np.float32]
"""One vector per row; each row has length 1, or is all zeros where a text had nothing to go by."""


def unit(rows: Vectors) -> Vectors:
    """The rows at length 1. Rows of zeros stay as they are: they are like nothing."""
    with np.errstate(over="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    lengths[lengths == 0.0] = 1.0
    result: Vectors = (rows / lengths[:, None]).astype(np.float32)
    return result


def received(rows: object, texts: int, dim: int) -> Vectors:
    """What somebody else's code answered for so many texts, at length 1. Raises ConfigError if it is no such answer.

    A `dim` of 0 is one that nobody knows yet.
    """
    try:
        vectors = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError.at("embedder", "must return one row of numbers for each text") from None
    if vectors.ndim != 2 or len(vectors) != texts or (texts and vectors.shape[1] < 1):
        shape = "x".join(map(str, vectors.shape)) or "one number"
        raise ConfigError.at("embedder", f"must return {texts} rows of numbers for as many texts, not {shape}")
    if dim and texts and vectors.shape[1] != dim:
        raise ConfigError.at("embedder", f"returned vectors of {vectors.shape[1]} numbers, and others of {dim} before")
    if not np.isfinite(vectors).all():
        raise ConfigError.at("embedder", "returned a number that is not finite")
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    largest[largest == 0.0] = 1.0
    return unit((vectors / largest).astype(np.float32))  # by their largest first: squares of huge numbers overflow
