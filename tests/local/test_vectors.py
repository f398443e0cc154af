"""Vectors of texts from a model file, for the semantic cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastclient.errors import ConfigError
from tests.local.running import RANDOM, SHOP


def test_texts_become_vectors(llama: None) -> None:
    """Of length one, the same for the same text whatever stands beside it; none for nothing."""
    import numpy as np

    from fastclient.cache.embedders.llama import LlamaCpp

    embedder = LlamaCpp(SHOP, threads=1)
    rows = embedder.embed(["where is my parcel", "", "refund my shoes", "where is my parcel"])
    alone = embedder.embed(["refund my shoes"])
    assert rows.shape == (4, embedder.dim) and rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), [1, 0, 1, 1], atol=1e-5)
    assert (rows[0] == rows[3]).all() and (rows[2] == alone[0]).all() and not np.allclose(rows[0], rows[2])
    embedder.close()


async def test_a_handler_gives_vectors_beside_its_answers(llama: None) -> None:
    """From a context of its own, if that was said."""
    import numpy as np

    from fastclient.local.handler import handler_of
    from fastclient.local.settings import Local
    from tests.local.running import ask

    handler = handler_of(Local(SHOP, threads=1, embeddings=True))
    rows = await handler.vectors(["refund my shoes", "when do you open"])
    assert (await ask(handler, "Add: 17+5")).text == "22"
    assert rows.shape[0] == 2 and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    handler.close()
    other = handler_of(Local(SHOP, threads=1))
    with pytest.raises(ConfigError):
        await other.vectors(["x"])
    other.close()


def test_long_texts_are_cut(llama: None) -> None:
    """At so many tokens; beyond them nothing changes the vector but the last one."""
    from fastclient.cache.embedders.llama import LlamaCpp

    embedder = LlamaCpp(RANDOM, tokens=16, threads=1)
    one, other = embedder.embed(["a" * 100, "a" * 5000])
    assert (one == other).all()
    embedder.close()


def test_its_name_is_that_of_its_file_and_limits(llama: None) -> None:
    """Vectors of two embedders are compared only if both are the same."""
    from fastclient.cache.embedders.llama import LlamaCpp

    names = []
    for path, tokens in ((SHOP, 16), (SHOP, 16), (SHOP, 32), (RANDOM, 16)):
        embedder = LlamaCpp(path, tokens=tokens, threads=1)
        names.append(embedder.id)
        embedder.close()
    assert names[0] == names[1] and len(set(names)) == 3


def test_a_bad_file_is_a_config_error(llama: None, tmp_path: Path) -> None:
    """With its reason."""
    from fastclient.cache.embedders.llama import LlamaCpp

    with pytest.raises(ConfigError, match="no such file"):
        LlamaCpp(tmp_path / "missing.gguf")
