"""What the engine's tests share: doors to every kind of client, and servers to point them at."""

from fastclient.testing.plugin import fake_provider, provider_server
from tests.engine.doors import door, world

__all__ = ["door", "fake_provider", "provider_server", "world"]
