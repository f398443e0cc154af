"""What type checkers know of decorated functions. Never run: mypy and pyright read it, the wrong lines included.

A line that ends in a `type: ignore` must be an error: both checkers complain about one that is not needed.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeVar, assert_type, overload

import fastclient as fc
from fastclient.decorators import Decorator, stats_of
from fastclient.observe.stats import Stats

_T = TypeVar("_T")


@fc.cached(ttl=1800, namespace="docs", key=lambda q, *, limit: [q.strip(), limit])
@fc.retried(attempts=3, on=(OSError, LookupError))
@fc.hedged
def ask(q: str, *, limit: int = 1) -> dict[str, int]:
    return {q: limit}


assert_type(ask("a", limit=2), dict[str, int])
ask(5)  # type: ignore[arg-type]
ask("a", 2)  # type: ignore[call-arg]
ask("a", limits=2)  # type: ignore[call-arg]
ask.cache_clear()  # type: ignore[attr-defined]


@fc.accelerate(fc.Policy.recommended(), key=lambda q: q.strip())
async def later(q: str) -> bytes:
    return q.encode()


@fc.shared
def numbers(limit: int) -> Iterator[int]:
    yield limit


@fc.fallback(numbers)
@fc.timed(observers=[print])
async def stream(limit: int) -> AsyncIterator[float]:
    yield limit / 2


async def use() -> None:
    assert_type(await later("a"), bytes)
    later("a").strip()  # type: ignore[attr-defined]
    async for number in stream(3):
        assert_type(number, float)
    for whole in numbers(3):
        assert_type(whole, int)
    for _ in stream(3):  # type: ignore[attr-defined]
        pass


class Shop:
    @fc.limited(concurrency=4)
    def ask(self, q: str) -> list[str]:
        return [q]

    @classmethod
    @fc.timed
    def made(cls) -> Shop:
        return cls()

    @staticmethod
    @fc.accelerate
    def static(value: int) -> int:
        return value


assert_type(Shop().ask("a"), list[str])
assert_type(Shop.made(), Shop)
assert_type(Shop.static(3), int)
Shop().ask()  # type: ignore[call-arg]


@fc.retried
def generic(value: _T) -> list[_T]:
    return [value]


assert_type(generic(3), list[int])


@overload
def either(value: int) -> int: ...
@overload
def either(value: str) -> str: ...
@fc.timed
def either(value: int | str) -> int | str:
    return value


assert_type(either("a"), str)
assert_type(stats_of(ask), Stats)
decorator: Decorator = fc.retried(attempts=2)
assert_type(decorator(generic)(3), list[int])

fc.limited(4)  # type: ignore[call-arg]
fc.limited()  # type: ignore[call-arg]
fc.cached(ttl="long")  # type: ignore[call-overload]
fc.retried(on=5)  # type: ignore[call-overload]
fc.hedged(5)  # type: ignore[call-overload]
