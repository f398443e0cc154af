"""An address that never answers a connection attempt: for connect timeouts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["blackhole"]

_FILLERS = 8


@contextmanager
def blackhole() -> Iterator[str]:
    """An origin such as `http://127.0.0.1:40123` where connecting hangs until the client gives up.

    A listener whose queue is full drops every further SYN. Known to work on Linux; other systems may refuse instead.
    """
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(_FILLERS):
            filler = opened.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
