"""Two small models, loaded once for all tests of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fastclient.local.settings import Local
from tests.local.running import RANDOM, SHOP


@pytest.fixture(scope="session")
def llama() -> None:
    """Skip where the C library is not there."""
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        if os.environ.get("FASTCLIENT_REQUIRE_LOCAL"):
            raise
        pytest.skip("llama-cpp-python is not installed")


@pytest.fixture
def shop(llama: None) -> Iterator[object]:
    """A model that was trained for short tasks."""
    from fastclient.local.handler import handler_of

    handler = handler_of(Local(SHOP, threads=1, max_queue=1000))
    yield handler
    handler.close()


@pytest.fixture
def noise(llama: None) -> Iterator[object]:
    """A model that writes printable text and never ends by itself; one character is one token."""
    from fastclient.local.handler import handler_of

    handler = handler_of(Local(RANDOM, threads=1, max_queue=1000, context=8192))
    yield handler
    handler.close()
