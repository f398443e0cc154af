"""What the tests of the wire share: a certificate, how it comes to be trusted, and a wire of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fastclient.wire.direct.wire import DirectWire
from tests.wire.peers import certificate, trusted

__all__ = ["certificate", "trusted", "wire"]


@pytest.fixture
async def wire() -> AsyncIterator[DirectWire]:
    made = DirectWire()
    yield made
    await made.aclose()
