"""What trimming and breakpoints cost at providers that cache prompts, beside the usual ways and clairvoyant bounds.

    python benchmarks/prefix_sim.py [--quick] [--data DIR] [--only PART]

No provider is called: the shipped classes write bodies, and simulated caches (`_prefix_caches.py`) answer to them.
Costs are of input, in percent of what the same requests cost where nothing is cached. `kept` is what is left of the
history, in tokens; budgets are exact for all but fastclient, which has only estimates to go by.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean, quantiles
from time import perf_counter

if not __package__:  # run as a script, or loaded by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _prefix_caches as caches
from benchmarks import _prefix_loads as loads
from benchmarks import _prefix_peers as peers
from benchmarks._prefix_bodies import counter, parsed
from benchmarks._prefix_caches import PrefixCache, Read
from benchmarks._prefix_loads import Ask, Conversation, Data
from fastclient.config import Prompt
from fastclient.prompt.align import Aligner
from fastclient.prompt.prepare import Preparer
from fastclient.providers.dialect import find
from fastclient.request import checked
from fastclient.target import Target
from fastclient.types import Usage

__all__ = ["PROVIDERS", "Provider", "cost", "main", "placed", "shipped", "trimmed", "workloads"]

BUDGET, KEEP = 0.45, 0.75
Requests = Sequence[tuple[float, bytes]]
Readings = list[Read]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider's cache, and the target that has it. `life` in seconds and `write` are those of `mark`."""

    cache: Callable[[], PrefixCache]
    target: Target
    mark: str = ""
    life: float = 0.0
    write: float = 1.0

    def answers(self, requests: Iterable[tuple[float, bytes]]) -> Readings:
        cache = self.cache()
        return [cache.answer(body, at) for at, body in requests]


def _at(name: str, base_url: str | None = None) -> Target:
    return Target(name, base_url=base_url, api_key="none")


_CLAUDE = _at("anthropic:claude-opus-4-8")
_LOCAL = _at("openai:local", "http://127.0.0.1:8000/v1")
_DEEPSEEK = _at("openai:deepseek-chat", "https://api.deepseek.com/v1")
PROVIDERS: Mapping[str, Provider] = {
    "<= 5.5": Provider(cache=caches.Automatic, target=_at("openai:gpt-5.5")),
    "5.6": Provider(cache=caches.Breakpoints, target=_at("openai:gpt-5.6"), mark="explicit", life=1800.0, write=1.25),
    "5m": Provider(cache=caches.Anthropic, target=_CLAUDE, mark="5m", life=300.0, write=1.25),
    "1h": Provider(cache=caches.Anthropic, target=_CLAUDE, mark="1h", life=3600.0, write=2.0),
    "vLLM": Provider(cache=caches.VLLM, target=_LOCAL),
    "DeepSeek": Provider(cache=caches.DeepSeek, target=_DEEPSEEK),
    "llama.cpp": Provider(cache=caches.LlamaCpp, target=_LOCAL),
}
AUTO = Provider(cache=caches.Anthropic, target=_CLAUDE)
"""Anthropic, with the lifetime left to fastclient."""

MARKED = ("5m", "1h", "5.6")


class Sender:
    """Sends requests as fastclient does, to a simulated cache."""

    def __init__(self, provider: Provider, budget: int | None = None) -> None:
        prompt = Prompt(max_input_tokens=budget, squeeze=False)  # squeezed prompts would not compare
        lifetimes = (provider.mark,) if provider.mark in ("5m", "1h") else ()
        self.target, self.cache = provider.target, provider.cache()
        self.preparer = Preparer(prompt, self.target)
        self.aligner = Aligner(prompt, self.target, lifetimes=lifetimes)

    def send(self, ask: Ask) -> Read:
        prepared = self.preparer.prepare(checked(ask.parts, ask.params), now=ask.at)
        layout = self.aligner.align(prepared, now=ask.at)
        body = find(self.target.provider).write(prepared.request, self.target, layout).body
        read = self.cache.answer(body, ask.at)
        usage = Usage(input_tokens=read.size, cache_read_tokens=read.read, cache_write_tokens=read.written)
        self.aligner.settle(layout, usage)
        return read


def shipped(provider: Provider, asks: Iterable[Ask], budget: int | None = None) -> Readings:
    sender = Sender(provider, budget)
    return [sender.send(ask) for ask in asks]


def cost(reads: Sequence[Read]) -> float:
    """In percent of the same without a cache."""
    return 100 * sum(read.cost for read in reads) / sum(read.size for read in reads)


def share(reads: Sequence[Read]) -> float:
    """Tokens that were read from the cache, in percent."""
    return 100 * sum(read.read for read in reads) / sum(read.size for read in reads)


# --- trimming ---------------------------------------------------------------------------------------------------------

LAYOUTS = ("naive + sliding", "stable + sliding", "fastclient", "stable, untrimmed", "clairvoyant")


def trimmed(conversation: Conversation, layout: str, provider: Provider) -> Readings:
    """A conversation within a budget of 45 % of its history, laid out and trimmed in one of the ways."""
    turns, asks = peers.Turns(conversation.messages), loads.asks(conversation)
    budget = int(BUDGET * sum(map(peers.size, conversation.messages[1:])))
    head = parsed(asks[0].body()).size
    if layout == "fastclient":
        return shipped(provider, asks, head + budget + 3)
    cuts = peers.sliding_cuts(turns, budget) if layout.endswith("sliding") else None
    if layout == "clairvoyant":
        cuts = peers.clairvoyant_cuts(turns, budget, KEEP, head)
    asks = loads.asks(conversation, cuts)
    if layout.startswith("naive"):
        marks = peers.SCHEMES["system + last"] if provider.mark in ("5m", "1h") else None
        return provider.answers((at, _marked(body, provider, marks)) for at, body in loads.naive(asks))
    return provider.answers((ask.at, _marked(ask.body(), provider, peers.structural)) for ask in asks)


def _marked(body: bytes, provider: Provider, scheme: peers.Scheme | None) -> bytes:
    if not (provider.mark and scheme):
        return body
    blocks, explicit = scheme(parsed(body), provider.mark), scheme is peers.structural and provider.mark == "explicit"
    return peers.marked(body, blocks, provider.mark, explicit=explicit)


def trimming(data: Data, quick: bool) -> None:
    for kind, conversations in (("agents", data.agents), ("chats", data.chats)):
        rows = [["", "kept", *PROVIDERS]]
        naive: dict[str, float] = {}
        for layout in LAYOUTS:
            cells, kept = [], []
            for name, provider in PROVIDERS.items():
                runs = [trimmed(one, layout, provider) for one in conversations[: 1 if quick else None]]
                reads = [*chain(*runs)]
                total = sum(read.cost for read in reads)
                naive.setdefault(name, total)
                kept.append(fmean(read.size - run[0].size for run in runs for read in run))
                cells.append(
                    f"{share(reads):.1f}/{100 * total / naive[name]:.1f}/{fmean(r.prefill for r in reads):.0f}"
                )
            rows.append([layout, "-".join(sorted({f"{tokens:.0f}" for tokens in (min(kept), max(kept))})), *cells])
        show(f"{kind}, budget {BUDGET:.0%} of the history: cached % / cost % of the first line / prefill tokens", rows)


# --- breakpoints ------------------------------------------------------------------------------------------------------

COLUMNS = (*peers.SCHEMES, "fastclient", "clairvoyant")


def workloads(data: Data) -> dict[str, list[Ask]]:
    """Nine of them, as far as there are data."""
    return {
        "agent": loads.asks(data.agents[2 % len(data.agents)]),
        "chat": loads.asks(data.chats[0]),
        "chat with long pauses": loads.asks(data.chats[1]),
        "20 agents": loads.fleet(data.agents[0], 3),
        "20 chats": loads.fleet(data.chats[0], 6),
        "extraction": loads.extraction(data.extracts[0]),
        "documents by score": loads.questions(data.rags[0]),
        "documents by popularity": loads.questions(data.rags[0], popular=True),
        "others by popularity": loads.questions(data.rags[1], popular=True),
    }


def placed(asks: Sequence[Ask], column: str, provider: Provider) -> Readings:
    """A workload with breakpoints set in one of the ways."""
    if column == "fastclient":
        return shipped(provider, asks)
    requests = [(ask.at, ask.body()) for ask in asks]
    if column == "clairvoyant":
        return peers.clairvoyant(requests, provider.life, provider.write)
    scheme = peers.SCHEMES[column]
    return provider.answers((at, _marked(body, provider, scheme)) for at, body in requests)


def placement(data: Data, quick: bool) -> None:
    work = workloads(data)
    for name in MARKED:
        rows, totals = [["", *COLUMNS, "ratio"]], []
        for title, asks in work.items():
            costs = [cost(placed(asks[: 40 if quick else None], column, PROVIDERS[name])) for column in COLUMNS]
            rows.append([title, *(f"{each:.1f}" for each in costs), f"{costs[-2] / costs[-1]:.2f}"])
            totals.append(costs)
        means = [fmean(column) for column in zip(*totals, strict=True)]
        rows.append(["mean", *(f"{each:.1f}" for each in means), f"{means[-2] / means[-1]:.2f}"])
        show(f"Breakpoints, {name}: cost % of uncached", rows)


# --- what never comes again -------------------------------------------------------------------------------------------


def unique(data: Data, quick: bool) -> None:
    """Requests of which only the beginning, or nothing, comes again."""
    rows = [["", *(f"{name} {column}" for name in MARKED for column in ("last", "first 20", "then"))]]
    for title, asks in loads.unique(data.extracts[0]).items():
        cells = []
        for provider in (PROVIDERS[name] for name in MARKED):
            reads = shipped(provider, asks[: 40 if quick else None])
            cells += [cost(placed(asks[:20], "last", provider)), cost(reads[:20]), cost(reads[20:])]
        rows.append([title, *(f"{cell:.1f}" for cell in cells)])
    show("Tails that never come again: cost % of uncached, all marked and by fastclient", rows)


# --- how long to keep -------------------------------------------------------------------------------------------------


def lifetimes(data: Data, quick: bool) -> None:
    rows = [["", "5m", "1h", "fastclient", "to the better"]]
    for title in ("agent", "chat", "chat with long pauses", "20 agents", "20 chats"):
        asks = workloads(data)[title][: 40 if quick else None]
        short, long, ours = (cost(shipped(each, asks)) for each in (PROVIDERS["5m"], PROVIDERS["1h"], AUTO))
        rows.append(
            [title, f"{short:.1f}", f"{long:.1f}", f"{ours:.1f}", f"{100 * ours / min(short, long) - 100:+.1f} %"]
        )
    show("Lifetime always 5m, always 1h, or chosen: cost % of uncached", rows)


# --- time -------------------------------------------------------------------------------------------------------------


def times(data: Data, quick: bool) -> None:
    rows = [["", "next p50", "p95", "again p50", "p95"]]
    conversation = max(data.agents, key=lambda each: len(each.messages))
    asks = [ask for ask in loads.asks(conversation) if len(ask.given) <= 110]
    budget = parsed(asks[-1].body()).size // 2
    for name in ("<= 5.5", "5.6", "5m"):
        for limit in (None, budget):
            taken: tuple[list[float], list[float]] = ([], [])
            for _ in range(2 if quick else 20):
                _time(PROVIDERS[name], asks, limit, taken)
            marks = [f"{quantiles(each, n=20)[mark]:.0f}" for each in taken for mark in (9, 18)]
            rows.append([f"{name}{', trimmed to half' if limit else ''}", *marks])
    show("Microseconds to prepare and align 90 to 110 messages: a conversation's next request, the same again", rows)


def _time(provider: Provider, asks: Sequence[Ask], budget: int | None, taken: tuple[list[float], list[float]]) -> None:
    sender = Sender(provider, budget)
    for ask in asks:
        for times in taken:
            request = checked(ask.parts, ask.params)
            start = perf_counter()
            prepared = sender.preparer.prepare(request, now=ask.at)
            layout = sender.aligner.align(prepared, now=ask.at)
            if len(ask.given) >= 90:
                times.append(1e6 * (perf_counter() - start))
            sender.aligner.settle(layout, Usage(input_tokens=round(prepared.size), output_tokens=0))


# --- the program ------------------------------------------------------------------------------------------------------

PARTS = {"trimming": trimming, "placement": placement, "unique": unique, "lifetime": lifetimes, "time": times}


def show(title: str, rows: Sequence[Sequence[str]]) -> None:
    """A table on the terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{title}")
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join(["  " + row[0].ljust(widths[0]), *cells]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], epilog=loads.__doc__)
    parser.add_argument("--quick", action="store_true", help="one conversation of each kind, 40 requests a workload")
    parser.add_argument("--data", type=Path, metavar="DIR", help=f"{loads.loaded.__doc__}")
    parser.add_argument("--only", choices=PARTS, help="one part")
    options = parser.parse_args()
    data = loads.loaded(options.data) if options.data else loads.generated()
    print(f"tokens: {counter()}")
    for name, part in PARTS.items():
        if options.only in (None, name):
            start = perf_counter()
            part(data, options.quick)
            print(f"({name}: {perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
