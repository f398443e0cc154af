"""What a target leaves open, filled in: the provider's own address, and the environment's key."""

from __future__ import annotations

import os
from dataclasses import replace

from fastclient.errors import ConfigError
from fastclient.providers.dialect import find
from fastclient.target import Secret, Target, is_loopback

__all__ = ["resolved"]


def resolved(target: Target, *, key_needed: bool) -> Target:
    """The target with its provider's defaults and environment variables filled in. Raises ConfigError without a key."""
    dialect = find(target.provider)
    url = target.base_url or os.environ.get(dialect.url_variable) or dialect.base_url
    key = target.key or os.environ.get(dialect.key_variable, "")
    filled = replace(target, base_url=url)  # looks at the address first
    if not key and key_needed and not is_loopback(url):
        raise ConfigError.at("api_key", f"none was given, and {dialect.key_variable} is not set")
    return replace(filled, api_key=Secret(key))
