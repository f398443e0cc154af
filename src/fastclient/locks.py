"""Locks that survive a fork: in the child nobody holds them, because the thread that did is not there."""

from __future__ import annotations

import os
from threading import RLock
from weakref import WeakSet

__all__ = ["Locked"]

_all: WeakSet[Locked] = WeakSet()


class Locked:
    """Something with a lock. It can be taken again by the thread that has it: a finaliser may interrupt anything."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = RLock()
        _all.add(self)


def _forked() -> None:
    for each in list(_all):
        each.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
