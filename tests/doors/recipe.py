"""Runs a program in a process that reaches this machine only, and afterwards drives what it has made.

    python tests/doors/recipe.py examples/langchain_chat.py langchain

runs the example, calls the drive of that name with its variables, and prints what the drive returns as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["CALLS", "DRIVES", "LATE", "main"]

CALLS = 150
"""How many quick calls come before the late one: no copy goes out before 40, and 50 earn one at 2 %."""
LATE = "This one is late."

Parts = Mapping[str, Any]


def langchain(parts: Parts) -> dict[str, object]:
    model = parts["model"]

    def ask(question: str) -> Mapping[str, str]:
        return model.invoke(question).response_metadata["headers"]

    async def twice() -> list[str]:
        replies = [await model.ainvoke("And now asynchronously.") for _ in range(2)]
        return [reply.response_metadata["headers"]["x-fastclient-state"] for reply in replies]

    return {**_raced(ask), "asynchronous": asyncio.run(twice())}


def litellm(parts: Parts) -> dict[str, object]:
    library = parts["litellm"]

    def asked(question: str) -> dict[str, object]:
        return {"model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": question}]}

    def ask(question: str) -> Mapping[str, str]:
        return library.completion(**asked(question))._response_headers

    async def twice() -> list[str]:
        replies = [await library.acompletion(**asked("And now asynchronously.")) for _ in range(2)]
        return [reply._response_headers["x-fastclient-state"] for reply in replies]

    return {**_raced(ask), "asynchronous": asyncio.run(twice())}


def _raced(ask: Callable[[str], Mapping[str, str]]) -> dict[str, object]:
    """Many quick calls and a late one: how many attempts that made, and how long it took."""
    for number in range(CALLS):
        ask(f"Call {number:03d}.")
    began = time.monotonic()
    headers = ask(LATE)
    return {"seconds": time.monotonic() - began, "attempts": headers["x-fastclient-attempts"]}


DRIVES: dict[str, Callable[[Parts], dict[str, object]]] = {"langchain": langchain, "litellm": litellm}


def _only_here(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = args[1]
        refused = isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1")
    else:
        refused = event == "socket.getaddrinfo" and args[0] not in ("127.0.0.1", "localhost", "::1", None)
    if refused:
        print(f"reaches for the network: {event} {args[-1] if event == 'socket.connect' else args[0]}", file=sys.stderr)
        raise PermissionError("only this machine may be reached")


def main() -> None:
    sys.addaudithook(_only_here)
    path, *drive = sys.argv[1:]
    sys.argv = [path]
    parts = runpy.run_path(path, run_name="__main__")
    for name in drive:
        print(json.dumps(DRIVES[name](parts)))


if __name__ == "__main__":
    main()
