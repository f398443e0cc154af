"""Fits the weights of the semantic cache's verifier to the project's own labelled questions, and says how well they do.

    python benchmarks/fit_verifier.py lexical
    python benchmarks/fit_verifier.py sentence --model FOLDER [--write]

The embedder is the lexical one, or the sentence encoder in a folder. Questions of the split "fit" decide the weights,
those of the split "test" fill the tables. `--write` puts the weights into the package, `--vectors FILE` keeps what was
embedded for the next time.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import inf, sqrt
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:  # run as a script, or loaded by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.semantic_data import Split, pairs, streams
from fastclient.cache import embedders
from fastclient.cache.embedders import Embedder
from fastclient.cache.guards import Text, Verifier, analyse
from fastclient.cache.guards import fitted as home
from fastclient.cache.guards.features import FEATURES, features
from fastclient.cache.guards.overlap import overlap
from fastclient.cache.guards.vetoes import vetoes

__all__ = ["fit", "main", "wilson"]

SOURCES = {"faq": 1.0, "slots": 0.15, "checks": 0.3, "changed": 0.3}
"""Labelled pairs, and what each counts whatever its size."""
STREAMS = {"faq": 1.0, "intents": 0.3}
"""Streams, whose pairs are a request and the stored questions nearest to it."""
NEAREST, LEAST = 3, 0.5
FLOORS = (0.5, 0.7, 0.8, 0.9, 0.95)
Embed = Callable[[Sequence[str]], Any]


class Row(NamedTuple):
    """A pair as a cache meets it: with the cosine, the margin, and whether serving would be right."""

    asked: str
    stored: str
    same: bool
    cosine: float
    margin: float
    source: str
    kind: str


# --- rows -------------------------------------------------------------------------------------------------------------


def pair_rows(split: Split, embed: Embed) -> list[Row]:
    """The labelled pairs; nothing is known of other candidates there."""
    found = [pair for source in SOURCES for pair in pairs(split, (source,))]
    left, right = embed([pair.a for pair in found]), embed([pair.b for pair in found])
    cosines = np.einsum("ij,ij->i", left, right)
    return [
        Row(pair.b, pair.a, pair.same, float(cosine), inf, pair.source, pair.kind)
        for pair, cosine in zip(found, cosines, strict=True)
    ]


def stream_rows(split: Split, embed: Embed) -> list[Row]:
    """For each request of a stream the nearest of the earlier ones, with their margins."""
    rows = []
    for name in STREAMS:
        asked = streams(name, 1, split)
        vectors = embed([one.q for one in asked])
        for at in range(1, len(asked)):
            cosines = vectors[:at] @ vectors[at]
            near = np.argsort(-cosines)[: 5 * NEAREST]
            for one in near[:NEAREST]:
                answer = asked[one].answer_id
                rival = max((float(cosines[i]) for i in near if asked[i].answer_id != answer), default=-inf)
                if cosines[one] >= LEAST:
                    same, cosine = answer == asked[at].answer_id, float(cosines[one])
                    rows.append(
                        Row(asked[at].q, asked[one].q, same, cosine, cosine - rival, f"stream {name}", "stream")
                    )
    return rows


class Judged(NamedTuple):
    """What the verifier's fixed part says of rows, and the features of each."""

    values: Any
    fixed: Any
    """1: served for having the same words; 0: vetoed; NaN: up to the model."""
    same: Any


def judged(rows: Sequence[Row]) -> Judged:
    """Analyse rows; each text once."""
    texts: dict[str, Text] = {text: analyse(text) for row in rows for text in row[:2]}
    values, fixed = [], []
    for row in rows:
        asked, stored = texts[row.asked], texts[row.stored]
        words = overlap(asked, stored)
        none = not (words.both or words.slips or words.partners) or next(vetoes(asked, stored), None) is not None
        fixed.append(1.0 if asked.normal == stored.normal else 0.0 if none else float("nan"))
        values.append(features(asked, stored, words, row.cosine, row.margin))
    return Judged(np.array(values, float), np.array(fixed), np.array([row.same for row in rows], float))


# --- the fit ----------------------------------------------------------------------------------------------------------


def fit(values: Any, same: Any, counts: Any, signs: Any, strength: float = 1.0) -> tuple[float, Any]:
    """Logistic regression by Newton's method, with an L2 penalty on the scaled weights, each on its allowed side of 0.

    The weight that ends furthest on the wrong side is fixed at 0 and the others are fitted again, until none does.
    """
    mean, spread = values.mean(0), values.std(0)
    spread[spread < 1e-9] = np.inf  # a constant says nothing
    scaled = np.column_stack([np.ones(len(values)), (values - mean) / spread])
    penalty = np.r_[0.0, np.full(len(signs), strength)]
    free, allowed = np.ones(len(penalty), bool), np.r_[0.0, signs]
    while True:
        weights = np.zeros(len(penalty))
        for _ in range(60):
            p = 1.0 / (1.0 + np.exp(-np.clip(scaled @ weights, -30.0, 30.0)))
            slope = scaled.T @ (counts * (p - same)) + penalty * weights
            bend = (scaled * (counts * p * (1.0 - p))[:, None]).T @ scaled + np.diag(penalty)
            step = np.linalg.solve(bend[np.ix_(free, free)], slope[free])
            weights[free] -= step
            if np.abs(step).max() < 1e-8:
                break
        worst = int(np.argmin(allowed * weights))
        if allowed[worst] * weights[worst] >= 0.0:
            break
        free[worst] = False
    plain = weights[1:] / spread
    return float(weights[0] - plain @ np.where(np.isfinite(spread), mean, 0.0)), plain


def fitted(rows: Sequence[Row]) -> dict[str, float]:
    """The weights by name. Rows that the fixed part decides are left out; each source counts what it is to count."""
    found = judged(rows)
    kept = np.isnan(found.fixed)
    sources = np.array([row.source for row in rows])
    counts = np.zeros(len(rows))
    for name, total in (*SOURCES.items(), *((f"stream {name}", total) for name, total in STREAMS.items())):
        chosen = kept & (sources == name)
        counts[chosen] = total / max(1, chosen.sum())
    counts *= kept.sum() / counts.sum()
    signs = np.array([one.sign for one in FEATURES], float)
    bias, weights = fit(found.values[kept], found.same[kept], counts[kept], signs)
    return {"bias": bias} | {one.name: float(weight) for one, weight in zip(FEATURES, weights, strict=True) if weight}


# --- the tables -------------------------------------------------------------------------------------------------------


def wilson(hits: float, number: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share."""
    if not number:
        return 0.0, 1.0
    share, wide = hits / number, z * z / number
    middle, half = share + wide / 2, z * sqrt(share * (1 - share) / number + wide / (4 * number))
    return max(0.0, middle - half) / (1 + wide), (middle + half) / (1 + wide)


def probabilities(verifier: Verifier, rows: Sequence[Row]) -> Any:
    """What the shipped code says of each row."""
    texts = {text: analyse(text) for row in rows for text in row[:2]}
    return np.array(
        [verifier.verify(texts[row.asked], texts[row.stored], row.cosine, row.margin).probability for row in rows]
    )


def table(rows: Sequence[Row], chances: Any) -> None:
    """The share served of each kind of pair at some thresholds, with its interval at 0.9."""
    groups: dict[tuple[bool, str, str], list[float]] = defaultdict(list)
    for row, chance in zip(rows, chances, strict=True):
        groups[row.same, row.source, row.kind].append(chance)
        groups[row.same, row.source, "all"].append(chance)
    print(f"{'source':16} {'kind':18} {'n':>6} " + " ".join(f"{floor:>6}" for floor in FLOORS) + "  95 % at 0.9")
    for (same, source, kind), found in sorted(groups.items()):
        shares = [float(np.mean(np.array(found) >= floor)) for floor in FLOORS]
        low, high = wilson(sum(chance >= 0.9 for chance in found), len(found))
        name = f"{'same' if same else 'OTHER'}: {kind}"
        print(f"{source:16} {name:18} {len(found):6} " + " ".join(f"{one:6.3f}" for one in shares), end="")
        print(f"  {low:.3f}-{high:.3f}")


def frontier(rows: Sequence[Row], chances: Any) -> None:
    """What share of the right pairs is served where 1 or 2 % of the wrong ones are; beside the cosine alone."""
    for source in dict.fromkeys(row.source for row in rows):
        chosen = np.array([row.source == source for row in rows])
        same = np.array([row.same for row in rows])[chosen]
        for name, scores in (("verifier", chances), ("cosine", np.array([row.cosine for row in rows]))):
            score = scores[chosen]
            wrong = np.sort(score[~same])[::-1]
            at = [wrong[int(share * len(wrong))] for share in (0.01, 0.02)]
            served = " ".join(f"{np.mean(score[same] > one):.3f} (over {one:.3f})" for one in at)
            print(f"{source:16} {name:9} right served at 1 % and 2 % wrong: {served}")


# --- the program ------------------------------------------------------------------------------------------------------


def made(kind: str, model: Path | None) -> Embedder:
    """The lexical embedder, or the sentence encoder of a folder: the exported one if there is one."""
    if kind == "lexical":
        return embedders.Lexical()
    if model is None:
        raise SystemExit("sentence needs --model FOLDER, or --vectors FILE with all vectors in it")
    return embedders.Onnx(model) if any(model.rglob("*.onnx")) else embedders.Bert(model)


def remembering(kind: str, model: Path | None, kept: Path | None) -> Embed:
    """Vectors for texts, each text once; with a file, once and for all."""
    known: dict[str, Any] = {}
    if kept and kept.exists():
        with np.load(kept, allow_pickle=False) as file:
            known = dict(zip(file["texts"].tolist(), file["vectors"], strict=True))

    def embed(texts: Sequence[str]) -> Any:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, made(kind, model).embed(new), strict=True))
            if kept:
                np.savez(kept, texts=np.array(list(known)), vectors=np.stack(list(known.values())))
        return np.stack([known[text] for text in texts])

    return embed


def write(kind: str, weights: dict[str, float]) -> None:
    """Put the weights into the package, beside those of the other kind."""
    every = {**home.FITTED, kind: weights}
    about = (home.__doc__ or "").strip()
    lines = [f'"""{about}"""', "", "from __future__ import annotations", "", "from typing import Final", ""]
    lines += ['__all__ = ["FITTED"]', "", "FITTED: Final[dict[str, dict[str, float]]] = {"]
    for name in sorted(every, reverse=True):
        lines += [
            f'    "{name}": {{',
            *(f'        "{key}": {value:.4f},' for key, value in every[name].items()),
            "    },",
        ]
    Path(home.__file__).write_text("\n".join([*lines, "}", ""]), encoding="utf-8")


def main(arguments: Iterable[str] | None = None) -> None:
    """Fit, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("lexical", "sentence"))
    parser.add_argument("--model", type=Path, help="folder of the sentence encoder")
    parser.add_argument("--vectors", type=Path, help="file that keeps the vectors")
    parser.add_argument("--write", action="store_true", help="put the weights into the package")
    options = parser.parse_args(None if arguments is None else list(arguments))
    embed = remembering(options.kind, options.model, options.vectors)
    weights = fitted(pair_rows("fit", embed) + stream_rows("fit", embed))
    for name, weight in weights.items():
        print(f"{name:14} {weight:9.4f}")
    rows = pair_rows("test", embed) + stream_rows("test", embed)
    chances = probabilities(Verifier(weights), rows)
    table(rows, chances)
    frontier(rows, chances)
    if options.write:
        write(options.kind, weights)


if __name__ == "__main__":
    main()
