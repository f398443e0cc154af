"""The project's own labelled questions: pairs and request streams to fit and to judge a semantic cache with.

    python benchmarks/semantic_data.py [--write FOLDER]

checks the data and prints how many pairs there are of each kind; `--write` leaves pairs and streams as JSON lines.
What the files hold, and what "same" means, stands in `benchmarks/data/semantic/README.md`. A seed decides all draws.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data.semantic.wording import FOLDER, KEEPS, drawn, filled, framed, frames, plain, risen, value, variants

__all__ = ["SOURCES", "STREAMS", "Pair", "Request", "Split", "novel", "pairs", "streams"]

Split = Literal["fit", "test", "all"]
SOURCES = ("faq", "slots", "checks", "changed")
"""What `pairs` gives unless told otherwise; `near` and `languages` are there too."""
STREAMS = ("zipf", "once", "faq", "intents", "slots", "mixed")

_PER_SLOT = 8
_PER_CHECK = 20
_PER_INTENT = 50
_REQUESTS = 12_000
_NOVEL = 0.45  # of the requests of the two worlds
_WORDING = 0.6  # of the requests after a topic of the Zipf world; the others are its near misses
_SKEW = 1.05


class Pair(NamedTuple):
    """Two questions, and whether the answer stored for `a` may be served for `b`."""

    a: str
    b: str
    same: bool
    kind: str
    set: str
    domain: str
    source: str


class Request(NamedTuple):
    """One request of a stream: its place, its words, and the name of its right answer."""

    t: int
    q: str
    answer_id: str


@cache
def _lines(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (FOLDER / name).read_bytes().splitlines()]


def _rows(name: str, split: Split) -> list[dict[str, Any]]:
    return [row for row in _lines(name) if split in ("all", row["set"])]


# --- pairs ------------------------------------------------------------------------------------------------------------


def pairs(split: Split, sources: Iterable[str] = SOURCES, seed: int = 1) -> list[Pair]:
    """The labelled pairs of a split. `near` are two near misses of a base; `languages` German, Spanish and French."""
    found = (pair for source in sources for pair in _PAIRS[source](split, random.Random(f"{source} {seed}")))
    return list({(plain(pair.a), plain(pair.b)): pair for pair in found}.values())


def _written(split: Split, source: str) -> Iterator[Pair]:
    for base in _rows(f"{source}.jsonl", split):
        alike, where = [base["q"], *base["same"]], (base["set"], base["domain"], source)
        yield from (Pair(a, b, True, "paraphrase", *where) for a, b in combinations(alike, 2))
        yield from (Pair(a, near["q"], False, near["kind"], *where) for a in alike for near in base["near"])


def _near(split: Split) -> Iterator[Pair]:
    for base in _rows("faq.jsonl", split):
        for one, other in combinations(base["near"], 2):
            yield Pair(one["q"], other["q"], False, "near-near", base["set"], base["domain"], "near")


def _slots(split: Split, rng: random.Random) -> Iterator[Pair]:
    for row in _rows("slots.jsonl", split):
        kind, where = row["kind"], (row["set"], row["domain"], "slots")
        for _ in range(_PER_SLOT):
            spelt, others = value(kind, row["value"], rng)
            first, second, third = rng.sample(row["texts"], 3)
            asked = filled(first, rng.choice(spelt))
            yield Pair(asked, filled(second, rng.choice(spelt)), True, kind, *where)
            yield Pair(filled(second, spelt[0]), filled(third, spelt[-1]), True, kind, *where)
            for by, other in others:
                yield Pair(asked, filled(first, rng.choice(other)), False, by, *where)
                yield Pair(asked, filled(third, rng.choice(other)), False, by, *where)


def _checks(split: Split, rng: random.Random) -> Iterator[Pair]:
    for row in _rows("checks.jsonl", split):
        for _ in range(_PER_CHECK):
            words = drawn(row["a"] + row["b"], row["set"], rng)
            a, b = risen(row["a"].format(**words)), risen(row["b"].format(**words))
            yield Pair(a, b, row["same"], row["kind"], row["set"], "checks", "checks")


def _changed(split: Split, rng: random.Random) -> Iterator[Pair]:
    for base in _rows("faq.jsonl", split):
        near, where = [near["q"] for near in base["near"]], (base["set"], base["domain"], "changed")
        known = {plain(text) for text in [base["q"], *base["same"], *near]}
        for text in (base["q"], *base["same"][:3], *near[:2]):
            for kind, changed in variants(text, rng):
                if changed != text and (kind in KEEPS or plain(changed) not in known):
                    yield Pair(text, changed, kind in KEEPS, kind, *where)
        for miss in base["near"]:
            if other := framed(miss["q"], rng):
                yield Pair(base["q"], other, False, miss["kind"], *where)


_PAIRS: dict[str, Callable[[Split, random.Random], Iterator[Pair]]] = {
    "faq": lambda split, rng: _written(split, "faq"),
    "slots": _slots,
    "checks": _checks,
    "changed": _changed,
    "near": lambda split, rng: _near(split),
    "languages": lambda split, rng: _written(split, "languages"),
}

# --- streams ----------------------------------------------------------------------------------------------------------

Asked = tuple[str, str]  # a question and the name of its answer


def streams(name: str, seed: int, split: Split = "test") -> list[Request]:
    """The requests of a stream in the order of their arrival; only in `zipf` a text may come more than once."""
    return [Request(t, *asked) for t, asked in enumerate(_STREAMS[name](split, random.Random(f"{name} {seed}")))]


def novel(split: Split, rng: random.Random) -> list[Asked]:
    """Thousands of questions on other topics, each with an answer of its own, shuffled."""
    found = [
        (risen(text.replace("{x}", subject)), f"novel:{row['topic']}:{subject}:{at}")
        for row in _rows("novel.jsonl", split)
        for subject in row["subjects"]
        for at, text in enumerate(row["questions"])
    ]
    rng.shuffle(found)
    return found


def _topics(split: Split) -> list[tuple[list[Asked], list[Asked]]]:
    """Of each base its wordings, which share an answer, and its near misses, which have their own."""
    return [
        (
            [(text, f"faq:{base['q']}") for text in [base["q"], *base["same"]]],
            [(near["q"], f"faq:{near['q']}") for near in base["near"]],
        )
        for base in _rows("faq.jsonl", split)
    ]


def _zipf(split: Split, rng: random.Random) -> list[Asked]:
    topics, fresh = _topics(split), novel(split, rng)
    rng.shuffle(topics)
    weights = [1 / rank**_SKEW for rank in range(1, len(topics) + 1)]
    found = fresh[: round(_REQUESTS * _NOVEL)]
    for wordings, near in rng.choices(topics, weights, k=_REQUESTS - len(found)):
        found.append(rng.choice(wordings if rng.random() < _WORDING else near))
    return _shuffled(found, rng)


def _once(split: Split, rng: random.Random) -> list[Asked]:
    """As large as the written texts and what may be done to them without touching the answer allow."""
    found: dict[str, Asked] = {}
    for text, answer in _faq(split, rng):
        kept = [changed for kind, changed in variants(text, rng) if kind in ("typo", "synonym", "frame")]
        found |= {plain(each): (each, answer) for each in (text, *kept) if plain(each) not in found}
    share = round(len(found) * _NOVEL / (1 - _NOVEL))
    return _shuffled([*found.values(), *novel(split, rng)[:share]], rng)


def _faq(split: Split, rng: random.Random) -> list[Asked]:
    return _shuffled([asked for topic in _topics(split) for part in topic for asked in part], rng)


def _intents(split: Split, rng: random.Random) -> list[Asked]:
    found: dict[str, Asked] = {}
    for row in _rows("intents.jsonl", split):
        framed_all = [form.replace("{x}", phrase) for phrase in row["phrases"] for form in frames(row["form"])]
        said = [*row["said"], *rng.sample(framed_all, _PER_INTENT - len(row["said"]))]
        found |= {plain(text): (text if text.islower() else risen(text), f"intent:{row['intent']}") for text in said}
    return _shuffled(list(found.values()), rng)


def _valued(split: Split, rng: random.Random) -> list[Asked]:
    found: dict[str, Asked] = {}
    for row in _rows("slots.jsonl", split):
        for _ in range(_PER_SLOT // 2):
            spelt, others = value(row["kind"], row["value"], rng)
            for spellings in (spelt, *(other for _, other in others)):
                texts = [filled(text, rng.choice(spellings)) for text in rng.sample(row["texts"], 3)]
                found |= {plain(text): (text, f"slot:{row['domain']}:{'>'.join(spellings[0])}") for text in texts}
    return _shuffled(list(found.values()), rng)


def _mixed(split: Split, rng: random.Random) -> list[Asked]:
    parts = [_faq(split, rng), _intents(split, rng), _valued(split, rng), novel(split, rng)[:1_500]]
    return _shuffled([asked for part in parts for asked in part], rng)


def _shuffled(found: list[Asked], rng: random.Random) -> list[Asked]:
    rng.shuffle(found)
    return found


_STREAMS: dict[str, Callable[[Split, random.Random], list[Asked]]] = {
    "zipf": _zipf,
    "once": _once,
    "faq": _faq,
    "intents": _intents,
    "slots": _valued,
    "mixed": _mixed,
}

# --- the check --------------------------------------------------------------------------------------------------------


def _checked() -> list[Pair]:
    """All pairs, after asserting that no text is in both halves, written twice, or labelled in two ways."""
    found = [*pairs("fit", _PAIRS), *pairs("test", _PAIRS)]
    halves: defaultdict[str, set[str]] = defaultdict(set)
    labels: defaultdict[frozenset[str], set[bool]] = defaultdict(set)
    for pair in found:
        halves[plain(pair.a)].add(pair.set)
        halves[plain(pair.b)].add(pair.set)
        labels[frozenset((plain(pair.a), plain(pair.b)))].add(pair.same)
    assert not (both := [text for text, sets in halves.items() if len(sets) > 1]), both
    assert not (torn := [text for text, same in labels.items() if len(same) > 1]), torn
    for name in ("faq.jsonl", "languages.jsonl"):
        texts = Counter(
            plain(text)
            for base in _lines(name)
            for text in (base["q"], *base["same"], *(near["q"] for near in base["near"]))
        )
        assert not (twice := [text for text, times in texts.items() if times > 1]), twice
    said = Counter(plain(text) for row in _lines("intents.jsonl") for text in (*row["said"], *row["phrases"]))
    assert not (shared := [text for text, times in said.items() if times > 1]), shared
    asked = [plain(text) for text, _ in novel("all", random.Random(1))]
    assert len(set(asked)) == len(asked) >= _REQUESTS and not halves.keys() & set(asked)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="leave pairs and streams there as JSON lines")
    folder: Path | None = parser.parse_args().write
    found = _checked()
    counts = Counter((pair.source, pair.kind, pair.same, pair.set) for pair in found)
    print(f"{'source':<11}{'kind':<13}{'label':<11}{'fit':>6}{'test':>6}")
    for source, kind, same in sorted({key[:3] for key in counts}, key=str):
        fit, test = (counts[source, kind, same, half] for half in ("fit", "test"))
        print(f"{source:<11}{kind:<13}{'same' if same else 'different':<11}{fit:>6}{test:>6}")
    for name in STREAMS:
        stream = streams(name, 1)
        answers, texts = (len({getattr(each, field) for each in stream}) for field in ("answer_id", "q"))
        print(f"stream {name:<8} (test): {len(stream):>6} requests, {texts:>5} texts, {answers:>5} answers")
        if folder:
            _write(folder / f"stream_{name}.jsonl", stream)
    if folder:
        _write(folder / "pairs.jsonl", found)


def _write(path: Path, rows: Iterable[Pair | Request]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(row._asdict(), option=orjson.OPT_APPEND_NEWLINE) for row in rows))


if __name__ == "__main__":
    main()
