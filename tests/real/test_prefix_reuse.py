"""A stable prefix on a real server: what was read before is not read again, and the first token comes sooner.

The conversations are those of `benchmarks/real_prefix.py`, which prints the whole table.
"""

from __future__ import annotations

import pytest

from benchmarks import real_prefix
from benchmarks.real_prefix import Layout, Request


@pytest.fixture(scope="module")
def taken(llama_url: str) -> dict[Layout, list[Request]]:
    return real_prefix.run(llama_url, rounds=4)


def test_a_clock_at_the_head_is_read_with_all_that_follows(taken: dict[Layout, list[Request]]) -> None:
    """Prompts in parts are no shorter, and the server has most of them in its cache; of the others nearly none."""
    head, end = taken["head"], taken["end"]
    assert all(one.tokens <= other.tokens for one, other in zip(head, end, strict=True))
    assert min(request.tokens for request in end) > 800
    assert all(request.cached < 0.1 * request.tokens for request in head)
    assert all(request.cached > 0.8 * request.tokens for request in end)


def test_a_stable_prefix_is_read_in_a_third_of_the_time(taken: dict[Layout, list[Request]]) -> None:
    """By the server's own account; a caller, who also waits for the rest of the call, has the first token in half."""
    head, end = real_prefix.medians(taken["head"]), real_prefix.medians(taken["end"])
    for before, after, times in zip(head[1:], end[1:], (8, 3, 2), strict=True):
        assert before >= times * after
