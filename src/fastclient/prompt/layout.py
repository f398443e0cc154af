"""How one request stands for the provider's cache: what a dialect adds to it when it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastclient.prompt.drift import Drift
    from fastclient.prompt.piece import Prepared
    from fastclient.prompt.rules import Marking
    from fastclient.target import Target

__all__ = ["Layout", "Place"]


class Place(NamedTuple):
    """Where a breakpoint stands: behind the tools (`message` is None), a message, or one part of a message."""

    message: int | None
    part: int | None = None


@dataclass(slots=True, kw_only=True)
class Layout:
    """The breakpoints of one request, and what else helps the provider to find its beginning again.

    `lifetime` is how long entries are to live, in the provider's words. `params` and `headers` are added to the
    request. `expected` is how many tokens should be read from the provider's cache, and `drift` why it is fewer than it
    could be.
    The beginnings in `written` are in the provider's cache for `seconds` from `at` on, if the request is answered;
    `beginnings` are all that could have been found there.
    """

    target: Target
    prepared: Prepared = field(repr=False)
    marking: Marking | None = None
    places: tuple[Place, ...] = ()
    lifetime: str = ""
    params: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: int = 0
    drift: Drift | None = None
    written: tuple[int, ...] = field(default=(), repr=False)
    beginnings: Sequence[int] = field(default=(), repr=False)
    at: float = 0.0
    seconds: float = 0.0
