"""Answers on disk: they outlive the process, and other processes find them. The folder is trusted with nothing."""

from __future__ import annotations

from fastclient.cache.disk.store import DiskStore

__all__ = ["DiskStore"]
