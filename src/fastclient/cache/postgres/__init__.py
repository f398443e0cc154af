"""Questions with their answers in PostgreSQL with pgvector, shared by processes and machines."""

from __future__ import annotations

from fastclient.cache.postgres.index import PostgresIndex

__all__ = ["PostgresIndex"]
