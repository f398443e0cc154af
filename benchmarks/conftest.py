"""One provider server for all benchmarks, in a process of its own so that it does not share the client's GIL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastclient.testing import Answer, ProviderServer

SHORT = Answer("word" * 16)
LONG = Answer("word" * 2000)


def _serve(answer: Answer) -> Iterator[str]:
    with ProviderServer(answer=answer, process=True) as server:
        yield server.base_url


@pytest.fixture(scope="session")
def short_url() -> Iterator[str]:
    """Answers of 16 tokens, at once."""
    yield from _serve(SHORT)


@pytest.fixture(scope="session")
def long_url() -> Iterator[str]:
    """Answers of 2,000 tokens, at once."""
    yield from _serve(LONG)
