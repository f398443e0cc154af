"""How the vectors of a text's pieces become one: their mean, or the first one. Pure."""

from __future__ import annotations

from typing import Literal, cast

from fastclient.cache.embedders.folder import Folder, Matrix
from fastclient.checks import one_of

__all__ = ["Pooling", "pooled", "pooling_of"]

Pooling = Literal["mean", "cls"]

_CONFIG = "1_Pooling/config.json"


def pooling_of(folder: Folder, wanted: Pooling | None) -> Pooling:
    """What the caller wants, else what the folder says, else the mean."""
    if wanted is not None:
        one_of("pooling", wanted, ("mean", "cls"))
        return wanted
    said = folder.json(_CONFIG, {})
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    others = [key for key, on in said.items() if key.startswith("pooling_mode_") and on is True and key not in modes]
    found = [mode for key, mode in modes.items() if said.get(key) is True] or ["mean"]
    if others or len(found) > 1:
        raise folder.wrong(f"asks in {_CONFIG} for a pooling that is not known; known are mean and cls")
    return cast(Pooling, found[0])


def pooled(rows: Matrix, pooling: Pooling) -> Matrix:
    """One vector for the rows of one text, none of which is padding."""
    vector: Matrix = rows[0] if pooling == "cls" else rows.mean(axis=0)
    return vector
