"""The three ideas the engine is made of, and how they compose.

- a `Stream` is an open answer whose first content is in hand;
- a `Handler` turns a call into a stream;
- a `Layer` turns a handler into a handler, adding one behaviour: caching, racing, timing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import reduce
from typing import Any, TypeAlias

from fastclient.engine.stream import Stream
from fastclient.types import Call

__all__ = ["Handler", "Layer", "stack"]

Handler: TypeAlias = Callable[[Call], Coroutine[Any, Any, Stream]]
Layer: TypeAlias = Callable[[Handler], Handler]


def stack(*layers: Layer, around: Handler) -> Handler:
    """Wrap a handler in layers, the first one outermost: `stack(a, b, around=h)` is `a(b(h))`."""
    return reduce(lambda handler, layer: layer(handler), reversed(layers), around)
