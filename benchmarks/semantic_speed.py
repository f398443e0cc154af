"""What a hit of the semantic cache costs: a blocking client's, its parts, and a peer's with the same vectors.

    python benchmarks/semantic_speed.py [lexical | sentence --model FOLDER] [--entries 10000] [--peer PYTHON]

The client has a policy and no provider to wait for. It is asked what is stored in other words; what is stored in the
same words but for case and dots is left out. "floor" is what no semantic cache can do without: the vector, and one
product with all that are stored. PYTHON is one that has GPTCache (and what this package needs): it is measured with
the same questions and vectors, over SQLite and faiss, as shipped and without its usage report.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import orjson

ASKED, TURNS, WARM = 60, 5, 20


def microseconds(work: Callable[[Any], object], given: Sequence[Any]) -> float:
    """The median over all that is given of the best of some turns."""
    best = [float("inf")] * len(given)
    for one in given[:WARM]:
        work(one)
    for _ in range(TURNS):
        for at, one in enumerate(given):
            began = time.perf_counter_ns()
            work(one)
            best[at] = min(best[at], time.perf_counter_ns() - began)
    return median(best) / 1e3


def embedder(kind: str, model: Path | None) -> Any:
    from fastclient.cache import embedders

    return embedders.Lexical() if kind == "lexical" else embedders.Onnx(str(model))


def questions(entries: int) -> tuple[list[str], list[str]]:
    """What is stored, and what may be asked for some of it in other words."""
    from benchmarks.data.semantic.wording import plain, variants
    from benchmarks.semantic_data import novel

    rng = random.Random(1)
    stored = [text for text, _ in novel("all", rng)][:entries]
    asked = [
        changed
        for text in stored[-1500:]
        for kind, changed in variants(text, rng)
        if kind in ("frame", "synonym", "typo") and plain(changed) != plain(text)
    ]
    return stored, list(dict.fromkeys(asked))


# --- this package -----------------------------------------------------------------------------------------------------


def ours(kind: str, model: Path | None, entries: int, found: Path) -> None:
    """Measure, print, and leave what was asked in a file."""
    import fastclient as fc
    from fastclient.testing import FakeProvider

    meaning, (stored, asked) = embedder(kind, model), questions(entries)
    semantic = fc.Semantic(
        embedder=meaning, mode="serve", max_error=1e-6, rate=0.0
    )  # the verifier, from where it begins
    policy = fc.Policy(cache=fc.Cache(store=fc.MemoryStore(max_bytes=1 << 30)), semantic=semantic)
    with fc.Client("openai:none", wire=FakeProvider("Go to settings, then to account."), policy=policy) as client:
        for text in stored:
            client.chat(text, cache="refresh")
        settled(client, len(stored))
        hits = []
        for text in asked:
            if client.chat(text).cache.source == "semantic":
                hits.append(text)
            if len(hits) == ASKED:
                break
        total = microseconds(client.chat, hits)
        exact = microseconds(client.chat, stored[-ASKED:])
        parts(client, meaning, stored, hits, total, exact)
    found.write_bytes(orjson.dumps([stored, hits]))


def settled(client: Any, entries: int) -> None:
    """Wait until what is kept behind the caller's back is kept; a few questions are about the one who asks."""
    index = client._core._levers.knowledge.questions
    for _ in range(600):
        if index._index is not None and len(index._index) >= entries * 0.95:
            return
        time.sleep(0.1)
    raise SystemExit("not all questions were kept")


def parts(client: Any, meaning: Any, stored: list[str], hits: list[str], total: float, exact: float) -> None:
    """What of a hit goes where."""
    from fastclient.cache.guards import analyse

    matrix = meaning.embed(stored)
    vectors = {text: meaning.embed([text])[0] for text in hits}
    judge, index = client._core._levers.knowledge.judge, client._core._levers.knowledge.questions._index
    (partition,) = [name for name, _ in index.homes()]
    places = client._core._levers.knowledge.questions
    near = {text: judge.near(asyncio.run(places.nearest(partition, vectors[text], 5))) for text in hits}
    floor = microseconds(lambda text: int(np.argmax(matrix @ meaning.embed([text])[0])), hits)
    rows = {
        "floor: embed, product with all": floor,
        "a hit": total,
        "  a hit of the exact cache": exact,
        "  embed": microseconds(lambda text: meaning.embed([text])[0], hits),
        "  nearest ten": microseconds(lambda text: index.nearest(partition, vectors[text], 10), hits),
        "  take the question apart": microseconds(analyse, hits),
        "  that, and judge five": microseconds(lambda text: judge.best(text, near[text], 0, 0.9), hits),
    }
    print(f"{type(meaning).__name__}, {len(stored)} questions, {len(hits)} asked in other words: median us")
    for name, took in rows.items():
        print(f"  {name:36}{took:>9.0f}{took / floor:>8.2f} x floor")


# --- a peer -----------------------------------------------------------------------------------------------------------


def peer(kind: str, model: Path | None, found: Path) -> None:
    """GPTCache over SQLite and faiss, with the vectors of this package; runs where that is installed."""
    from gptcache import Cache, Config
    from gptcache.adapter.api import get
    from gptcache.manager import CacheBase, VectorBase, get_data_manager
    from gptcache.manager.scalar_data.base import Answer, DataType
    from gptcache.processor.pre import get_prompt
    from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation

    meaning, (stored, hits) = embedder(kind, model), orjson.loads(found.read_bytes())
    vectors = meaning.embed(stored)
    for name, report in (("as shipped", True), ("without its report", False)):
        with tempfile.TemporaryDirectory() as folder:
            scalar = CacheBase("sqlite", sql_url=f"sqlite:///{folder}/cache.db")
            vector = VectorBase("faiss", dimension=vectors.shape[1], index_path=f"{folder}/faiss.index")
            manager = get_data_manager(scalar, vector, max_size=2 * len(stored))
            cache = Cache()
            cache.init(
                pre_embedding_func=get_prompt,
                embedding_func=lambda text, **_: meaning.embed([text])[0],
                data_manager=manager,
                similarity_evaluation=SearchDistanceEvaluation(),
                config=Config(disable_report=not report),
            )
            answers = [Answer("Go to settings, then to account.", DataType.STR) for _ in stored]
            manager.import_data(stored, answers, list(vectors), [None] * len(stored))
            served = sum(get(text, cache_obj=cache) is not None for text in hits)
            took = microseconds(lambda text, cache=cache: get(text, cache_obj=cache), hits)  # type: ignore[misc]
            print(f"  {'GPTCache ' + name:36}{took:>9.0f} us ({served} of {len(hits)} answered)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("lexical", "sentence"), nargs="?", default="lexical")
    parser.add_argument("--model", type=Path, help="folder of the sentence encoder")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="a Python that has GPTCache")
    parser.add_argument("--found", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.found:
        peer(asked.kind, asked.model, asked.found)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        ours(asked.kind, asked.model, asked.entries, found)
        if asked.peer:
            given = ["--model", str(asked.model)] if asked.model else []
            command = [str(asked.peer), __file__, asked.kind, *given, "--found", str(found)]
            subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
