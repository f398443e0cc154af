"""A question as a row: whatever is changed is seen, vectors lose no more than 16 bits do, names hide passwords."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.cache.postgres.address import checked, public
from fastclient.cache.postgres.row import Row, entry_of, packed, read, unpacked
from fastclient.cache.postgres.row import given as given_to
from fastclient.cache.postgres.sql import Statements
from fastclient.errors import ConfigError
from tests.cache.postgres.questions import direction, known

words = st.text(st.characters(codec="utf-8"), max_size=20)
some_bytes = st.binary(max_size=20)
floats = st.floats(0, 1e12)
rows = st.builds(
    Row,
    key=some_bytes,
    partition=some_bytes,
    tag=some_bytes,
    question=words,
    vector=some_bytes,
    labels=st.lists(words, max_size=3).map(tuple),
    stored=floats,
    expires=floats,
)


@given(rows, rows, st.binary(max_size=100))
def test_a_mark_holds_for_one_row(one: Row, other: Row, secret: bytes) -> None:
    """Rows have the same mark exactly if they are the same."""
    assert one.good(one.mark(secret), secret)
    assert (one.mark(secret) == other.mark(secret)) == (one == other)


@given(rows, st.sampled_from(Row._fields), st.data())
@settings(max_examples=300)
def test_any_edit_is_seen(row: Row, column: str, data: Any) -> None:
    """Whichever column is changed, to whatever: the mark no longer holds."""
    kinds = {str: words, bytes: some_bytes, tuple: st.lists(words, max_size=3).map(tuple), float: floats}
    edited = row._replace(**{column: data.draw(kinds[type(getattr(row, column))])})
    assert edited.good(row.mark(b""), b"") == (edited == row)


@given(rows)
def test_texts_do_not_flow_into_each_other(row: Row) -> None:
    """A label taken off the labels and put behind the question makes another row."""
    moved = row._replace(labels=(*row.labels, "x"))
    joined = row._replace(question=f"{row.question}{''.join(row.labels)}x", labels=())
    assert moved.mark(b"") != joined.mark(b"")


@given(rows, st.binary(min_size=1, max_size=100), st.binary(max_size=100))
def test_a_mark_needs_the_secret(row: Row, secret: bytes, other: bytes) -> None:
    """Who does not know it makes no mark that holds."""
    assert row.good(row.mark(other), secret) == (secret == other)


@given(st.binary(max_size=200))
def test_whatever_comes_back_is_no_answer(data: bytes) -> None:
    """Other bytes than were sealed are none."""
    made = given_to(known(1), b"")
    assert made is not None
    row, answer = made
    assert entry_of(row, answer, b"") is not None
    assert entry_of(row, data, b"") is None


@pytest.mark.parametrize(
    "columns", [(), (None,) * 9, (b"",) * 9, ("",) * 9, (b"m", b"k", b"p", b"t", "q", b"v", [], 1.0)]
)
def test_no_row_is_refused(columns: tuple[Any, ...]) -> None:
    """Another number of columns, or other types: ValueError, not a guess."""
    with pytest.raises(ValueError):
        read(columns, b"")


def test_a_row_comes_back_as_it_went() -> None:
    """What is written is what is read, and is believed."""
    made = given_to(known(1, labels=("red", "blue")), b"secret")
    assert made is not None
    row, _ = made
    columns = (row.mark(b"secret"), *row._replace(labels=list(row.labels)))  # type: ignore[arg-type]
    assert read(columns, b"secret") == (row, True)


@given(st.integers(0, 10_000), st.integers(1, 2000))
@settings(max_examples=50)
def test_a_vector_comes_back(seed: int, dim: int) -> None:
    """As exact as 16 bits are: its cosine with itself is 1."""
    vector = direction(seed, dim)
    back = unpacked(packed(vector))
    assert back.shape == (dim,)
    assert float(back @ vector) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_sent(number: float) -> None:
    """The server would refuse it; so do we."""
    with pytest.raises(ValueError):
        packed(np.array([number, 0.0], dtype=np.float32))


@pytest.mark.parametrize(
    "parts, shown",
    [
        ({"host": "h", "port": "5", "dbname": "d", "user": "u", "password": "x"}, "h:5/d"),
        ({"host": "a,b", "port": "1,2"}, "a:1,b:2/"),
        ({"host": "a,b", "port": "1"}, "a:1,b:1/"),
        ({"host": "/run/postgresql", "dbname": "d"}, "/run/postgresql:5432/d"),
        ({}, "localhost:5432/"),
        ({"host": "h@secret"}, "a server"),
        ({"dbname": "pass word"}, "a server"),
    ],
)
def test_what_a_server_is_called(parts: dict[str, str], shown: str) -> None:
    """Its hosts and the database; nothing that may be a password."""
    assert public(parts) == shown


@given(st.text(st.characters(min_codepoint=0x100), min_size=1))
def test_only_a_url_is_a_url(text: str) -> None:
    """Anything else is refused, and not shown."""
    with pytest.raises(ConfigError) as caught:
        checked(text)
    assert text not in str(caught.value)


def test_each_length_of_vectors_has_a_table() -> None:
    """So that embedders can share a database; those with vectors too long for a graph do without."""
    assert Statements("t", 3).name != Statements("t", 4).name
    assert any("hnsw" in each for each in Statements("t", 4000).make)
    assert not any("hnsw" in each for each in Statements("t", 4001).make)
