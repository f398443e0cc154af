"""A process that has one library loaded and does what it is told, a line of JSON for each job and for each result.

`python -m benchmarks.peers.worker ADAPTER OPTION PACKAGES`. Clients live as long as the worker, one for each scenario:
connections that one scenario leaves idle would otherwise cost the next one time.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

from benchmarks.peers import measures

__all__ = ["main"]


class Missing(Exception):
    """The library does not have what the job needs."""


class Worker:
    def __init__(self, adapter: str, option: str) -> None:
        self._adapter = import_module(adapter)
        self._option = option
        self._clients: dict[tuple[str, str], Any] = {}

    def make(self, door: str, root: str) -> Any:
        """A client at a door. A builder of asynchronous clients must be called on the event loop."""
        kind = getattr(self._adapter, door.capitalize(), None)
        if kind is None:
            raise Missing(f"has no {door} client")
        return kind(root, self._option)

    def client(self, door: str, job: dict[str, Any]) -> Any:
        kept = door, job["name"]
        if kept not in self._clients:
            self._clients[kept] = self.make(door, job["root"])
        return self._clients[kept]

    def maker(self, door: str, root: str) -> Any:
        if not getattr(getattr(self._adapter, door.capitalize(), None), "has_client", True):
            raise Missing("has no client to build")
        return lambda: self.make(door, root)

    def some_door(self, door: str) -> str:
        return door if door != "either" else "blocking" if hasattr(self._adapter, "Blocking") else "async"

    async def on_loop(self, job: dict[str, Any]) -> measures.Found:
        root, seconds, measure = job["root"], job["seconds"], job["measure"]
        if measure == "builds":
            return await measures.builds(self.maker(self.some_door(job["door"]), root), seconds)
        if measure == "clients":
            return await measures.async_clients(self.maker("async", root), seconds)
        client = self.client("async", job)
        if measure == "calls":
            return await measures.async_calls(client, seconds, job["at_once"], job["size"])
        if measure == "streams":
            return await measures.async_streams(client, seconds)
        if measure == "paced":
            return await measures.async_paced(client, seconds, 80)
        return await measures.memory(client, job["at_once"])

    def in_thread(self, job: dict[str, Any]) -> measures.Found:
        root, seconds = job["root"], job["seconds"]
        if job["measure"] == "clients":
            return measures.blocking_clients(self.maker("blocking", root), seconds)
        client = self.client("blocking", job)
        if job["measure"] == "calls":
            return measures.blocking_calls(client, seconds, job["at_once"], job["size"])
        return measures.blocking_streams(client, seconds)

    async def aclose(self) -> None:
        for (door, _), client in self._clients.items():
            if door == "async":
                await client.close()
            else:
                client.close()


def _versions(packages: list[str]) -> dict[str, str]:
    return {package: version(package) for package in packages}


def main() -> None:
    # Libraries print; the results must not be mixed with that.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(*sys.argv[1:3])
    print(json.dumps(_versions(sys.argv[3:])), file=results, flush=True)
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            job = json.loads(line)
            blocking = job["measure"] != "builds" and worker.some_door(job["door"]) == "blocking"
            try:
                result: dict[str, Any] = worker.in_thread(job) if blocking else runner.run(worker.on_loop(job))
            except Missing as error:
                result = {"missing": str(error)}
            except Exception as error:
                while isinstance(error, ExceptionGroup):
                    error = error.exceptions[0]
                result = {"failed": f"{type(error).__name__}: {error}"[:200]}
            print(json.dumps(result), file=results, flush=True)
        runner.run(worker.aclose())


if __name__ == "__main__":
    main()
