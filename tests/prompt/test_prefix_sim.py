"""The simulated caches keep to the providers' published rules, and in them the shipped classes come near the best.

The whole tables are printed by `benchmarks/prefix_sim.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import orjson
import pytest

from benchmarks import _prefix_caches as caches
from benchmarks import _prefix_loads as loads
from benchmarks import _prefix_peers as peers
from benchmarks import prefix_sim as sim
from benchmarks._prefix_bodies import parsed

LONG = "The fern stands beside the pond and waits for rain. " * 150
OTHER = "A lamp above the bench was lit before anybody came. " * 150


def body(*said: tuple[str, str], **more: Any) -> bytes:
    """A request of these roles and texts."""
    return orjson.dumps({"messages": [{"role": role, "content": text} for role, text in said], **more})


def ends(request: bytes) -> list[int]:
    return parsed(request).ends


# --- the caches -------------------------------------------------------------------------------------------------------


def test_blocks_in_the_order_they_are_hashed() -> None:
    """Tools stand first, then system texts, then what was said; both forms have the same kinds of blocks."""
    tool = {"type": "function", "function": {"name": "open_vent"}}
    call = {"id": "1", "type": "function", "function": {"name": "open_vent", "arguments": "{}"}}
    ours: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "open"},
        ],
        "tools": [tool],
    }
    theirs = {
        "system": "Be brief.",
        "messages": [
            ours["messages"][1],
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "open_vent", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "open"}]},
        ],
        "tools": [{"name": "open_vent", "input_schema": {"type": "object"}}],
    }
    for shape in (ours, theirs):
        kinds = [block.kind for block in parsed(orjson.dumps(shape)).blocks]
        assert kinds == ["tool", "system", "user", "user", "call", "result"]


def test_markers_are_no_part_of_a_prefix() -> None:
    """The same prompt has the same fingerprints whatever is marked."""
    plain = body(("system", LONG), ("user", "a question"))
    for mark in ("5m", "1h", "explicit"):
        marked = parsed(peers.marked(plain, [0], mark))
        assert marked.keys == parsed(plain).keys
        assert [block.mark for block in marked.blocks] == [mark, ""]


def test_automatic_prefixes() -> None:
    """Up to 5.5: multiples of 128 tokens, at least 1,024 of them, for ten minutes."""
    cache, other = caches.Automatic(), body(("system", LONG), ("user", "another"))
    assert cache.answer(body(("system", LONG), ("user", "one")), 0.0).read == 0
    assert cache.answer(other, 500.0).read == ends(other)[0] // 128 * 128
    assert cache.answer(other, 1101.0).read == 0
    assert [cache.answer(body(("user", "short")), at).read for at in (1200.0, 1201.0)] == [0, 0]


def test_breakpoints_match_exactly() -> None:
    """From 5.6 on a breakpoint is read if it stands in this request and was written by an earlier one."""
    first, second = (body(("system", LONG), ("user", OTHER + text), ("user", "now")) for text in ("a", "b"))
    cache = caches.Breakpoints()
    wrote = cache.answer(peers.marked(first, [0, 1], "explicit", explicit=True), 0.0)
    assert (wrote.read, wrote.written, wrote.plain) == (0, ends(first)[1], ends(first)[2] - ends(first)[1])
    assert wrote.cost == pytest.approx(1.25 * wrote.written + wrote.plain)
    assert cache.answer(peers.marked(second, [1], "explicit", explicit=True), 1.0).read == 0
    read = cache.answer(peers.marked(second, [0], "explicit", explicit=True), 2.0)
    assert (read.read, read.written) == (ends(second)[0], 0)
    assert cache.answer(peers.marked(second, [0], "explicit", explicit=True), 1803.0).read == 0


def test_implicit_breakpoints_pay_for_a_changing_end() -> None:
    """Without markers the newest message is written; if it changes each time, nothing is ever read."""
    cache = caches.Breakpoints()
    reads = [cache.answer(body(("system", LONG), ("user", f"{OTHER}{n}")), float(n)) for n in range(3)]
    assert [read.read for read in reads] == [0, 0, 0]
    assert sim.cost(reads) == pytest.approx(125)


def test_grown_conversations_are_read_implicitly() -> None:
    """The end of the message before is looked up too."""
    cache, grown = caches.Breakpoints(), body(("user", LONG), ("assistant", "yes"), ("user", "more"))
    cache.answer(body(("user", LONG)), 0.0)
    assert cache.answer(grown, 1.0).read == ends(grown)[0]


def test_refused_markers() -> None:
    """What the providers answer with 400."""
    said = body(("user", LONG), *(("assistant", f"{n}") for n in range(6)))
    with pytest.raises(ValueError, match="400"):
        caches.Breakpoints().answer(peers.marked(said, [1], "explicit"), 0.0)
    with pytest.raises(ValueError, match="at most 4"):
        caches.Anthropic().answer(peers.marked(said, [0, 1, 2, 3, 4], "5m"), 0.0)
    with pytest.raises(ValueError, match="for an hour behind"):
        caches.Anthropic().answer(peers.marked(peers.marked(said, [0], "5m"), [1], "1h"), 0.0)


@pytest.mark.parametrize("blocks, found", [(20, True), (21, False)])
def test_markers_look_back_twenty_blocks(blocks: int, found: bool) -> None:
    """Anthropic: an entry further in front of a marker is not found."""
    cache = caches.Anthropic()
    cache.answer(peers.marked(body(("user", LONG)), [0], "5m"), 0.0)
    grown = body(("user", LONG), *(("user", f"turn {n}") for n in range(blocks)))
    read = cache.answer(peers.marked(grown, [blocks], "5m"), 1.0)
    assert read.read == (ends(grown)[0] if found else 0)
    assert read.written == ends(grown)[-1] - read.read


@pytest.mark.parametrize("mark, life, write", [("5m", 300.0, 1.25), ("1h", 3600.0, 2.0)])
def test_lifetimes(mark: str, life: float, write: float) -> None:
    """An entry lives so long behind its last use, and costs so much."""
    cache, marked = caches.Anthropic(), peers.marked(body(("system", LONG), ("user", "now")), [0], mark)
    first = cache.answer(marked, 0.0)
    assert first.cost == pytest.approx(write * first.written + first.plain)
    assert [cache.answer(marked, at).read > 0 for at in (life, 2 * life, 3 * life + 1)] == [True, True, False]


def test_two_lifetimes_in_one_request() -> None:
    """Each part is written at its own price."""
    both = peers.marked(peers.marked(body(("system", LONG), ("user", OTHER)), [0], "1h"), [1], "5m")
    long, all_of_it = ends(both)
    assert caches.Anthropic().answer(both, 0.0).cost == pytest.approx(2 * long + 1.25 * (all_of_it - long))


def test_vllm_computes_the_last_token() -> None:
    """Full blocks of 16 tokens are read, but never the whole prompt."""
    cache, said = caches.VLLM(), body(("user", LONG))
    assert [cache.answer(said, at).read for at in (0.0, 1e6)] == [0, (ends(said)[-1] - 1) // 16 * 16]


def test_vllm_forgets() -> None:
    """Where the room is used up, the least recently used blocks leave."""
    said = body(("user", LONG))
    cache = caches.VLLM(room=ends(said)[-1])
    reads = [cache.answer(each, 0.0).read for each in (said, said, body(("user", OTHER)), said)]
    assert reads[1] > 0 and reads[3] == 0


def test_deepseek_knows_at_the_third_request() -> None:
    """What two requests have in common is a unit from then on; the same request is one at once."""
    cache = caches.DeepSeek()
    requests = [body(("system", LONG), ("user", text)) for text in ("one", "two", "three", "three")]
    reads = [cache.answer(request, float(at)).read for at, request in enumerate(requests)]
    assert reads == [0, 0, ends(requests[2])[0], ends(requests[3])[1]]


@pytest.mark.parametrize("slots, found", [(1, [False] * 6), (2, [False, False, True, True, True, True])])
def test_slots_of_llama_cpp(slots: int, found: list[bool]) -> None:
    """Two apps overwrite each other's prompt in one slot, and not in two."""
    cache, said = (
        caches.LlamaCpp(slots),
        [body(("system", LONG if at % 2 else OTHER), ("user", f"{at}")) for at in range(6)],
    )
    assert [cache.answer(each, 0.0).read > 100 for each in said] == found


# --- the peers --------------------------------------------------------------------------------------------------------


@cache
def data() -> loads.Data:
    return loads.generated()


def test_sliding_leaves_no_room() -> None:
    """The sliding trimmer keeps all that fits, and moves nearly always; the clairvoyant one moves seldom."""
    turns = peers.Turns(data().agents[0].messages)
    budget = turns.before[-1] * 0.45
    sliding, best = peers.sliding_cuts(turns, budget), peers.clairvoyant_cuts(turns, budget, 0.75, 5000)
    for cuts in (sliding, best):
        assert all(turns.kept(cut, point) <= budget for cut, point in zip(cuts, turns.points, strict=True))
        assert cuts == sorted(cuts)
    assert 3 * moves(best) < moves(sliding)


def moves(cuts: Sequence[int]) -> int:
    return sum(one != other for one, other in pairwise(cuts))


@pytest.mark.parametrize("name", ["5m", "5.6"])
def test_nobody_beats_the_clairvoyant(name: str) -> None:
    """Its cost is a bound for all schemes, where one read pays for a write."""
    asks, provider = loads.fleet(data().chats[0], 4, count=6), sim.PROVIDERS[name]
    costs = {column: sim.cost(sim.placed(asks, column, provider)) for column in sim.COLUMNS}
    assert min(costs.values()) == costs["clairvoyant"], costs


# --- goals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["5.6", "5m", "vLLM"])
def test_a_trimmed_agent_stays_cached(name: str) -> None:
    """With a budget of 45 % of its history, 85 % of an agent's tokens are read from the cache."""
    layouts = ("fastclient", "stable + sliding")
    ours, sliding = (sim.share(sim.trimmed(data().agents[3], layout, sim.PROVIDERS[name])) for layout in layouts)
    assert ours >= 85
    assert ours > sliding + 10


@pytest.mark.parametrize("name", sim.MARKED)
@pytest.mark.parametrize("title", ["agent", "extraction"])
def test_breakpoints_come_near_the_best(title: str, name: str) -> None:
    """At most 15 % above what a clairvoyant pays."""
    asks, provider = sim.workloads(data())[title][:60], sim.PROVIDERS[name]
    ours, best = (sim.cost(sim.placed(asks, column, provider)) for column in ("fastclient", "clairvoyant"))
    assert ours <= 1.15 * best


@pytest.mark.parametrize("name", sim.MARKED)
@pytest.mark.parametrize("title", ["extraction", "one system text"])
def test_unique_tails_cost_nothing_more(title: str, name: str) -> None:
    """After 20 requests whose ends never come again, no more was paid than without a cache."""
    asks = loads.unique(data().extracts[0])[title][:20]
    assert sim.cost(sim.shipped(sim.PROVIDERS[name], asks)) <= 100
