"""What a hit costs, through the public clients, beside the caches of two other libraries in the same run.

    python benchmarks/cache_hits.py [--calls N]

A hit is a whole call: the words are checked, the key is made, the answer is found, timed, counted and handed out. The
answer has 2 KB and came as a stream of 512 tokens. The others are measured if they can be imported:

    uv run --with litellm --with fastapi --with langchain-openai --with langchain-community benchmarks/cache_hits.py

Medians over batches of calls that take turns; the ratio is to this library's blocking hit in the same kind of store.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastclient as fc
from fastclient.cache.key import Keys
from fastclient.request import checked
from fastclient.testing import ProviderServer

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

PROMPT = "Where is my parcel? It should have come on Monday."
ANSWER = "the " * 512
BATCHES = 15


def seconds(function: Callable[[], object], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls


@contextmanager
def ours(server: ProviderServer, store: Any) -> Iterator[Callable[[], object]]:
    policy = fc.Policy(cache=fc.Cache(store=store))
    with fc.Client("openai:m", base_url=server.base_url, api_key="none", policy=policy) as client:
        assert client.chat(PROMPT).text == ANSWER
        store.close()
        reply = client.chat(PROMPT)
        assert reply.cache.state == "hit" and reply.text == ANSWER
        yield lambda: client.chat(PROMPT)


@contextmanager
def ours_async(server: ProviderServer, store: Any) -> Iterator[Callable[[], object]]:
    """Batches of awaited hits: the cost of a call inside a running loop."""
    loop = asyncio.new_event_loop()
    policy = fc.Policy(cache=fc.Cache(store=store))
    client = fc.AsyncClient("openai:m", base_url=server.base_url, api_key="none", policy=policy)
    try:
        loop.run_until_complete(client.chat(PROMPT))
        store.close()
        yield lambda: loop.run_until_complete(_hits(lambda: client.chat(PROMPT)))
    finally:
        loop.run_until_complete(client.aclose())
        loop.close()


async def _hits(ask: Callable[[], Awaitable[fc.Reply]]) -> None:
    for _ in range(_AT_ONCE):
        await ask()


_AT_ONCE = 50


@contextmanager
def litellm(server: ProviderServer) -> Iterator[Callable[[], object]]:
    import litellm as peer
    from litellm.caching.caching import Cache

    peer.cache = Cache(type="local")
    peer.suppress_debug_info = True

    def ask() -> Any:
        return peer.completion(
            model="openai/m",
            api_base=server.base_url,
            api_key="none",
            messages=[{"role": "user", "content": PROMPT}],
            caching=True,
        )

    first, again = ask(), ask()
    assert first.choices[0].message.content == again.choices[0].message.content == ANSWER
    yield ask


@contextmanager
def langchain(server: ProviderServer, folder: str) -> Iterator[Callable[[], object]]:
    from langchain_community.cache import SQLiteCache
    from langchain_core.globals import set_llm_cache
    from langchain_openai import ChatOpenAI

    set_llm_cache(SQLiteCache(database_path=str(Path(folder) / "langchain.db")))
    model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none")  # type: ignore[arg-type]
    assert model.invoke(PROMPT).content == model.invoke(PROMPT).content == ANSWER
    yield lambda: model.invoke(PROMPT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=400, help="calls in a batch (default 400)")
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder, ProviderServer(answer=ANSWER, process=True) as server:
        subjects = {
            "memory, blocking": (ours(server, fc.MemoryStore()), calls, 1),
            "memory, asyncio": (ours_async(server, fc.MemoryStore()), max(1, calls // _AT_ONCE), _AT_ONCE),
            "disk, blocking": (ours(server, fc.DiskStore(f"{folder}/a", memory=None)), calls, 1),
            "disk, asyncio": (
                ours_async(server, fc.DiskStore(f"{folder}/b", memory=None)),
                max(1, calls // _AT_ONCE),
                _AT_ONCE,
            ),
            "litellm, memory": (litellm(server), max(1, calls // 20), 1),
            "langchain, sqlite": (langchain(server, folder), max(1, calls // 20), 1),
        }
        times = measured(subjects, server)
        show(times)
    key_of_a_long_prompt()
    sizes_of_an_entry()


def measured(subjects: dict[str, tuple[Any, int, int]], server: ProviderServer) -> dict[str, float]:
    """Microseconds per hit. No subject may reach the server once it has its answer."""
    running: dict[str, tuple[Callable[[], object], int, int]] = {}
    opened = []
    for name, (subject, calls, each) in subjects.items():
        try:
            running[name] = (subject.__enter__(), calls, each)
            opened.append(subject)
        except ImportError as error:
            print(f"{name}: not measured ({error})")
    before = server.counters.accepted
    batches: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(BATCHES):
        for name, (ask, calls, each) in running.items():
            batches[name].append(seconds(ask, calls) / each)
    assert server.counters.accepted == before, "a hit went to the server"
    for subject in reversed(opened):
        subject.__exit__(None, None, None)
    return {name: statistics.median(each) * 1e6 for name, each in batches.items()}


def show(times: dict[str, float]) -> None:
    print(f"{'a hit with a 2 KB answer':28}{'us':>9}{'ratio':>9}")
    for name, took in times.items():
        base = times["disk, blocking"] if "disk" in name or "sqlite" in name else times["memory, blocking"]
        print(f"{name:28}{took:9.1f}{took / base:9.1f}")


def key_of_a_long_prompt() -> None:
    """Key and lookup for 100 KB of prompt, against hashing the bytes alone."""
    from hashlib import sha256

    text = "The parcel arrived late, and one of the boxes was open. " * 1830
    request = checked(text, {"max_tokens": 16})
    keys, store = Keys(fc.Target("openai:m", api_key="k"), "default"), fc.MemoryStore()
    bare = text.encode()
    took = statistics.median(seconds(lambda: store.get(keys.key(request) or b""), 50) for _ in range(BATCHES)) * 1e6
    hashing = statistics.median(seconds(lambda: sha256(bare).digest(), 50) for _ in range(BATCHES)) * 1e6
    print(f"{'key and lookup, 100 KB':28}{took:9.1f}{took / hashing:9.1f}  (to SHA-256 of the text alone)")


def sizes_of_an_entry() -> None:
    """What a streamed answer takes: as text, as it came over the wire, and packed; and what packing it costs."""
    from fastclient.cache.entry import Entry
    from fastclient.testing import FakeProvider

    with fc.Client("openai:m", wire=FakeProvider(ANSWER)) as client, client.stream(PROMPT) as stream:
        chunks = list(stream)
    raw = sum(len(chunk.raw) for chunk in chunks)
    entry = Entry.of(chunks, stored=0.0)
    took = statistics.median(seconds(lambda: Entry.of(chunks, stored=0.0), 5) for _ in range(BATCHES)) * 1e6
    print(f"an answer of {len(ANSWER):,} characters in {len(chunks)} chunks: {raw:,} bytes on the wire", end=", ")
    print(f"{len(entry.packed):,} packed, {took / len(chunks):.2f} us a chunk")


if __name__ == "__main__":
    main()
