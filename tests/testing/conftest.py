"""The package's own fixtures, also where its pytest plugin is not installed."""

from fastclient.testing.plugin import fake_provider, provider_server

__all__ = ["fake_provider", "provider_server"]
