"""A PostgreSQL for all tests of a file, and indexes in tables of their own."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from fastclient.cache.postgres import PostgresIndex
from fastclient.engine.seam import engine
from tests.cache.postgres.questions import DIM
from tests.cache.postgres.server import PostgresServer

_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def table() -> str:
    """A name that no other test has."""
    return f"questions_{next(_numbers)}"


@pytest.fixture
def make(server: PostgresServer, table: str) -> Iterator[Callable[..., PostgresIndex]]:
    """Makes indexes, all in one table unless they are told otherwise."""
    made: list[PostgresIndex] = []
    engine().run(lambda: sleep(0))  # what it takes to begin is no part of what a server costs

    def making(*, url: str = "", dim: int = DIM, **options: Any) -> PostgresIndex:
        index = PostgresIndex(url or server.url, **{"table": table, **options})
        index.bind("an embedder", dim)
        made.append(index)
        return index

    yield making
    for index in made:
        engine().run(index.aclose)
