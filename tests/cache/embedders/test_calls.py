"""Anybody's function as an embedder, and what every embedder of the package has in common."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import numpy as np
import pytest

from fastclient import errors
from fastclient.cache import embedders
from fastclient.cache.embedders import Lexical, as_embedder
from fastclient.cache.embedders.port import embedded


def lists(texts: Sequence[str]) -> list[list[float]]:
    return [[len(text), 1, 0] for text in texts]


async def awaited(texts: Sequence[str]) -> list[list[float]]:
    await anyio.sleep(0)
    return lists(texts)


def where(texts: Sequence[str]) -> list[list[float]]:
    return [[float(threading.get_ident() % 1000), 1.0]] * len(texts)


async def test_functions_are_embedders() -> None:
    """One that works and one that is awaited give rows of length 1, for awaiting and for blocking callers."""
    for function in (lists, awaited):
        embedder = as_embedder(function)
        assert np.allclose(await embedded(embedder, ["abc"]), [[3 / 10**0.5, 1 / 10**0.5, 0]])
        assert embedder.dim == 3
        assert (await embedded(embedder, [])).shape == (0, 3)


def test_an_awaited_function_serves_blocking_callers() -> None:
    """Its coroutine runs on the package's own event loop."""
    assert np.allclose(as_embedder(awaited).embed(["abc"]), as_embedder(lists).embed(["abc"]))


def test_an_embedder_is_taken_as_it_is() -> None:
    """Nothing is wrapped around it."""
    lexical = Lexical()
    assert as_embedder(lexical) is lexical


def test_the_id_is_the_functions_name_or_the_callers() -> None:
    """Functions that have no name of their own need one: two lambdas would share it."""
    assert as_embedder(lists).id == as_embedder(lists).id != as_embedder(awaited).id
    assert as_embedder(lambda texts: lists(texts), id="mine").id == "function-mine"
    for nameless in (lambda texts: lists(texts), partial(lists)):
        with pytest.raises(errors.ConfigError, match="id="):
            as_embedder(nameless)


@pytest.mark.parametrize(
    "returned",
    [
        *(None, 3, "text", [], [1.0, 2.0], [[1.0]], [[1.0], [2.0], [3.0]], [["a"], ["b"]], [[1.0, 2.0], [3.0]]),
        *([[], []], [[1.0], [float("nan")]], [[float("inf")], [1.0]]),
    ],
)
def test_wrong_answers_are_refused(returned: Any) -> None:
    """Anything but one row of finite numbers for each text is a ConfigError."""
    with pytest.raises(errors.ConfigError):
        as_embedder(lambda _: returned, id="wrong").embed(["one", "two"])


def test_the_length_of_a_vector_stays() -> None:
    """A function that changes it is refused: its vectors could not be compared."""
    embedder = as_embedder(lambda texts: [[1.0] * len(texts)] * len(texts), id="growing")
    embedder.embed(["one"])
    with pytest.raises(errors.ConfigError, match="2 numbers"):
        embedder.embed(["one", "two"])


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e38, 1.0])
def test_any_scale_will_do(scale: float) -> None:
    """Huge and tiny numbers are brought to length 1 without overflowing."""
    rows = as_embedder(lambda texts: [[3 * scale, 4 * scale]] * len(texts), id="scaled").embed(["one"])
    assert np.allclose(rows, [[0.6, 0.8]])


@pytest.mark.parametrize("wrong", [None, 3, "lexical", Lexical, object()])
def test_what_is_no_embedder_is_refused(wrong: Any) -> None:
    """The class instead of an object is the usual slip."""
    with pytest.raises(errors.ConfigError) as raised:
        as_embedder(wrong)
    assert raised.value.field == "embedder"


async def test_work_is_done_on_another_thread() -> None:
    """An embedder that works does not hold the event loop up."""
    ours = threading.get_ident() % 1000
    (row,) = await embedded(as_embedder(where), ["one"])
    assert round(row[0] / row[1]) != ours


def test_without_numpy_there_is_an_error_that_says_what_to_install() -> None:
    """Importing the names costs nothing and works; using one is a ConfigError, not an ImportError."""
    code = "import sys; sys.modules['numpy'] = None\nfrom fastclient.cache import embedders\nembedders.Lexical"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError: embedder: needs numpy: pip install 'fastclient[semantic]'" in done.stderr


def test_every_name_can_be_had() -> None:
    """What the package lists is there, and a misspelt name is an AttributeError."""
    assert all(getattr(embedders, name) for name in embedders.__all__) and dir(embedders) == sorted(embedders.__all__)
    with pytest.raises(AttributeError, match="Lexicall"):
        _ = embedders.Lexicall  # type: ignore[attr-defined]
