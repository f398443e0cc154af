"""Answers in Redis or Valkey, shared by processes and machines, and one call for all who ask the same."""

from __future__ import annotations

from fastclient.cache.redis.store import RedisStore

__all__ = ["RedisStore"]
