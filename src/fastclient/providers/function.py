"""The dialect of functions that stand in a provider's place: there is nothing to write and nothing to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastclient.errors import ConfigError
from fastclient.providers.dialect import Reader
from fastclient.target import Target
from fastclient.types import Request
from fastclient.wire.port import WireRequest

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["dialect"]


class Function:
    shortest = 1
    base_url = "http://localhost"  # never opened; an address of this machine needs no key
    key_variable = ""
    url_variable = ""

    def write(self, request: Request, target: Target, layout: Layout | None = None) -> WireRequest:  # noqa: ARG002
        raise _nothing_to_send()

    def reader(self, request: Request, target: Target) -> Reader:  # noqa: ARG002
        raise _nothing_to_send()

    def thinks(self, request: Request) -> bool:  # noqa: ARG002
        return False

    def continued(self, request: Request, target: Target, text: str) -> Request | None:  # noqa: ARG002
        return None

    def ping(self, target: Target) -> WireRequest:  # noqa: ARG002
        raise _nothing_to_send()

    def authentication(self, target: Target) -> dict[str, str]:  # noqa: ARG002
        return {}


def _nothing_to_send() -> ConfigError:
    return ConfigError.at("target", "is a function of this process: nothing can be sent there")


dialect = Function()
