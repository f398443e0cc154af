"""Under the official SDKs: their HTTP clients, answered through our layers."""

from fastclient.transport.clients import async_http_client, http_client, wrap
from fastclient.transport.transports import AsyncTransport, Transport

__all__ = ["AsyncTransport", "Transport", "async_http_client", "http_client", "wrap"]
