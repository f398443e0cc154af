"""What happened, as frozen values handed to observers. No event holds prompt or answer text, or a key."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from fastclient.types import Attempt, CacheInfo, Timings, Usage

if TYPE_CHECKING:
    from fastclient.config import Observer

__all__ = ["CallFinished", "Event", "PrefixDrifted", "StreamAbandoned", "emit"]

logger = logging.getLogger("fastclient")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    """A call is over: answered, failed (`error` is the exception's class name) or cancelled."""

    call_id: str
    target: str
    timings: Timings
    usage: Usage
    cache: CacheInfo
    attempts: tuple[Attempt, ...]
    finish_reason: str | None
    error: str | None
    metadata: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAbandoned:
    """A stream was dropped without being closed or read to its end; the garbage collector closed it."""

    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixDrifted:
    """A prompt does not go on where the conversation's last one ended, so the provider's cache does not have it.

    `cause`, `path` and `offset` say where and why, `tokens_lost` how many tokens are prefilled again for it,
    `money_lost` what that costs if the target has a price, and `advice` what to do.
    """

    call_id: str
    target: str
    cause: str
    path: str
    offset: int
    tokens_lost: int
    money_lost: float | None
    advice: str


Event: TypeAlias = CallFinished | PrefixDrifted | StreamAbandoned


def emit(observers: Iterable[Observer], event: Event) -> None:
    """Hand an event to every observer. What one raises is logged by class and dropped: it must not cost a call."""
    for observer in observers:
        try:
            observer(event)
        except Exception as error:
            logger.warning("observer %s failed with %s", getattr(observer, "__qualname__", "?"), type(error).__name__)
