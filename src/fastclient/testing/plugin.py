"""Pytest fixtures: `provider_server` and `fake_provider`. Loaded by pytest through an entry point; cheap to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fastclient.testing.fake import FakeProvider
    from fastclient.testing.server import ProviderServer

__all__ = ["fake_provider", "provider_server"]


@pytest.fixture
def provider_server() -> Iterator[Callable[..., ProviderServer]]:
    """Start loopback servers: call it with the options of `ProviderServer`. All stop when the test ends."""
    from fastclient.testing.server import ProviderServer

    servers: list[ProviderServer] = []

    def start(**options: object) -> ProviderServer:
        server = ProviderServer(**options)  # type: ignore[arg-type]  # checked by ProviderServer itself
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def fake_provider() -> Callable[..., FakeProvider]:
    """Make in-process providers: call it with the arguments of `FakeProvider`."""
    from fastclient.testing.fake import FakeProvider

    return FakeProvider
