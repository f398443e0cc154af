"""What candidates score: under the verifier, under the cosine where no veto forbids the pair, and under the cosine."""

from __future__ import annotations

import pytest

pytest.importorskip("numpy")

from fastclient.cache.semantic.gist import gist
from fastclient.cache.semantic.judge import Judge
from fastclient.cache.semantic.port import Near
from fastclient.cache.semantic.route import RULES

ASKED = "How can I reset my password?"
ALIKE = Near(b"a", 0.93, "How do I reset my password?")
OTHER = Near(b"b", 0.95, "How do I reset my password 3 times?")
FAR = Near(b"c", 0.4, "Which colours does the sofa come in?")
VERIFIER, GUARDED, COSINE = range(3)


def judge() -> Judge:
    return Judge("sentence")


def test_far_questions_are_not_looked_at() -> None:
    """A candidate that no rule could serve costs nothing."""
    assert judge().near([OTHER, ALIKE, FAR]) == [OTHER, ALIKE]


@pytest.mark.parametrize("rule", [VERIFIER, GUARDED])
def test_a_veto_leaves_the_next_one(rule: int) -> None:
    """The nearest is about another number: the second is served."""
    best = judge().best(ASKED, [OTHER, ALIKE], rule, 0.5)
    assert best is not None and best.candidate == 1


def test_the_cosine_knows_no_veto() -> None:
    """The nearest is the best."""
    best = judge().best(ASKED, [OTHER, ALIKE], COSINE, 0.5)
    assert best is not None and best.candidate == 0


@pytest.mark.parametrize("rule", range(3))
def test_none_is_good_enough(rule: int) -> None:
    """Nothing reaches the score that is asked for, or there is nothing."""
    assert judge().best(ASKED, [FAR], rule, 0.99) is None
    assert judge().best(ASKED, [], rule, 0.0) is None


@pytest.mark.parametrize("rule", range(3))
def test_the_best_is_the_one_with_the_highest_score(rule: int) -> None:
    """Looking for the best and scoring all say the same."""
    near = [OTHER, ALIKE]
    scores = judge().scores(ASKED, near)
    best = judge().best(ASKED, near, rule, 0.01)
    assert best is not None
    assert best.score == pytest.approx(max(score[rule] for score in scores), abs=1e-9)
    assert len(scores[0]) == len(RULES)


def test_a_rival_with_another_answer_lowers_the_score() -> None:
    """Where a nearer question has another answer, the verifier is less sure; where it has the same, it is not."""
    rival = Near(b"d", 0.95, "How can I reset the password of the router?")
    alone, same, other = judge(), judge(), judge()
    for each, answer in ((same, "Go to settings and choose reset."), (other, "Hold the button for ten seconds.")):
        each.know(b"a", gist("Go to settings and choose reset."))
        each.know(b"d", gist(answer))
    scores = [each.scores(ASKED, [rival, ALIKE])[1][VERIFIER] for each in (alone, same, other)]
    assert scores[0] == scores[1] > scores[2]
